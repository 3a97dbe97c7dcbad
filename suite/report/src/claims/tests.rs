//! Claims on made-up studies: when they hold, fail, are undecided, and when they say nothing.

use super::*;
use crate::dilemma::tests::{BEST, combined};
use crate::score::fixture::{Behavior, CHANCE, LONG, SHARP, UNTUNED, header, levels, row};
use crate::score::{BASE, Row, RowKind};

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
    assert!(all.iter().all(|f| f.verdict == ClaimVerdict::NotTestable && f.p.is_none()));
    assert_eq!(finding(&results, "C3").note, "needs row `sft`");
}

#[test]
fn loss_on_easy_and_gain_on_hard_questions_holds_unless_a_control_explains_it() {
    let unable = Behavior { accuracy: [0.2; 5], ..LONG };
    let deep = Behavior { accuracy: [0.70, 0.55, 0.45, 0.40, 0.40], ..LONG };
    let c3 = |shuffled, brief| {
        let regimes =
            [("sft", deep), ("rl", SHARP), ("sft/shuffled", shuffled), ("sft_own_brief", brief)];
        finding(&rows(&regimes), "C3")
    };
    let able = c3(unable, UNTUNED);
    assert_eq!((able.verdict, able.explained_by), (ClaimVerdict::Holds, None));
    assert!(able.comparisons.iter().all(|compared| compared.p_holm <= able.p_holm.unwrap()));
    // With another's picture it does as well: chance, given the text.
    let lucky = Behavior { accuracy: [0.70, 0.55, 0.45, 0.40, 0.60], ..LONG };
    let explained = c3(lucky, UNTUNED);
    assert_eq!(explained.verdict, ClaimVerdict::Holds);
    assert!(explained.explained_by.unwrap().contains("another question's picture"));
    // Brief answers to the same questions teach more.
    assert!(c3(unable, lucky).explained_by.unwrap().contains("having met the questions"));
}

#[test]
fn an_undecided_control_explains_nothing() {
    let deep = Behavior { accuracy: [0.70, 0.55, 0.45, 0.40, 0.40], ..LONG };
    // A point less than SFT on L5: it could be as good, and that is not shown.
    let near = Behavior { accuracy: [0.70, 0.55, 0.45, 0.40, 0.39], ..LONG };
    let c3 = finding(&rows(&[("sft", deep), ("rl", SHARP), ("sft/shuffled", near)]), "C3");
    let control = &c3.controls[0];
    assert_eq!((control.verdict, c3.verdict), (Shown::Undecided, ClaimVerdict::Holds));
    assert_eq!(c3.explained_by, None);
}

#[test]
fn a_gain_that_greedy_decoding_has_too_is_explained_by_it() {
    let sharp = Behavior { accuracy: [0.99, 0.85, 0.6, 0.4, 0.3], ..UNTUNED };
    let better = Behavior { accuracy: [0.99, 0.9, 0.7, 0.5, 0.4], ..UNTUNED };
    let c4 = |greedy| finding(&rows(&[("rl", sharp), ("greedy", greedy)]), "C4");
    assert_eq!((c4(UNTUNED).verdict, c4(UNTUNED).explained_by), (ClaimVerdict::Holds, None));
    assert!(c4(better).explained_by.unwrap().contains("greedy"));
    assert_eq!(c4(CHANCE).explained_by, None);
}

#[test]
fn a_condition_that_is_not_met_leaves_the_claim_untested() {
    // Interleaved lies between SFT and RL, and writes as SFT does.
    let between = Behavior { accuracy: [0.85, 0.68, 0.48, 0.28, 0.13], ..LONG };
    let c9 = |interleaved, sft| {
        finding(&rows(&[("sft", sft), ("rl", SHARP), ("interleaved", interleaved)]), "C9")
    };
    let tested = c9(between, LONG);
    assert_eq!(tested.verdict, ClaimVerdict::Holds, "{tested:#?}");
    assert!(tested.conditions.iter().all(|condition| condition.met));
    let brief = c9(Behavior { num_waits: 0, ..between }, LONG);
    assert_eq!((brief.verdict, brief.p), (ClaimVerdict::NotTestable, None));
    assert!(brief.note.contains("`interleaved` writes long answers"), "{}", brief.note);
    assert_eq!(brief.conditions[1].long, Some(0.0));
    let above = c9(between, Behavior { accuracy: [0.99; 5], ..LONG });
    assert_eq!(above.verdict, ClaimVerdict::NotTestable);
    assert_eq!(above.note, "needs that RL is above SFT on average");
    let below = c9(Behavior { accuracy: [0.3; 5], ..LONG }, LONG);
    assert_eq!(below.verdict, ClaimVerdict::Fails);
    assert_eq!(below.decided().unwrap().less, "sft");
}

#[test]
fn former_names_of_rows_are_read() {
    let results = rows(&[("sft_verbose_shallow", LONG)]);
    let c2 = finding(&results, "C2");
    assert_eq!(
        (c2.verdict, c2.comparisons[0].row.as_str()),
        (ClaimVerdict::Holds, "sft_verbose_shallow")
    );
}

