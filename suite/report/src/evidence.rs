//! Comparisons of two rows that claims and the dilemma are judged by: what is wanted of a difference, what was found, and
//! how sure it is. Pure.
//!
//! This module does not know any claim. A comparison keeps its effect, standard error and degrees of freedom, so that
//! whoever reads it can judge it again.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::difficulty::Level;

use crate::score::{Effect, Effects, Lineage, Quantity, Results, RowKind, long_shares};
use crate::statistics::{self, Estimate, Interval};

/// The level of a two-sided test; one side has half of it.
pub const ALPHA: f64 = 0.05;

/// What two rows are compared by.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of correct answers; effects are in points.
    Accuracy,
    /// Tokens per answer; effects are in percent of the second row's.
    Length,
    /// Reasoning words per answer; effects are in words.
    Words,
}

impl Measure {
    const ALL: [Measure; 3] = [Measure::Accuracy, Measure::Length, Measure::Words];

    fn quantity(self) -> Quantity {
        match self {
            Measure::Accuracy => Quantity::Accuracy,
            Measure::Length => Quantity::Length,
            Measure::Words => Quantity::Words,
        }
    }

    /// The unit of an effect.
    pub fn unit(self) -> &'static str {
        match self {
            Measure::Accuracy => "points",
            Measure::Length => "% of the second row's tokens",
            Measure::Words => "reasoning words per answer",
        }
    }
}

/// What a difference should be; the margin is never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Above the margin.
    Above,
    /// Below minus the margin.
    Below,
    /// Less than the margin away from zero: equivalence.
    Within,
    /// Below the margin: non-superiority.
    NotAbove,
    /// Above minus the margin: non-inferiority.
    NotBelow,
}

impl Wanted {
    /// One-sided p-values of what is wanted, and of its opposite.
    fn p(self, estimate: Estimate, margin: f64) -> (f64, f64) {
        let sides = |above: bool, bound: f64| {
            let (up, down) = (estimate.p_above(bound), estimate.p_below(bound));
            if above { (up, down) } else { (down, up) }
        };
        match self {
            Wanted::Above => sides(true, margin),
            Wanted::Below => sides(false, -margin),
            Wanted::NotAbove => sides(false, margin),
            Wanted::NotBelow => sides(true, -margin),
            Wanted::Within => {
                let outside = estimate.p_above(margin).min(estimate.p_below(-margin));
                (estimate.p_within(margin), outside)
            }
        }
    }

    /// As a person reads it, in the unit of the effect.
    fn describe(self, margin: f64) -> String {
        match self {
            Wanted::Above => format!("above {margin}"),
            Wanted::Below => format!("below {}", 0.0 - margin),
            Wanted::Within => format!("within ±{margin}"),
            Wanted::NotAbove => format!("not above {margin}"),
            Wanted::NotBelow => format!("not below {}", 0.0 - margin),
        }
    }
}

/// What a comparison shows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// The opposite of what is wanted.
    Fails,
    /// Neither.
    Undecided,
    /// What is wanted.
    Holds,
}

/// The questions of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All with levels.
    All,
    /// Those of a level.
    Level(Level),
    /// The half with more steps, family by family.
    HardByKnob,
    /// The half with fewer steps.
    EasyByKnob,
    /// L4 and L5.
    HardByLevel,
    /// L1 to L3.
    EasyByLevel,
}

impl Part {
    /// The part's name, as in JSON.
    pub fn name(self) -> String {
        match self {
            Part::All => "all".to_owned(),
            Part::Level(level) => level.to_string(),
            Part::HardByKnob => "hard half".to_owned(),
            Part::EasyByKnob => "easy half".to_owned(),
            Part::HardByLevel => "L4 and L5".to_owned(),
            Part::EasyByLevel => "L1 to L3".to_owned(),
        }
    }
}

