//! Writes a large table in VLMEvalKit's layout, or reads any file of a benchmark and says how much memory
//! it took.
//!
//! ```console
//! $ cargo run -p synergy-benchmarks --example read_tsv -- write 1000000000 MMStar.tsv
//! $ cargo run -p synergy-benchmarks --example read_tsv -- read mmstar MMStar.tsv
//! ```
//!
//! This module does not know what a file should hold. Every hundredth picture is decoded too.

#![expect(clippy::print_stdout, reason = "what it measures is what it is for")]

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use synergy_benchmarks::datasets;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["write", num_bytes, path] => write(num_bytes.parse()?, Path::new(path)),
        ["read", name, path] => read(name, Path::new(path)),
        _ => bail!("which of `write BYTES PATH` and `read NAME PATH`?"),
    }
}

/// Rows with a picture of noise, about 400 kB each, until there are `num_bytes`.
fn write(num_bytes: u64, path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "index\timage\tquestion\tA\tB\tanswer\tcategory")?;
    let mut written = 0;
    let mut noise = 1_u32;
    for index in 0.. {
        if written >= num_bytes {
            break;
        }
        let picture = image::RgbImage::from_fn(320, 320, |_, _| {
            // Numerical Recipes' generator: noise that no PNG makes smaller.
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(noise >> 24) as u8, (noise >> 16) as u8, (noise >> 8) as u8])
        });
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png)?;
        let cell = BASE64_STANDARD.encode(png.into_inner());
        writeln!(file, "{index}\t{cell}\t\"A \"\"quoted\"\"\nquestion?\"\tone\ttwo\tA\tmath")?;
        written += cell.len() as u64;
    }
    Ok(file.flush()?)
}

fn read(name: &str, path: &Path) -> Result<()> {
    let start = Instant::now();
    let mut reader = datasets::open(name, path)?.skip_bad(true);
    let samples = reader.by_ref().collect::<Result<Vec<_>>>()?;
    let read_s = start.elapsed().as_secs_f64();
    for skipped in reader.skipped() {
        println!("skipped {skipped}");
    }
    let start = Instant::now();
    let mut num_pixels = 0;
    let asked = samples.iter().step_by(100);
    let num_asked = asked.len();
    for sample in asked {
        let pictures = sample.load_images()?;
        num_pixels += pictures.iter().map(|p| u64::from(p.width() * p.height())).sum::<u64>();
    }
    let load_s = start.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).context("no VmHWM here")?;
    println!("{} samples in {read_s:.1} s", samples.len());
    println!("the pictures of {num_asked} of them in {load_s:.1} s, {num_pixels} pixels");
    println!("{peak}");
    Ok(())
}
