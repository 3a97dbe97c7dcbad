//! The leaderboard of one run as values, which are published and read back.
//!
//! This module does not know other runs except to say in which fields two of them differ.
//! The types are the format: `golden/schema/leaderboard.schema.json` is generated from them, and [`Run::faults`] checks
//! the ranges that the schema states and what no schema can state. A change of meaning raises [`LEADERBOARD_VERSION`].
//! Shares stay shares in JSON and become percent only where a person reads them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use synergy_benchmarks::difficulty::Level;

use super::rounding::{
    published_claims, published_dilemma, published_factorial, rounded, rounded_interval,
};
use crate::claims::{Finding, ledger};
use crate::cost::Cost;
use crate::dilemma::Dilemma;
use crate::evidence::Study;
use crate::factorial::{FactorEffect, factorial};
use crate::score::{
    Asked, Cell, External, Lineage, Machine, Metrics, Missing, PerSeed, ResultRow, Results,
    RowKind, Training, all_and_levels, level_name,
};
use crate::statistics::{CONFIDENCE, Interval};
use crate::text::partial::describe;
use crate::text::terminal::ordered_rows;

/// Version of the leaderboard's JSON.
pub const LEADERBOARD_VERSION: u32 = 3;

/// Stands for all benchmarks or all levels of a cell.
pub(super) const ALL: &str = "all";

/// Figures are written with six decimals, so two of them that are equal differ by less than this.
pub(super) const ROUNDING: f64 = 2e-6;

/// The unit of every figure that a cell, a claim or the dilemma has, by name.
const UNITS: [(&str, &str); 10] = [
    ("accuracy", "share of answers that are correct, 0 to 1, mean over questions"),
    ("gain", "difference of two such shares, -1 to 1: the row's less the base's, same questions"),
    ("length", "tokens per answer, mean over questions"),
    ("length_gain", "difference of two lengths: the row's less the base's"),
    (
        "long",
        "share of answers with a reasoning word and more than twice the base's mean tokens on the level, 0 to 1",
    ),
    ("words_per_1000_tokens", "occurrences of a reasoning word per 1000 tokens"),
    ("effect of accuracy", "points: a hundredth of the difference of two shares"),
    ("effect of length", "percent of the second row's tokens"),
    ("effect of words", "reasoning words per answer"),
    ("tokens_to_base, tokens_to_parent", "ratio of tokens per answer"),
];

/// Hexadecimal digits of a hash of questions.
const HASH_DIGITS: usize = 64;

/// Hexadecimal digits of a run's name.
const ID_DIGITS: usize = 12;

/// The ranges of a share, of a difference of two shares, and of a number that is not negative.
const SHARE: (f64, f64) = (0.0, 1.0);
const DIFFERENCE: (f64, f64) = (-1.0, 1.0);
const POSITIVE: (f64, f64) = (0.0, f64::MAX);