/// A difference of two rows: what is wanted of it, what was found, and what that shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// The row that is looked at.
    #[schemars(length(min = 1))]
    pub row: String,
    /// The row that is taken away from it.
    #[schemars(length(min = 1))]
    pub less: String,
    /// What they are compared by.
    pub metric: Measure,
    /// The questions: `all`, a level, `hard half`, `easy half`, `L4 and L5` or `L1 to L3`.
    #[schemars(length(min = 1))]
    pub part: String,
    /// The comparison's group, of which a single one is enough; empty where each is needed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// What the difference should be.
    pub wanted: Wanted,
    /// The margin of what is wanted, in the unit of the effect.
    #[schemars(range(min = 0))]
    pub margin: f64,
    /// The difference with its 95 % interval, in the unit of `metric`.
    pub effect: Interval,
    /// Standard error of the difference.
    #[schemars(range(min = 0))]
    pub standard_error: f64,
    /// Degrees of freedom of the standard error.
    #[schemars(range(min = 1))]
    pub degrees: f64,
    /// The smallest effect that so many questions and seeds show with a power of 80 %.
    #[schemars(range(min = 0))]
    pub detectable: f64,
    /// One-sided p-value of what is wanted.
    #[schemars(range(min = 0, max = 1))]
    pub p: f64,
    /// One-sided p-value of its opposite.
    #[schemars(range(min = 0, max = 1))]
    pub p_against: f64,
    /// Two-sided p-value after the correction for all that is judged together.
    #[schemars(range(min = 0, max = 1))]
    pub p_holm: f64,
    /// What follows from it.
    pub verdict: Shown,
}

impl Compared {
    /// Judges the comparison by itself, without correction.
    pub fn judge(&mut self) {
        self.judge_among(1.0, 1.0, 1.0, 0.0);
    }

    /// Judges the comparison where `times` (`times_against`) of its kind could show what is wanted (its opposite) by chance,
    /// and p-values count `factor` times and are at least `floor`.
    pub fn judge_among(&mut self, times: f64, times_against: f64, factor: f64, floor: f64) {
        let estimate = Estimate {
            effect: self.effect.mean,
            standard_error: self.standard_error,
            degrees: self.degrees,
        };
        (self.p, self.p_against) = self.wanted.p(estimate, self.margin);
        let (own, other) = (times * self.p, times_against * self.p_against);
        self.p_holm = (2.0 * factor * own.min(other)).min(1.0).max(floor);
        self.verdict = match self.p_holm <= ALPHA {
            true if own <= other => Shown::Holds,
            true => Shown::Fails,
            false => Shown::Undecided,
        };
    }

    /// The comparison as a person reads it: `sft - base, L1; wanted below 0`.
    pub fn describe(&self) -> String {
        let unit = match self.metric {
            Measure::Accuracy => "",
            Measure::Length => ", length in % of the latter's",
            Measure::Words => ", reasoning words per answer",
        };
        let part = if self.part == "all" { String::new() } else { format!(", {}", self.part) };
        let wanted = self.wanted.describe(self.margin);
        format!("{} - {}{part}{unit}; wanted {wanted}", self.row, self.less)
    }
}

/// What a comparison asks, before it meets results.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The row that is looked at.
    pub row: &'a str,
    /// The row that is taken away from it.
    pub less: &'a str,
    /// What they are compared by.
    pub metric: Measure,
    /// The questions.
    pub part: Part,
    /// What the difference should be.
    pub wanted: Wanted,
    /// The margin, in the unit of the effect.
    pub margin: f64,
}

/// Names that rows had before, with the names that claims call them by.
const FORMER: [(&str, &str); 3] = [
    ("sft_shallow", "sft_verbose_shallow"),
    ("sft_own_brief", "sft_terse"),
    ("two_stage_1", "two_stage_early"),
];

/// Results, cut into the parts that comparisons look at.
pub struct Study<'a> {
    /// The results.
    pub results: &'a Results,
    /// What their rows stand on.
    pub lineage: &'a Lineage<'a>,
    effects: BTreeMap<(Part, Measure), Effects<'a>>,
    long: BTreeMap<&'a str, BTreeMap<Option<Level>, f64>>,
}

