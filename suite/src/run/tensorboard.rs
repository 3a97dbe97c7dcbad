//! Writes curves of training in TensorBoard's format.
//!
//! Does not know what is trained. Written here since the crates that do it need a compiler of protocol
//! buffers on the machine, and what is needed of the format is one message: an event with scalars
//! (`tensorflow/core/util/event.proto`), in records that carry a checksum each (TFRecord).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use synergy_hint::{Explain as _, hint};

use crate::train::StepFigures;

/// A file of scalars that grows step by step.
#[derive(Debug)]
pub struct Scalars {
    file: File,
}

impl Scalars {
    /// Creates a file in the folder `dir`, beside those of earlier processes.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(dir: &Path) -> Result<Scalars> {
        let create = || -> std::io::Result<File> {
            std::fs::create_dir_all(dir)?;
            let name = format!("events.out.tfevents.{}.{}", now() as u64, std::process::id());
            OpenOptions::new().create(true).append(true).open(dir.join(name))
        };
        let file = create().explain(|| {
            hint!(
                ("failed to write to `{}`", dir.display()),
                "choose another folder with --runs-dir"
            )
        })?;
        let mut scalars = Scalars { file };
        let mut event = vec![0x09];
        event.extend(now().to_le_bytes());
        field(&mut event, 3, b"brain.Event:2");
        scalars.append(&event)?;
        Ok(scalars)
    }

    /// Appends the figures of `step`, counted from 0.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub fn write(&mut self, step: usize, figures: &StepFigures) -> Result<()> {
        self.append(&event(now(), step as u64, figures))
    }

    fn append(&mut self, event: &[u8]) -> Result<()> {
        self.file
            .write_all(&record(event))
            .explain(|| hint!("failed to write curves", "is the disk full?"))
    }
}

/// Seconds since 1970, for display alone.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// `Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }`
fn event(wall_time: f64, step: u64, figures: &StepFigures) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, value) in figures {
        let mut scalar = Vec::new();
        field(&mut scalar, 1, name.as_bytes());
        scalar.push(2 << 3 | 5);
        scalar.extend((*value as f32).to_le_bytes());
        field(&mut summary, 1, &scalar);
    }
    let mut event = vec![1 << 3 | 1];
    event.extend(wall_time.to_le_bytes());
    event.push(2 << 3);
    varint(&mut event, step);
    field(&mut event, 5, &summary);
    event
}

/// Appends a field of bytes with its length.
fn field(to: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    to.push(number << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// A record: length, its checksum, the bytes, their checksum.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), bytes, &checksum(bytes)].concat()
}

/// The checksum of TFRecord, which is rotated, so that a checksum among the bytes does no harm.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_one_that_tensorboard_writes() {
        // `SummaryWriter.add_scalar("loss", 0.5, 300)` of tensorboard 2.20.0 at the time 1.0.
        let figures = StepFigures::from([("loss".to_owned(), 0.5)]);
        let bytes = record(&event(1.0, 300, &figures));
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, EXPECTED);
    }

    const EXPECTED: &str =
        "1b000000000000001a0d9e1309000000000000f03f10ac022a0d0a0b0a046c6f7373150000003f4e5c1fd1";

    #[test]
    fn a_file_holds_its_version_and_every_step() {
        let dir = tempfile::tempdir().unwrap();
        let mut scalars = Scalars::create(&dir.path().join("sft")).unwrap();
        for step in 0..3 {
            scalars.write(step, &StepFigures::from([("reward".to_owned(), 0.25)])).unwrap();
        }
        let path = std::fs::read_dir(dir.path().join("sft")).unwrap().next().unwrap().unwrap();
        assert!(path.file_name().to_string_lossy().contains("tfevents"));
        let bytes = std::fs::read(path.path()).unwrap();
        let (mut at, mut records) = (0, Vec::new());
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            let body = &bytes[at + 12..at + 12 + length];
            assert_eq!(bytes[at + 8..at + 12], checksum(&bytes[at..at + 8]));
            assert_eq!(bytes[at + 12 + length..at + 16 + length], checksum(body));
            records.push(body.to_vec());
            at += 16 + length;
        }
        assert_eq!(records.len(), 4);
        assert!(records[0].ends_with(b"brain.Event:2"));
        assert!(records[3].windows(6).any(|w| w == b"reward"));
    }
}
