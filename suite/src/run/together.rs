//! How processes that train stages together go along: the first one does the run, and the others train what it begins.
//!
//! Only the first one has the store, the tables and the servers; the others read what it has left and write nothing.

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use synergy_hint::hint;

use crate::key::Key;
use crate::plan::PlannedStage;
use crate::ranks::Ranks;

/// What the first process tells the others.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// It has planned, with this code: nothing is hashed or written meanwhile.
    Planned { code: String, recipe_hash: String },
    /// It begins to train the stage of this key.
    Stage(Key),
    /// It has nothing more to train.
    Done,
}

/// Tells the others what is planned.
pub(super) fn planned(ranks: &Ranks, code: &str, recipe_hash: &str) {
    let (code, recipe_hash) = (code.to_owned(), recipe_hash.to_owned());
    ranks.from_first(Some(Word::Planned { code, recipe_hash }));
}

/// Tells the others to train the stage of `key` with this process.
pub(super) fn begin(ranks: &Ranks, key: &Key) {
    ranks.from_first(Some(Word::Stage(key.clone())));
}

/// Lets the others go.
pub(super) fn done(ranks: &Ranks) {
    ranks.from_first(Some(Word::Done));
}

/// Waits until the first process has planned.
///
/// # Errors
/// If it is of another program or reads another recipe.
pub(super) fn wait(ranks: &Ranks, code: &str, hash: &str) -> Result<()> {
    let Some(Word::Planned { code: first, recipe_hash }) = ranks.from_first(None) else {
        bail!("the first process has not planned")
    };
    let number = ranks.rank();
    ensure!(
        first == code && recipe_hash == hash,
        hint!(
            "process {number} is of other sources or reads another recipe than the first one",
            "start the same program with the same words in the same folder everywhere"
        )
    );
    Ok(())
}

/// Trains with the first process what it begins, by `train`, until it lets this one go.
///
/// # Errors
/// If `train` fails, or a stage is not among `stages`.
pub(super) fn follow(
    ranks: &Ranks,
    stages: &[PlannedStage],
    train: impl Fn(&PlannedStage) -> Result<()>,
) -> Result<()> {
    while let Some(Word::Stage(key)) = ranks.from_first(None) {
        let stage = stages.iter().find(|stage| stage.key == key);
        train(stage.context("the first process trains a stage that is not in this plan")?)?;
    }
    Ok(())
}

/// Checks that all processes go on from the same step, and waits until all have read where they go on.
///
/// # Errors
/// If they do not.
pub(super) fn agree(ranks: &Ranks, step: usize) -> Result<()> {
    let steps = ranks.gather(&step);
    ensure!(
        steps.iter().all(|other| *other == step),
        hint!(
            ("processes go on from different steps: {steps:?}"),
            "all of them need the same folder of runs, on a file system that they share"
        )
    );
    Ok(())
}
