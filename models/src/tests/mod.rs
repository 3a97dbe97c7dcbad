//! What tests of several modules share.

mod bf16;
pub(crate) mod fixtures;
