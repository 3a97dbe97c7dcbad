//! End-to-end tests of the suite: everything lives under `tests/`.
