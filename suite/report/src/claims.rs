//! The study's findings as predicates over results. Pure.
//!
//! This module does not know how results were made or how a finding is shown. Each claim is a list of comparisons that
//! it implies, and its verdict follows from theirs by one rule ([`RULE`]); the study's own figures are shown with
//! ours and are never mixed with them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::difficulty::Level;

use crate::score::{self, BASE, ResultRow, Results};
use crate::statistics::{self, Interval};

mod list;

/// The rule, as it is printed with every ledger.
pub const RULE: &str = "\
A claim is a list of comparisons of rows, each wanted above zero, below zero, or within a band.
An effect is the difference of two rows over the same questions, with a 95 % interval from its standard
error over questions and seeds. Wanted above zero: holds if the interval lies above, fails if it lies below,
else undecided. Within a band: holds if the interval lies within, fails if it lies outside, else undecided.
A claim holds if all its comparisons hold, fails if one fails, else is undecided; where rows are missing it
is not testable here. The comparison shown is the one that decided. The minimum detectable effect is what a
power of 80 % needs. A control explains a claim that holds if the control shows the same effect.";

/// How a claim fared.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ClaimVerdict {
    /// At least one of its comparisons is against it.
    Fails,
    /// No comparison is against it, and at least one could go either way.
    Undecided,
    /// All of its comparisons are for it.
    Holds,
    /// Rows that it needs are not in the results.
    NotTestable,
}

impl ClaimVerdict {
    /// As a person reads it.
    pub fn name(self) -> &'static str {
        match self {
            ClaimVerdict::Fails => "fails",
            ClaimVerdict::Undecided => "undecided",
            ClaimVerdict::Holds => "holds",
            ClaimVerdict::NotTestable => "not testable here",
        }
    }
}

/// One claim with what the results say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// `C1` to `C13`.
    #[schemars(regex(pattern = "^C[0-9]+$"))]
    pub id: String,
    /// The claim, in our words.
    pub claim: String,
    /// The comparison that decided, as a person reads it: `sft - base, L1`.
    pub measured: String,
    /// How the claim fared.
    pub verdict: ClaimVerdict,
    /// The effect that decided, in points of accuracy unless `measured` says otherwise.
    #[serde(deserialize_with = "Option::deserialize")]
    pub effect: Option<Interval>,
    /// The smallest effect that this many questions and seeds would show with a power of 80 %, in the same unit.
    #[serde(deserialize_with = "Option::deserialize")]
    pub minimum_detectable_effect: Option<f64>,
    /// The control that explains the effect, if one does, and how.
    #[serde(deserialize_with = "Option::deserialize")]
    pub explained_by: Option<String>,
    /// The study's own figures, of a 7B model.
    pub published: String,
    /// Anything else that a reader must know.
    pub note: String,
}

/// Every claim of the study, in order.
pub fn ledger(results: &Results) -> Vec<Finding> {
    list::CLAIMS.iter().map(|claim| claim.finding(results)).collect()
}

/// A claim before it meets results.
struct Claim {
    id: &'static str,
    text: &'static str,
    published: &'static str,
    note: &'static str,
    /// What it implies.
    comparisons: &'static [Comparison],
    /// What would explain it, looked at only if it holds.
    controls: &'static [Control],
}

/// A difference of two rows that a claim implies.
struct Comparison {
    metric: Metric,
    row: &'static str,
    less: &'static str,
    level: Option<Level>,
    wanted: Wanted,
}

/// A difference without which the claim is explained.
struct Control {
    comparison: Comparison,
    /// What is true if the difference is not above zero.
    explanation: &'static str,
}

#[derive(Clone, Copy)]
enum Metric {
    /// In points.
    Accuracy,
    /// In percent of the second row's.
    Length,
    /// In reasoning words per answer.
    Words,
}

#[derive(Clone, Copy)]
enum Wanted {
    Above(f64),
    Below(f64),
    /// Within this much of zero.
    Within(f64),
}

/// A comparison that has met results.
struct Measured {
    what: String,
    effect: Interval,
    detectable: f64,
    verdict: ClaimVerdict,
}