/// One run: post-training regimes by difficulty level, with 95 % intervals. Shares lie between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    title = "Synergy leaderboard, version 3",
    extend("$id" = "urn:synergy:leaderboard:3")
)]
pub struct Run {
    /// Version of this format.
    #[schemars(extend("const" = LEADERBOARD_VERSION))]
    pub schema_version: u32,
    /// Name of the recipe.
    #[schemars(length(min = 1))]
    pub profile: String,
    /// Hash of the recipe.
    #[schemars(length(min = 1))]
    pub recipe_hash: String,
    /// Name and version of the rules that judged the answers.
    #[schemars(length(min = 1))]
    pub grader: String,
    /// Where and how the figures were made.
    pub provenance: Origin,
    /// What was asked of which model; null where the suite that ran it did not record it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub asked: Option<Asked>,
    /// Hash of the questions, benchmark, address and number of steps of each: equal hashes mean equal questions.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub questions_hash: String,
    /// How intervals and p-values were made.
    pub method: Method,
    /// The unit of each figure by name.
    pub units: BTreeMap<String, String>,
    /// The model that every regime starts from.
    pub base: Base,
    /// L1 (easy) to L5 (hard), by the base model's pass rate.
    #[schemars(length(min = 5, max = 5))]
    pub levels: Vec<LevelShare>,
    /// The benchmarks with levels, which make up every "all".
    #[schemars(extend("uniqueItems" = true), inner(length(min = 1)))]
    pub families: Vec<String>,
    /// The benchmarks without levels, which stay out of every "all".
    #[schemars(extend("uniqueItems" = true), inner(length(min = 1)))]
    pub external_benchmarks: Vec<String>,
    /// Accuracies measured elsewhere, such as the question-only baseline of an external benchmark.
    pub external: Vec<External>,
    /// One entry for each training stage and seed.
    pub training: Vec<Training>,
    /// The study's findings as predicates over these rows.
    pub claims: Vec<Finding>,
    /// Where each combination of SFT and RL stands between both; null without both.
    #[serde(deserialize_with = "Option::deserialize")]
    pub dilemma: Option<Dilemma>,
    /// What the steps, the words and the source of demonstrations are worth; null without the six rows of it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub factorial: Option<Vec<FactorEffect>>,
    /// The base, its controls, and each regime with its controls.
    #[schemars(length(min = 1))]
    pub rows: Vec<BoardRow>,
    /// What the run lacks of its recipe; left out where it lacks nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Seeds of its regimes that the recipe does not have; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_seeds: Vec<u64>,
    /// Whatever others want to add, by name; this suite keeps it and reads nothing of it.
    #[serde(default)]
    pub extensions: Map<String, Value>,
}

/// How intervals and p-values were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// How an interval is made.
    #[schemars(length(min = 1))]
    pub interval: String,
    /// Confidence of every interval, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub level: f64,
    /// How p-values are corrected for the number of claims.
    #[schemars(length(min = 1))]
    pub correction: String,
}

impl Method {
    fn ours() -> Method {
        Method {
            interval: "Student's t; standard error over questions and training seeds, whose noise is pooled over rows \
                       trained alike; degrees of freedom by Satterthwaite; Wilson or Tango where all questions are alike"
                .to_owned(),
            level: CONFIDENCE,
            correction: "Holm over all claims that can be tested".to_owned(),
        }
    }
}

/// Where a run comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Day of the run, as `2026-01-31`.
    #[schemars(length(min = 1))]
    pub date: String,
    /// Commit of the suite.
    #[schemars(length(min = 1))]
    pub commit: String,
    /// True if the tree had changes that the commit does not have.
    pub dirty: bool,
    /// Command line that made the run.
    #[schemars(length(min = 1))]
    pub command: String,
    /// Machine that the run was made on.
    pub machine: Machine,
    /// Name of the tensor backend.
    #[schemars(length(min = 1))]
    pub backend: String,
    /// Version of the compiler.
    #[schemars(length(min = 1))]
    pub rustc: String,
    /// Wall time of the whole run in seconds.
    #[schemars(range(min = 0))]
    pub wall_time_s: f64,
}

/// The model that every regime starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Hash of the weights.
    #[schemars(length(min = 1))]
    pub hash: String,
    /// True if the base model has not passed its gate, so that every figure is provisional.
    pub provisional: bool,
    /// Result of the gate in one line.
    pub note: String,
}

/// Questions of one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LevelShare {
    /// The level.
    #[schemars(with = "String", extend("enum" = Level::ALL))]
    pub level: Level,
    /// Questions of this level in all families together.
    pub num_questions: u64,
    /// Share of all questions that have a level, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub share: f64,
}

/// One row: a model, or the base under a control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoardRow {
    /// Name, unique in the run.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What the row is evidence for.
    pub kind: RowKind,
    /// What the row is, in one sentence.
    pub note: String,
    /// Training seeds, each once.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub seeds: Vec<u64>,
    /// Cost of a regime with everything it builds on, one entry for each seed; empty for other rows.
    pub budget: Vec<Cost>,
    /// One cell for each benchmark and level that the row was asked.
    pub cells: Vec<BoardCell>,
}

