//! How a gate went, for people: the job's summary and one comment on a pull request.
//!
//! Does not know what was compared. It speaks to the service through its variables and its command line
//! `gh`; without a token it prints what it would have done.
//!
//! The comment is found again by its first line, which nobody sees, so that a pull request has one that
//! is up to date and not one for every push.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use synergy_hint::Hinted;
use xshell::{Shell, cmd};

use super::outcome::Outcome;
use crate::files::create_folder;
use crate::process;

/// The first line of the comment.
const MARKER: &str = "<!-- synergy: regression -->";

/// The file of the comment, for `gh` and for a person who wants to see it.
const COMMENT: &str = "target/ci-runs/comment.md";

/// The longest comment that the service accepts, less some room.
const COMMENT_BYTES_MAX: usize = 60_000;

/// Writes about a gate: its comparison, or why it is missing.
pub(super) fn text(profile: &str, comparison: Option<String>, outcome: &Outcome) -> String {
    let why = match (comparison, outcome) {
        (Some(comparison), _) => return comparison,
        (None, Outcome::Broken(cause)) => cause,
        (None, _) => "the run itself failed, see the job's log",
    };
    format!("## Profile {profile}: not compared\n\nThe gate could not finish: {why}.\n")
}

/// Writes the comment: marked, and cut where it is longer than the service accepts.
fn comment_body(text: &str) -> String {
    if text.len() <= COMMENT_BYTES_MAX {
        return format!("{MARKER}\n{text}");
    }
    let mut end = COMMENT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // A table cut within a row would be shown as text.
    let end = text[..end].rfind('\n').map_or(end, |at| at + 1);
    format!("{MARKER}\n{}\nCut here; the job's summary has the rest.\n", &text[..end])
}

/// The service that runs the job, as far as its variables describe it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Service {
    summary: Option<PathBuf>,
    repository: Option<String>,
    pull_request: Option<u64>,
    has_token: bool,
}

