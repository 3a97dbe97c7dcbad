//! One VLM architecture at every size: Qwen2.5-VL, read from a Hugging Face `config.json`.
//!
//! Token ids and pixels in, logits out. Does not know benchmarks, recipes or how anything is trained.
//!
//! A model is a [`qwen2_5_vl::config::VlmConfig`] and [`weights::Parameters`]; [`qwen2_5_vl::vlm::Vlm`] is both
//! together, ready to compute. It has two forms with the same results up to rounding: the plain one over burn's
//! tensors, on any device, and the [`native`] one, which is faster where parameters lie in the host's memory.
//!
//! # Example
//! A fresh model of the smallest preset answers a prompt of three tokens:
//!
//! ```
//! use burn::tensor::Device;
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//! use synergy_models::generate::{Prompt, Sampling, generate};
//! use synergy_models::qwen2_5_vl::config::{Preset, SpecialIds, VlmConfig};
//! use synergy_models::qwen2_5_vl::vlm::Vlm;
//! use synergy_models::weights::Parameters;
//!
//! let ids = SpecialIds { image: 1, vision_start: 2, vision_end: 3, bos: 4, eos: 4, video: None };
//! let config = VlmConfig::preset(Preset::Nano, 40, ids);
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let parameters = Parameters::init(&config, &mut rng, &Device::flex());
//! assert_eq!(parameters.count(), config.layout().num_parameters);
//!
//! let model = Vlm::new(&config, &parameters);
//! let prompt = Prompt { input_ids: vec![5, 6, 7], ..Prompt::default() };
//! let sampling = Sampling::greedy(8, config.eos_token_id);
//! let stream = |_prompt, sample| ChaCha8Rng::seed_from_u64(sample as u64);
//! let answers = generate(&model, &[prompt], None, 1, &sampling, &stream);
//! assert_eq!(answers[0][0].ids.len(), answers[0][0].log_probs.len());
//! ```

pub mod batch;
pub mod checkpoint;
mod fields;
pub mod generate;
pub mod image;
pub mod lora;
pub mod merge;
pub mod native;
pub mod ops;
pub mod qwen2_5_vl;
pub mod tokenizer;
pub mod weights;

#[cfg(test)]
mod tests;
