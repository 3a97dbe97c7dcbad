//! Metrics against golden: one verdict per cell and metric. Pure and total.
//!
//! Does not know how a run was made, where results lie or how a verdict is shown.
//! Verdicts are findings, not errors: whatever stands in the two results, every cell gets one.
//! Length and reasoning words gate in both directions, since a change of style is what the suite
//! is there to see; for accuracy and for truncated and unparsed answers only one side is bad.
//! External benchmarks do not gate: a machine without their data must be able to pass.
//! Training noise is that of the seeds, pooled over all rows of either side that have several: a run of one
//! seed is judged by the noise that golden results of several show. With one seed everywhere it is unknown,
//! and a note says so.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use synergy_benchmarks::difficulty::Level;

use crate::recipe::GateSpec;
use crate::score::{self, ResultRow, Results, RowKind, SeedOutcomes};
use crate::statistics::{self, Interval};

/// The rule, as it is printed with every comparison.
pub fn rule(gate: &GateSpec) -> String {
    let GateSpec { false_alarm, share_band, length_band, words_band } = gate;
    format!(
        "\
A cell is a row (base or a regime) over all questions, a level, a family, or a level of a family.
Its metrics are accuracy, length, truncated, unparsed and reasoning words per answer.
The effect is run minus golden, paired where both asked the same questions; its standard error is over
questions and, for regimes, over training seeds, whose noise is pooled over all rows with several seeds.
regressed: the effect differs from zero and is bad. improved: it differs and is good. Differs: its two-sided
p-value (Wald, or McNemar's exact one where outcomes are binary) is at most {false_alarm} after Holm's
correction, half of it spent on cells over all questions, half on all others, so that two equal models show
any difference in at most {:.0} % of comparisons.
same: the effect is within the band by two one-sided tests at 5 %, however clearly it differs from zero.
undecided: neither; or the cell has under {QUESTIONS_MIN} questions.
missing, new: only golden, only the run has the cell. invalid: a value is not a number.
Band: {:.1} points for accuracy, truncated and unparsed; {:.0} % of golden for length; {words_band} words per answer.
Fewer correct and more truncated or unparsed are bad; for length and words both directions are.
Exit code 1 when a cell is regressed, missing or invalid.",
        100.0 * false_alarm,
        100.0 * share_band,
        100.0 * length_band,
    )
}

/// Level of the two one-sided tests.
const EQUIVALENCE_ALPHA: f64 = 0.05;

/// Below this many questions a cell decides nothing.
pub const QUESTIONS_MIN: usize = 20;

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

    /// Half of the band within which two values are the same.
    fn band(self, gate: &GateSpec, golden: f64) -> f64 {
        match self {
            Metric::Accuracy | Metric::Truncated | Metric::Unparsed => gate.share_band,
            Metric::Length => gate.length_band * golden,
            Metric::Words => gate.words_band,
        }
    }

    /// Whether it is a share of answers.
    fn is_share(self) -> bool {
        matches!(self, Metric::Accuracy | Metric::Truncated | Metric::Unparsed)
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
    /// Run minus golden with its 95 % interval; `None` where a side is missing or there is none.
    pub effect: Option<Interval>,
    /// p-value of no difference after Holm's correction; `None` where nothing was tested.
    pub p: Option<f64>,
    /// The smallest effect that this comparison finds with a power of 80 %.
    pub detectable: Option<f64>,
    pub verdict: Verdict,
}

/// A run compared with golden.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Rows in golden's order, then what only the run has.
    pub cells: Vec<CellVerdict>,
    /// Tests that were corrected for.
    pub num_tests: usize,
    /// The rule that was used.
    pub rule: String,
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

/// Compares a run with golden by [`rule`].
///
/// A question that both sides have keeps the level that golden gave it, so that a cell holds the
/// same questions on both sides even when the base, and with it the cut, has changed.
pub fn compare(golden: &Results, run: &Results, gate: &GateSpec) -> Comparison {
    let scopes = scopes(golden, run);
    let names = gated_rows(golden, run);
    let mut measured: Vec<Measured> = Vec::new();
    for scope in &scopes {
        let pairs: Vec<Pair> = names
            .iter()
            .filter_map(|name| Pair::of(golden.row(name), run.row(name), scope))
            .collect();
        for metric in Metric::ALL {
            let values: Vec<[Option<Vec<Vec<f64>>>; 2]> =
                pairs.iter().map(|pair| pair.values(metric)).collect();
            let noise = statistics::pooled_seed_variance(values.iter().flatten().flatten());
            for (pair, values) in pairs.iter().zip(values) {
                measured.push(pair.measure(metric, values, noise));
            }
        }
    }
    // Rows in golden's order, each over all questions first.
    measured.sort_by_key(|m| names.iter().position(|name| *name == m.cell.row));
    // What a row is as a whole gets half of the false alarms: it is few tests, and what matters most.
    let of = |whole: bool| -> Vec<f64> {
        let tests = measured.iter().filter(|m| m.is_whole() == whole);
        tests.filter_map(|m| m.test.map(|test| test.p)).collect()
    };
    let (whole, parts) = (of(true), of(false));
    let num_tests = whole.len() + parts.len();
    let alpha = |p: &[f64]| gate.false_alarm / 2.0 / p.len().max(1) as f64;
    let alphas = [alpha(&parts), alpha(&whole)];
    let mut adjusted = [parts, whole].map(|p| statistics::holm(&p).into_iter());
    let cells = measured
        .into_iter()
        .map(|m| {
            let family = usize::from(m.is_whole());
            m.judge(gate, alphas[family], &mut adjusted[family])
        })
        .collect();
    let mut notes = notes(golden, run);
    let several = golden.rows.iter().chain(&run.rows).any(|row| row.seeds.len() > 1);
    if !several {
        notes.push(
            "one training seed on both sides: the noise of training is not known, only that of \
             questions and sampling"
                .to_owned(),
        );
    }
    Comparison { cells, num_tests, rule: rule(gate), notes }
}

/// A cell before the correction for the number of tests.
struct Measured {
    cell: CellVerdict,
    test: Option<Test>,
}

/// What a cell's verdict hangs on.
#[derive(Clone, Copy)]
struct Test {
    effect: f64,
    standard_error: f64,
    p: f64,
}

impl Measured {
    /// Whether the cell is over all questions.
    fn is_whole(&self) -> bool {
        self.cell.benchmark.is_none() && self.cell.level.is_none()
    }

    /// `adjusted` has the corrected p-value of every test of its kind in order, each kind having half of the
    /// false alarms; `alpha` is the level that the smallest of them has to meet.
    fn judge(
        self,
        gate: &GateSpec,
        alpha: f64,
        adjusted: &mut impl Iterator<Item = f64>,
    ) -> CellVerdict {
        let Measured { mut cell, test } = self;
        let Some(Test { effect, standard_error, .. }) = test else { return cell };
        let p = (2.0 * adjusted.next().unwrap_or(1.0)).min(1.0);
        let band = cell.metric.band(gate, cell.golden.unwrap_or_default());
        let half = statistics::normal_quantile(0.975) * standard_error;
        cell.effect = Some(Interval { mean: effect, low: effect - half, high: effect + half });
        cell.p = Some(p);
        cell.detectable = Some(statistics::minimum_detectable_effect(standard_error, alpha));
        cell.verdict =
            if statistics::equivalence_p(effect, standard_error, band) < EQUIVALENCE_ALPHA {
                Verdict::Same
            } else if p > gate.false_alarm {
                Verdict::Undecided
            } else if cell.metric.is_bad(effect) {
                Verdict::Regressed
            } else {
                Verdict::Improved
            };
        cell
    }
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
            let own = Some(question.benchmark.clone());
            for key in [(None, None), (None, level), (own.clone(), None), (own.clone(), level)] {
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

    /// `[seed][question]` of golden and of the run.
    fn values(&self, metric: Metric) -> [Option<Vec<Vec<f64>>>; 2] {
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
        [values(self.golden, &self.scope.golden), values(self.run, &self.scope.run)]
    }

    /// The cell, with a test where there is something to test: that must not depend on how large the
    /// effect is, else the correction would be chosen by what it corrects. `noise` is the variance over
    /// training seeds, if any row shows it.
    fn measure(
        &self,
        metric: Metric,
        [golden, run]: [Option<Vec<Vec<f64>>>; 2],
        noise: Option<f64>,
    ) -> Measured {
        let (verdict, test) = match (&golden, &run) {
            (Some(golden), Some(run)) => self.test(metric, golden, run, noise),
            (Some(_), None) => (Verdict::Missing, None),
            _ => (Verdict::New, None),
        };
        let cell = CellVerdict {
            row: self.row.to_owned(),
            benchmark: self.scope.benchmark.clone(),
            level: self.scope.level,
            metric,
            num_questions: self.num_questions(),
            golden: golden.as_deref().map(statistics::mean),
            run: run.as_deref().map(statistics::mean),
            effect: None,
            p: None,
            detectable: None,
            verdict,
        };
        Measured { cell, test }
    }

    fn test(
        &self,
        metric: Metric,
        golden: &[Vec<f64>],
        run: &[Vec<f64>],
        noise: Option<f64>,
    ) -> (Verdict, Option<Test>) {
        let effect = statistics::mean(run) - statistics::mean(golden);
        if !effect.is_finite() {
            return (Verdict::Invalid, None);
        }
        if self.scope.paired && golden == run {
            return (Verdict::Same, None);
        }
        if self.num_questions() < QUESTIONS_MIN {
            return (Verdict::Undecided, None);
        }
        // The base is not trained.
        let kind = self.golden.or(self.run).map(|row| row.kind);
        let noise = if kind == Some(RowKind::Baseline) { 0.0 } else { noise.unwrap_or(0.0) };
        let standard_error = if self.scope.paired {
            statistics::standard_error_paired_with(golden, run, noise)
        } else {
            statistics::standard_error_unpaired_with(golden, run, noise)
        };
        let p = match binary_pairs(golden, run) {
            Some([won, lost]) if self.scope.paired && metric.is_share() && noise <= 0.0 => {
                statistics::mcnemar_p(won, lost)
            }
            _ => statistics::difference_p(effect, standard_error),
        };
        (Verdict::Undecided, Some(Test { effect, standard_error, p }))
    }
}

/// Questions that only the run and only golden has, if each was answered once.
fn binary_pairs(golden: &[Vec<f64>], run: &[Vec<f64>]) -> Option<[u64; 2]> {
    let ([golden], [run]) = (golden, run) else { return None };
    let is_binary = |x: &f64| x.total_cmp(&0.0).is_eq() || x.total_cmp(&1.0).is_eq();
    if !golden.iter().chain(run).all(is_binary) {
        return None;
    }
    let count = |more: &[f64], less: &[f64]| more.iter().zip(less).filter(|(a, b)| a > b).count();
    Some([count(run, golden) as u64, count(golden, run) as u64])
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
    use synergy_benchmarks::seed::Seed;

    const GATE: GateSpec =
        GateSpec { false_alarm: 0.05, share_band: 0.03, length_band: 0.15, words_band: 0.3 };

    fn compare(golden: &Results, run: &Results) -> Comparison {
        super::compare(golden, run, &GATE)
    }

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

    /// Deviation over training seeds of a regime's accuracy, length and words in the simulations.
    const TRAINING_NOISE: [f64; 3] = [0.01, 1.0, 0.1];
    const REGIMES: usize = 6;

    /// A run of profile `small`'s shape, its outcomes drawn directly: questions of their own difficulty, four
    /// answers each, every regime and seed a little off by chance. `loss` is taken from the first regime.
    fn simulated(questions: usize, seeds: usize, stream: Seed, loss: f64) -> Results {
        let mut results = study(questions / 5, &[1]);
        results.questions.retain(|question| question.level.is_some());
        let count = results.questions.len();
        // The same questions, whoever answers.
        let mut ease = Seed::root(77).rng();
        let ease: Vec<f64> = (0..count).map(|_| ease.random::<f64>() * 0.8 + 0.1).collect();
        let mut names = vec!["base".to_owned()];
        names.extend((0..REGIMES).map(|i| format!("regime_{i}")));
        results.rows = names
            .into_iter()
            .map(|name| {
                let is_base = name == "base";
                let num_seeds = if is_base { 1 } else { seeds };
                let row = (0..num_seeds as u64).map(|seed| {
                    let mut rng = stream.fold_in(&name).at(seed).rng();
                    let off = TRAINING_NOISE.map(|deviation| {
                        let normal: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
                        if is_base { 0.0 } else { deviation * normal }
                    });
                    let loss = if name == "regime_0" { loss } else { 0.0 };
                    let mut of = SeedOutcomes {
                        seed,
                        outcomes: Vec::new(),
                        num_formatted: vec![4; count],
                        num_tokens: Vec::new(),
                        words: Vec::new(),
                    };
                    for ease in &ease {
                        let chance = ease + off[0] - loss;
                        let letters = (0..4).map(|_| match rng.random::<f64>() {
                            x if x < chance => 'c',
                            x if x < 0.985 => 'w',
                            x if x < 0.995 => 't',
                            _ => 'u',
                        });
                        of.outcomes.push(letters.collect());
                        let mut tokens = || (30.0 + off[1] + 10.0 * rng.random::<f64>()) as u32;
                        of.num_tokens.push((0..4).map(|_| tokens()).collect());
                        let waits = 4.0 * (1.0 + off[2]) + 3.0 * rng.random::<f64>();
                        of.words.push([waits as u32, 0, 0, 0, 0]);
                    }
                    of
                });
                ResultRow {
                    note: String::new(),
                    kind: if is_base { RowKind::Baseline } else { RowKind::Regime },
                    seeds: row.collect(),
                    name,
                }
            })
            .collect();
        results
    }

    /// Golden results have three seeds.
    fn share_of_runs_that_fail(questions: usize, seeds: usize, loss: f64, runs: u64) -> f64 {
        let golden = simulated(questions, 3, Seed::root(1), 0.0);
        let failed = (0..runs).filter(|run| {
            let run = simulated(questions, seeds, Seed::root(2).at(*run), loss);
            let comparison = compare(&golden, &run);
            if loss > 0.0 {
                return verdict(&comparison, "regime_0", None, Metric::Accuracy)
                    == Verdict::Regressed;
            }
            comparison.exit_code() != 0
        });
        failed.count() as f64 / runs as f64
    }

    #[test]
    fn equal_models_fail_the_gate_in_at_most_one_comparison_in_twenty() {
        // Trained anew: the chance of training is in the rule, whether a run has one seed or three.
        for (seeds, runs) in [(1, 150), (3, 60)] {
            let share = share_of_runs_that_fail(600, seeds, 0.0, runs);
            assert!(share <= 0.05, "{share} of equal runs of {seeds} seeds fail");
        }
    }

    #[test]
    fn a_five_point_loss_is_found_in_four_runs_of_five_with_800_questions_and_three_seeds() {
        let power = share_of_runs_that_fail(800, 3, 0.05, 60);
        assert!(power >= 0.8, "power {power}");
        assert!(share_of_runs_that_fail(800, 1, 0.05, 40) < power);
    }

    #[test]
    fn an_effect_within_the_band_is_the_same_however_clear_it_is() {
        let golden = simulated(600, 1, Seed::root(1), 0.0);
        let mut longer = golden.clone();
        for seed in longer.rows.iter_mut().flat_map(|row| &mut row.seeds) {
            seed.num_tokens.iter_mut().flatten().for_each(|n| *n += 1);
        }
        let comparison = compare(&golden, &longer);
        assert_eq!(verdict(&comparison, "regime_1", None, Metric::Length), Verdict::Same);
        assert_eq!(comparison.exit_code(), 0);
    }

    #[test]
    fn single_greedy_answers_are_compared_by_mcnemars_test() {
        let greedy = |chance: f64, seed: u64| {
            let mut results = simulated(600, 1, Seed::root(1), 0.0);
            let mut rng = Seed::root(seed).rng();
            for outcomes in results.rows.iter_mut().flat_map(|r| &mut r.seeds[0].outcomes) {
                *outcomes = if rng.random::<f64>() < chance { "c" } else { "w" }.to_owned();
            }
            results
        };
        let (golden, run) = (greedy(0.6, 1), greedy(0.4, 2));
        let comparison = compare(&golden, &run);
        let cell = comparison.cells.iter().find(|c| c.metric == Metric::Accuracy).unwrap();
        let letters = |results: &Results| results.rows[0].seeds[0].outcomes.clone();
        let count = |a: &str, b: &str| {
            let pairs = letters(&golden).into_iter().zip(letters(&run));
            pairs.filter(|(g, r)| g == a && r == b).count() as u64
        };
        let p = statistics::mcnemar_p(count("w", "c"), count("c", "w"));
        // Holm's factor is at most the number of tests.
        let factor = cell.p.unwrap() / p;
        assert!(factor >= 1.0 - 1e-9 && factor <= comparison.num_tests as f64, "{factor}");
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
        let interval = |comparison: &Comparison| {
            let cell = comparison.cells.iter().find(|cell| cell.row == "rl").unwrap();
            cell.effect.unwrap().half_width()
        };
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
        // all, 5 levels, 5 families, 5 levels of each.
        assert_eq!(comparison.cells.len(), 4 * 36 * Metric::ALL.len());
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
