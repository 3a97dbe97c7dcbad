//! The binary `synergy`; what it does is in [`synergy_suite::commands`].

use std::process::ExitCode;

/// Keeps freed pages: burn asks for the same sizes at every step, and the system's allocator would give the memory
/// back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    synergy_suite::commands::main()
}
