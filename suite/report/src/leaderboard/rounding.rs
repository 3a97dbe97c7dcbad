//! Figures as they are published: six decimals, and verdicts that follow from exactly these.
//!
//! This module does not know what a figure means. What was rounded is judged again, so that whoever reads the figures comes
//! to the same verdicts.

use crate::claims::{self, Finding};
use crate::dilemma::{Dilemma, Standing};
use crate::evidence::Compared;
use crate::factorial::FactorEffect;
use crate::statistics::Interval;

/// Six decimals: finer than any interval, and the same text on every machine.
pub(super) fn rounded(value: f64) -> f64 {
    // Adding 0 turns -0 into 0.
    (value * 1e6).round() / 1e6 + 0.0
}

pub(super) fn rounded_interval(Interval { mean, low, high }: Interval) -> Interval {
    Interval { mean: rounded(mean), low: rounded(low), high: rounded(high) }
}

fn round_effect(compared: &mut Compared) {
    compared.effect = rounded_interval(compared.effect);
    for figure in [&mut compared.standard_error, &mut compared.degrees, &mut compared.detectable] {
        *figure = rounded(*figure);
    }
}

fn round_p(compared: &mut Compared) {
    for p in [&mut compared.p, &mut compared.p_against, &mut compared.p_holm] {
        *p = rounded(*p);
    }
}

/// Every comparison of a finding.
fn comparisons(finding: &mut Finding) -> impl Iterator<Item = &mut Compared> {
    let of_conditions = finding.conditions.iter_mut().filter_map(|own| own.comparison.as_mut());
    finding.comparisons.iter_mut().chain(&mut finding.controls).chain(of_conditions)
}

/// Claims as they are published.
pub(super) fn published_claims(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.iter_mut().flat_map(comparisons).for_each(round_effect);
    for condition in findings.iter_mut().flat_map(|finding| &mut finding.conditions) {
        condition.long = condition.long.map(rounded);
    }
    claims::judge(&mut findings);
    findings.iter_mut().flat_map(comparisons).for_each(round_p);
    for finding in &mut findings {
        finding.p = finding.p.map(rounded);
        finding.p_holm = finding.p_holm.map(rounded);
    }
    findings
}

/// The dilemma as it is published.
pub(super) fn published_dilemma(mut dilemma: Dilemma) -> Dilemma {
    for standing in dilemma.splits.iter_mut().flat_map(|split| &mut split.rows) {
        standing.long = rounded(standing.long);
        standing.tokens_to_base = rounded_interval(standing.tokens_to_base);
        standing.tokens_to_parent = rounded_interval(standing.tokens_to_parent);
        three(standing).into_iter().for_each(round_effect);
        standing.judge();
        three(standing).into_iter().for_each(round_p);
    }
    dilemma
}

fn three(standing: &mut Standing) -> [&mut Compared; 3] {
    [&mut standing.hard, &mut standing.easy, &mut standing.whole]
}

/// The effects of the factorial as they are published.
pub(super) fn published_factorial(effects: Vec<FactorEffect>) -> Vec<FactorEffect> {
    let published = |effect: FactorEffect| FactorEffect {
        effect: rounded_interval(effect.effect),
        p: rounded(effect.p),
        ..effect
    };
    effects.into_iter().map(published).collect()
}
