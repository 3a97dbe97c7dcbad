//! The last step of Completions -> Scores -> Results -> Metrics -> Verdicts: a run against golden results, one verdict
//! for each cell and metric. Pure and total.
//!
//! This module does not know how a run was made, where results are kept or how a verdict is shown.
//! Verdicts are findings, not errors: whatever the two results hold, every cell gets one.
//! Length and reasoning words gate in both directions, since a change of style is what the suite
//! is there to see; for accuracy and for truncated and unparsed answers only one side is bad.
//! External benchmarks do not gate: a machine without their data must be able to pass.
//! Training noise is that of the seeds, pooled over the rows of either side that are trained alike: a run of one
//! seed is judged by the noise that golden results of several show. With one seed everywhere it is unknown,
//! and a note says so. What a comparison could have found follows from the same noise ([`Power`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};
use synergy_benchmarks::difficulty::Level;

use crate::gate::GateSpec;
use crate::score::{self, Lineage, ResultRow, Results, RowKind, SeedOutcomes};
use crate::statistics::{self, Estimate, Interval, Noise, Pools};
use crate::text::partial::partial;

mod figures;
mod power;
#[cfg(test)]
pub(crate) mod tests;

pub use figures::{Figure, FigureVerdict};
pub use power::{LOSS, Power, describe as describe_power, gate_alpha, powers, usual_alpha};

/// Describes the rule, as it is printed with every comparison.
pub fn rule(gate: &GateSpec) -> String {
    let GateSpec {
        false_alarm,
        share_band,
        length_band,
        words_band,
        figure_share_band,
        figure_ratio_band,
    } = gate;
    format!(
        "\
A cell is a row (base or a regime) over all questions, a level, a family, or a level of a family.
Its metrics are accuracy, length, truncated, unparsed and reasoning words per answer.
The effect is run minus golden, paired where both asked the same questions; its standard error is over
questions and, for regimes, over training seeds, whose noise is pooled over rows that are trained alike.
regressed: the effect differs from zero and is bad. improved: it differs and is good. Differs: its two-sided
p-value (Student's t, or McNemar's exact one where outcomes are binary) is at most {false_alarm} after Holm's
correction, half of it spent on cells over all questions, a quarter on all others, a quarter on figures of
training, so that two equal models show any difference in at most {:.0} % of comparisons.
same: the effect is within the band by two one-sided tests at 5 %, however clearly it differs from zero.
undecided: neither; or the cell has under {QUESTIONS_MIN} questions.
missing, new: only golden, only the run has the cell. invalid: a value is not a number.
Band: {:.1} points for accuracy, truncated and unparsed; {:.0} % of golden for length; {words_band} words per answer.
Fewer correct and more truncated or unparsed are bad; for length and words both directions are.
Figures of training are means over the last steps of a stage:
{}.
Their noise is that between seeds, pooled over stages (Student's t), or where every stage has one seed, that
between steps. Band: {:.0} points for shares, a factor of {} for the others.
Exit code 1 when a cell or figure is regressed, missing or invalid, or the run is partial.",
        100.0 * false_alarm,
        100.0 * share_band,
        100.0 * length_band,
        Figure::VARIANTS.iter().map(|figure| figure.name()).collect::<Vec<_>>().join(", "),
        100.0 * figure_share_band,
        1.0 + figure_ratio_band,
    )
}

/// Level of the two one-sided tests.
const EQUIVALENCE_ALPHA: f64 = 0.05;

/// Below this many questions a cell decides nothing.
pub const QUESTIONS_MIN: usize = 20;

/// A quantity that is compared in a cell.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
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
    /// The metric's name, as in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The metric of one question in one seed; not a number where there is no sample.
    fn value(self, seed: &SeedOutcomes, question: usize) -> f64 {
        match self {
            Metric::Accuracy => score::share(seed, question, 'c'),
            Metric::Length => score::length(seed, question),
            Metric::Truncated => score::share(seed, question, 't'),
            Metric::Unparsed => score::share(seed, question, 'u'),
            Metric::Words => score::words_per_answer(seed, question),
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

    /// Returns whether its noise of training grows with its value.
    fn is_relative(self) -> bool {
        matches!(self, Metric::Length | Metric::Words)
    }

    /// Returns whether it is a share of answers.
    fn is_share(self) -> bool {
        matches!(self, Metric::Accuracy | Metric::Truncated | Metric::Unparsed)
    }

    /// Returns whether an effect of this sign is bad.
    fn is_bad(self, effect: f64) -> bool {
        match self {
            Metric::Accuracy => effect < 0.0,
            Metric::Truncated | Metric::Unparsed => effect > 0.0,
            Metric::Length | Metric::Words => true,
        }
    }
}

/// What is found in a cell; the verdicts that fail the gate come first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    /// The effect differs from zero and is bad.
    Regressed,
    /// Only golden has the cell.
    Missing,
    /// A value is not a number.
    Invalid,
    /// The effect differs from zero and is good.
    Improved,
    /// The two could be the same or not.
    Undecided,
    /// Only the run has the cell.
    New,
    /// The effect is within the band.
    Same,
}

impl Verdict {
    /// The verdict's name, as in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns whether the gate fails on it.
    pub fn fails(self) -> bool {
        matches!(self, Verdict::Regressed | Verdict::Missing | Verdict::Invalid)
    }
}

/// The verdict on one metric of one cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellVerdict {
    /// Name of the row.
    pub row: String,
    /// `None`: all families together.
    pub benchmark: Option<String>,
    /// `None`: all levels together.
    pub level: Option<Level>,
    /// What is compared.
    pub metric: Metric,
    /// Questions on the side that has fewer.
    pub num_questions: usize,
    /// Golden's mean over questions and seeds, in the unit of [`Metric`]; `None` where golden lacks the cell.
    pub golden: Option<f64>,
    /// The run's mean likewise.
    pub run: Option<f64>,
    /// Run minus golden with its 95 % interval; `None` where nothing was tested.
    pub effect: Option<Interval>,
    /// p-value of no difference after Holm's correction; `None` where nothing was tested.
    pub p: Option<f64>,
    /// The smallest effect that this comparison finds with a power of 80 %.
    pub detectable: Option<f64>,
    /// What follows from it.
    pub verdict: Verdict,
}