/// A row over one benchmark and level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoardCell {
    /// Name of a benchmark, or `all` for all families together.
    #[schemars(length(min = 1))]
    pub benchmark: String,
    /// A level, or `all` for all of them.
    #[schemars(extend("enum" = all_and_levels().map(level_name).collect::<Vec<_>>()))]
    pub level: String,
    /// Questions of the cell.
    #[schemars(range(min = 1))]
    pub num_questions: u64,
    /// Share of correct answers, mean over questions.
    #[schemars(extend("properties" = bounds(SHARE)))]
    pub accuracy: Interval,
    /// Accuracy minus the base's over the same questions, as a share; null for the base itself.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schemars(extend("properties" = bounds(DIFFERENCE)))]
    pub gain: Option<Interval>,
    /// Tokens per answer.
    #[schemars(extend("properties" = bounds(POSITIVE)))]
    pub length: Interval,
    /// Shares of all answers by outcome; they sum to 1.
    pub outcomes: OutcomeShares,
    /// Share of answers in the form that the template asks for, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub formatted: f64,
    /// Share of long answers, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub long: f64,
    /// The figures of each seed, in the order of the row's seeds.
    pub per_seed: SeedFigures,
    /// How often each of the study's reasoning words occurs per 1000 tokens.
    pub words_per_1000_tokens: WordRates,
}

/// Figures of each seed of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedFigures {
    /// Share of correct answers.
    #[schemars(inner(range(min = 0, max = 1)))]
    pub accuracy: Vec<f64>,
    /// Accuracy minus the base's mean over the same questions; null as for the cell's gain.
    #[serde(deserialize_with = "Option::deserialize")]
    pub gain: Option<Vec<f64>>,
    /// Tokens per answer.
    #[schemars(inner(range(min = 0)))]
    pub length: Vec<f64>,
    /// Length minus the base's mean; null as for the cell's gain.
    #[serde(deserialize_with = "Option::deserialize")]
    pub length_gain: Option<Vec<f64>>,
}

impl SeedFigures {
    fn of(figures: &PerSeed) -> SeedFigures {
        let all = |values: &Vec<f64>| values.iter().map(|value| rounded(*value)).collect();
        SeedFigures {
            accuracy: all(&figures.accuracy),
            gain: figures.gain.as_ref().map(all),
            length: all(&figures.length),
            length_gain: figures.length_gain.as_ref().map(all),
        }
    }
}

/// Shares of answers by outcome, each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeShares {
    /// Share of correct answers.
    #[schemars(range(min = 0, max = 1))]
    pub correct: f64,
    /// Share of wrong answers.
    #[schemars(range(min = 0, max = 1))]
    pub wrong: f64,
    /// Share of answers that the length limit cut.
    #[schemars(range(min = 0, max = 1))]
    pub truncated: f64,
    /// Share of whole answers without anything to judge.
    #[schemars(range(min = 0, max = 1))]
    pub unparsed: f64,
    /// Share of answers that never came; left out where all came.
    #[serde(default, skip_serializing_if = "is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub unanswered: f64,
}

/// Tells whether a share is that of nothing.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_none(share: &f64) -> bool {
    *share <= 0.0
}

/// A rate for each of [`synergy_grade::style::REASONING_WORDS`], in their order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is the word itself")]
pub struct WordRates {
    #[schemars(range(min = 0))]
    pub wait: f64,
    #[schemars(range(min = 0))]
    pub check: f64,
    #[schemars(range(min = 0))]
    pub mistake: f64,
    #[schemars(range(min = 0))]
    pub alternative: f64,
    #[schemars(range(min = 0))]
    pub however: f64,
}

impl WordRates {
    fn values(self) -> [f64; 5] {
        [self.wait, self.check, self.mistake, self.alternative, self.however]
    }
}

/// The schema of an interval's numbers where they lie within `range`.
fn bounds((low, high): (f64, f64)) -> Value {
    let number = match high {
        f64::MAX => json!({ "minimum": low }),
        _ => json!({ "minimum": low, "maximum": high }),
    };
    json!({ "mean": number, "low": number, "high": number })
}

fn rounded_cost(cost: Cost) -> Cost {
    Cost { flops: cost.flops.round(), wall_time_s: rounded(cost.wall_time_s), ..cost }
}

impl BoardRow {
    /// The cell over all procedural questions of `level`, or of every level.
    pub fn cell(&self, level: Option<Level>) -> Option<&BoardCell> {
        let level = level_name(level);
        self.cells.iter().find(|cell| cell.benchmark == ALL && cell.level == level)
    }

