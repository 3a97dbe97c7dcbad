//! The study's findings as predicates over results. Pure.
//!
//! This module does not know how results were made or how a finding is shown. Each claim is a list of comparisons that
//! it implies, under conditions without which it says nothing; its verdict follows from theirs by one rule ([`RULE`]). The
//! study's own figures are shown with ours and are never mixed with them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dilemma::{Dilemma, LONG_SHARE, Outcome};
use crate::evidence::{Compared, Part, Question, Shown, Study, Wanted};
use crate::score::{Lineage, Results};
use crate::statistics;

mod list;

/// The rule, as it is printed with every ledger.
pub const RULE: &str = "\
A claim is a list of comparisons of two rows over the same questions, each wanted above or below a margin, within it, or
not above or not below it; and of conditions without which the claim says nothing about these rows.
A comparison has one-sided p-values of what is wanted and of its opposite, by Student's t over questions and training
seeds. A claim holds if all its comparisons hold, so its p-value is the largest of theirs; it fails if one of them is
refuted, so the smallest p-value counts against it, times the number of comparisons. All claims that can be tested are one
family: their p-values are corrected by Holm, and 5 % decide, half on each side. A claim whose rows are missing or whose
conditions are not met is not testable here. The comparison shown is the one that decided. The minimum detectable effect
is what a power of 80 % needs. A control explains a claim that holds if the row is shown to be no better than it.";

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
    /// Rows that it needs are not in the results, or a condition is not met.
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
    /// How the claim fared.
    pub verdict: ClaimVerdict,
    /// What must be so for the claim to say anything here.
    pub conditions: Vec<Condition>,
    /// Every comparison that it implies; none where rows are missing.
    pub comparisons: Vec<Compared>,
    /// The place in `comparisons` of the one that decided; null where nothing was compared.
    #[serde(deserialize_with = "Option::deserialize")]
    pub decided_by: Option<u64>,
    /// Two-sided p-value of the claim; null where it is not testable.
    #[serde(deserialize_with = "Option::deserialize")]
    pub p: Option<f64>,
    /// The same after Holm's correction over all claims.
    #[serde(deserialize_with = "Option::deserialize")]
    pub p_holm: Option<f64>,
    /// What could explain the claim, each judged by itself: a control that is as good as the row explains it.
    pub controls: Vec<Compared>,
    /// The control that explains a claim that holds, if one does, and how.
    #[serde(deserialize_with = "Option::deserialize")]
    pub explained_by: Option<String>,
    /// The study's own figures, of a 7B model.
    pub published: String,
    /// Anything else that a reader must know.
    pub note: String,
}

/// What must be so for a claim to say anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The condition, in words.
    pub what: String,
    /// True if it is met.
    pub met: bool,
    /// The comparison that it asks for, judged by itself; null if it asks for a share of long answers.
    #[serde(deserialize_with = "Option::deserialize")]
    pub comparison: Option<Compared>,
    /// The greatest share of long answers that the row has on a level; null if it asks for a comparison.
    #[serde(deserialize_with = "Option::deserialize")]
    pub long: Option<f64>,
}

impl Finding {
    /// The comparison that decided.
    pub fn decided(&self) -> Option<&Compared> {
        self.comparisons.get(usize::try_from(self.decided_by?).ok()?)
    }

    /// The verdict in words; a claim that a control explains says so.
    pub fn verdict_name(&self) -> &'static str {
        match (self.verdict, &self.explained_by) {
            (ClaimVerdict::Holds, Some(_)) => "explained by control",
            (verdict, _) => verdict.name(),
        }
    }
}

/// Every claim of the study, in order.
pub fn ledger(results: &Results) -> Vec<Finding> {
    let lineage = Lineage::of(results);
    let study = Study::of(results, &lineage);
    let dilemma = Dilemma::of(&study);
    let found = list::CLAIMS.iter().map(|claim| claim.finding(&study, dilemma.as_ref()));
    let (mut findings, explanations): (Vec<Finding>, Vec<Vec<&str>>) = found.unzip();
    judge(&mut findings);
    for (finding, explanations) in findings.iter_mut().zip(explanations) {
        let explains = |control: &Compared| control.verdict == Shown::Holds;
        let found = finding.controls.iter().position(explains);
        let found = found.filter(|_| finding.verdict == ClaimVerdict::Holds);
        finding.explained_by = found.map(|place| explanations[place].to_owned());
    }
    findings
}

