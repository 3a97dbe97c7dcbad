//! Metrics against golden: one verdict per cell and metric. Pure and total.
//!
//! Does not know how a run was made, where results lie or how a verdict is shown.
//! Verdicts are findings, not errors: whatever stands in the two results, every cell gets one.
//! Length and reasoning words gate in both directions, since a change of style is what the suite
//! is there to see; for accuracy and for truncated and unparsed answers only one side is bad.
//! External benchmarks do not gate: a machine without their data must be able to pass.
//! With one seed on both sides the rule knows the noise of questions and sampling but not that
//! of training, which one seed cannot show.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use synergy_benchmarks::difficulty::Level;

use crate::score::{self, ResultRow, Results, RowKind, SeedOutcomes};
use crate::statistics::{self, Interval};

/// The rule, as it is printed with every comparison.
pub const RULE: &str = "\
A cell is a row (base or a regime) over all questions, one level, or one family.
Its metrics are accuracy, length, truncated, unparsed and reasoning words per answer.
The effect is run minus golden, paired where both asked the same questions.
Its interval is effect +- z * SE: SE over questions and seeds, z at confidence 1 - 0.05 / tests
(Bonferroni over all cells and metrics that both sides have).
regressed: the interval lies wholly on the bad side of zero and the effect exceeds the minimum.
improved: the same on the good side.
same: the effect does not exceed the minimum.
undecided: it does, but the interval holds zero; or the cell has under 20 questions.
missing, new: only golden, only the run has the cell. invalid: a value is not a number.
Minimum: 2 points for accuracy, truncated and unparsed; 10 % of golden for length; for words
10 % of golden, at least 0.2 per answer.
Fewer correct and more truncated or unparsed are bad; for length and words both directions are.
Exit code 1 when a cell is regressed, missing or invalid.";

/// Chance that a comparison of two equal models shows any false difference.
const FALSE_ALARM: f64 = 0.05;

/// Below this many questions a cell decides nothing.
const QUESTIONS_MIN: usize = 20;

/// Least effect that counts for a share of answers.
const SHARE_EFFECT_MIN: f64 = 0.02;

/// Least effect that counts for length and words, relative to golden.
const RELATIVE_EFFECT_MIN: f64 = 0.10;

/// Least effect that counts for words where golden has next to none, in words per answer.
const WORDS_EFFECT_MIN: f64 = 0.2;

/// What is compared in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of correct answers.
    Accuracy,
    /// Tokens per answer.
    Length,
    /// Share of answers cut by the length limit.
    Truncated,
    /// Share of whole answers without a box.
    Unparsed,
    /// Reasoning words per answer, all of them.
    Words,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 5] =
        [Metric::Accuracy, Metric::Length, Metric::Truncated, Metric::Unparsed, Metric::Words];

    /// The metric's name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::Length => "length",
            Metric::Truncated => "truncated",
            Metric::Unparsed => "unparsed",
            Metric::Words => "words",
        }
    }

    /// The metric of one question in one seed; not a number where there is no sample.
    fn value(self, seed: &SeedOutcomes, question: usize) -> f64 {
        match self {
            Metric::Accuracy => score::share(seed, question, 'c'),
            Metric::Length => score::length(seed, question),
            Metric::Truncated => score::share(seed, question, 't'),
            Metric::Unparsed => score::share(seed, question, 'u'),
            Metric::Words => {
                let words: f64 = seed.words[question].iter().map(|count| f64::from(*count)).sum();
                words / seed.outcomes[question].len() as f64
            }
        }
    }

    /// The effect that must be exceeded to count.
    fn effect_min(self, golden: f64) -> f64 {
        match self {
            Metric::Accuracy | Metric::Truncated | Metric::Unparsed => SHARE_EFFECT_MIN,
            Metric::Length => RELATIVE_EFFECT_MIN * golden,
            Metric::Words => (RELATIVE_EFFECT_MIN * golden).max(WORDS_EFFECT_MIN),
        }
    }

    /// Whether an effect of this sign is bad.
    fn is_bad(self, effect: f64) -> bool {
        match self {
            Metric::Accuracy => effect < 0.0,
            Metric::Truncated | Metric::Unparsed => effect > 0.0,
            Metric::Length | Metric::Words => true,
        }
    }
}

