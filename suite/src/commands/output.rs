//! What a person or a program sees of a verb: data on standard output, words and errors on standard error.

use std::io::{self, Write as _};

use anyhow::{Context as _, Error, Result};
use clap::error::ErrorKind;
use serde::Serialize;
use synergy_hint::{Explain as _, Hinted, hint, refusal};

/// Writes data to standard output; a pipe that its reader has closed (`… | head`) is no error.
///
/// # Errors
/// If it cannot be written for another reason.
pub(super) fn put(text: &str) -> Result<()> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).explain(|| hint!("failed to write to standard output", "is the disk full?"))
        }
        _ => Ok(()),
    }
}

/// [`put`] for a value, as indented JSON.
///
/// # Errors
/// See [`put`].
pub(super) fn put_json(value: &impl Serialize) -> Result<()> {
    put(&format!("{}\n", serde_json::to_string_pretty(value).context("plain data")?))
}

/// Writes words for a person to standard error.
///
/// # Errors
/// If they cannot be written.
pub(super) fn tell(text: &str) -> Result<()> {
    let mut out = io::stderr();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.explain(|| hint!("failed to write to standard error", "is the disk full?"))
}

/// Reports an error on standard error: a line for the cause, or for each of several, and hints on lines below it.
#[expect(clippy::print_stderr, reason = "the one place that reports an error")]
pub(super) fn report(error: &Error) {
    let rendered = synergy_hint::render(error);
    for cause in rendered.causes {
        eprintln!("error: {cause}");
    }
    for hint in rendered.hints {
        eprintln!("hint: {hint}");
    }
}

/// Reports a command line that cannot be read as any other error, and ends with exit code 2; help that was asked for is
/// printed as clap prints it.
pub(super) fn refuse(error: &clap::Error) -> ! {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        error.exit();
    }
    report(&explained(&error.to_string()).into());
    std::process::exit(2)
}

/// The cause and the hint in what clap says: a first paragraph, perhaps a tip, and how to get help.
fn explained(text: &str) -> Hinted {
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    // `Usage: synergy show [OPTIONS]` names the verb that was read.
    let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: "));
    let verb = usage
        .and_then(|usage| usage.split([' ']).nth(1))
        .filter(|word| word.starts_with(char::is_alphanumeric));
    let help = format!(
        "`synergy{} --help` shows what it takes",
        verb.map_or(String::new(), |verb| format!(" {verb}"))
    );
    Hinted::new(refusal(text), tip.map_or(help, str::to_owned))
}

/// Columns of the terminal, at least 100; 120 if unknown.
pub(super) fn width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns.unwrap_or(120).max(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_that_of_the_verb_that_was_read() {
        for (usage, help) in [
            ("synergy train-base [OPTIONS]", "`synergy train-base --help` shows what it takes"),
            ("synergy golden check [OPTIONS]", "`synergy golden --help` shows what it takes"),
            ("synergy <COMMAND>", "`synergy --help` shows what it takes"),
            ("synergy [OPTIONS]", "`synergy --help` shows what it takes"),
        ] {
            let said = format!("error: unexpected argument '--x' found\n\nUsage: {usage}\n");
            let Hinted { cause, hint, .. } = explained(&said);
            assert_eq!((cause.as_str(), hint.as_str()), ("unexpected argument '--x' found", help));
        }
        let said = "error: unexpected argument '--sed'\n\n  tip: a similar argument exists: '--seed'\n\nUsage: synergy show\n";
        assert_eq!(explained(said).hint, "a similar argument exists: '--seed'");
    }
}
