//! Whether the verdicts of a leaderboard follow from its own figures.
//!
//! This module does not know how a figure was measured. Comparisons carry effect, standard error and degrees of freedom:
//! p-values, corrections and verdicts are computed from these again, and effects from cells where cells have them. A half
//! by steps is in no cell, so that its effect cannot be checked.

use super::run::{ALL, BoardCell, ROUNDING, Run};
use crate::claims::{self, ClaimVerdict, Finding};
use crate::dilemma::{Outcome, Split, Standing};
use crate::evidence::{Compared, Measure, Part, Shown};
use crate::statistics::{CONFIDENCE, t_quantile};

/// How far a figure that is computed from rounded ones may be off, relative to one more than its size.
const OFF: f64 = 2e-3;

/// Levels of fewer questions say nothing about long answers.
const QUESTIONS_MIN: u64 = 3;

impl Run {
    /// Names every verdict that does not follow from the figures, and every effect that contradicts the cells.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut judged = self.claims.clone();
        claims::judge(&mut judged);
        for (given, judged) in self.claims.iter().zip(&judged) {
            self.of_claim(given, judged, &mut found);
        }
        if let Some(dilemma) = &self.dilemma {
            for split in &dilemma.splits {
                for standing in &split.rows {
                    self.of_standing(split, standing, &mut found);
                }
            }
            self.of_dilemma_in_claims(&mut found);
        }
        found
    }

    fn of_claim(&self, given: &Finding, judged: &Finding, found: &mut Vec<String>) {
        let id = &given.id;
        if given.verdict != judged.verdict {
            let (given, judged) = (given.verdict.name(), judged.verdict.name());
            found.push(format!("claim {id} says `{given}`, its comparisons say `{judged}`"));
        }
        if given.decided_by != judged.decided_by {
            found.push(format!("claim {id} was decided by another comparison than it says"));
        }
        if differ(given.p, judged.p) || differ(given.p_holm, judged.p_holm) {
            found.push(format!("claim {id} has p-values that its comparisons do not have"));
        }
        let pairs = given.comparisons.iter().zip(&judged.comparisons);
        let pairs = pairs.chain(given.controls.iter().zip(&judged.controls));
        for (own, again) in pairs {
            self.of_comparison(&format!("claim {id}"), own, again, found);
        }
        for (own, again) in given.conditions.iter().zip(&judged.conditions) {
            if own.met != again.met {
                found.push(format!("claim {id}: whether {} contradicts its figures", own.what));
            }
            if let (Some(own), Some(again)) = (&own.comparison, &again.comparison) {
                self.of_comparison(&format!("claim {id}"), own, again, found);
            }
        }
        let is_explained = judged.verdict == ClaimVerdict::Holds
            && judged.controls.iter().any(|control| control.verdict == Shown::Holds);
        if given.explained_by.is_some() != is_explained {
            found.push(format!(
                "claim {id}: whether a control explains it contradicts its controls"
            ));
        }
    }

    fn of_standing(&self, split: &Split, standing: &Standing, found: &mut Vec<String>) {
        let place = format!("dilemma by {}, row `{}`", split.by, standing.row);
        let mut again = standing.clone();
        again.judge();
        if again.verdict != standing.verdict {
            let (given, judged) = (standing.verdict.name(), again.verdict.name());
            found.push(format!("{place} says `{given}`, its comparisons say `{judged}`"));
        }
        for (own, again) in [
            (&standing.hard, &again.hard),
            (&standing.easy, &again.easy),
            (&standing.whole, &again.whole),
        ] {
            self.of_comparison(&place, own, again, found);
        }
        if let Some(share) = self.longest_share(&standing.row)
            && (share - standing.long).abs() > 2.0 * ROUNDING
        {
            found.push(format!("{place}: its share of long answers is not that of its cells"));
        }
    }

    /// The comparisons of the dilemma that claims use are those of its first split.
    fn of_dilemma_in_claims(&self, found: &mut Vec<String>) {
        let Some(split) = self.dilemma.as_ref().and_then(|dilemma| dilemma.splits.first()) else {
            return;
        };
        for claim in &self.claims {
            let grouped: Vec<&Compared> =
                claim.comparisons.iter().filter(|own| !own.group.is_empty()).collect();
            for own in &grouped {
                let standing = split.rows.iter().find(|standing| standing.row == own.group);
                let three =
                    standing.map(|standing| [&standing.hard, &standing.easy, &standing.whole]);
                let same = |other: &&Compared| other.part == own.part && other.effect == own.effect;
                if !three.is_some_and(|three| three.iter().any(same)) {
                    let (id, row) = (&claim.id, &own.row);
                    found.push(format!("claim {id}: the dilemma has another effect of `{row}`"));
                }
            }
            let testable = split.rows.iter().filter(|standing| {
                !matches!(standing.verdict, Outcome::Parent | Outcome::NotTestable)
            });
            let all = |standing: &Standing| grouped.iter().any(|own| own.group == standing.row);
            if let Some(left_out) = testable.into_iter().find(|standing| !all(standing))
                && !grouped.is_empty()
            {
                found.push(format!("claim {} leaves out `{}`", claim.id, left_out.row));
            }
        }
    }

    fn of_comparison(
        &self,
        place: &str,
        own: &Compared,
        again: &Compared,
        found: &mut Vec<String>,
    ) {
        let what = own.describe();
        if own.verdict != again.verdict
            || [(own.p, again.p), (own.p_against, again.p_against), (own.p_holm, again.p_holm)]
                .into_iter()
                .any(|(own, again)| differ(Some(own), Some(again)))
        {
            found.push(format!("{place}: the p-values or the verdict of `{what}` do not follow"));
        }
        let half = t_quantile(0.5 + CONFIDENCE / 2.0, own.degrees.max(1.0)) * own.standard_error;
        // An interval of a difference of shares ends at 100 points.
        if own.effect.half_width() > half + OFF * (1.0 + half) {
            found.push(format!("{place}: the interval of `{what}` is wider than its error"));
        }
        if let Some(effect) = self.effect(own)
            && (effect - own.effect.mean).abs() > OFF * (1.0 + effect.abs())
        {
            let given = own.effect.mean;
            found.push(format!(
                "{place}: the effect of `{what}` is {given}, by the cells {effect:.3}"
            ));
        }
    }

    /// The effect of a comparison by the cells, where they have its part and its metric.
    fn effect(&self, compared: &Compared) -> Option<f64> {
        let of = |row: &str| self.mean(row, &compared.part, compared.metric);
        let (row, less) = (of(&compared.row)?, of(&compared.less)?);
        Some(match compared.metric {
            Measure::Accuracy => 100.0 * (row - less),
            Measure::Length => 100.0 * (row / less.max(f64::MIN_POSITIVE) - 1.0),
            Measure::Words => return None,
        })
    }

    fn mean(&self, row: &str, part: &str, metric: Measure) -> Option<f64> {
        let row = self.rows.iter().find(|other| other.name == row)?;
        let levels: &[&str] = match part {
            _ if part == Part::HardByLevel.name() => &["L4", "L5"],
            _ if part == Part::EasyByLevel.name() => &["L1", "L2", "L3"],
            _ => &[part],
        };
        let is_part =
            |cell: &&BoardCell| cell.benchmark == ALL && levels.contains(&cell.level.as_str());
        let (mut sum, mut count) = (0.0, 0.0);
        for cell in row.cells.iter().filter(is_part) {
            let value =
                if metric == Measure::Accuracy { cell.accuracy.mean } else { cell.length.mean };
            sum += cell.num_questions as f64 * value;
            count += cell.num_questions as f64;
        }
        (count > 0.0).then(|| sum / count)
    }

    fn longest_share(&self, row: &str) -> Option<f64> {
        let row = self.rows.iter().find(|other| other.name == row)?;
        let counts =
            |cell: &&BoardCell| cell.benchmark == ALL && cell.num_questions >= QUESTIONS_MIN;
        row.cells.iter().filter(counts).map(|cell| cell.long).reduce(f64::max)
    }
}