    fn of(row: &ResultRow, results: &Results, metrics: &Metrics) -> BoardRow {
        let budgets = results.budgets.iter().filter(|budget| budget.regime == row.name);
        let cells = metrics.cells.iter().filter(|cell| cell.row == row.name);
        BoardRow {
            name: row.name.clone(),
            kind: row.kind,
            note: row.note.clone(),
            seeds: row.seeds.iter().map(|seed| seed.seed).collect(),
            budget: budgets.map(|budget| rounded_cost(budget.cost)).collect(),
            cells: cells.map(BoardCell::of).collect(),
        }
    }
}

impl BoardCell {
    fn of(cell: &Cell) -> BoardCell {
        let [wait, check, mistake, alternative, however] = cell.words_per_1000_tokens.map(rounded);
        BoardCell {
            benchmark: cell.benchmark.clone().unwrap_or_else(|| ALL.to_owned()),
            level: level_name(cell.level),
            num_questions: cell.num_questions as u64,
            accuracy: rounded_interval(cell.accuracy),
            gain: cell.gain.map(rounded_interval),
            length: rounded_interval(cell.length),
            outcomes: OutcomeShares {
                correct: rounded(cell.accuracy.mean),
                wrong: rounded(cell.wrong()),
                truncated: rounded(cell.truncated),
                unparsed: rounded(cell.unparsed),
                unanswered: rounded(cell.unanswered),
            },
            formatted: rounded(cell.formatted),
            long: rounded(cell.long),
            per_seed: SeedFigures::of(&cell.per_seed),
            words_per_1000_tokens: WordRates { wait, check, mistake, alternative, however },
        }
    }
}

impl Run {
    /// The leaderboard of a run.
    ///
    /// # Errors
    /// If [`Run::faults`] or [`Run::contradictions`] finds anything, for example a figure that is not a number: such a run is not published.
    pub fn of(results: &Results, metrics: &Metrics) -> Result<Run> {
        let provenance = results.provenance.clone();
        let training = |stage: &Training| Training {
            cost: rounded_cost(stage.cost),
            summary: stage.summary.iter().map(|(k, value)| (k.clone(), rounded(*value))).collect(),
            ..stage.clone()
        };
        let levels = results.level_shares().into_iter().map(|(level, count, share)| LevelShare {
            level,
            num_questions: count as u64,
            share: rounded(share),
        });
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let external = results.external.iter();
        let rows = ordered_rows(results).into_iter();
        let lineage = Lineage::of(results);
        let study = Study::of(results, &lineage);
        let run = Run {
            schema_version: LEADERBOARD_VERSION,
            profile: results.profile.clone(),
            recipe_hash: results.recipe_hash.clone(),
            grader: results.grader.clone(),
            provenance: Origin {
                date: provenance.date,
                commit: provenance.commit,
                dirty: provenance.dirty,
                command: provenance.command,
                machine: provenance.machine,
                backend: provenance.backend,
                rustc: provenance.rustc,
                wall_time_s: rounded(provenance.wall_time_s),
            },
            asked: results.asked.clone(),
            questions_hash: questions_hash(results),
            method: Method::ours(),
            units: UNITS.map(|(name, unit)| (name.to_owned(), unit.to_owned())).into(),
            base: Base {
                hash: provenance.base_hash,
                provisional: provenance.base_provisional,
                note: provenance.base_note,
            },
            levels: levels.collect(),
            families: owned(results.families()),
            external_benchmarks: owned(results.external_benchmarks()),
            external: external
                .map(|e| External { accuracy: rounded(e.accuracy), ..e.clone() })
                .collect(),
            training: results.training.iter().map(training).collect(),
            claims: published_claims(ledger(results)),
            dilemma: Dilemma::of(&study).map(published_dilemma),
            factorial: factorial(&study).map(published_factorial),
            rows: rows.map(|row| BoardRow::of(row, results, metrics)).collect(),
            missing: results.missing.clone(),
            extra_seeds: results.extra_seeds.clone(),
            extensions: Map::new(),
        };
        let faults: Vec<String> = run.faults().into_iter().chain(run.contradictions()).collect();
        ensure!(faults.is_empty(), "the leaderboard is invalid: {}", faults.join("; "));
        Ok(run)
    }

