//! vLLM in the suite's place: the same profile answered and rolled out by the suite itself and by vLLM, compared.
//!
//! Does not know how an engine is asked: it runs `synergy reproduce` and reads what it wrote. Whether rewards, lengths and KL
//! are those of the suite is judged by the suite's own seeds: vLLM's run must be one that a further seed could have made.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use xshell::Shell;

use super::gate::RUNS_DIR;
use super::outcome::{Outcome, Section};
use crate::files::{remove_folder, unread};
use crate::synergy::{self, Arguments};

const RECIPE: &str = "suite/recipes/smoke.toml";
const ENGINE: &str = "suite/engines/vllm.toml";
/// A stage of RL and one with demonstrations.
const REGIMES: &str = "rl,interleaved";
const STAGES: [&str; 2] = ["grpo", "interleaved"];
/// Seeds of the suite's own run; vLLM's has the first of them.
const SEEDS: &str = "1..3";
/// The largest distance of a sampled token's log-probability between vLLM and training, in nats, where both compute in f32.
const GAP_MAX: f64 = 1e-3;
/// The least share of greedy answers that must be the suite's own.
const SAME_MIN: f64 = 0.95;
/// What is compared of training: means over the second half of a stage.
const FIGURES: [&str; 3] = ["reward", "length", "kl_nats"];
/// Half of a 99 % prediction interval for one more seed after three, in standard deviations of these: Student's t with two
/// degrees of freedom (9.925) times the root of 1 + 1/3.
const PREDICTION: f64 = 11.46;
/// The adapter that the second run trains, for the recipe's table of RL, and the key with which vLLM takes it by name.
const LORA: &str = "[tables.trainings.rl]\nlora = { r = 8, lora_alpha = 16.0, target_modules = [\"q_proj\", \"v_proj\"] }\n";
const TAKES_LORA: &str = "max_lora_rank = 8\n";
const CORRECTION: &str = "correction = { level = \"token\", max = 2.0 }\n";

/// A run of the profile.
struct Run<'a> {
    sh: &'a Shell,
    dir: PathBuf,
}

impl Run<'_> {
    /// Runs `profile`, of which `regimes`, with the engine in the file `engine`.
    fn reproduce(
        &self,
        profile: &str,
        regimes: &str,
        seeds: &str,
        engine: &str,
    ) -> anyhow::Result<()> {
        let _section = Section::new(&format!("{profile}, {regimes}, answers by {engine}"));
        let arguments = Arguments::new(["reproduce", "--profile", profile, "--only", regimes])
            .with(["--seeds", seeds, "--engine", engine])
            .option("--runs-dir", Some(&self.dir));
        let code = synergy::run(self.sh, &arguments)?;
        ensure!(code == 0, "the run with `{engine}` ended with code {code}");
        Ok(())
    }

    fn lines(&self, name: &str) -> anyhow::Result<Vec<Value>> {
        let path = self.dir.join("smoke").join(name);
        let text = fs::read_to_string(&path).with_context(|| unread(&path))?;
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        lines.with_context(|| format!("`{}` holds an invalid line", path.display()))
    }

    /// The values of `figure` in the steps of `stage` with `seed`.
    fn steps(&self, stage: &str, seed: u64, figure: &str) -> anyhow::Result<Vec<f64>> {
        let events = self.lines("events.jsonl")?;
        let is_of = |e: &&Value| e["kind"] == "step" && e["stage"] == stage && e["seed"] == seed;
        let values = events.iter().filter(is_of).map(|step| step["figures"][figure].as_f64());
        let values: Option<Vec<f64>> = values.collect();
        let values = values.with_context(|| format!("a step of `{stage}` has no `{figure}`"))?;
        ensure!(!values.is_empty(), "stage `{stage}` has no steps with seed {seed}");
        Ok(values)
    }

    /// The texts of a row's answers.
    fn texts(&self, row: &str) -> anyhow::Result<Vec<String>> {
        let lines = self.lines(&format!("completions/{row}.jsonl"))?;
        let texts = lines.iter().map(|line| line["text"].as_str().map(str::to_owned));
        texts.collect::<Option<_>>().context("an answer has a text")
    }

    /// The accuracy of the row `base`, and its interval.
    fn accuracy(&self) -> anyhow::Result<[f64; 3]> {
        let path = self.dir.join("smoke/leaderboard.json");
        let text = fs::read_to_string(&path).with_context(|| unread(&path))?;
        let board: Value = serde_json::from_str(&text).context("a leaderboard is JSON")?;
        let rows = board["rows"].as_array().context("a leaderboard has rows")?;
        let base = rows.iter().find(|row| row["name"] == "base").context("it has the base")?;
        let accuracy = &base["cells"][0]["accuracy"];
        let number = |name: &str| accuracy[name].as_f64().context("an accuracy has an interval");
        Ok([number("mean")?, number("low")?, number("high")?])
    }
}

