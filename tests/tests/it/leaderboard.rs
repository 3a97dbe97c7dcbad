//! Leaderboards of many runs, as files on a disk.
//!
//! Does not test what is wrong with a file in every way: that is pure and has its own tests.

use serde_json::{Value, json};
use synergy_tests::Project;

use crate::{assert_refused, project, succeed};

const CHECK: [&str; 3] = ["leaderboard", "check", "a.json"];

/// A project with the leaderboard of one run, as if it came from two machines.
fn two_runs() -> (Project, Value) {
    let project = project();
    succeed(&project, &["reproduce", "--profile", "tiny"]);
    let mut board = project.json("runs/tiny/leaderboard.json");
    project.write("a.json", board.to_string());
    board["provenance"]["machine"]["cpu"] = "another".into();
    project.write("b.json", board.to_string());
    (project, board)
}

#[test]
fn runs_of_two_machines_become_one_file_and_one_page() {
    let (project, mut board) = two_runs();
    let merge = |files: [&str; 2], out: &str| {
        succeed(&project, &["leaderboard", "merge", files[0], files[1], "--out", out])
    };
    assert_eq!(merge(["a.json", "b.json"], "all.json").stdout, "all.json\n");
    assert_eq!(merge(["b.json", "a.json"], "folder").stdout, "folder/leaderboards.json\n");
    assert_eq!(project.read("all.json"), project.read("folder/leaderboards.json"));
    let said = succeed(&project, &["leaderboard", "check", "all.json"]).stdout;
    assert!(
        said.starts_with("2 runs, ")
            && said.ends_with(": whole, with verdicts that follow, and fit on one page\n"),
        "{said}"
    );
    succeed(&project, &["leaderboard", "site", "--out", "site", "all.json"]);
    assert_eq!(project.read("site/leaderboard.json"), project.read("all.json"));
    assert!(project.read("site/index.html").contains("another"));

    // Everything that is wrong, a line each; nothing is written.
    board["recipe_hash"] = "other".into();
    board["grader"] = "boxed-9".into();
    project.write("b.json", board.to_string());
    let refused = project.run(&["leaderboard", "merge", "a.json", "b.json", "--out", "none.json"]);
    assert_eq!(refused.code, 2);
    let lines: Vec<&str> = refused.stderr.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains(" differ in recipe_hash: "), "{lines:?}");
    assert!(
        lines[1].contains(" differ in grader: ") && lines[2].starts_with("hint: "),
        "{lines:?}"
    );
    assert!(!project.path("none.json").exists());
}

#[test]
fn a_bad_file_is_one_line() {
    let (project, board) = two_runs();
    let text = board.to_string();
    project.write("a.json", &text[..text.len() - 1]);
    let said = crate::refusal(&project.run(&CHECK));
    assert!(said.starts_with("error: leaderboard `a.json` is cut off: EOF"), "{said}");
    let mut other = board.clone();
    other["schema_version"] = json!(2);
    project.write("a.json", other.to_string());
    assert_refused!(project.run(&CHECK), @"
    error: leaderboard `a.json` has schema version 2, this suite reads 3
    hint: run `cargo xtask synergy score` with the suite that reads it, or use the suite that wrote it
    ");
    let mut other = board.clone();
    let row = other["rows"][0].clone();
    other["rows"].as_array_mut().unwrap().push(row);
    other["rows"][0]["kind"] = "regime".into();
    project.write("a.json", other.to_string());
    assert_refused!(project.run(&CHECK), @"
    error: leaderboard `a.json`: two rows are named `base`
    hint: take leaderboard.json from the run's folder again
    ");
    project.write("a.json", text.replacen("\"wall_time_s\":", "\"wall_time_s\":NaN,\"x\":", 1));
    assert_refused!(project.run(&CHECK), @"
    error: leaderboard `a.json` has a number that is not finite in line 1
    hint: take leaderboard.json from the run's folder again
    ");
    assert_refused!(project.run(&["leaderboard", "check", "c.json"]), @"
    error: failed to read leaderboard `c.json`: No such file or directory
    hint: name the leaderboard.json of at least one run
    ");
    assert_refused!(project.run(&["leaderboard", "site", "--out", "site"]), @"
    error: no run was given
    hint: name the leaderboard.json of at least one run
    ");
    assert!(!project.path("site").exists());
}

/// A verdict that somebody has changed is a finding, not a broken file.
#[test]
fn a_verdict_that_does_not_follow_is_refused_with_exit_code_1() {
    let (project, mut board) = two_runs();
    let claims = board["claims"].as_array_mut().unwrap();
    let place = claims.iter().position(|claim| claim["id"] == "C4").unwrap();
    let verdict = &mut claims[place]["verdict"];
    *verdict = if *verdict == "holds" { "fails".into() } else { "holds".into() };
    project.write("a.json", board.to_string());
    let refused = project.run(&CHECK);
    assert_eq!(refused.code, 1);
    let lines: Vec<&str> = refused.stderr.lines().collect();
    assert!(lines[0].contains("claim C4 says"), "{lines:?}");
    assert!(lines.len() == 2 && lines[1].starts_with("hint: "), "{lines:?}");
    // Such a run is on no page either.
    assert_eq!(project.run(&["leaderboard", "site", "--out", "site", "a.json"]).code, 2);
    assert!(!project.path("site").exists());
}
