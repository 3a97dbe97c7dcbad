//! The first two steps of Completions -> Scores -> Results -> Metrics -> Verdicts; metrics are in `score/metrics.rs`,
//! verdicts in `compare.rs`. Pure.
//!
//! This module does not know the model, the recipe or how results are summarized, compared and shown.
//! [`Results`] is both a run's record and the golden format: per question and sample it keeps
//! the outcome, the length and the reasoning words, never only a mean, so that two results can
//! be compared question by question and every metric can be computed again from the record.
//! The outcomes stay apart: a cut answer, an answer without a box and one that never came are not wrong answers.
//! Samples that cut the levels never measure the baseline: an unchanged model would otherwise
//! seem to lose on easy and to gain on hard questions.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::difficulty::{self, Level};
use synergy_benchmarks::families::Split;
use synergy_grade::Grader;
use synergy_grade::answer::{self, Outcome};
use synergy_grade::style;
use synergy_hint::hint;

use crate::completion::Completion;
use crate::cost::{Budget, Cost};
pub use crate::rows::{BASE, RowKind};
use crate::text::compact_json;

mod asked;
pub mod cuts;
mod effects;
pub mod figures;
#[cfg(test)]
pub(crate) mod fixture;
mod lineage;
mod long;
mod metrics;
mod missing;
pub mod passes;
pub mod spread;
mod votes;

use self::spread::Spread;
pub use asked::{Asked, ModelSize, Sampling};
pub use effects::{Contrast, Effect, Effects, Quantity};
pub use lineage::{Lineage, StageKind, Way};
pub use long::long_shares;
pub use metrics::{Cell, Metrics, PerSeed, all_and_levels, level_name};
pub use missing::Missing;

/// Version of [`Results`] on disk. A change of its meaning raises it.
pub const SCHEMA_VERSION: u32 = 2;

/// The judgement of one completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// Address of the question.
    pub sample_id: String,
    /// The benchmark that asks the question.
    pub benchmark: String,
    /// The difficulty knob of a procedural family; 0 for an external benchmark.
    pub hops: usize,
    /// Index of the answer among those to the question, from 0.
    pub sample: u32,
    /// How the answer turned out.
    pub outcome: Outcome,
    /// True if the text has the form the template asks for.
    pub format: bool,
    /// Length in tokens.
    pub num_tokens: u32,
    /// How often each of [`style::REASONING_WORDS`] occurs.
    pub words: [u32; 5],
    /// What the grader took for the answer, as [`answer::normalize`] writes it; `None` for an answer that is cut, has no
    /// box or never came.
    pub answer: Option<String>,
}

/// The name of an outcome, as in JSON.
pub fn outcome_name(outcome: Outcome) -> String {
    format!("{outcome:?}").to_lowercase()
}

/// Judges one completion: outcome by the rules of `grader`, form, length and style.
pub fn score(completion: &Completion, grader: Grader) -> Score {
    let judgement = completion.judgement(grader);
    let is_whole = matches!(judgement.outcome, Outcome::Correct | Outcome::Wrong);
    Score {
        sample_id: completion.sample_id.clone(),
        benchmark: completion.benchmark.clone(),
        hops: completion.hops,
        sample: completion.sample,
        outcome: judgement.outcome,
        format: answer::format_reward(&completion.text),
        num_tokens: completion.num_tokens,
        words: style::count_words(&completion.text),
        answer: judgement.extracted.filter(|_| is_whole).map(|said| answer::normalize(&said)),
    }
}

/// Cuts the levels on the base's own samples (16 per question in the study): a question's level
/// follows from the share of its samples that are [`Outcome::Correct`].
///
/// Questions of others (`hops` 0) get no level here: they were not made along the difficulty knob.
/// These samples must not measure the base again; see the module's first lines.
pub fn cut_levels(base_binning: &[Score]) -> BTreeMap<String, Level> {
    let counts = level_passes(base_binning).into_iter();
    counts.map(|(id, [correct, samples])| (id, difficulty::level(correct, samples))).collect()
}

