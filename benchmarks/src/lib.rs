//! The questions: procedural families, published data sets, and training data in other trainers' layouts.
//!
//! This crate knows no tensors, no tokens and no model: pictures are pixels, questions and answers are text.
//! Everything random is derived from a [`seed::Seed`] by hashing, so a procedural sample is an address, not a file.
//! How answers are judged is the crate `synergy-grade`.
//!
//! ```
//! use synergy_benchmarks::families::{Family, Split};
//! use synergy_benchmarks::sample::Sample;
//! use synergy_grade::answer::Outcome;
//! use synergy_grade::{Grader, grade};
//!
//! // The question at index 12 of seed 7, which takes three steps through the picture.
//! let sample = Sample::procedural(Family::Path, 7, Split::Test, 12, 3..=3);
//! assert_eq!(sample.id, "path/test/7/00012");
//! let picture = sample.load_images()?.remove(0);
//! assert_eq!(picture.dimensions(), (112, 112));
//!
//! let response = format!(r"I walk three steps. \boxed{{{}}}", sample.answer);
//! assert_eq!(grade(Grader::Boxed1, &sample.target(), &response, true).outcome, Outcome::Correct);
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod datasets;
pub mod difficulty;
pub mod families;
pub mod grids;
pub mod sample;
pub mod seed;
pub mod stored;
pub mod text_only;