/// A run compared with golden.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Verdicts on cells, rows in golden's order, then the rows that only the run has.
    pub cells: Vec<CellVerdict>,
    /// Verdicts on figures of training, stages in golden's order, then those that only the run has.
    pub figures: Vec<FigureVerdict>,
    /// What the run lacks of its recipe, of which no cell says anything; `None` where it lacks nothing.
    pub partial: Option<String>,
    /// What the comparison could have found, for rows that are trained alike.
    pub power: Vec<Power>,
    /// Number of tests that the p-values are corrected for.
    pub num_tests: usize,
    /// The rule that was used.
    pub rule: String,
    /// Anything else that a reader must know, such as another recipe, one line each.
    pub notes: Vec<String>,
}

impl Comparison {
    /// 1 when a cell or a figure is regressed, missing or invalid, or the run is partial, else 0.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.fails() || self.partial.is_some())
    }

    /// Returns whether a cell or a figure is regressed, missing or invalid.
    pub fn fails(&self) -> bool {
        self.verdicts().any(Verdict::fails)
    }

    /// Number of cells and figures with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.verdicts().filter(|other| *other == verdict).count()
    }

    /// Iterates over the verdicts of every cell, then of every figure.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let cells = self.cells.iter().map(|cell| cell.verdict);
        cells.chain(self.figures.iter().map(|figure| figure.verdict))
    }
}