/// Counts what [`cut_levels`] cuts on: the right answers to each question, and all answers to it.
pub fn level_passes(base_binning: &[Score]) -> BTreeMap<String, [u32; 2]> {
    let mut counts: BTreeMap<String, [u32; 2]> = BTreeMap::new();
    for score in base_binning.iter().filter(|score| score.hops > 0) {
        let [correct, samples] = counts.entry(score.sample_id.clone()).or_default();
        *correct += u32::from(score.outcome == Outcome::Correct);
        *samples += 1;
    }
    counts
}

/// The scores of one evaluation: one model, one way of asking, one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the row.
    pub name: String,
    /// What the row is evidence for.
    pub kind: RowKind,
    /// One sentence on what the row is; see [`crate::rows::control_note`] for the baseline and the controls.
    pub note: String,
    /// Training seed of a regime; sampling seed of the base and its controls.
    pub seed: u64,
    /// One score per question and answer, in any order.
    pub scores: Vec<Score>,
}

/// The outcome of a whole run; also the format of golden results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the recipe.
    pub profile: String,
    /// Hash of the recipe.
    pub recipe_hash: String,
    /// Name of the grader that judged the rows.
    pub grader: String,
    /// The split that the families' questions are of, where it is not the test's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Where the results come from.
    pub provenance: Provenance,
    /// What was asked of which model; results of before this was recorded have nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// What the run lacks of its recipe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Seeds of its regimes that the recipe does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_seeds: Vec<u64>,
    /// Figures measured elsewhere, to compare those of an external benchmark with.
    pub external: Vec<External>,
    /// Figures of each training stage and seed.
    pub training: Vec<Training>,
    /// What each regime has cost with every stage it builds on, per seed.
    pub budgets: Vec<Budget>,
    /// Rows against the base token by token, where answers were scored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spreads: Vec<Spread>,
    /// Every question of the evaluation, sorted by id.
    pub questions: Vec<Question>,
    /// The base, its controls, and the regimes with theirs.
    pub rows: Vec<ResultRow>,
}

/// Where results come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Day of the run, as `2026-01-31`.
    pub date: String,
    /// Commit of the suite.
    pub commit: String,
    /// Hash of the code that decides bits; results of before this was recorded have nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_hash: Option<String>,
    /// True if the tree had changes that the commit does not have.
    pub dirty: bool,
    /// Command line that made the run.
    pub command: String,
    /// Machine that the run was made on.
    pub machine: Machine,
    /// Name of the tensor backend.
    pub backend: String,
    /// Version of the compiler.
    pub rustc: String,
    /// Wall time of the whole run in seconds.
    pub wall_time_s: f64,
    /// Hash of the base model's weights.
    pub base_hash: String,
    /// True if the base has not passed its gate, so that every figure is provisional.
    pub base_provisional: bool,
    /// Result of the base's gate in one line.
    pub base_note: String,
}

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// Logical cores, at least 1.
    #[schemars(range(min = 1))]
    pub cores: u32,
}

/// An accuracy measured elsewhere, such as the question-only baseline of an external benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// Name of the benchmark.
    #[schemars(length(min = 1))]
    pub benchmark: String,
    /// What was measured, such as `question only`.
    #[schemars(length(min = 1))]
    pub row: String,
    /// Share of correct answers, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub accuracy: f64,
}

/// Figures of one training stage, such as `reward_start` and `reward_end`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The regime that the stage belongs to.
    #[schemars(length(min = 1))]
    pub regime: String,
    /// Training seed.
    pub seed: u64,
    /// Name of the stage in the recipe.
    #[schemars(length(min = 1))]
    pub stage: String,
    /// What the stage alone has cost.
    pub cost: Cost,
    /// Means of its figures over the first and last steps, by name.
    pub summary: BTreeMap<String, f64>,
    /// By what others have trained the model that the stage only reads, as far as they say; left out for a stage of our
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Vec<Way>>,
}