impl<'a> Study<'a> {
    /// Measures every row over every part that has questions.
    pub fn of(results: &'a Results, lineage: &'a Lineage<'a>) -> Study<'a> {
        let mut effects = BTreeMap::new();
        for (part, questions) in parts(results) {
            for measure in Measure::ALL {
                let of_part = Effects::of(results, lineage, &questions, measure.quantity());
                effects.insert((part, measure), of_part);
            }
        }
        Study { results, lineage, effects, long: long_shares(results) }
    }

    /// The name of a row in these results, which may be a former one.
    pub fn row<'b>(&self, name: &'b str) -> Option<&'b str> {
        let former = FORMER.iter().find(|(now, _)| *now == name).map(|(_, former)| *former);
        let known = |name: &&str| self.results.row(name).is_some();
        [Some(name), former].into_iter().flatten().find(known)
    }

    /// One metric of all rows over a part; `None` where the part has no questions.
    pub fn effects(&self, part: Part, measure: Measure) -> Option<&Effects<'a>> {
        self.effects.get(&(part, measure))
    }

    /// The mean of a row, in its own unit; `None` where it was not asked.
    pub fn mean(&self, row: &str, part: Part, measure: Measure) -> Option<f64> {
        let values = self.effects(part, measure)?.values(row)?;
        Some(statistics::mean(values)).filter(|mean| mean.is_finite())
    }

    /// Regimes whose seeds differ far more in accuracy than those of rows trained alike, with the points between them.
    pub fn noisy(&self) -> Vec<String> {
        let Some(effects) = self.effects(Part::All, Measure::Accuracy) else { return Vec::new() };
        let regimes = self.results.rows.iter().filter(|row| row.kind == RowKind::Regime);
        let own = regimes.filter(|row| effects.has_own_noise(&row.name));
        let told = own.filter_map(|row| {
            let points = 100.0 * statistics::deviation(&effects.per_seed(&row.name)?);
            Some(format!("`{}` ({points:.1} points between {} seeds)", row.name, row.seeds.len()))
        });
        told.collect()
    }

    /// The greatest share of long answers that a row has on a level; `None` where it was not asked.
    pub fn longest_share(&self, row: &str) -> Option<f64> {
        self.long.get(row)?.values().copied().reduce(f64::max)
    }

    /// Measures a comparison and judges it by itself; `None` where a row or its questions are missing.
    pub fn compare(&self, question: Question<'_>) -> Option<Compared> {
        let Question { metric, part, wanted, margin, .. } = question;
        let (row, less) = (self.row(question.row)?, self.row(question.less)?);
        let Effect { estimate, interval } = if row == less {
            let none = Interval { mean: 0.0, low: 0.0, high: 0.0 };
            Effect { estimate: Estimate::as_wide_as(none), interval: none }
        } else {
            self.effects(part, metric)?.difference(row, less)?
        };
        let scale = match metric {
            Measure::Accuracy => 100.0,
            Measure::Length => 100.0 / self.mean(less, part, metric)?.max(f64::MIN_POSITIVE),
            Measure::Words => 1.0,
        };
        let (estimate, effect) = (estimate.scaled(scale), interval.scaled(scale));
        if !estimate.effect.is_finite() || !estimate.standard_error.is_finite() {
            return None;
        }
        let mut compared = Compared {
            row: row.to_owned(),
            less: less.to_owned(),
            metric,
            part: part.name(),
            group: String::new(),
            wanted,
            margin,
            effect,
            standard_error: estimate.standard_error,
            degrees: estimate.degrees,
            detectable: estimate.detectable(ALPHA),
            p: 1.0,
            p_against: 1.0,
            p_holm: 1.0,
            verdict: Shown::Undecided,
        };
        compared.judge();
        Some(compared)
    }
}

/// The questions of every part that has at least two, by index; halves only where both have some.
fn parts(results: &Results) -> Vec<(Part, Vec<usize>)> {
    let leveled = |index: &usize| results.questions[*index].level;
    let all: Vec<usize> =
        (0..results.questions.len()).filter(|index| leveled(index).is_some()).collect();
    let of_level = |level: Level| -> Vec<usize> {
        all.iter().copied().filter(|index| leveled(index) == Some(level)).collect()
    };
    let is_hard = |index: &usize| leveled(index) >= Some(Level::L4);
    let (hard, easy): (Vec<usize>, Vec<usize>) = all.iter().partition(|index| is_hard(index));
    let mut parts: Vec<(Part, Vec<usize>)> =
        Level::ALL.into_iter().map(|level| (Part::Level(level), of_level(level))).collect();
    let (by_knob, by_level) = (halves(results, &all), (hard, easy));
    for ((hard, easy), [of_hard, of_easy]) in [
        (by_knob, [Part::HardByKnob, Part::EasyByKnob]),
        (by_level, [Part::HardByLevel, Part::EasyByLevel]),
    ] {
        if hard.len() > 1 && easy.len() > 1 {
            parts.extend([(of_hard, hard), (of_easy, easy)]);
        }
    }
    parts.push((Part::All, all));
    parts.retain(|(_, questions)| questions.len() > 1);
    parts
}