/// Compares a run with golden by [`rule`].
///
/// A question that both sides have keeps the level that golden gave it, so that a cell holds the
/// same questions on both sides even when the base, and with it the cut, has changed.
pub fn compare(golden: &Results, run: &Results, gate: &GateSpec) -> Comparison {
    let scopes = scopes(golden, run);
    let names = gated_rows(golden, run);
    let lineages = [Lineage::of(golden), Lineage::of(run)];
    let mut measured: Vec<Measured> = Vec::new();
    for scope in &scopes {
        let pairs: Vec<Pair> = names
            .iter()
            .filter_map(|name| Pair::of(golden.row(name), run.row(name), &lineages, scope))
            .collect();
        for &metric in Metric::VARIANTS {
            let values: Vec<Sides> = pairs.iter().map(|pair| pair.values(metric)).collect();
            let noise = Noises::of(metric, &pairs, &values);
            for (pair, values) in pairs.iter().zip(values) {
                let noise = noise.of_row(pair, metric, &values);
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
    let mut whole = Corrected::of(&of(true), 0.5, gate);
    let mut parts = Corrected::of(&of(false), 0.25, gate);
    let (mut figures, num_figures) = figures::compare(golden, run, gate, 0.25);
    let num_tests = whole.num_tests() + parts.num_tests() + num_figures;
    let mut cells: Vec<CellVerdict> = measured
        .into_iter()
        .map(|m| {
            let corrected = if m.is_whole() { &mut whole } else { &mut parts };
            m.judge(gate, corrected)
        })
        .collect();
    // One line says what a partial run lacks, instead of a verdict for each of its cells.
    if !run.missing.is_empty() {
        cells.retain(|cell| cell.verdict != Verdict::Missing || !is_missing(run, &cell.row));
        figures.retain(|figure| figure.verdict != Verdict::Missing);
    }
    let partial = (!run.missing.is_empty()).then(|| partial(run, usize::MAX)).flatten();
    let mut notes = notes(golden, run);
    let several = golden.rows.iter().chain(&run.rows).any(|row| row.seeds.len() > 1);
    if !several {
        notes.push(
            "one training seed on both sides: the noise of training is not known, only that of \
             questions and sampling"
                .to_owned(),
        );
    }
    let alpha = gate_alpha(gate, names.len());
    let power = powers(&[golden, run], alpha);
    Comparison { cells, figures, partial, power, num_tests, rule: rule(gate), notes }
}

/// A cell before the correction for the number of tests.
struct Measured {
    cell: CellVerdict,
    test: Option<Test>,
}

/// `[seed][question]` of golden and of the run.
type Sides = [Option<Vec<Vec<f64>>>; 2];

/// The noise of training of one metric over one scope: of rows that stand on the same trainings, on one side.
struct Noises(Pools<(usize, Vec<String>)>);

impl Noises {
    fn of(metric: Metric, pairs: &[Pair<'_>], values: &[Sides]) -> Noises {
        let mut clusters: BTreeMap<_, Vec<Vec<Vec<f64>>>> = BTreeMap::new();
        for (pair, sides) in pairs.iter().zip(values).filter(|(pair, _)| !pair.class.is_empty()) {
            // A run that has golden's answers to the bit shows no other noise.
            let num_sides = if sides[0] == sides[1] { 1 } else { 2 };
            for (side, values) in sides.iter().take(num_sides).enumerate() {
                let scaled = values.as_ref().and_then(|values| in_parts(metric, values));
                let trained = (side, pair.trained.clone());
                clusters.entry((pair.class.as_str(), trained)).or_default().extend(scaled);
            }
        }
        Noises(Pools::of(&clusters))
    }

    /// The noise of each side's training in the unit of the metric; none for what is not trained.
    fn of_row(&self, pair: &Pair<'_>, metric: Metric, sides: &Sides) -> [Noise; 2] {
        // Two sides with the same answers have shown one noise.
        let is_one = sides[0] == sides[1];
        [0, 1].map(|side| {
            let shown = if is_one { 0 } else { side };
            let noise = self.0.noise(&pair.class, &(shown, pair.trained.clone()));
            let noise = noise.filter(|_| !pair.class.is_empty());
            let noise = noise.unwrap_or(Noise::NONE);
            match &sides[side] {
                Some(values) if metric.is_relative() => noise.scaled(statistics::mean(values)),
                _ => noise,
            }
        })
    }
}

/// Values as their noise is pooled: in parts of their mean where it grows with that. `None` where there is no mean.
fn in_parts(metric: Metric, values: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let mean = statistics::mean(values);
    let scale = if metric.is_relative() { mean } else { 1.0 };
    let scaled = |seed: &Vec<f64>| seed.iter().map(|value| value / scale).collect();
    (mean.is_finite() && scale > 0.0).then(|| values.iter().map(scaled).collect())
}

/// What the verdict on a cell or a figure depends on.
#[derive(Debug, Clone, Copy)]
struct Test {
    estimate: Estimate,
    /// p-value of no difference, before the correction.
    p: f64,
}

impl Test {
    /// The verdict where the corrected p-value is `p` and values within `band` are the same.
    fn verdict(self, gate: &GateSpec, p: f64, band: f64, is_bad: bool) -> Verdict {
        if self.estimate.p_within(band) < EQUIVALENCE_ALPHA {
            Verdict::Same
        } else if p > gate.false_alarm {
            Verdict::Undecided
        } else if is_bad {
            Verdict::Regressed
        } else {
            Verdict::Improved
        }
    }
}

impl Measured {
    /// Returns whether the cell is over all questions.
    fn is_whole(&self) -> bool {
        self.cell.benchmark.is_none() && self.cell.level.is_none()
    }

    fn judge(self, gate: &GateSpec, corrected: &mut Corrected) -> CellVerdict {
        let Measured { mut cell, test } = self;
        let Some(test) = test else { return cell };
        let p = corrected.next();
        let band = cell.metric.band(gate, cell.golden.unwrap_or_default());
        cell.effect = Some(test.estimate.interval());
        cell.p = Some(p);
        cell.detectable = Some(test.estimate.detectable(corrected.alpha));
        cell.verdict = test.verdict(gate, p, band, cell.metric.is_bad(test.estimate.effect));
        cell
    }
}

/// The p-values of one kind of test after Holm's correction, in order.
struct Corrected {
    p: std::vec::IntoIter<f64>,
    /// The level that the smallest of them has to meet.
    alpha: f64,
}

impl Corrected {
    /// Corrects `p`; these tests may spend `share` of the false alarms.
    fn of(p: &[f64], share: f64, gate: &GateSpec) -> Corrected {
        let alpha = share * gate.false_alarm / p.len().max(1) as f64;
        let p: Vec<f64> = statistics::holm(p).into_iter().map(|p| (p / share).min(1.0)).collect();
        Corrected { p: p.into_iter(), alpha }
    }

    /// Tests that have not been taken.
    fn num_tests(&self) -> usize {
        self.p.len()
    }

    fn next(&mut self) -> f64 {
        self.p.next().unwrap_or(1.0)
    }
}

/// Names of baseline and regimes: those of golden first, then those that only the run has.
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
    /// True if both sides hold the same questions.
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
    /// Rows of one class share their noise of training; empty for what is not trained.
    class: String,
    /// The stages in which something was learned.
    trained: Vec<String>,
    scope: &'a Scope,
    golden: Option<&'a ResultRow>,
    run: Option<&'a ResultRow>,
}

impl<'a> Pair<'a> {
    /// `None` where neither side asked anything.
    fn of(
        golden: Option<&'a ResultRow>,
        run: Option<&'a ResultRow>,
        lineages: &[Lineage<'_>; 2],
        scope: &'a Scope,
    ) -> Option<Pair<'a>> {
        let golden = golden.filter(|row| asks(row, &scope.golden));
        let run = run.filter(|row| asks(row, &scope.run));
        let any = golden.or(run)?;
        let row = any.name.as_str();
        let lineage = &lineages[usize::from(golden.is_none())];
        let class = lineage.class(row, any.kind == RowKind::Regime);
        let trained = lineage.trained(row).into_iter().map(str::to_owned).collect();
        Some(Pair { row, class, trained, scope, golden, run })
    }

    fn num_questions(&self) -> usize {
        match (self.golden, self.run) {
            (Some(_), Some(_)) => self.scope.golden.len().min(self.scope.run.len()),
            (Some(_), None) => self.scope.golden.len(),
            _ => self.scope.run.len(),
        }
    }

    /// `[seed][question]` of golden and of the run.
    fn values(&self, metric: Metric) -> Sides {
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
    /// effect is, else the correction would be chosen by what it corrects. `noise` is that of each side's training.
    fn measure(&self, metric: Metric, [golden, run]: Sides, noise: [Noise; 2]) -> Measured {
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
        [of_golden, of_run]: [Noise; 2],
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
        // One estimate serves both sides.
        let noise = of_golden.plus(1.0 / golden.len() as f64, of_run, 1.0 / run.len() as f64);
        let (of_run, of_golden) = (statistics::over_seeds(run), statistics::over_seeds(golden));
        let mut estimate = if self.scope.paired {
            let pairs = of_run.iter().zip(&of_golden);
            Estimate::of(
                &pairs.map(|(run, golden)| run - golden).collect::<Vec<f64>>(),
                &[(1.0, noise)],
            )
        } else {
            Estimate::of_unpaired(&of_run, &of_golden, &[(1.0, noise)])
        };
        if estimate.standard_error <= 0.0 && metric.is_share() {
            let standard_error =
                statistics::standard_error_of_alike(golden, run, self.scope.paired);
            estimate = Estimate { standard_error, ..estimate };
        }
        let p = match binary_pairs(golden, run) {
            Some([won, lost])
                if self.scope.paired && metric.is_share() && noise.variance <= 0.0 =>
            {
                statistics::mcnemar_p(won, lost)
            }
            _ => estimate.p_difference(),
        };
        (Verdict::Undecided, Some(Test { estimate, p }))
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

/// Returns whether a row asked any of these questions. Arrays that do not fit count as asked, so that
/// the cell becomes invalid instead of vanishing.
fn asks(row: &ResultRow, questions: &[usize]) -> bool {
    let asked = |seed: &SeedOutcomes, question: usize| {
        seed.outcomes.get(question).is_none_or(|outcomes| !outcomes.is_empty())
    };
    row.seeds.iter().any(|seed| questions.iter().any(|&question| asked(seed, question)))
}

/// Tells whether the run itself says that it lacks the row, or seeds of it.
fn is_missing(run: &Results, row: &str) -> bool {
    run.missing.iter().any(|missing| missing.row == row)
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
    for row in golden.rows.iter().filter(|row| !is_missing(run, &row.name)) {
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