    /// The text that is published.
    ///
    /// # Panics
    /// Never: plain data always serializes.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data") + "\n"
    }

    /// The run's name: a hash of where it comes from and what it was asked, not of its figures.
    ///
    /// # Panics
    /// Never: plain data always serializes.
    pub fn id(&self) -> String {
        let of = (&self.provenance, &self.profile, &self.recipe_hash, &self.base.hash);
        let text = serde_json::to_string(&of).expect("plain data");
        blake3::hash(text.as_bytes()).to_hex()[..ID_DIGITS].to_owned()
    }

    /// Procedural questions of every level together.
    pub fn num_questions(&self) -> u64 {
        self.levels.iter().map(|level| level.num_questions).sum()
    }

    /// Fields that decide whether two runs can be compared and differ: name, ours, theirs.
    ///
    /// How many questions a level has is not among them: on another machine the base may answer one
    /// question more, and its page says so.
    pub fn differences(&self, other: &Run) -> Vec<(&'static str, String, String)> {
        let quoted = |text: &str| format!("`{text}`");
        let listed = |names: &[String]| match names {
            [] => "(empty)".to_owned(),
            names => format!("`{}`", names.join("`, `")),
        };
        type Field<'a> = (&'static str, &'a dyn Fn(&Run) -> String);
        let fields: [Field<'_>; 8] = [
            ("profile", &|run| quoted(&run.profile)),
            ("recipe_hash", &|run| quoted(&run.recipe_hash)),
            ("grader", &|run| quoted(&run.grader)),
            ("base", &|run| quoted(&run.base.hash)),
            ("families", &|run| listed(&run.families)),
            ("external_benchmarks", &|run| listed(&run.external_benchmarks)),
            ("num_questions", &|run| run.num_questions().to_string()),
            ("questions_hash", &|run| quoted(&run.questions_hash)),
        ];
        let differs = |(name, field): Field<'_>| {
            let (ours, theirs) = (field(self), field(other));
            (ours != theirs).then_some((name, ours, theirs))
        };
        fields.into_iter().filter_map(differs).collect()
    }

    /// Names every value outside its range, and everything that contradicts itself.
    pub fn faults(&self) -> Vec<String> {
        let mut found = Vec::new();
        let Origin { date, commit, command, machine, backend, rustc, wall_time_s, .. } =
            &self.provenance;
        for (what, text) in [
            ("profile", &self.profile),
            ("recipe_hash", &self.recipe_hash),
            ("grader", &self.grader),
            ("date", date),
            ("commit", commit),
            ("command", command),
            ("backend", backend),
            ("rustc", rustc),
            ("hash of the base", &self.base.hash),
            ("method of intervals", &self.method.interval),
            ("method of correction", &self.method.correction),
        ] {
            if text.is_empty() {
                found.push(format!("{what} is empty"));
            }
        }
        if machine.cores == 0 {
            found.push("the machine has 0 cores".to_owned());
        }
        check(&mut found, "wall_time_s", *wall_time_s, POSITIVE);
        self.statistics_faults(&mut found);
        for level in &self.levels {
            check(&mut found, &format!("share of {}", level.level), level.share, SHARE);
        }
        if !self.levels.iter().map(|level| level.level).eq(Level::ALL) {
            found.push("levels are not L1 to L5 in order".to_owned());
        }
        for names in [&self.families, &self.external_benchmarks] {
            if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
                found.push(format!("a benchmark is listed twice: {}", names.join(", ")));
            }
        }
        for External { benchmark, row, accuracy } in &self.external {
            check(&mut found, &format!("accuracy of {row} on {benchmark}"), *accuracy, SHARE);
        }
        for Training { stage, seed, cost, .. } in &self.training {
            cost_faults(&mut found, &format!("stage `{stage}`, seed {seed}"), cost);
        }
        let baselines = self.rows.iter().filter(|row| row.kind == RowKind::Baseline).count();
        if baselines != 1 {
            found.push(format!("{baselines} rows are the baseline"));
        }
        let mut names = BTreeSet::new();
        for row in &self.rows {
            if !names.insert(&row.name) {
                found.push(format!("two rows are named `{}`", row.name));
            }
            if row.seeds.is_empty()
                || row.seeds.iter().collect::<BTreeSet<_>>().len() < row.seeds.len()
            {
                found.push(format!("row `{}` has no seed or one twice", row.name));
            }
            for cost in &row.budget {
                cost_faults(&mut found, &format!("row `{}`", row.name), cost);
            }
            let mut places = BTreeSet::new();
            for cell in &row.cells {
                let place = format!("row `{}`, {} at {}", row.name, cell.benchmark, cell.level);
                if !places.insert((&cell.benchmark, &cell.level)) {
                    found.push(format!("{place}: the cell occurs twice"));
                }
                self.cell_faults(&place, cell, &mut found);
                seed_faults(&place, row, cell, &mut found);
            }
        }
        for Missing { row: name, seeds } in &self.missing {
            let there = self.rows.iter().filter(|row| row.name == *name).flat_map(|row| &row.seeds);
            if seeds.is_empty() || there.into_iter().any(|seed| seeds.contains(seed)) {
                found.push(format!("row `{name}` is there and said to be missing"));
            }
        }
        found
    }

    /// What the run lacks of its recipe in one line, with at most `most` names of each list; `None` if nothing is missing.
    pub fn lacks(&self, most: usize) -> Option<String> {
        let regimes = self.rows.iter().filter(|row| row.kind == RowKind::Regime);
        describe(&self.missing, &[], regimes.map(|row| row.name.as_str()).collect(), most)
    }

    /// Adds what is out of range in what was asked, in the method and in comparisons.
    fn statistics_faults(&self, found: &mut Vec<String>) {
        let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if self.questions_hash.len() != HASH_DIGITS || !self.questions_hash.chars().all(is_digit) {
            found.push("questions_hash is not a hash".to_owned());
        }
        check(found, "level of intervals", self.method.level, SHARE);
        if let Some(Asked { sampling, max_new_tokens, model, .. }) = &self.asked {
            check(found, "temperature", sampling.temperature, POSITIVE);
            check(found, "top_p", sampling.top_p, SHARE);
            let counts = [sampling.num_samples, *max_new_tokens, model.num_parameters];
            let sizes = [model.hidden_size, model.num_layers];
            if counts.into_iter().chain(sizes).any(|count| count == 0)
                || model.architecture.is_empty()
            {
                found.push("what was asked has a count of 0, or no architecture".to_owned());
            }
        }
        let of_claims = self.claims.iter().flat_map(|claim| {
            let conditions = claim.conditions.iter().filter_map(|own| own.comparison.as_ref());
            claim.comparisons.iter().chain(&claim.controls).chain(conditions)
        });
        let splits = self.dilemma.iter().flat_map(|dilemma| &dilemma.splits);
        let standings = splits.flat_map(|split| &split.rows);
        let of_standings = standings.flat_map(|own| [&own.hard, &own.easy, &own.whole]);
        for compared in of_claims.chain(of_standings) {
            let what = compared.describe();
            for p in [compared.p, compared.p_against, compared.p_holm] {
                check(found, &format!("a p-value of `{what}`"), p, SHARE);
            }
            for size in [compared.margin, compared.standard_error, compared.detectable] {
                check(found, &format!("an error or a margin of `{what}`"), size, POSITIVE);
            }
            check(
                found,
                &format!("degrees of freedom of `{what}`"),
                compared.degrees,
                (1.0, f64::MAX),
            );
        }
        for effect in self.factorial.iter().flatten() {
            check(found, &format!("p-value of {}", effect.factor), effect.p, SHARE);
        }
    }

    fn cell_faults(&self, place: &str, cell: &BoardCell, found: &mut Vec<String>) {
        let mut known = self.families.iter().chain(&self.external_benchmarks);
        if cell.benchmark != ALL && !known.any(|name| *name == cell.benchmark) {
            found.push(format!("{place}: no such benchmark"));
        }
        for (what, interval, range) in [
            ("accuracy", Some(cell.accuracy), SHARE),
            ("gain", cell.gain, DIFFERENCE),
            ("length", Some(cell.length), POSITIVE),
        ] {
            let Some(Interval { mean, low, high }) = interval else { continue };
            for number in [mean, low, high] {
                check(found, &format!("{place}: {what}"), number, range);
            }
            if low > mean + ROUNDING || mean > high + ROUNDING {
                found.push(format!("{place}: the interval of {what} does not hold its mean"));
            }
        }
        let OutcomeShares { correct, wrong, truncated, unparsed, unanswered } = cell.outcomes;
        for share in [correct, wrong, truncated, unparsed, unanswered, cell.formatted, cell.long] {
            check(found, &format!("{place}: a share of answers"), share, SHARE);
        }
        for rate in cell.words_per_1000_tokens.values() {
            check(found, &format!("{place}: a rate of words"), rate, POSITIVE);
        }
        if (correct + wrong + truncated + unparsed + unanswered - 1.0).abs() > 5.0 * ROUNDING {
            found.push(format!("{place}: the outcomes do not sum to 1"));
        }
        if (correct - cell.accuracy.mean).abs() > ROUNDING {
            found.push(format!("{place}: the share of correct answers is not the accuracy"));
        }
        let of_level = |level: &&LevelShare| level.level.to_string() == cell.level;
        let asked = match self.levels.iter().find(of_level) {
            Some(level) => level.num_questions,
            None if cell.level == ALL => self.num_questions(),
            None => return found.push(format!("{place}: no such level")),
        };
        if cell.num_questions == 0 || cell.benchmark == ALL && cell.num_questions != asked {
            found.push(format!("{place}: {} questions of {asked}", cell.num_questions));
        }
    }
}