#[test]
fn the_dilemma_looks_at_every_combination_that_writes_long() {
    let brief = Behavior { num_tokens: 16, num_waits: 0, ..BEST };
    let c13 = |hybrids: &[(&str, Behavior)]| finding(&combined(hybrids), "C13");
    let caught = c13(&[("interleaved", LONG), ("merge_linear_25", LONG), ("other", brief)]);
    assert_eq!(caught.verdict, ClaimVerdict::Holds, "{caught:#?}");
    let groups: Vec<&str> = caught.comparisons.iter().map(|own| own.group.as_str()).collect();
    assert_eq!(groups, [["interleaved"; 3], ["merge_linear_25"; 3]].concat());
    let beaten = c13(&[("interleaved", LONG), ("any_name", BEST)]);
    assert_eq!(beaten.verdict, ClaimVerdict::Fails);
    assert_eq!(beaten.decided().unwrap().group, "any_name");
    let none = c13(&[("interleaved", brief)]);
    assert_eq!(none.verdict, ClaimVerdict::NotTestable);
    assert_eq!(none.note, "needs a combination that writes long answers");
}

#[test]
fn verdicts_follow_from_what_is_kept() {
    let findings = ledger(&combined(&[("interleaved", LONG), ("two_stage", BEST)]));
    let mut again = findings.clone();
    for finding in &mut again {
        finding.verdict = ClaimVerdict::Undecided;
        (finding.p, finding.p_holm, finding.decided_by) = (None, None, None);
        finding.comparisons.iter_mut().for_each(|compared| compared.p_holm = 1.0);
    }
    judge(&mut again);
    assert_eq!(again, findings);
}

#[test]
fn a_claim_is_as_sure_as_its_least_sure_comparison_and_the_family_is_corrected() {
    let findings = ledger(&rows(&[("sft", LONG), ("rl", SHARP), ("sft_deep_few", LONG)]));
    let tested: Vec<&Finding> = findings.iter().filter(|finding| finding.p.is_some()).collect();
    assert!(tested.len() > 3);
    let p: Vec<f64> = tested.iter().filter_map(|finding| finding.p).collect();
    for (finding, holm) in tested.iter().zip(statistics::holm(&p)) {
        assert!((finding.p_holm.unwrap() - holm).abs() < 1e-12);
        let is_sure = holm <= 0.05;
        assert_eq!(finding.verdict != ClaimVerdict::Undecided, is_sure, "{}", finding.id);
        if finding.verdict == ClaimVerdict::Holds {
            let largest = finding.comparisons.iter().map(|own| 2.0 * own.p).fold(0.0, f64::max);
            assert!((finding.p.unwrap() - largest).abs() < 1e-12);
        }
    }
}

/// Every row that a claim names, so that all claims can be tested.
fn every_row() -> Results {
    let mut results =
        combined(&[("interleaved", BEST), ("progressive", BEST), ("data_mixing", BEST)]);
    let template = results.row("sft").unwrap().clone();
    for name in [
        "sft/shuffled",
        "sft_own_brief",
        "sft_deep_few",
        "sft_shallow",
        "greedy",
        "rl_kl0",
        "rl_no_easy",
        "two_stage",
        "two_stage_1",
        "merge_linear_25",
        "merge_ties_25",
    ] {
        results.rows.push(crate::score::ResultRow { name: name.to_owned(), ..template.clone() });
    }
    results
}

/// Puts an effect that clearly is (or is not) what is wanted in place of what was found, with this standard error.
fn set(compared: &mut Compared, is_wanted: bool, standard_error: f64) {
    let beyond = compared.margin + 10.0;
    let mean = match (compared.wanted, is_wanted) {
        (Wanted::Above, true) | (Wanted::NotAbove | Wanted::Within, false) => beyond,
        (Wanted::Below, true) | (Wanted::NotBelow, false) => -beyond,
        (Wanted::Above | Wanted::NotAbove, _) => -beyond,
        (Wanted::Below | Wanted::NotBelow, _) => beyond,
        (Wanted::Within, true) => 0.0,
    };
    compared.effect.mean = mean;
    (compared.standard_error, compared.degrees) = (standard_error, 30.0);
}

#[test]
fn every_claim_can_hold_fail_be_undecided_and_say_nothing() {
    let found = ledger(&every_row());
    let judged = |is_wanted: bool, standard_error: f64, is_met: bool| {
        let mut findings = found.clone();
        for finding in &mut findings {
            for condition in &mut finding.conditions {
                condition.long = condition.long.map(|_| if is_met { 0.5 } else { 0.0 });
                let of_condition = condition.comparison.iter_mut();
                of_condition.for_each(|compared| set(compared, is_met, 0.5));
            }
            let comparisons = finding.comparisons.iter_mut();
            comparisons.for_each(|compared| set(compared, is_wanted, standard_error));
        }
        judge(&mut findings);
        findings
    };
    for finding in judged(true, 0.5, true) {
        assert_eq!(finding.verdict, ClaimVerdict::Holds, "{}", finding.id);
    }
    for finding in judged(false, 0.5, true) {
        assert_eq!(finding.verdict, ClaimVerdict::Fails, "{}", finding.id);
    }
    for finding in judged(true, 50.0, true) {
        assert_eq!(finding.verdict, ClaimVerdict::Undecided, "{}", finding.id);
    }
    for finding in judged(true, 0.5, false) {
        let says = if finding.conditions.is_empty() {
            ClaimVerdict::Holds
        } else {
            ClaimVerdict::NotTestable
        };
        assert_eq!(finding.verdict, says, "{}", finding.id);
    }
}