/// One question of the evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Address of the question, the same in every run.
    pub id: String,
    /// The benchmark that asks it.
    pub benchmark: String,
    /// The difficulty knob of a procedural family; 0 for an external benchmark.
    pub hops: usize,
    /// `None` for an external benchmark without published levels, which is kept out of every "all".
    pub level: Option<Level>,
    /// Right answers and all answers of the base that cut the level, so that it can be cut once more; see [`level_passes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level_passes: Option<[u32; 2]>,
    /// Every answer that some row gave, sorted; [`SeedOutcomes::answers`] are places in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
}

/// One named row of results, all its seeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultRow {
    /// Name of the row, unique in the results.
    pub name: String,
    /// What the row is evidence for.
    pub kind: RowKind,
    /// What the row is, in one sentence.
    pub note: String,
    /// Answers under each seed; at least one.
    pub seeds: Vec<SeedOutcomes>,
}

/// One seed of a row: one entry per question of [`Results::questions`], in that order.
/// A question that the row did not ask has empty entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedOutcomes {
    /// The seed.
    pub seed: u64,
    /// One letter per sample: c(orrect), w(rong), t(runcated), u(nparsed), n(o answer).
    pub outcomes: Vec<String>,
    /// Number of samples in the form the template asks for, per question.
    pub num_formatted: Vec<u32>,
    /// Length of each sample in tokens, `[question][sample]`; 0 where there is no answer.
    pub num_tokens: Vec<Vec<u32>>,
    /// Count of each reasoning word, summed over the samples, `[question][word]`.
    pub words: Vec<[u32; 5]>,
    /// What each sample answers, `[question][sample]`: 1 for the first of [`Question::answers`], 0 for no answer. Empty in
    /// results of before answers were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Vec<u32>>,
    /// Number of long samples per question; results of before this was counted have nothing here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub num_long: Vec<u32>,
}

/// Everything in [`Results`] except questions and rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Name of the recipe.
    pub profile: String,
    /// Hash of the recipe.
    pub recipe_hash: String,
    /// The grader that judged the rows.
    pub grader: Grader,
    /// The split that the families' questions are of, where it is not the test's.
    pub split: Option<Split>,
    /// Where the results come from.
    pub provenance: Provenance,
    /// What was asked of which model.
    pub asked: Option<Asked>,
    /// What the run lacks of its recipe.
    pub missing: Vec<Missing>,
    /// Seeds of its regimes that the recipe does not have.
    pub extra_seeds: Vec<u64>,
    /// Figures measured elsewhere.
    pub external: Vec<External>,
    /// Figures of each training stage and seed.
    pub training: Vec<Training>,
    /// What each regime has cost, per seed.
    pub budgets: Vec<Budget>,
}