/// The hash of what was asked: benchmark, address and number of steps of every question, sorted by address.
fn questions_hash(results: &Results) -> String {
    let mut hasher = blake3::Hasher::new();
    for question in &results.questions {
        let line = format!("{}\t{}\t{}\n", question.benchmark, question.id, question.hops);
        hasher.update(line.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Adds a fault where `value` is not within `range`, or not a number.
fn check(found: &mut Vec<String>, what: &str, value: f64, (low, high): (f64, f64)) {
    if !(low..=high).contains(&value) {
        let range =
            if high < f64::MAX { format!("{low} to {high}") } else { format!("at least {low}") };
        found.push(format!("{what} is {value}, allowed is {range}"));
    }
}

/// Adds a fault where the figures of seeds are not as many as the row's seeds, or do not make up the cell's.
fn seed_faults(place: &str, row: &BoardRow, cell: &BoardCell, found: &mut Vec<String>) {
    let SeedFigures { accuracy, gain, length, length_gain } = &cell.per_seed;
    let whole = |values: &[f64], mean: Option<f64>, what: &str| -> Option<String> {
        let own = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let off = |mean: f64| (own - mean).abs() > 2.0 * ROUNDING * (1.0 + mean.abs());
        if values.len() != row.seeds.len() {
            Some(format!(
                "{place}: {} seeds have {} figures of {what}",
                row.seeds.len(),
                values.len()
            ))
        } else if mean.is_none_or(off) {
            Some(format!("{place}: the seeds do not have the mean of {what}"))
        } else {
            None
        }
    };
    found.extend(whole(accuracy, Some(cell.accuracy.mean), "accuracy"));
    found.extend(whole(length, Some(cell.length.mean), "length"));
    if let Some(gain) = gain {
        found.extend(whole(gain, cell.gain.map(|gain| gain.mean), "gain"));
    }
    if gain.is_some() != cell.gain.is_some() || gain.is_some() != length_gain.is_some() {
        found.push(format!("{place}: gains are given in part"));
    }
}

fn cost_faults(found: &mut Vec<String>, place: &str, cost: &Cost) {
    check(found, &format!("{place}: flops"), cost.flops, POSITIVE);
    check(found, &format!("{place}: wall_time_s"), cost.wall_time_s, POSITIVE);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{board, sourced};
    use super::*;

    #[track_caller]
    fn found(change: impl FnOnce(&mut Run), want: &str) {
        let mut run = sourced(&board("one"), "a").run;
        assert_eq!(run.faults(), [""; 0]);
        change(&mut run);
        let found = run.faults();
        assert!(found.iter().any(|fault| fault == want), "{found:#?}");
    }

    #[test]
    fn every_contradiction_is_found() {
        found(|run| run.levels.swap(0, 1), "levels are not L1 to L5 in order");
        found(|run| run.rows[1].kind = RowKind::Baseline, "2 rows are the baseline");
        found(|run| run.rows[1].name = "base".to_owned(), "two rows are named `base`");
        let cell =
            |run: &mut Run, change: &dyn Fn(&mut BoardCell)| change(&mut run.rows[0].cells[0]);
        found(
            |run| {
                let copy = run.rows[0].cells[0].clone();
                run.rows[0].cells.push(copy);
            },
            "row `base`, all at all: the cell occurs twice",
        );
        found(
            |run| cell(run, &|cell| cell.benchmark = "maze".to_owned()),
            "row `base`, maze at all: no such benchmark",
        );
        found(
            |run| cell(run, &|cell| cell.accuracy.high = 0.0),
            "row `base`, all at all: the interval of accuracy does not hold its mean",
        );
        found(
            |run| cell(run, &|cell| cell.outcomes.wrong += 0.01),
            "row `base`, all at all: the outcomes do not sum to 1",
        );
        found(
            |run| cell(run, &|cell| cell.outcomes.correct += 0.01),
            "row `base`, all at all: the share of correct answers is not the accuracy",
        );
        found(
            |run| cell(run, &|cell| cell.num_questions += 1),
            "row `base`, all at all: 101 questions of 100",
        );
        found(
            |run| cell(run, &|cell| cell.level = "L6".to_owned()),
            "row `base`, all at L6: no such level",
        );
        found(
            |run| cell(run, &|cell| cell.accuracy.mean = 45.5),
            "row `base`, all at all: accuracy is 45.5, allowed is 0 to 1",
        );
        found(
            |run| run.training[0].cost.flops = f64::NAN,
            "stage `grpo`, seed 1: flops is NaN, allowed is at least 0",
        );
        found(|run| run.recipe_hash.clear(), "recipe_hash is empty");
        found(|run| run.rows[0].seeds.clear(), "row `base` has no seed or one twice");
        found(
            |run| cell(run, &|cell| cell.per_seed.accuracy[0] += 0.01),
            "row `base`, all at all: the seeds do not have the mean of accuracy",
        );
        found(
            |run| cell(run, &|cell| cell.per_seed.length.clear()),
            "row `base`, all at all: 1 seeds have 0 figures of length",
        );
    }

    #[test]
    fn every_cell_has_the_figures_of_its_seeds_and_others_may_add_theirs() {
        let mut value = board("one");
        value["extensions"] = json!({ "mine": { "watts": 12.5 } });
        let run = sourced(&value, "a").run;
        assert_eq!(serde_json::to_value(&run).unwrap(), value);
        let rl = run.rows.iter().find(|row| row.name == "rl").unwrap();
        let cell = rl.cell(None).unwrap();
        let gains = cell.per_seed.gain.as_ref().unwrap();
        assert_eq!((cell.per_seed.accuracy.len(), gains.len()), (2, 2));
        let mean = f64::midpoint(gains[0], gains[1]);
        assert!((mean - cell.gain.unwrap().mean).abs() < 1e-5);
        assert!(run.rows[0].cells[0].per_seed.gain.is_none());
        assert!((run.method.level - 0.95).abs() < 1e-12 && run.units.contains_key("gain"));
    }

    #[test]
    fn the_hash_of_the_questions_is_that_of_what_is_asked() {
        let mut results = crate::score::fixture::study(4, &[1]);
        let hash = questions_hash(&results);
        results.rows.clear();
        results.questions[0].level = Some(Level::L5);
        assert_eq!(questions_hash(&results), hash);
        results.questions[0].hops += 1;
        assert_ne!(questions_hash(&results), hash);
    }

    #[test]
    fn a_run_is_named_by_where_it_comes_from() {
        let run = sourced(&board("one"), "a").run;
        let mut same = run.clone();
        same.rows.clear();
        assert_eq!(same.id(), run.id());
        let mut other = run.clone();
        other.provenance.wall_time_s += 1.0;
        assert_ne!(other.id(), run.id());
        assert_eq!(run.id().len(), ID_DIGITS);
    }
}