/// Compares runs whose answers are vLLM's with one of the suite itself: whole weights and an adapter in f32, and whole
/// weights in bf16 with and without correction. vLLM must be installed.
///
/// # Errors
/// If a run does not end well, or what it wrote cannot be read.
pub(super) fn compare(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    let dir = root.join(RUNS_DIR).join("engine");
    remove_folder(&dir)?;
    let run = |name: &str| Run { sh, dir: dir.join(name) };
    let own = run("own");
    own.reproduce("smoke", REGIMES, SEEDS, "own")?;
    let whole = run("whole");
    whole.reproduce("smoke", REGIMES, "1", "vllm")?;
    let mut failures = answers(&own, &whole)?;
    for stage in STAGES {
        failures += training(&own, &whole, stage)?;
    }
    let engine =
        fs::read_to_string(root.join(ENGINE)).with_context(|| unread(&root.join(ENGINE)))?;
    let written = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = dir.join(format!("{name}.toml"));
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(path.to_string_lossy().into_owned())
    };

    // Another recipe in another folder, under the same name, so that what it writes is found alike.
    let recipe =
        fs::read_to_string(root.join(RECIPE)).with_context(|| unread(&root.join(RECIPE)))?;
    let recipe = recipe.replacen("[tables.trainings.rl]\n", LORA, 1).replacen(
        "name = \"smoke\"",
        "name = \"smoke-lora\"",
        1,
    );
    let recipe = written("smoke-lora", &recipe)?;
    let by_name = written("by-name", &format!("{engine}{TAKES_LORA}"))?;
    let adapter = run("adapter");
    adapter.reproduce(&recipe, "rl", "1", &by_name)?;
    rename(&adapter, "smoke-lora")?;
    failures += gaps(&adapter, "grpo", GAP_MAX)?;

    let half = engine.replacen("dtype = \"f32\"", "dtype = \"bf16\"", 1);
    for (name, correction) in [("bf16", ""), ("bf16-corrected", CORRECTION)] {
        let file = written(name, &format!("{half}{correction}"))?;
        let run = run(name);
        run.reproduce("smoke", "rl", "1", &file)?;
        // Recorded, not judged: what bf16 makes of a model of this size is not vLLM's affair.
        training(&own, &run, "grpo")?;
    }
    Ok(if failures == 0 { Outcome::Passed } else { Outcome::Failed })
}

/// Gives the results of another recipe the place of the profile's.
fn rename(run: &Run<'_>, name: &str) -> anyhow::Result<()> {
    let (from, to) = (run.dir.join(name), run.dir.join("smoke"));
    fs::rename(&from, &to).with_context(|| format!("failed to rename `{}`", from.display()))
}

/// Compares the answers of the base; returns how many comparisons failed.
fn answers(own: &Run<'_>, served: &Run<'_>) -> anyhow::Result<usize> {
    let (ours, theirs) = (own.texts("greedy-0")?, served.texts("greedy-0")?);
    let same = ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
    println!("{same} of {} greedy answers are the suite's own", ours.len());
    let is_same = ours.len() == theirs.len() && same as f64 >= SAME_MIN * ours.len() as f64;
    let ([mean, low, high], [other, other_low, other_high]) = (own.accuracy()?, served.accuracy()?);
    let half_width = ((high - low).powi(2) + (other_high - other_low).powi(2)).sqrt() / 2.0;
    println!("sampled accuracy {mean:.3} by the suite, {other:.3} by vLLM, ±{half_width:.3}");
    let is_alike = (mean - other).abs() <= half_width;
    Ok(usize::from(!is_same) + usize::from(!is_alike))
}

/// Compares the training of `stage`; returns how many comparisons failed.
fn training(own: &Run<'_>, served: &Run<'_>, stage: &str) -> anyhow::Result<usize> {
    let mut failures = gaps(served, stage, GAP_MAX)?;
    for figure in FIGURES {
        let second_half = |run: &Run<'_>, seed| -> anyhow::Result<f64> {
            let steps = run.steps(stage, seed, figure)?;
            Ok(mean(&steps[steps.len() / 2..]))
        };
        let seeds = [1, 2, 3].map(|seed| second_half(own, seed));
        let [a, b, c] = seeds;
        let (ours, theirs) = ([a?, b?, c?], second_half(served, 1)?);
        let is_alike = is_one_of(&ours, theirs);
        let judged = if is_alike { "" } else { ", which no seed would make" };
        println!("{stage}, {figure}: {ours:.4?} by the suite's seeds, {theirs:.4} by vLLM{judged}");
        failures += usize::from(!is_alike);
    }
    Ok(failures)
}

/// Shows how far vLLM's log-probabilities are from those of training, and tells by 1 whether that is more than `most`.
fn gaps(run: &Run<'_>, stage: &str, most: f64) -> anyhow::Result<usize> {
    let largest = run.steps(stage, 1, "engine_gap_max")?.into_iter().fold(0.0, f64::max);
    let nats = mean(&run.steps(stage, 1, "engine_gap_nats")?);
    println!("{stage}: log-probabilities {nats:.1e} nats apart in the mean, {largest:.1e} at most");
    Ok(usize::from(largest.is_nan() || largest > most))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Tells whether `value` could be one more of `others`, by their prediction interval.
fn is_one_of(others: &[f64; 3], value: f64) -> bool {
    let center = mean(others);
    let squares: f64 = others.iter().map(|x| (x - center).powi(2)).sum();
    (value - center).abs() <= PREDICTION * (squares / 2.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_could_be_one_more_seed_within_the_prediction_interval() {
        // Their mean is .45 and their standard deviation .05.
        let others = [0.4, 0.5, 0.45];
        for (value, wanted) in [(0.45, true), (1.02, true), (-0.12, true), (1.03, false)] {
            assert_eq!(is_one_of(&others, value), wanted, "{value}");
        }
        assert!(!is_one_of(&others, f64::NAN));
    }

    #[test]
    fn what_is_changed_in_recipe_and_engine_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        let recipe = read(RECIPE);
        for text in
            ["[tables.trainings.rl]\n", "name = \"smoke\"", "[stages.grpo]", "[stages.interleaved]"]
        {
            assert!(recipe.contains(text), "{text}");
        }
        assert!(read(ENGINE).contains("dtype = \"f32\"") && read(ENGINE).ends_with('\n'));
    }
}
