//! Published benchmarks, one file each, read from the files that their owners publish.
//!
//! Does not fetch anything: `cargo xtask fetch` does, against `datasets.lock` beside this crate.
//! External questions have no hops, no traces and no teacher; they are evaluated, never trained on.

pub mod easy_vqa;