/// Tells whether two p-values are not the same but for rounding.
fn differ(given: Option<f64>, again: Option<f64>) -> bool {
    match (given, again) {
        (Some(given), Some(again)) => (given - again).abs() > 1e-5 + 1e-3 * again.abs(),
        (None, None) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dilemma::tests::{BEST, combined};
    use crate::score::Metrics;
    use crate::score::fixture::LONG;

    fn run() -> Run {
        let results = combined(&[("best", BEST), ("interleaved", LONG)]);
        Run::of(&results, &Metrics::of(&results)).unwrap()
    }

    #[track_caller]
    fn found(change: impl FnOnce(&mut Run), want: &str) {
        let mut run = run();
        assert_eq!(run.contradictions(), [""; 0]);
        change(&mut run);
        let found = run.contradictions();
        assert!(found.iter().any(|fault| fault.contains(want)), "{want} in {found:#?}");
    }

    fn claim<'a>(run: &'a mut Run, id: &str) -> &'a mut Finding {
        run.claims.iter_mut().find(|claim| claim.id == id).unwrap()
    }

    #[test]
    fn a_verdict_that_does_not_follow_is_found() {
        found(
            |run| claim(run, "C13").verdict = ClaimVerdict::Holds,
            "claim C13 says `holds`, its comparisons say `fails`",
        );
        found(|run| claim(run, "C13").p_holm = Some(0.5), "claim C13 has p-values");
        found(|run| claim(run, "C13").decided_by = Some(99), "decided by another comparison");
        found(|run| claim(run, "C4").comparisons[0].verdict = Shown::Undecided, "do not follow");
        found(|run| claim(run, "C4").comparisons[0].standard_error *= 0.5, "claim C4");
        found(|run| claim(run, "C4").comparisons[1].effect.mean += 1.0, "by the cells");
        found(|run| claim(run, "C3").conditions[0].met = false, "contradicts its figures");
        found(
            |run| claim(run, "C4").explained_by = Some("it is sharper".to_owned()),
            "whether a control explains it",
        );
        found(
            |run| claim(run, "C13").comparisons.retain(|own| own.group != "interleaved"),
            "leaves out `interleaved`",
        );
    }

    #[test]
    fn a_dilemma_that_does_not_follow_is_found() {
        let standing = |run: &mut Run, change: &dyn Fn(&mut Standing)| {
            let dilemma = run.dilemma.as_mut().unwrap();
            let split = dilemma.splits.iter_mut().find(|split| split.by == "level").unwrap();
            change(split.rows.iter_mut().find(|standing| standing.row == "interleaved").unwrap());
        };
        found(
            |run| standing(run, &|standing| standing.verdict = Outcome::Beats),
            "dilemma by level, row `interleaved` says `beats the dilemma`",
        );
        found(|run| standing(run, &|standing| standing.hard.effect.mean += 30.0), "by the cells");
        found(|run| standing(run, &|standing| standing.long = 0.5), "is not that of its cells");
    }
}