/// What is found in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Same,
    Improved,
    Regressed,
    Undecided,
    Missing,
    New,
    Invalid,
}

impl Verdict {
    /// Every verdict, the ones that fail the gate first.
    pub const ALL: [Verdict; 7] = [
        Verdict::Regressed,
        Verdict::Missing,
        Verdict::Invalid,
        Verdict::Improved,
        Verdict::Undecided,
        Verdict::New,
        Verdict::Same,
    ];

    /// The verdict's name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Improved => "improved",
            Verdict::Regressed => "regressed",
            Verdict::Undecided => "undecided",
            Verdict::Missing => "missing",
            Verdict::New => "new",
            Verdict::Invalid => "invalid",
        }
    }

    /// Whether the gate fails on it.
    pub fn fails(self) -> bool {
        matches!(self, Verdict::Regressed | Verdict::Missing | Verdict::Invalid)
    }
}

/// The verdict on one metric of one cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellVerdict {
    pub row: String,
    /// `None`: all families together.
    pub benchmark: Option<String>,
    /// `None`: all levels together.
    pub level: Option<Level>,
    pub metric: Metric,
    /// Questions on the side that has fewer.
    pub num_questions: usize,
    pub golden: Option<f64>,
    pub run: Option<f64>,
    /// Run minus golden with the interval that decided; `None` where a side is missing or where
    /// no interval was needed.
    pub effect: Option<Interval>,
    pub verdict: Verdict,
}

/// A run compared with golden.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Rows in golden's order, then what only the run has.
    pub cells: Vec<CellVerdict>,
    /// Confidence of each interval after the correction for the number of tests.
    pub confidence: f64,
    /// What a reader must know beside the verdicts, such as another recipe. One line each.
    pub notes: Vec<String>,
}

impl Comparison {
    /// 1 when a cell is regressed, missing or invalid, else 0.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.cells.iter().any(|cell| cell.verdict.fails()))
    }

    /// Number of cells with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cells.iter().filter(|cell| cell.verdict == verdict).count()
    }
}

/// Compares a run with golden by [`RULE`].
///
/// A question that both sides have keeps the level that golden gave it, so that a cell holds the
/// same questions on both sides even when the base, and with it the cut, has changed.
pub fn compare(golden: &Results, run: &Results) -> Comparison {
    let scopes = scopes(golden, run);
    let mut pairs: Vec<Pair> = Vec::new();
    for name in gated_rows(golden, run) {
        for scope in &scopes {
            pairs.extend(Pair::of(golden.row(name), run.row(name), scope));
        }
    }
    let mut tests = 0;
    for pair in &pairs {
        tests += if pair.is_tested() { Metric::ALL.len() } else { 0 };
    }
    let alpha = FALSE_ALARM / tests.max(1) as f64;
    let z = statistics::normal_quantile(1.0 - alpha / 2.0);
    let cells =
        pairs.iter().flat_map(|pair| Metric::ALL.map(|metric| pair.judge(metric, z))).collect();
    Comparison { cells, confidence: 1.0 - alpha, notes: notes(golden, run) }
}

/// Names of baseline and regimes, golden's order first.
fn gated_rows<'a>(golden: &'a Results, run: &'a Results) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for row in golden.rows.iter().chain(&run.rows) {
        // Golden says what gates, so that a run cannot escape by calling a regime a control.
        let kind = golden.row(&row.name).map_or(row.kind, |golden| golden.kind);
        if kind != RowKind::Control && !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    names
}

/// The questions of a cell on both sides, by index, in the order of their ids.
struct Scope {
    benchmark: Option<String>,
    level: Option<Level>,
    golden: Vec<usize>,
    run: Vec<usize>,
    /// Whether both sides hold the same questions.
    paired: bool,
}