impl Claim {
    fn finding(&self, results: &Results) -> Finding {
        let measured: Option<Vec<Measured>> =
            self.comparisons.iter().map(|c| c.measure(results)).collect();
        // The worst decides, of equals the first.
        let decided = measured.and_then(|all| {
            let worst = all.iter().map(|m| m.verdict).min()?;
            all.into_iter().find(|m| m.verdict == worst)
        });
        let verdict = decided.as_ref().map_or(ClaimVerdict::NotTestable, |m| m.verdict);
        let explains = |control: &&Control| {
            let measured = control.comparison.measure(results);
            measured.is_some_and(|m| m.verdict != ClaimVerdict::Holds)
        };
        let control = self.controls.iter().find(explains);
        let explained_by = control
            .filter(|_| verdict == ClaimVerdict::Holds)
            .map(|control| control.explanation.to_owned());
        let missing: Vec<&str> = self
            .comparisons
            .iter()
            .flat_map(|c| [c.row, c.less])
            .filter(|row| results.row(row).is_none())
            .collect();
        let note = match missing.first() {
            Some(row) => format!("needs row `{row}`"),
            None => self.note.to_owned(),
        };
        Finding {
            id: self.id.to_owned(),
            claim: self.text.to_owned(),
            measured: decided.as_ref().map_or_else(String::new, |m| m.what.clone()),
            verdict,
            effect: decided.as_ref().map(|m| m.effect),
            minimum_detectable_effect: decided.as_ref().map(|m| m.detectable),
            explained_by,
            published: self.published.to_owned(),
            note,
        }
    }
}

impl Comparison {
    /// Returns `None` where a row or its questions are missing.
    fn measure(&self, results: &Results) -> Option<Measured> {
        let of_level = |level: Option<Level>| self.level.is_none() || level == self.level;
        let questions: Vec<usize> = (0..results.questions.len())
            .filter(|&i| {
                results.questions[i].level.is_some() && of_level(results.questions[i].level)
            })
            .collect();
        let values = |name: &str| -> Option<Vec<Vec<f64>>> {
            let row = results.row(name)?;
            let values = self.metric.values(row, &questions);
            values.iter().flatten().all(|x| x.is_finite()).then_some(values)
        };
        if questions.len() < 2 {
            return None;
        }
        let (row, less) = (values(self.row)?, values(self.less)?);
        let scale = match self.metric {
            Metric::Accuracy => 100.0,
            Metric::Length => 100.0 / statistics::mean(&less).max(f64::MIN_POSITIVE),
            Metric::Words => 1.0,
        };
        let mean = scale * (statistics::mean(&row) - statistics::mean(&less));
        let error = scale * statistics::standard_error_paired(&row, &less);
        let z = statistics::normal_quantile(0.975);
        // All questions alike show no error, which is not to say that there is none.
        let is_alike = error <= 0.0 && matches!(self.metric, Metric::Accuracy);
        let effect = match is_alike {
            true => statistics::score_difference(mean / scale, questions.len()).scaled(scale),
            false => Interval { mean, low: mean - z * error, high: mean + z * error },
        };
        let error = if is_alike { effect.half_width() / z } else { error };
        Some(Measured {
            what: self.describe(),
            effect,
            detectable: statistics::minimum_detectable_effect(error, 0.05),
            verdict: self.wanted.judge(effect),
        })
    }

    fn describe(&self) -> String {
        let unit = match self.metric {
            Metric::Accuracy => "",
            Metric::Length => ", length in % of the latter's",
            Metric::Words => ", reasoning words per answer",
        };
        let level = self.level.map_or_else(String::new, |level| format!(", {level}"));
        let wanted = match self.wanted {
            Wanted::Above(bound) => format!("above {bound}"),
            Wanted::Below(bound) => format!("below {bound}"),
            Wanted::Within(band) => format!("within ±{band}"),
        };
        format!("{} - {}{level}{unit}; wanted {wanted}", self.row, self.less)
    }
}

impl Metric {
    fn values(self, row: &ResultRow, questions: &[usize]) -> Vec<Vec<f64>> {
        score::per_question(row, questions, |seed, q| match self {
            Metric::Accuracy => score::share(seed, q, 'c'),
            Metric::Length => score::length(seed, q),
            Metric::Words => score::words_per_answer(seed, q),
        })
    }
}

