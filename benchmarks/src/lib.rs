//! What is asked and how an answer is judged.
//!
//! Knows no tensors, no tokens and no model: pictures are pixels, questions and answers are text.
//! Everything random is derived from a `Seed` by hashing, so a sample is an address, not a file.

pub mod datasets;
pub mod difficulty;
pub mod families;
pub mod grids;
pub mod sample;
pub mod seed;
pub mod stored;
pub mod text_only;

// The paths by which the suite still calls the crate `synergy-grade`.
pub use synergy_grade as grade;
pub use synergy_grade::{answer, style};
