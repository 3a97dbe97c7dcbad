//! Writes a contact sheet of all procedural families to the PNG file named by the only argument.
//!
//! For people: nothing in a run depends on it.

use anyhow::{Context, Result};
use synergy_benchmarks::families::contact_sheet;

const SEED: u64 = 1;
const PICTURES_PER_FAMILY: usize = 4;
const SCALE: u32 = 3;

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).context("no file named\nhint: … -- sheet.png")?;
    contact_sheet(SEED, PICTURES_PER_FAMILY, SCALE)
        .save(&path)
        .with_context(|| format!("failed to write `{}`", path.display()))
}