impl Results {
    /// Joins the rows of a run with the levels of [`cut_levels`] and those that are published. Rows with one name become
    /// one row with several seeds; rows keep the order in which their names first occur.
    ///
    /// # Errors
    /// If a procedural question has no level, a sample is scored twice, a question has two descriptions, or
    /// [`Results::validate`] refuses the outcome.
    pub fn assemble(
        header: Header,
        levels: &BTreeMap<String, Level>,
        rows: &[Row],
    ) -> anyhow::Result<Results> {
        let mut questions: BTreeMap<&str, Question> = BTreeMap::new();
        for score in rows.iter().flat_map(|row| &row.scores) {
            let id = &score.sample_id;
            let level = levels.get(id).copied();
            ensure!(
                score.hops == 0 || level.is_some(),
                hint!(
                    "question `{id}` has no level",
                    "the samples that cut the levels must cover every question"
                )
            );
            let question = questions.entry(id).or_insert_with(|| Question {
                id: id.clone(),
                benchmark: score.benchmark.clone(),
                hops: score.hops,
                level,
                level_passes: None,
                answers: Vec::new(),
            });
            ensure!(
                question.benchmark == score.benchmark && question.hops == score.hops,
                "question `{id}` differs between two rows"
            );
        }
        let mut answers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for score in rows.iter().flat_map(|row| &row.scores) {
            answers.entry(&score.sample_id).or_default().extend(score.answer.as_deref());
        }
        for (id, question) in &mut questions {
            question.answers = answers[id].iter().copied().map(str::to_owned).collect();
        }
        let questions: Vec<Question> = questions.into_values().collect();
        let limits = long::limits(&questions, rows);
        let mut joined: Vec<ResultRow> = Vec::new();
        for row in rows {
            let seed = seed_outcomes(&questions, &limits, row)?;
            match joined.iter_mut().find(|known| known.name == row.name) {
                Some(known) => known.seeds.push(seed),
                None => joined.push(ResultRow {
                    name: row.name.clone(),
                    kind: row.kind,
                    note: row.note.clone(),
                    seeds: vec![seed],
                }),
            }
        }
        let results = Results {
            schema_version: SCHEMA_VERSION,
            profile: header.profile,
            recipe_hash: header.recipe_hash,
            grader: header.grader.name().to_owned(),
            split: header.split,
            provenance: header.provenance,
            asked: header.asked,
            missing: header.missing,
            extra_seeds: header.extra_seeds,
            external: header.external,
            training: header.training,
            budgets: header.budgets,
            spreads: Vec::new(),
            questions,
            rows: joined,
        };
        results.validate()?;
        Ok(results)
    }

    /// Keeps what the levels were cut on, by the ids of questions; see [`level_passes`].
    #[must_use]
    pub fn with_level_passes(mut self, passes: &BTreeMap<String, [u32; 2]>) -> Results {
        for question in &mut self.questions {
            question.level_passes = passes.get(&question.id).copied();
        }
        self
    }

    /// Parses golden results, or the results of a run; `name` is the file's name for messages.
    ///
    /// # Errors
    /// If the text has another schema version, an unknown key, a number that is not finite, or does not
    /// satisfy [`Results::validate`].
    pub fn from_json(text: &str, name: &str) -> anyhow::Result<Results> {
        /// The version alone: a later format may have keys that this one refuses.
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let context = || format!("failed to read results `{name}`");
        let version: Version = serde_json::from_str(text).with_context(context)?;
        if version.schema_version != SCHEMA_VERSION {
            bail!(hint!(
                (
                    "golden `{name}` has schema version {}, this suite reads {SCHEMA_VERSION}",
                    version.schema_version
                ),
                "use the suite that wrote it, or record it again with `cargo xtask golden accept`"
            ));
        }
        let results: Results = serde_json::from_str(text).with_context(context)?;
        results.validate().with_context(context)?;
        Ok(results)
    }

    /// Writes the results as JSON that a person can skim and a diff can show: one question, one
    /// array of per-question values, one small object per line.
    ///
    /// # Errors
    /// If [`Results::validate`] refuses them: a number that is not finite has no JSON.
    pub fn to_json(&self) -> anyhow::Result<String> {
        self.validate()?;
        let value = serde_json::to_value(self).context("failed to write results")?;
        Ok(compact_json(&value))
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// Names the first thing that is wrong: an unknown grader, two rows or questions with one name, a row whose
    /// arrays do not fit the questions, an unknown outcome, a seed that asks other questions than its row, a benchmark
    /// asked in part, a row that is there and missing, a number that is not finite.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(Grader::from_name(&self.grader).is_some(), "unknown grader `{}`", self.grader);
        let mut ids = BTreeSet::new();
        for Question { id, hops, level, level_passes, .. } in &self.questions {
            ensure!(ids.insert(id), "two questions are named `{id}`");
            if let Some([correct, samples]) = level_passes {
                ensure!(
                    correct <= samples && *samples > 0,
                    "question `{id}` was answered right {correct} times of {samples}"
                );
            }
            ensure!(*hops == 0 || level.is_some(), "question `{id}` has hops {hops} but no level");
        }
        let mut names = BTreeSet::new();
        for row in &self.rows {
            ensure!(names.insert(&row.name), "two rows are named `{}`", row.name);
            self.validate_row(row).with_context(|| format!("row `{}` is incomplete", row.name))?;
        }
        let twice = self.there_and_missing();
        ensure!(
            twice.is_none(),
            "row `{}` is there and said to be missing",
            twice.unwrap_or_default()
        );
        let training = self.training.iter().flat_map(|stage| {
            let Cost { wall_time_s, flops, .. } = stage.cost;
            let figures = stage.summary.values().copied().chain([wall_time_s, flops]);
            figures.map(|value| (&stage.stage, value))
        });
        let budgets = self
            .budgets
            .iter()
            .flat_map(|b| [b.cost.wall_time_s, b.cost.flops].map(|value| (&b.regime, value)));
        let external = self.external.iter().map(|external| (&external.row, external.accuracy));
        let wall_time = [(&self.profile, self.provenance.wall_time_s)];
        for (name, value) in training.chain(budgets).chain(external).chain(wall_time) {
            ensure!(value.is_finite(), "a figure of `{name}` is {value}, not a finite number");
        }
        Ok(())
    }