impl Wanted {
    fn judge(self, effect: Interval) -> ClaimVerdict {
        let (holds, fails) = match self {
            Wanted::Above(bound) => (effect.low > bound, effect.high < bound),
            Wanted::Below(bound) => (effect.high < bound, effect.low > bound),
            Wanted::Within(band) => {
                (effect.low > -band && effect.high < band, effect.low > band || effect.high < -band)
            }
        };
        match (holds, fails) {
            (true, _) => ClaimVerdict::Holds,
            (_, true) => ClaimVerdict::Fails,
            _ => ClaimVerdict::Undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::{Behavior, CHANCE, LONG, SHARP, UNTUNED, header, levels, row};
    use crate::score::{Row, RowKind};

    const PER_FAMILY: usize = 120;

    fn rows(regimes: &[(&str, Behavior)]) -> Results {
        let mut rows: Vec<Row> = vec![row(BASE, RowKind::Baseline, UNTUNED, 1, PER_FAMILY, 4)];
        rows.extend(
            regimes
                .iter()
                .map(|(name, behavior)| row(name, RowKind::Regime, *behavior, 1, PER_FAMILY, 4)),
        );
        Results::assemble(header(), &levels(PER_FAMILY), &rows).unwrap()
    }

    fn finding(results: &Results, id: &str) -> Finding {
        ledger(results).into_iter().find(|f| f.id == id).unwrap()
    }

    #[test]
    fn a_claim_whose_rows_are_missing_is_not_testable_and_says_which() {
        let results = rows(&[]);
        let all = ledger(&results);
        assert_eq!(all.len(), 13);
        assert!(all.iter().all(|f| f.verdict == ClaimVerdict::NotTestable));
        assert_eq!(finding(&results, "C3").note, "needs row `sft`");
    }

    #[test]
    fn loss_on_easy_and_gain_on_hard_questions_holds_unless_chance_explains_it() {
        let unable = Behavior { accuracy: [0.2; 5], ..LONG };
        let deep = Behavior { accuracy: [0.70, 0.55, 0.45, 0.40, 0.40], ..LONG };
        let terse = ("sft_terse", UNTUNED);
        let able = rows(&[("sft", deep), ("rl", SHARP), ("sft/shuffled", unable), terse]);
        let c3 = finding(&able, "C3");
        assert_eq!((c3.verdict, c3.explained_by.clone()), (ClaimVerdict::Holds, None), "{c3:?}");
        assert!(c3.minimum_detectable_effect.unwrap() > 0.0);
        // With another's picture it does as well: chance, given the text.
        let lucky = rows(&[("sft", deep), ("rl", SHARP), ("sft/shuffled", deep), terse]);
        let c3 = finding(&lucky, "C3");
        assert_eq!(c3.verdict, ClaimVerdict::Holds);
        assert!(c3.explained_by.unwrap().contains("another question's picture"));
        // Terse answers to the same questions teach as much.
        let met =
            rows(&[("sft", deep), ("rl", SHARP), ("sft/shuffled", unable), ("sft_terse", deep)]);
        assert!(finding(&met, "C3").explained_by.unwrap().contains("having met long questions"));
    }

    #[test]
    fn a_gain_that_greedy_decoding_has_too_is_explained_by_it() {
        let c4 = |greedy| finding(&rows(&[("rl", SHARP), ("greedy", greedy)]), "C4");
        let sharp = Behavior { accuracy: [0.99, 0.85, 0.6, 0.4, 0.3], ..UNTUNED };
        let better = finding(&rows(&[("rl", sharp), ("greedy", UNTUNED)]), "C4");
        assert_eq!((better.verdict, better.explained_by), (ClaimVerdict::Holds, None));
        assert!(matches!(c4(SHARP).verdict, ClaimVerdict::Undecided | ClaimVerdict::Holds));
        assert_eq!(c4(CHANCE).explained_by, None);
        let explained = finding(&rows(&[("rl", sharp), ("greedy", sharp)]), "C4");
        assert!(explained.explained_by.unwrap().contains("greedy"));
    }

    #[test]
    fn what_is_wanted_decides() {
        let effect = |low, high| Interval { mean: f64::midpoint(low, high), low, high };
        let check = |wanted: Wanted, low, high, verdict| {
            assert_eq!(wanted.judge(effect(low, high)), verdict, "{low} {high}");
        };
        check(Wanted::Above(0.0), 0.1, 2.0, ClaimVerdict::Holds);
        check(Wanted::Above(0.0), -2.0, -0.1, ClaimVerdict::Fails);
        check(Wanted::Above(0.0), -0.1, 2.0, ClaimVerdict::Undecided);
        check(Wanted::Below(0.0), -2.0, -0.1, ClaimVerdict::Holds);
        check(Wanted::Within(2.0), -1.0, 1.9, ClaimVerdict::Holds);
        check(Wanted::Within(2.0), 2.1, 5.0, ClaimVerdict::Fails);
        check(Wanted::Within(2.0), -3.0, 1.0, ClaimVerdict::Undecided);
    }
}