/// Judges findings by their comparisons and conditions: p-values, correction and verdicts follow from effects, standard
/// errors and degrees of freedom alone. What explains a claim stays as it is.
pub fn judge(findings: &mut [Finding]) {
    for finding in findings.iter_mut() {
        for condition in &mut finding.conditions {
            condition.judge();
        }
        finding.controls.iter_mut().for_each(Compared::judge);
        finding.comparisons.iter_mut().for_each(Compared::judge);
        finding.p = finding.is_testable().then(|| finding.two_sided());
    }
    let testable: Vec<usize> =
        (0..findings.len()).filter(|place| findings[*place].p.is_some()).collect();
    let p: Vec<f64> = testable.iter().filter_map(|place| findings[*place].p).collect();
    let holm = statistics::holm_steps(&p);
    for (place, (factor, floor)) in testable.into_iter().zip(holm) {
        let finding = &mut findings[place];
        finding.p_holm = finding.p.map(|p| (factor * p).min(1.0).max(floor));
        finding.judge_comparisons(factor, floor);
    }
    findings.iter_mut().for_each(Finding::conclude);
}

impl Condition {
    fn judge(&mut self) {
        if let Some(comparison) = &mut self.comparison {
            comparison.judge();
            self.met = comparison.verdict == Shown::Holds;
        } else {
            self.met = self.long.is_some_and(|long| long >= LONG_SHARE);
        }
    }
}

impl Finding {
    fn is_testable(&self) -> bool {
        !self.comparisons.is_empty() && self.conditions.iter().all(|condition| condition.met)
    }

    /// The comparisons by group: of one group a single one is enough, and every group is needed.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        for (place, compared) in self.comparisons.iter().enumerate() {
            let known = groups.iter_mut().find(|(name, _)| *name == compared.group);
            match known {
                Some((_, members)) if !compared.group.is_empty() => members.push(place),
                _ => groups.push((&compared.group, vec![place])),
            }
        }
        groups.into_iter().map(|(_, members)| members).collect()
    }

    fn judge_comparisons(&mut self, factor: f64, floor: f64) {
        let groups = self.groups();
        let times_against = groups.len() as f64;
        for group in groups {
            let times = group.len() as f64;
            for place in group {
                self.comparisons[place].judge_among(times, times_against, factor, floor);
            }
        }
    }

    /// The p-value of the claim: of what is for it, or of what is against it, whichever is smaller.
    fn two_sided(&self) -> f64 {
        let groups = self.groups();
        let (mut own, mut other) = (0.0_f64, 1.0_f64);
        for group in &groups {
            let members = || group.iter().map(|place| &self.comparisons[*place]);
            let wanted = members().map(|compared| compared.p).fold(1.0, f64::min);
            let against = members().map(|compared| compared.p_against).fold(0.0, f64::max);
            own = own.max(wanted * group.len() as f64);
            other = other.min(against * groups.len() as f64);
        }
        (2.0 * own.min(other)).min(1.0)
    }

    /// The verdict, and which comparison decided: of those that decide alike the least sure.
    fn conclude(&mut self) {
        (self.verdict, self.decided_by) = (ClaimVerdict::NotTestable, None);
        if !self.is_testable() {
            self.p_holm = None;
            return;
        }
        let of_group = |group: &Vec<usize>| {
            let shown = || group.iter().map(|place| (self.comparisons[*place].verdict, *place));
            if let Some(held) = shown().find(|(shown, _)| *shown == Shown::Holds) {
                held
            } else if shown().all(|(shown, _)| shown == Shown::Fails) {
                (Shown::Fails, group[0])
            } else {
                shown()
                    .find(|(shown, _)| *shown == Shown::Undecided)
                    .unwrap_or((Shown::Undecided, group[0]))
            }
        };
        let shown: Vec<(Shown, usize)> = self.groups().iter().map(of_group).collect();
        let worst = shown.iter().map(|(shown, _)| *shown).min().unwrap_or(Shown::Undecided);
        let sure = |place: &usize| self.comparisons[*place].p_holm;
        let places = shown.into_iter().filter(|(shown, _)| *shown == worst).map(|(_, place)| place);
        let decided = places.max_by(|a, b| sure(a).total_cmp(&sure(b)).then(b.cmp(a)));
        self.decided_by = decided.map(|place| place as u64);
        self.verdict = match worst {
            Shown::Fails => ClaimVerdict::Fails,
            Shown::Undecided => ClaimVerdict::Undecided,
            Shown::Holds => ClaimVerdict::Holds,
        };
    }
}

/// A claim before it meets results.
struct Claim {
    id: &'static str,
    text: &'static str,
    published: &'static str,
    note: &'static str,
    conditions: &'static [Needed],
    /// What it implies.
    comparisons: &'static [Implied],
    /// What would explain it: a comparison that is wanted not above a margin, and what is true if it is.
    controls: &'static [(Question<'static>, &'static str)],
}