    fn validate_row(&self, row: &ResultRow) -> anyhow::Result<()> {
        ensure!(!row.seeds.is_empty(), "it has no seed");
        let mut seeds = BTreeSet::new();
        let mut asked: BTreeMap<(&str, bool), bool> = BTreeMap::new();
        for seed in &row.seeds {
            ensure!(seeds.insert(seed.seed), "it has seed {} twice", seed.seed);
            let wanted = self.questions.len();
            for (what, found) in [
                ("outcomes", seed.outcomes.len()),
                ("num_formatted", seed.num_formatted.len()),
                ("num_tokens", seed.num_tokens.len()),
                ("words", seed.words.len()),
                ("num_long", if seed.num_long.is_empty() { wanted } else { seed.num_long.len() }),
            ] {
                ensure!(found == wanted, "`{what}` has {found} entries for {wanted} questions");
            }
            ensure!(
                seed.answers.is_empty() || seed.answers.len() == wanted,
                "`answers` has {} entries for {wanted} questions",
                seed.answers.len()
            );
            for (index, question) in self.questions.iter().enumerate() {
                let (id, letters) = (&question.id, &seed.outcomes[index]);
                if let Some(letter) =
                    letters.chars().find(|letter| Outcome::from_code(*letter).is_none())
                {
                    bail!("`{letter}` is not an outcome, in question `{id}`");
                }
                ensure!(
                    seed.num_tokens[index].len() == letters.len()
                        && seed.num_formatted[index] as usize <= letters.len(),
                    "question `{id}` has {} outcomes but other numbers of lengths or forms",
                    letters.len()
                );
                if let Some(answers) = seed.answers.get(index) {
                    let is_known = |place: &u32| *place as usize <= question.answers.len();
                    ensure!(
                        answers.len() == letters.len() && answers.iter().all(is_known),
                        "question `{id}` has {} outcomes but other answers",
                        letters.len()
                    );
                }
                // A row asks all questions with levels, and any other benchmark whole or not.
                let group = match question.level {
                    Some(_) => ("", false),
                    None => (question.benchmark.as_str(), true),
                };
                let known = *asked.entry(group).or_insert(!letters.is_empty());
                ensure!(
                    known != letters.is_empty(),
                    "question `{id}` breaks the rule that a row asks a benchmark whole or not at all"
                );
            }
        }
        Ok(())
    }

    /// The grader that judged the rows.
    ///
    /// # Panics
    /// Never for results that were read or assembled: their grader has been checked.
    pub fn grader(&self) -> Grader {
        Grader::from_name(&self.grader).expect("results are checked")
    }