fn scopes(golden: &Results, run: &Results) -> Vec<Scope> {
    type Key = (Option<String>, Option<Level>);
    let levels: BTreeMap<&str, Option<Level>> =
        golden.questions.iter().map(|question| (question.id.as_str(), question.level)).collect();
    let side = |results: &Results| {
        let mut cells: BTreeMap<Key, BTreeMap<String, usize>> = BTreeMap::new();
        for (index, question) in results.questions.iter().enumerate() {
            let level = levels.get(question.id.as_str()).copied().unwrap_or(question.level);
            if level.is_none() {
                continue;
            }
            for key in [(None, None), (None, level), (Some(question.benchmark.clone()), None)] {
                cells.entry(key).or_default().insert(question.id.clone(), index);
            }
        }
        cells
    };
    let (golden, run) = (side(golden), side(run));
    let keys: BTreeSet<&Key> = golden.keys().chain(run.keys()).collect();
    let nothing = BTreeMap::new();
    keys.into_iter()
        .map(|key| {
            let golden = golden.get(key).unwrap_or(&nothing);
            let run = run.get(key).unwrap_or(&nothing);
            Scope {
                benchmark: key.0.clone(),
                level: key.1,
                golden: golden.values().copied().collect(),
                run: run.values().copied().collect(),
                paired: golden.keys().eq(run.keys()),
            }
        })
        .collect()
}

/// One row over one scope on both sides.
struct Pair<'a> {
    row: &'a str,
    scope: &'a Scope,
    golden: Option<&'a ResultRow>,
    run: Option<&'a ResultRow>,
}

impl<'a> Pair<'a> {
    /// `None` where neither side asked anything.
    fn of(
        golden: Option<&'a ResultRow>,
        run: Option<&'a ResultRow>,
        scope: &'a Scope,
    ) -> Option<Pair<'a>> {
        let golden = golden.filter(|row| asks(row, &scope.golden));
        let run = run.filter(|row| asks(row, &scope.run));
        let row = &golden.or(run)?.name;
        Some(Pair { row, scope, golden, run })
    }

    fn num_questions(&self) -> usize {
        match (self.golden, self.run) {
            (Some(_), Some(_)) => self.scope.golden.len().min(self.scope.run.len()),
            (Some(_), None) => self.scope.golden.len(),
            _ => self.scope.run.len(),
        }
    }

    /// Whether the pair takes part in the correction for many tests. It must not depend on the
    /// outcomes, else the correction would be chosen by what it corrects.
    fn is_tested(&self) -> bool {
        self.golden.is_some() && self.run.is_some() && self.num_questions() >= QUESTIONS_MIN
    }

    fn judge(&self, metric: Metric, z: f64) -> CellVerdict {
        let values = |row: Option<&ResultRow>, questions: &[usize]| {
            row.map(|row| {
                score::per_question(row, questions, |seed, question| {
                    // A row whose arrays do not fit its questions has no value here.
                    let fits = question < seed.outcomes.len()
                        && question < seed.num_tokens.len()
                        && question < seed.words.len();
                    if fits { metric.value(seed, question) } else { f64::NAN }
                })
            })
        };
        let golden = values(self.golden, &self.scope.golden);
        let run = values(self.run, &self.scope.run);
        let (effect, verdict) = match (&golden, &run) {
            (Some(golden), Some(run)) => self.judge_values(metric, z, golden, run),
            (Some(_), None) => (None, Verdict::Missing),
            _ => (None, Verdict::New),
        };
        CellVerdict {
            row: self.row.to_owned(),
            benchmark: self.scope.benchmark.clone(),
            level: self.scope.level,
            metric,
            num_questions: self.num_questions(),
            golden: golden.as_deref().map(statistics::mean),
            run: run.as_deref().map(statistics::mean),
            effect,
            verdict,
        }
    }

    fn judge_values(
        &self,
        metric: Metric,
        z: f64,
        golden: &[Vec<f64>],
        run: &[Vec<f64>],
    ) -> (Option<Interval>, Verdict) {
        let golden_mean = statistics::mean(golden);
        let mean = statistics::mean(run) - golden_mean;
        if !mean.is_finite() {
            return (None, Verdict::Invalid);
        }
        if self.scope.paired && golden == run {
            return (Some(Interval { mean, low: mean, high: mean }), Verdict::Same);
        }
        if self.num_questions() < QUESTIONS_MIN {
            return (None, Verdict::Undecided);
        }
        let standard_error = if self.scope.paired {
            statistics::standard_error_paired(golden, run)
        } else {
            statistics::standard_error_unpaired(golden, run)
        };
        let (low, high) = (mean - z * standard_error, mean + z * standard_error);
        let verdict = if mean.abs() <= metric.effect_min(golden_mean) {
            Verdict::Same
        } else if low <= 0.0 && high >= 0.0 {
            Verdict::Undecided
        } else if metric.is_bad(mean) {
            Verdict::Regressed
        } else {
            Verdict::Improved
        };
        (Some(Interval { mean, low, high }), verdict)
    }
}

