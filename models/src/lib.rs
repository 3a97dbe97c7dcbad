//! One VLM architecture at every size: Qwen2.5-VL, read from a Hugging Face `config.json`.
//!
//! Token ids and pixels in, logits out. Does not know benchmarks, recipes or how anything is trained.

pub mod checkpoint;
pub mod config;
pub mod generate;
pub mod image;
pub mod lora;
pub mod merge;
pub mod native;
pub mod ops;
pub mod rope;
pub mod text;
pub mod tokenizer;
pub mod vision;
pub mod vlm;
pub mod weights;

#[cfg(test)]
mod tests;