    /// The row named `name`.
    pub fn row(&self, name: &str) -> Option<&ResultRow> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Number of questions of each level, and the share of all leveled questions.
    pub fn level_shares(&self) -> Vec<(Level, usize, f64)> {
        let total = self.questions.iter().filter(|question| question.level.is_some()).count();
        Level::ALL
            .into_iter()
            .map(|level| {
                let has_level = |question: &&Question| question.level == Some(level);
                let count = self.questions.iter().filter(has_level).count();
                (level, count, count as f64 / total.max(1) as f64)
            })
            .collect()
    }

    /// The benchmarks with levels, sorted: the procedural ones (families), and those whose levels are published.
    pub fn families(&self) -> Vec<&str> {
        self.benchmarks(true)
    }

    /// The benchmarks without levels, sorted.
    pub fn external_benchmarks(&self) -> Vec<&str> {
        self.benchmarks(false)
    }

    fn benchmarks(&self, leveled: bool) -> Vec<&str> {
        let of_kind = |question: &&Question| question.level.is_some() == leveled;
        let names: BTreeSet<&str> =
            self.questions.iter().filter(of_kind).map(|q| q.benchmark.as_str()).collect();
        names.into_iter().collect()
    }
}

/// Lines up the scores of one row with the questions.
fn seed_outcomes(
    questions: &[Question],
    limits: &long::Limits,
    row: &Row,
) -> anyhow::Result<SeedOutcomes> {
    let mut by_question: BTreeMap<&str, BTreeMap<u32, &Score>> = BTreeMap::new();
    for score in &row.scores {
        let samples = by_question.entry(&score.sample_id).or_default();
        if samples.insert(score.sample, score).is_some() {
            let (id, sample) = (&score.sample_id, score.sample);
            bail!("row `{}` has sample {sample} of question `{id}` twice", row.name);
        }
    }
    let mut seed = SeedOutcomes {
        seed: row.seed,
        outcomes: Vec::new(),
        num_formatted: Vec::new(),
        num_tokens: Vec::new(),
        words: Vec::new(),
        answers: Vec::new(),
        num_long: Vec::new(),
    };
    let nothing = BTreeMap::new();
    for question in questions {
        let samples = by_question.get(question.id.as_str()).unwrap_or(&nothing);
        seed.outcomes.push(samples.values().map(|score| score.outcome.code()).collect());
        seed.num_formatted.push(samples.values().map(|score| u32::from(score.format)).sum());
        seed.num_tokens.push(samples.values().map(|score| score.num_tokens).collect());
        let is_long = |score: &&&Score| limits.is_long(question, score.num_tokens, &score.words);
        seed.num_long.push(samples.values().filter(is_long).count() as u32);
        let mut words = [0; 5];
        for score in samples.values() {
            for (sum, count) in words.iter_mut().zip(score.words) {
                *sum += count;
            }
        }
        seed.words.push(words);
        let place =
            |said: &String| question.answers.binary_search(said).map_or(0, |i| i as u32 + 1);
        seed.answers
            .push(samples.values().map(|score| score.answer.as_ref().map_or(0, place)).collect());
    }
    Ok(seed)
}

/// `value[seed][question]`: a statistic of a row for each seed and each of `questions`.
pub(crate) fn per_question(
    row: &ResultRow,
    questions: &[usize],
    statistic: impl Fn(&SeedOutcomes, usize) -> f64,
) -> Vec<Vec<f64>> {
    row.seeds
        .iter()
        .map(|seed| questions.iter().map(|&question| statistic(seed, question)).collect())
        .collect()
}

/// Share of a question's samples with the outcome behind `letter`; not a number without samples.
pub(crate) fn share(seed: &SeedOutcomes, question: usize, letter: char) -> f64 {
    let letters = &seed.outcomes[question];
    letters.matches(letter).count() as f64 / letters.len() as f64
}

/// Tokens per answer of a question; not a number without samples.
pub(crate) fn length(seed: &SeedOutcomes, question: usize) -> f64 {
    let tokens = &seed.num_tokens[question];
    tokens.iter().map(|count| f64::from(*count)).sum::<f64>() / tokens.len() as f64
}

