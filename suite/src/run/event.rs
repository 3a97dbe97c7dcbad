//! The events of a run, as one append-only list; the terminal is drawn from the same values.
//!
//! Knows no training. Progress goes to standard error, so that standard output carries data only.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use synergy_hint::{Explain as _, hint};

use crate::run::tensorboard::Scalars;
use crate::train::StepFigures;

/// One line of `events.jsonl`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event<'a> {
    Started { profile: &'a str, recipe_hash: &'a str },
    StageCached { stage: &'a str, seed: u64, key: &'a str },
    StageResumed { stage: &'a str, seed: u64, step: usize },
    Step { stage: &'a str, seed: u64, step: usize, figures: &'a StepFigures },
    Checkpoint { stage: &'a str, seed: u64, step: usize },
    StageDone { stage: &'a str, seed: u64, key: &'a str, wall_time_s: f64 },
    Evaluated { row: &'a str, seed: u64, completions: usize, wall_time_s: f64, cached: bool },
    Published { rows: usize, wall_time_s: f64 },
    Finished { wall_time_s: f64 },
}

#[derive(Serialize)]
struct Line<'a> {
    elapsed_s: f64,
    #[serde(flatten)]
    event: Event<'a>,
}

/// Writes events to a file and progress to the terminal.
#[derive(Debug)]
pub struct Events {
    file: Option<File>,
    /// The folder of curves for TensorBoard, beside the file.
    curves: Option<PathBuf>,
    start: Instant,
    quiet: bool,
}

impl Events {
    /// Appends to `path`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, quiet: bool) -> Result<Events> {
        let open = || -> std::io::Result<File> {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            OpenOptions::new().create(true).append(true).open(path)
        };
        let file = open().explain(|| {
            hint!(("failed to open `{}`", path.display()), "choose another folder with --runs-dir")
        })?;
        let curves = Some(path.with_file_name("tensorboard"));
        Ok(Events { file: Some(file), curves, start: Instant::now(), quiet })
    }

    /// Writes and shows nothing: another process does.
    pub fn silent() -> Events {
        Events { file: None, curves: None, start: Instant::now(), quiet: true }
    }

    /// Appends one event.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn write(&mut self, event: Event<'_>) -> Result<()> {
        let elapsed_s = self.elapsed().as_secs_f64();
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = Line { elapsed_s, event };
        let mut text = serde_json::to_string(&line).context("an event is plain data")?;
        text.push('\n');
        let length = file.metadata().map(|m| m.len());
        let written = file.write_all(text.as_bytes()).inspect_err(|_| {
            // Half a line would spoil the next one; the error being reported matters more than this.
            let _ = length.and_then(|length| file.set_len(length));
        });
        written.explain(|| hint!("failed to write events", "is the disk full?"))
    }

    /// A file of curves for TensorBoard in the folder `name`, if anything is written.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn scalars(&self, name: &str) -> Result<Option<Scalars>> {
        self.curves.as_ref().map(|curves| Scalars::create(&curves.join(name))).transpose()
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Shows a line to the person who watches.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// A progress bar of `length` steps, `done` of them from an earlier run. Where standard error is not a terminal, it
    /// writes one line for about every tenth of them instead.
    pub fn bar(&self, title: &str, length: usize, done: usize) -> Bar {
        let watched = !self.quiet && std::io::stderr().is_terminal();
        let target =
            if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(
            "  {prefix:<26} {bar:24.cyan/dim} {pos:>5}/{len} {elapsed:>4} left {eta:<4} {msg}",
        )
        .expect("the template is well formed")
        .progress_chars("━━─");
        let bar = ProgressBar::with_draw_target(Some(length as u64), target).with_style(style);
        bar.set_prefix(title.to_owned());
        bar.set_position(done as u64);
        bar.reset_eta();
        Bar {
            bar,
            title: title.to_owned(),
            length,
            written: done,
            lines: !self.quiet && !watched,
            start: Instant::now(),
            first: done,
        }
    }
}

/// Progress of one stage.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    title: String,
    length: usize,
    /// Steps done when the last line was written.
    written: usize,
    /// Tells whether lines stand in for the bar.
    lines: bool,
    start: Instant,
    /// Steps done by an earlier run.
    first: usize,
}

impl Bar {
    /// Moves to `done` steps; `message` stands beside the bar.
    pub fn at(&mut self, done: usize, message: String) {
        if self.lines && (done >= self.written + self.length.div_ceil(10) || done == self.length) {
            self.written = done;
            let seconds = self.start.elapsed().as_secs_f64();
            let left = seconds / (done - self.first).max(1) as f64 * (self.length - done) as f64;
            say(&format!(
                "  {:<26} {done}/{} {seconds:.0}s left {left:.0}s {message}",
                self.title, self.length
            ));
        }
        self.bar.set_message(message);
        self.bar.set_position(done as u64);
    }

    /// Replaces the bar by one line.
    pub fn finish(self, message: &str) {
        self.bar.finish_and_clear();
        if !self.bar.is_hidden() {
            say(&format!("  {:<26} {message}", self.title));
        }
    }
}

/// Shows a line to the person who watches.
#[expect(clippy::print_stderr, reason = "the one place that talks to a person during a run")]
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// The exit code by which shells report a program that SIGINT has ended.
const EXIT_INTERRUPTED: i32 = 130;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C ask the run to stop after the current step, and a second one end the program: files on disk are whole at
/// any moment.
///
/// # Errors
/// If the handler cannot be installed.
pub fn watch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_INTERRUPTED);
        }
        say("stopping after what is under way; Ctrl-C again stops at once");
    })
    .context("failed to watch for Ctrl-C")
}

/// Tells whether Ctrl-C was pressed.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
