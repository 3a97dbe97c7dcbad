//! The architecture Qwen2.5-VL (arXiv 2502.13923): its settings, its parameters, and what it computes.
//!
//! A second architecture would be a folder like this one. What is outside of it (weights, adapters, merging,
//! sampling) knows [`layout::Layout`] and names of parameters, not layers. Each file knows those above it
//! in this list:
//! - [`config`]: the fields of `config.json`, and the presets;
//! - [`names`], [`shapes`], [`layout`]: what a checkpoint holds, and its sizes as plain numbers;
//! - [`rope`]: rotary positions of text, pictures and videos;
//! - [`vision`], [`text`]: the vision tower and the decoder over burn's tensors;
//! - [`vlm`]: both together.

pub mod config;
pub mod layout;
pub mod names;
pub mod rope;
pub mod shapes;
pub mod text;
pub mod vision;
pub mod vlm;