/// The harder and the easier half of each family by its knob, as near to halves as whole steps allow, all families
/// together. A benchmark without a knob is cut between L3 and L4. Nothing where no benchmark has a knob.
fn halves(results: &Results, all: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut families: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &index in all {
        families.entry(&results.questions[index].benchmark).or_default().push(index);
    }
    let hops = |index: &usize| results.questions[*index].hops;
    let cut = |members: &[usize]| {
        let greatest = members.iter().map(hops).max()?;
        let harder = |most: usize| members.iter().filter(|index| hops(index) > most).count();
        let off = |most: &usize| (2 * harder(*most)).abs_diff(members.len());
        members.iter().map(hops).filter(|steps| *steps < greatest).min_by_key(off)
    };
    let cuts: BTreeMap<&str, Option<usize>> =
        families.iter().map(|(name, members)| (*name, cut(members))).collect();
    if cuts.values().all(Option::is_none) {
        return (Vec::new(), Vec::new());
    }
    all.iter().partition(|index| {
        let question = &results.questions[**index];
        match cuts[question.benchmark.as_str()] {
            Some(most) => question.hops > most,
            None => question.level >= Some(Level::L4),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::study;

    fn compared(wanted: Wanted, margin: f64, mean: f64) -> Shown {
        let half = 2.0;
        let effect = Interval { mean, low: mean - half, high: mean + half };
        let estimate = Estimate::as_wide_as(effect);
        let mut compared = Compared {
            row: "a".into(),
            less: "b".into(),
            metric: Measure::Accuracy,
            part: "all".into(),
            group: String::new(),
            wanted,
            margin,
            effect,
            standard_error: estimate.standard_error,
            degrees: estimate.degrees,
            detectable: 0.0,
            p: 1.0,
            p_against: 1.0,
            p_holm: 1.0,
            verdict: Shown::Undecided,
        };
        compared.judge();
        compared.verdict
    }

    #[test]
    fn what_is_wanted_decides_at_the_ends_of_the_interval() {
        use Shown::{Fails, Holds, Undecided};
        use Wanted::{Above, Below, NotAbove, NotBelow, Within};
        for (wanted, margin, mean, want) in [
            (Above, 0.0, 2.1, Holds),
            (Above, 0.0, 1.9, Undecided),
            (Above, 0.0, -2.1, Fails),
            (Above, 3.0, 4.9, Undecided),
            (Above, 3.0, 5.1, Holds),
            (Below, 3.0, -5.1, Holds),
            (Below, 0.0, 2.1, Fails),
            (NotAbove, 3.0, 0.9, Holds),
            (NotAbove, 3.0, 1.1, Undecided),
            (NotAbove, 3.0, 5.1, Fails),
            (NotBelow, 3.0, -0.9, Holds),
            (NotBelow, 3.0, -5.1, Fails),
            (Within, 3.0, 0.9, Holds),
            (Within, 3.0, -1.5, Undecided),
            (Within, 3.0, -5.1, Fails),
        ] {
            assert_eq!(compared(wanted, margin, mean), want, "{wanted:?} {margin} {mean}");
        }
    }

    #[test]
    fn halves_are_cut_in_each_family_by_its_own_steps() {
        let mut results = study(20, &[1]);
        results.questions.iter_mut().filter(|q| q.benchmark == "sum").for_each(|q| q.hops += 20);
        let parts: BTreeMap<Part, Vec<usize>> = parts(&results).into_iter().collect();
        let count = |part: Part, family: &str| {
            parts[&part].iter().filter(|q| results.questions[**q].benchmark == family).count()
        };
        for family in ["sum", "path"] {
            assert_eq!(
                (count(Part::HardByKnob, family), count(Part::EasyByKnob, family)),
                (10, 10)
            );
        }
        assert_eq!(parts[&Part::HardByLevel].len() + parts[&Part::EasyByLevel].len(), 100);
        // Without a knob there are halves by level only.
        results.questions.iter_mut().for_each(|question| question.hops = 0);
        assert!(!super::parts(&results).iter().any(|(part, _)| *part == Part::HardByKnob));
    }
}