/// Whether a row asked any of these questions. Arrays that do not fit count as asked, so that
/// the cell becomes invalid instead of vanishing.
fn asks(row: &ResultRow, questions: &[usize]) -> bool {
    let asked = |seed: &SeedOutcomes, question: usize| {
        seed.outcomes.get(question).is_none_or(|outcomes| !outcomes.is_empty())
    };
    row.seeds.iter().any(|seed| questions.iter().any(|&question| asked(seed, question)))
}

fn notes(golden: &Results, run: &Results) -> Vec<String> {
    let mut notes = Vec::new();
    let pairs = [
        ("profile", &golden.profile, &run.profile),
        ("recipe", &golden.recipe_hash, &run.recipe_hash),
        ("grader", &golden.grader, &run.grader),
        ("base", &golden.provenance.base_hash, &run.provenance.base_hash),
        ("backend", &golden.provenance.backend, &run.provenance.backend),
    ];
    for (what, golden, run) in pairs {
        if golden != run {
            notes.push(format!("the {what} differs: golden `{golden}`, run `{run}`"));
        }
    }
    let ids = |results: &Results| -> BTreeSet<String> {
        results.questions.iter().map(|question| question.id.clone()).collect()
    };
    let (golden_ids, run_ids) = (ids(golden), ids(run));
    let num_shared = golden_ids.intersection(&run_ids).count();
    if golden_ids != run_ids {
        notes.push(format!(
            "the questions differ: golden asks {}, the run {}, {num_shared} in both; \
             cells with other questions are compared unpaired",
            golden_ids.len(),
            run_ids.len()
        ));
    }
    for row in &golden.rows {
        let num_seeds = row.seeds.len();
        if let Some(run) = run.row(&row.name).filter(|run| run.seeds.len() < num_seeds) {
            notes.push(format!(
                "row `{}` has {} of golden's {num_seeds} seeds",
                row.name,
                run.seeds.len()
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::{Behavior, LONG, SHARP, UNTUNED, header, levels, row, study};
    use proptest::prelude::*;

    fn pair(per_family: usize, seed: u64, regime: Behavior) -> Results {
        let rows = [
            row("base", RowKind::Baseline, UNTUNED, 1, per_family, 4),
            row("rl", RowKind::Regime, regime, seed, per_family, 4),
        ];
        Results::assemble(header(), &levels(per_family), &rows).unwrap()
    }

    #[track_caller]
    fn verdict(
        comparison: &Comparison,
        row: &str,
        level: Option<Level>,
        metric: Metric,
    ) -> Verdict {
        let wanted = |cell: &&CellVerdict| {
            cell.row == row
                && cell.benchmark.is_none()
                && cell.level == level
                && cell.metric == metric
        };
        comparison.cells.iter().find(wanted).unwrap().verdict
    }

    #[test]
    fn a_lost_skill_is_a_regression_and_a_won_one_an_improvement() {
        let (sharp, weak) = (pair(80, 1, SHARP), pair(80, 1, UNTUNED));
        let lost = compare(&sharp, &weak);
        assert_eq!(verdict(&lost, "rl", None, Metric::Accuracy), Verdict::Regressed);
        assert_eq!(verdict(&lost, "base", None, Metric::Accuracy), Verdict::Same);
        assert_eq!(lost.exit_code(), 1);
        let won = compare(&weak, &sharp);
        assert_eq!(verdict(&won, "rl", None, Metric::Accuracy), Verdict::Improved);
        assert_eq!(won.exit_code(), 0);
    }

    #[test]
    fn length_and_words_gate_in_both_directions() {
        let short = Behavior { num_tokens: 40, num_waits: 1, ..LONG };
        let (long, short) = (pair(20, 1, LONG), pair(20, 1, short));
        for (golden, run) in [(&long, &short), (&short, &long)] {
            let comparison = compare(golden, run);
            for metric in [Metric::Length, Metric::Words] {
                assert_eq!(verdict(&comparison, "rl", None, metric), Verdict::Regressed);
            }
        }
    }

    #[test]
    fn more_cut_answers_are_a_regression() {
        let cut = Behavior { truncated: 0.2, ..SHARP };
        let comparison = compare(&pair(80, 1, SHARP), &pair(80, 1, cut));
        assert_eq!(verdict(&comparison, "rl", None, Metric::Truncated), Verdict::Regressed);
        let mirror = compare(&pair(80, 1, cut), &pair(80, 1, SHARP));
        assert_eq!(verdict(&mirror, "rl", None, Metric::Truncated), Verdict::Improved);
    }

    #[test]
    fn fresh_samples_of_the_same_models_do_not_fail_the_gate() {
        let golden = pair(40, 1, SHARP);
        let failures =
            (2..42).filter(|seed| compare(&golden, &pair(40, *seed, SHARP)).exit_code() != 0);
        // Nominal: at most 5 %.
        assert!(failures.count() <= 2);
    }

    #[test]
    fn a_five_point_loss_is_seen_with_800_questions() {
        let worse = Behavior { accuracy: SHARP.accuracy.map(|p| p - 0.05), ..SHARP };
        let golden = pair(160, 1, SHARP);
        let seen =
            (2..12).filter(|seed| compare(&golden, &pair(160, *seed, worse)).exit_code() == 1);
        assert!(seen.count() >= 8);
    }

    #[test]
    fn a_cell_of_few_questions_is_undecided_however_large_the_effect() {
        // 15 questions at L5, 35 at L1.
        let comparison = compare(&pair(20, 1, UNTUNED), &pair(20, 2, LONG));
        let of = |level| verdict(&comparison, "rl", Some(level), Metric::Length);
        assert_eq!((of(Level::L5), of(Level::L1)), (Verdict::Undecided, Verdict::Regressed));
    }

    #[test]
    fn a_missing_regime_fails_and_a_new_one_does_not() {
        let whole = study(20, &[1]);
        let mut less = whole.clone();
        less.rows.retain(|row| row.name != "rl");
        let missing = compare(&whole, &less);
        assert_eq!(verdict(&missing, "rl", None, Metric::Length), Verdict::Missing);
        assert_eq!(missing.exit_code(), 1);
        let new = compare(&less, &whole);
        assert_eq!(verdict(&new, "rl", None, Metric::Length), Verdict::New);
        assert_eq!(new.exit_code(), 0);
    }

    #[test]
    fn calling_a_regime_a_control_does_not_hide_it() {
        let golden = pair(80, 1, SHARP);
        let mut run = pair(80, 1, UNTUNED);
        run.rows[1].kind = RowKind::Control;
        assert_eq!(compare(&golden, &run).exit_code(), 1);
    }

    #[test]
    fn a_value_that_is_not_a_number_is_invalid() {
        let golden = pair(20, 1, SHARP);
        let mut empty = golden.clone();
        empty.rows[1].seeds[0].outcomes[3].clear();
        empty.rows[1].seeds[0].num_tokens[3].clear();
        let mut short = golden.clone();
        short.rows[1].seeds[0].words.pop();
        for run in [empty, short] {
            for comparison in [compare(&golden, &run), compare(&run, &golden), compare(&run, &run)]
            {
                assert!(comparison.count(Verdict::Invalid) > 0);
                assert_eq!(comparison.exit_code(), 1);
            }
        }
    }

    #[test]
    fn other_questions_are_compared_unpaired_and_said() {
        let mut run = pair(80, 1, SHARP);
        for question in &mut run.questions {
            question.id = question.id.replace("/test/1/", "/test/2/");
        }
        let golden = pair(80, 1, SHARP);
        let comparison = compare(&golden, &run);
        assert_eq!(comparison.exit_code(), 0);
        assert!(comparison.notes[0].contains("0 in both"));
        let interval = |comparison: &Comparison| comparison.cells[0].effect.unwrap().half_width();
        let paired = compare(&golden, &pair(80, 2, SHARP));
        assert!(interval(&comparison) > interval(&paired));
    }

    #[test]
    fn golden_decides_the_level_of_a_shared_question() {
        let golden = pair(40, 1, SHARP);
        let mut run = golden.clone();
        run.questions.iter_mut().for_each(|question| question.level = Some(Level::L5));
        let comparison = compare(&golden, &run);
        assert_eq!(comparison.count(Verdict::Same), comparison.cells.len());
    }

    #[test]
    fn external_benchmarks_and_controls_do_not_gate() {
        let golden = study(20, &[1]);
        let comparison = compare(&golden, &golden);
        assert!(comparison.cells.iter().all(|cell| cell.benchmark.as_deref() != Some("easy_vqa")));
        let rows: BTreeSet<&str> = comparison.cells.iter().map(|cell| cell.row.as_str()).collect();
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), ["base", "rl", "sft", "two_stage"]);
        // all, 5 levels, 5 families.
        assert_eq!(comparison.cells.len(), 4 * 11 * Metric::ALL.len());
    }

    #[test]
    fn another_recipe_and_fewer_seeds_are_noted() {
        let golden = study(20, &[1, 2]);
        let mut run = study(20, &[1]);
        run.recipe_hash = "other".to_owned();
        let notes = compare(&golden, &run).notes;
        assert_eq!(notes[0], "the recipe differs: golden `5f1d0c2a`, run `other`");
        assert_eq!(notes[1], "row `sft` has 1 of golden's 2 seeds");
    }

    fn any_results() -> impl Strategy<Value = Results> {
        (proptest::array::uniform5(0.0..1.0_f64), 0.0..0.3_f64, 1..60_u32, 0..4_usize, any::<u64>())
            .prop_map(|(accuracy, truncated, num_tokens, num_waits, seed)| {
                let behavior =
                    Behavior { accuracy, num_tokens, num_waits, truncated, unparsed: 0.05 };
                pair(20, seed, behavior)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn results_are_the_same_as_themselves(results in any_results()) {
            let comparison = compare(&results, &results);
            prop_assert_eq!(comparison.count(Verdict::Same), comparison.cells.len());
            prop_assert_eq!(comparison.exit_code(), 0);
        }

        #[test]
        fn swapping_the_sides_swaps_improved_and_regressed(a in any_results(), b in any_results()) {
            let (there, back) = (compare(&a, &b), compare(&b, &a));
            prop_assert_eq!(there.cells.len(), back.cells.len());
            for (there, back) in there.cells.iter().zip(&back.cells) {
                if matches!(there.metric, Metric::Length | Metric::Words) {
                    continue;
                }
                let mirrored = match there.verdict {
                    Verdict::Improved => Verdict::Regressed,
                    Verdict::Regressed => Verdict::Improved,
                    other => other,
                };
                prop_assert_eq!(mirrored, back.verdict);
            }
        }
    }
}