/// What a claim implies.
enum Implied {
    /// A comparison of rows without which the claim cannot be tested.
    Of(Question<'static>),
    /// A comparison that is made where its rows are there.
    Also(Question<'static>),
    /// For every combination that writes long answers: it loses a half against the better parent, or is not above the
    /// better parent on all questions.
    Dilemma,
}

/// What a claim needs.
enum Needed {
    /// A comparison, in words.
    Shown(Question<'static>, &'static str),
    /// Long answers of this row.
    Long(&'static str),
}

impl Claim {
    /// The finding before it is judged, with what each of its controls would explain.
    fn finding(
        &self,
        study: &Study<'_>,
        dilemma: Option<&Dilemma>,
    ) -> (Finding, Vec<&'static str>) {
        let missing = self.missing(study);
        let mut comparisons = Vec::new();
        for implied in self.comparisons.iter().filter(|_| missing.is_none()) {
            match implied {
                Implied::Of(question) | Implied::Also(question) => {
                    comparisons.extend(study.compare(*question));
                }
                Implied::Dilemma => comparisons.extend(dilemma.map(caught).unwrap_or_default()),
            }
        }
        let conditions: Vec<Condition> =
            self.conditions.iter().filter_map(|needed| needed.condition(study)).collect();
        let controls = self
            .controls
            .iter()
            .filter_map(|(question, explanation)| Some((study.compare(*question)?, *explanation)));
        let (controls, explanations) = controls.unzip();
        let note = match missing {
            Some(row) => format!("needs row `{row}`"),
            None if comparisons.is_empty() => {
                "needs a combination that writes long answers".to_owned()
            }
            None => {
                let unmet = conditions.iter().find(|condition| !condition.met);
                let unmet = unmet.map(|condition| format!("needs that {}", condition.what));
                unmet.unwrap_or_else(|| self.note.to_owned())
            }
        };
        let finding = Finding {
            id: self.id.to_owned(),
            claim: self.text.to_owned(),
            verdict: ClaimVerdict::NotTestable,
            conditions,
            comparisons,
            decided_by: None,
            p: None,
            p_holm: None,
            controls,
            explained_by: None,
            published: self.published.to_owned(),
            note,
        };
        (finding, explanations)
    }

    /// The first row that the claim needs and the results lack.
    fn missing(&self, study: &Study<'_>) -> Option<&'static str> {
        let of_comparisons = self.comparisons.iter().flat_map(|implied| match implied {
            Implied::Of(question) => vec![question.row, question.less],
            Implied::Also(_) => vec![],
            Implied::Dilemma => vec![crate::dilemma::SFT, crate::dilemma::RL],
        });
        let of_conditions = self.conditions.iter().flat_map(|needed| match needed {
            Needed::Shown(question, _) => vec![question.row, question.less],
            Needed::Long(row) => vec![*row],
        });
        of_comparisons.chain(of_conditions).find(|row| study.row(row).is_none())
    }
}

impl Needed {
    fn condition(&self, study: &Study<'_>) -> Option<Condition> {
        let (what, comparison, long) = match self {
            Needed::Shown(question, what) => {
                ((*what).to_owned(), Some(study.compare(*question)?), None)
            }
            Needed::Long(row) => {
                let row = study.row(row)?;
                let share = 100.0 * LONG_SHARE;
                let what =
                    format!("`{row}` writes long answers, {share:.0} % of them on some level");
                (what, None, Some(study.longest_share(row)?))
            }
        };
        let mut condition = Condition { what, met: false, comparison, long };
        condition.judge();
        Some(condition)
    }
}

/// What the dilemma says of every combination that can be tested: one of three comparisons is enough. They are those of
/// the first way to halve the questions, with the opposite wanted.
fn caught(dilemma: &Dilemma) -> Vec<Compared> {
    let Some(split) = dilemma.splits.first() else { return Vec::new() };
    let testable = |outcome| !matches!(outcome, Outcome::Parent | Outcome::NotTestable);
    let mut all = Vec::new();
    for standing in split.rows.iter().filter(|standing| testable(standing.verdict)) {
        for (compared, wanted) in [
            (&standing.hard, Wanted::Below),
            (&standing.easy, Wanted::Below),
            (&standing.whole, Wanted::Below),
        ] {
            let group = standing.row.clone();
            all.push(Compared { wanted, group, ..compared.clone() });
        }
    }
    all
}

#[cfg(test)]
mod tests;
