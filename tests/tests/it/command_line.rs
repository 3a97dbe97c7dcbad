//! What the command line says about itself.
//!
//! Does not know results: they have floats, and no snapshot may.

use synergy_tests::TINY;

use crate::{project, succeed};

#[test]
fn help_names_every_command() {
    insta::assert_snapshot!("help", succeed(&project(), &["--help"]).stdout);
}

#[test]
fn help_of_reproduce_names_every_option() {
    insta::assert_snapshot!("help_reproduce", succeed(&project(), &["reproduce", "--help"]).stdout);
}

#[test]
fn the_plan_names_stages_steps_tokens_memory_and_time() {
    let project = project();
    // Long enough that no figure rounds to nothing.
    let edits =
        [("num_questions = 12", "num_questions = 6000"), ("num_steps = 2", "num_steps = 900")];
    project.recipe(TINY, "tiny", &edits);
    insta::assert_snapshot!("plan", succeed(&project, &["plan", "--profile", "tiny"]).stdout);
}

#[test]
fn a_misspelled_command_is_refused() {
    let finished = project().run(&["reprodcue"]);
    assert_eq!(finished.code, 2);
    insta::assert_snapshot!(finished.stderr, @r"
    error: unrecognized subcommand 'reprodcue'

      tip: a similar subcommand exists: 'reproduce'

    Usage: synergy <COMMAND>

    For more information, try '--help'.
    ");
}