/// Reasoning words per answer of a question, all of them; not a number without samples.
pub(crate) fn words_per_answer(seed: &SeedOutcomes, question: usize) -> f64 {
    let words: f64 = seed.words[question].iter().map(|count| f64::from(*count)).sum();
    words / seed.outcomes[question].len() as f64
}

#[cfg(test)]
mod tests {
    use super::fixture::{UNTUNED, header, levels, row, study};
    use super::*;
    use crate::completion::tests::completion;
    use serde_json::Value;

    fn binning(correct: usize, wrong: Outcome) -> Vec<Score> {
        let one = |sample: usize| Score {
            sample_id: "path/test/1/00000".to_owned(),
            benchmark: "path".to_owned(),
            hops: 1,
            sample: sample as u32,
            outcome: if sample < correct { Outcome::Correct } else { wrong },
            format: true,
            num_tokens: 5,
            words: [0; 5],
            answer: None,
        };
        (0..16).map(one).collect()
    }

    #[test]
    fn only_correct_samples_count_towards_a_level() {
        for other in [Outcome::Wrong, Outcome::Truncated, Outcome::Unparsed] {
            let level = |correct| cut_levels(&binning(correct, other))["path/test/1/00000"];
            assert_eq!([16, 12, 11, 8, 7, 5, 4, 2, 1, 0].map(level), {
                use Level::{L1, L2, L3, L4, L5};
                [L1, L1, L2, L2, L3, L3, L4, L4, L5, L5]
            });
        }
    }

    #[test]
    fn an_external_question_has_no_level() {
        let mut scores = binning(16, Outcome::Wrong);
        scores.iter_mut().for_each(|score| score.hops = 0);
        assert_eq!(cut_levels(&scores), BTreeMap::new());
    }

    #[test]
    fn a_score_keeps_outcome_form_length_and_words() {
        let completion = Completion {
            answer: "4".to_owned(),
            num_tokens: 14,
            ..completion("<think> b2 4 4 . wait check b2 4 yes . </think> \\boxed{ 4 }")
        };
        let judged = score(&completion, Grader::Boxed1);
        assert_eq!((judged.outcome, judged.format), (Outcome::Correct, true));
        assert_eq!((judged.num_tokens, judged.words), (14, [1, 1, 0, 0, 0]));
        assert_eq!(judged.answer.as_deref(), Some("4"));
        let spelled = Completion { text: "\\boxed{ 004. }".to_owned(), ..completion.clone() };
        assert_eq!(score(&spelled, Grader::Boxed1).answer.as_deref(), Some("4"));
        let cut = Completion { finished: false, ..completion };
        let cut = score(&cut, Grader::Boxed1);
        // It had not said its last word.
        assert_eq!((cut.outcome, cut.answer), (Outcome::Truncated, None));
    }

    #[test]
    fn results_survive_json_and_keep_one_question_per_line() {
        let results = study(20, &[1, 2]);
        let json = results.to_json().unwrap();
        assert_eq!(Results::from_json(&json, "x").unwrap(), results);
        let longest = json.lines().map(str::len).max().unwrap();
        assert!(json.lines().count() > results.questions.len() && longest < 4000, "{longest}");
        let question = r#"{"id":"chart/test/1/00000","benchmark":"chart","hops":1,"level":"L1","answers":["blue","red"]}"#;
        assert!(json.lines().any(|line| line.trim().trim_end_matches(',') == question));
    }

    /// The message of the error that reading a changed study gives.
    #[track_caller]
    fn refusal(change: impl Fn(&mut Value)) -> String {
        let mut value = serde_json::to_value(study(20, &[1])).unwrap();
        change(&mut value);
        let error = Results::from_json(&value.to_string(), "golden.json").unwrap_err();
        synergy_hint::text(&error)
    }