impl Service {
    /// Reads the service's variables with `var`.
    pub(super) fn of(var: impl Fn(&str) -> Option<String>) -> Service {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let number = |reference: String| {
            reference.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok()
        };
        Service {
            summary: set("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            repository: set("GITHUB_REPOSITORY"),
            pull_request: set("GITHUB_REF").and_then(number),
            has_token: set("GITHUB_TOKEN").is_some(),
        }
    }

    /// Adds `text` to the job's summary, or prints it where the service has no summary.
    ///
    /// # Errors
    /// If the summary cannot be written.
    pub(super) fn summarize(&self, text: &str) -> anyhow::Result<()> {
        let Some(path) = &self.summary else {
            println!("dry run: for the job's summary:\n\n{text}");
            return Ok(());
        };
        let failed = || format!("failed to write the summary `{}`", path.display());
        let mut file =
            fs::OpenOptions::new().append(true).create(true).open(path).with_context(failed)?;
        file.write_all(text.as_bytes()).with_context(failed)
    }

    /// Writes the comment to [`COMMENT`] and makes it the one on the pull request, or prints that it would.
    ///
    /// # Errors
    /// If the file cannot be written or `gh` fails.
    pub(super) fn comment(&self, sh: &Shell, root: &Path, text: &str) -> anyhow::Result<()> {
        let path = root.join(COMMENT);
        let failed = || format!("failed to write `{COMMENT}`");
        create_folder(path.parent().unwrap_or(root))?;
        fs::write(&path, comment_body(text)).with_context(failed)?;
        let (Some(repository), Some(number), true) =
            (&self.repository, self.pull_request, self.has_token)
        else {
            println!("{}", self.dry_run());
            return Ok(());
        };
        let list = list(repository, number);
        let found =
            cmd!(sh, "gh {list...}").read().context("failed to look for the comment with `gh`")?;
        let known = found.lines().next().and_then(|id| id.trim().parse().ok());
        let mut gh = Command::new("gh");
        gh.current_dir(root)
            .args(send(repository, number, known))
            .stdout(std::process::Stdio::null());
        ensure!(
            process::wait(gh)? == 0,
            Hinted::new(
                "`gh` refused the comment",
                "a pull request from a fork has a token that may only read; the job's summary has the same text"
            )
        );
        println!(
            "{} the comment on pull request {number}",
            if known.is_some() { "updated" } else { "made" }
        );
        Ok(())
    }

    fn dry_run(&self) -> String {
        let lacks: Vec<&str> = [
            (self.repository.is_none(), "GITHUB_REPOSITORY"),
            (self.pull_request.is_none(), "GITHUB_REF of a pull request"),
            (!self.has_token, "GITHUB_TOKEN"),
        ]
        .into_iter()
        .filter_map(|(lacks, what)| lacks.then_some(what))
        .collect();
        let number = self.pull_request.map_or_else(|| "N".to_owned(), |number| number.to_string());
        format!(
            "dry run: `{COMMENT}` would be the one comment on pull request {number} of {}; missing: {}",
            self.repository.as_deref().unwrap_or("the repository"),
            lacks.join(", ")
        )
    }
}

/// Builds the arguments of `gh` that print the numbers of our comments. Only a bot's: anybody can write our marker.
fn list(repository: &str, number: u64) -> Vec<String> {
    let filter =
        format!(".[] | select(.user.type == \"Bot\" and (.body | startswith(\"{MARKER}\"))) | .id");
    let path = format!("repos/{repository}/issues/{number}/comments");
    ["api", "--paginate", &path, "--jq", &filter].map(str::to_owned).to_vec()
}

/// Builds the arguments of `gh` that make the comment, or change the one that is `known`.
fn send(repository: &str, number: u64, known: Option<u64>) -> Vec<String> {
    let (method, path) = match known {
        Some(id) => ("PATCH", format!("repos/{repository}/issues/comments/{id}")),
        None => ("POST", format!("repos/{repository}/issues/{number}/comments")),
    };
    ["api", "--method", method, &path, "-F", &format!("body=@{COMMENT}")]
        .map(str::to_owned)
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(reference: &str) -> Service {
        let reference = reference.to_owned();
        Service::of(move |name| match name {
            "GITHUB_REF" => Some(reference.clone()),
            "GITHUB_REPOSITORY" => Some("owner/name".to_owned()),
            "GITHUB_TOKEN" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn a_pull_request_is_known_by_its_reference() {
        assert_eq!(service("refs/pull/12/merge").pull_request, Some(12));
        for reference in ["refs/heads/main", "refs/pull/x/merge", ""] {
            assert_eq!(service(reference).pull_request, None, "{reference}");
        }
        assert!(!service("").has_token, "an empty token counts as missing");
        assert_eq!(Service::of(|_| None), Service::default());
    }

    #[test]
    fn without_a_token_it_says_what_it_would_do() {
        let want = "dry run: `target/ci-runs/comment.md` would be the one comment on pull request 12 of \
                    owner/name; missing: GITHUB_TOKEN";
        assert_eq!(service("refs/pull/12/merge").dry_run(), want);
        let nowhere = Service::default().dry_run();
        let want = "missing: GITHUB_REPOSITORY, GITHUB_REF of a pull request, GITHUB_TOKEN";
        assert!(nowhere.ends_with(want), "{nowhere}");
    }

    #[test]
    fn a_second_comment_changes_the_first() {
        let made = send("owner/name", 12, None);
        assert_eq!(made[2..4], ["POST", "repos/owner/name/issues/12/comments"]);
        let changed = send("owner/name", 12, Some(7));
        assert_eq!(changed[2..4], ["PATCH", "repos/owner/name/issues/comments/7"]);
        assert!(comment_body("text").starts_with(&format!("{MARKER}\n")));
        let filter = &list("owner/name", 12)[4];
        assert!(filter.contains(MARKER) && filter.contains("Bot"), "{filter}");
    }

    #[test]
    fn a_long_comment_is_cut_at_the_end_of_a_line() {
        let line = "| é | – |\n";
        let body = comment_body(&line.repeat(COMMENT_BYTES_MAX / 8));
        assert!(body.len() < 65_000);
        let (table, end) = body.rsplit_once("\n\nCut here").unwrap();
        assert!(table.ends_with("| é | – |") && end.starts_with("; the job's summary"));
        assert_eq!(comment_body("short\n"), format!("{MARKER}\nshort\n"));
    }

    #[test]
    fn a_gate_that_did_not_come_to_compare_says_so() {
        let broken = Outcome::Broken("synergy does not compile".to_owned());
        let want = "## Profile smoke: not compared\n\nThe gate could not finish: synergy does not compile.\n";
        assert_eq!(text("smoke", None, &broken), want);
        assert!(text("smoke", None, &Outcome::Failed).contains("the run itself failed"));
        assert_eq!(text("smoke", Some("table".to_owned()), &broken), "table");
    }

    #[test]
    fn a_summary_grows() {
        let path = std::env::temp_dir().join(format!("synergy-summary-{}", std::process::id()));
        let service = Service { summary: Some(path.clone()), ..Service::default() };
        service.summarize("one\n").unwrap();
        service.summarize("two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        fs::remove_file(&path).unwrap();
    }
}