    #[test]
    fn what_levels_were_cut_on_is_kept_and_older_results_are_read() {
        let passes = level_passes(&binning(11, Outcome::Wrong));
        assert_eq!(passes["path/test/1/00000"], [11, 16]);
        let results = study(20, &[1]).with_level_passes(&passes);
        let json = results.to_json().unwrap();
        let back = Results::from_json(&json, "x").unwrap();
        assert_eq!(back, results);
        assert_eq!(back.questions.iter().filter(|q| q.level_passes.is_some()).count(), 1);
        let row = &back.rows[0].seeds[0];
        for (question, (letters, answers)) in
            back.questions.iter().zip(row.outcomes.iter().zip(&row.answers))
        {
            for (letter, place) in letters.chars().zip(answers) {
                let said = place.checked_sub(1).map(|i| question.answers[i as usize].as_str());
                let want = match letter {
                    'c' => Some("red"),
                    'w' => Some("blue"),
                    _ => None,
                };
                assert_eq!(said, want);
            }
        }
        // As results were before answers were kept.
        let mut older = results.clone();
        older.questions.iter_mut().for_each(|q| (q.answers, q.level_passes) = (Vec::new(), None));
        older.rows.iter_mut().flat_map(|r| &mut r.seeds).for_each(|s| s.answers = Vec::new());
        let json = older.to_json().unwrap();
        assert!(!json.contains("answers") && !json.contains("level_passes"));
        assert_eq!(Results::from_json(&json, "x").unwrap(), older);
    }

    #[test]
    fn another_schema_version_is_refused_even_with_unknown_keys() {
        let message = refusal(|value| {
            value["schema_version"] = 3.into();
            value["later"] = true.into();
        });
        insta::assert_snapshot!(message, @"
        golden `golden.json` has schema version 3, this suite reads 2
        hint: use the suite that wrote it, or record it again with `cargo xtask golden accept`
        ");
    }

    #[test]
    fn a_broken_record_is_refused_with_its_cause() {
        let refused = |change: &dyn Fn(&mut Value), cause: &str| {
            let message = refusal(change);
            assert!(message.contains(cause), "{message}");
        };
        refused(&|v| v["extra"] = 1.into(), "unknown field `extra`");
        refused(&|v| v["grader"] = "boxed-0".into(), "unknown grader `boxed-0`");
        refused(&|v| v["rows"][1]["name"] = "base".into(), "two rows are named `base`");
        refused(
            &|v| v["rows"][0]["seeds"][0]["outcomes"][0] = "cxcc".into(),
            "`x` is not an outcome",
        );
        refused(&|v| v["rows"][0]["seeds"][0]["outcomes"][0] = "cc".into(), "2 outcomes but");
        refused(&|v| v["rows"][0]["seeds"][0]["answers"][0][0] = 9.into(), "but other answers");
        refused(&|v| v["questions"][0]["level_passes"] = [17, 16].into(), "17 times of 16");
        refused(&|v| v["training"][0]["summary"]["reward_end"] = Value::Null, "invalid type: null");
        refused(&|v| v["rows"][0]["seeds"] = Value::Array(vec![]), "it has no seed");
        refused(
            &|v| {
                let seed = &mut v["rows"][0]["seeds"][0];
                seed["outcomes"][0] = "".into();
                seed["num_tokens"][0] = Value::Array(vec![]);
                seed["answers"][0] = Value::Array(vec![]);
                seed["num_formatted"][0] = 0.into();
            },
            "whole or not at all",
        );
        refused(
            &|v| {
                v["questions"].as_array_mut().unwrap().pop();
            },
            "entries for",
        );
    }

    #[test]
    fn a_figure_that_is_not_finite_is_never_written() {
        let mut results = study(20, &[1]);
        results.training[0].cost.wall_time_s = f64::NAN;
        assert!(results.to_json().unwrap_err().to_string().contains("not a finite number"));
    }

    #[test]
    fn a_question_without_level_is_refused() {
        let rows = [row("base", RowKind::Baseline, UNTUNED, 1, 4, 2)];
        let error = Results::assemble(header(), &levels(3), &rows).unwrap_err().to_string();
        assert!(error.starts_with("question `chart/test/1/00003` has no level"), "{error}");
    }
}
