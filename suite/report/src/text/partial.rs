//! What a run lacks of its recipe, or has beyond it, in words. Pure.
//!
//! This module does not know why anything is missing: a run may be under way, or was asked for no more.

use std::collections::{BTreeMap, BTreeSet};

use crate::rows::{control_note, regime_and_control};
use crate::score::{Missing, Results, RowKind};

/// Names that a terminal shows of a list.
pub const FEW: usize = 6;

/// Says in one line what `results` lack of their recipe, or have beyond it; `None` for the recipe's whole run. Of each
/// list at most `most` names are given.
pub fn partial(results: &Results, most: usize) -> Option<String> {
    let regimes = results.rows.iter().filter(|row| row.kind == RowKind::Regime);
    let regimes = regimes.map(|row| row.name.as_str()).collect();
    describe(&results.missing, &results.extra_seeds, regimes, most)
}

/// [`partial`] of a run with the rows `regimes`.
pub fn describe<'a>(
    missing: &'a [Missing],
    extra_seeds: &[u64],
    mut regimes: BTreeSet<&'a str>,
    most: usize,
) -> Option<String> {
    // Rows of the base have a seed that says nothing to a reader.
    let (of_base, of_regimes): (Vec<&Missing>, Vec<&Missing>) =
        missing.iter().partition(|missing| {
            control_note(&missing.row).is_some() && regime_and_control(&missing.row).1.is_none()
        });
    let is_regime = |name: &&str| regime_and_control(name).1.is_none();
    regimes.extend(of_regimes.iter().map(|m| m.row.as_str()).filter(is_regime));
    let mut by_seed: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for Missing { row, seeds } in of_regimes {
        for &seed in seeds {
            by_seed.entry(seed).or_default().push(row);
        }
    }
    let mut groups: Vec<(Vec<&str>, Vec<u64>)> = Vec::new();
    for (seed, names) in by_seed {
        // That a control is missing too goes without saying.
        let own = names
            .iter()
            .copied()
            .filter(|name| is_regime(name) || !names.contains(&regime_and_control(name).0));
        let names: Vec<&str> = own.collect();
        match groups.last_mut().filter(|(known, _)| *known == names) {
            Some((_, seeds)) => seeds.push(seed),
            None => groups.push((names, vec![seed])),
        }
    }
    let mut parts = Vec::new();
    if !of_base.is_empty() {
        parts.push(few(&of_base.iter().map(|m| m.row.as_str()).collect::<Vec<_>>(), most));
    }
    for (names, seeds) in groups {
        let every = names.len() > 1 && regimes.iter().all(|name| names.contains(name));
        let names = if every { "every regime".to_owned() } else { few(&names, most) };
        parts.push(format!("{names} ({})", seeds_in_words(&seeds)));
    }
    let missing = (!parts.is_empty()).then(|| format!("partial, missing: {}", parts.join("; ")));
    let extra = (!extra_seeds.is_empty()).then(|| {
        let verb = if extra_seeds.len() == 1 { "is" } else { "are" };
        format!("{} {verb} not the recipe's", seeds_in_words(extra_seeds))
    });
    let all: Vec<String> = missing.into_iter().chain(extra).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// `seed 1` or `seeds 1, 2, 3`.
fn seeds_in_words(seeds: &[u64]) -> String {
    let all: Vec<String> = seeds.iter().map(u64::to_string).collect();
    format!("seed{} {}", if seeds.len() == 1 { "" } else { "s" }, all.join(", "))
}

/// The first `most` names and how many more there are.
fn few(names: &[&str], most: usize) -> String {
    match names.len().saturating_sub(most) {
        0 | 1 => names.join(", "),
        others => format!("{} and {others} more", names[..most].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::{ClaimVerdict, Finding, ledger};
    use crate::compare::compare;
    use crate::compare::tests::GATE;
    use crate::leaderboard::{Run, read};
    use crate::page::{PageData, report_html};
    use crate::score::Metrics;
    use crate::score::fixture::part_of;
    use crate::text::markdown::inline;
    use crate::text::report::report_markdown;
    use crate::text::terminal::render_table;

    fn missing(rows: &[(&str, &[u64])]) -> Vec<Missing> {
        let one = |(row, seeds): &(&str, &[u64])| Missing {
            row: (*row).to_owned(),
            seeds: seeds.to_vec(),
        };
        rows.iter().map(one).collect()
    }

    fn said(rows: &[(&str, &[u64])], extra: &[u64], there: &[&str], most: usize) -> String {
        describe(&missing(rows), extra, there.iter().copied().collect(), most).unwrap_or_default()
    }

    #[test]
    fn a_reader_is_told_regimes_and_seeds_and_not_their_controls() {
        assert_eq!(said(&[], &[], &["rl"], 9), "");
        let under_way: [(&str, &[u64]); 5] = [
            ("sft", &[2, 3]),
            ("sft/shuffled", &[2, 3]),
            ("rl", &[1, 2, 3]),
            ("rl/shuffled", &[1, 2, 3]),
            ("two_stage", &[1, 2, 3]),
        ];
        let want = "partial, missing: rl, two_stage (seed 1); every regime (seeds 2, 3)";
        assert_eq!(said(&under_way, &[], &["sft"], 9), want);
        assert_eq!(
            said(&under_way, &[7, 8], &["sft", "brief"], 1),
            "partial, missing: rl, two_stage (seed 1); sft and 2 more (seeds 2, 3); seeds 7, 8 are not the recipe's"
        );
        // A control alone, of a regime and of the base.
        let controls: [(&str, &[u64]); 2] = [("null", &[0]), ("sft/shuffled", &[1])];
        let want = "partial, missing: null; sft/shuffled (seed 1)";
        assert_eq!(said(&controls, &[], &["sft"], 9), want);
        assert_eq!(said(&[], &[4], &["rl"], 9), "seed 4 is not the recipe's");
    }

    /// The part of `whole` that a run has with the first `count` regimes of one seed after the other.
    fn first(whole: &Results, count: usize) -> Results {
        let regimes = || whole.rows.iter().filter(|row| row.kind == RowKind::Regime);
        let mut seeds = BTreeSet::new();
        for row in regimes() {
            seeds.extend(row.seeds.iter().map(|seed| seed.seed));
        }
        let names = || regimes().map(|row| row.name.as_str());
        let order = seeds.iter().flat_map(|seed| names().map(move |name| (name, *seed)));
        let there: BTreeSet<(&str, u64)> = order.take(count).collect();
        part_of(whole, |regime, seed| there.contains(&(regime, seed)))
    }

    #[test]
    fn every_part_of_a_run_is_judged_and_shown_and_says_what_it_lacks() {
        // The richest run that is kept, and one that ends within its second seed.
        let smoke = include_str!("../../../../golden/results/smoke.json");
        let smoke = Results::from_json(smoke, "smoke").unwrap();
        let made_up = crate::score::fixture::study(20, &[1, 2]);
        for (whole, counts) in
            [(&smoke, vec![0, 1, 2, 5, 6, 13, 14, 15, 27]), (&made_up, Vec::from_iter(0..6))]
        {
            for count in counts {
                let part = first(whole, count);
                let metrics = Metrics::of(&part);
                let said = partial(&part, usize::MAX).unwrap();
                let findings = ledger(&part);
                let board = Run::of(&part, &metrics).unwrap();
                assert_eq!(
                    (&board.missing, board.lacks(usize::MAX)),
                    (&part.missing, Some(said.clone()))
                );
                let again = read(&board.to_json(), "part").unwrap().remove(0).run;
                assert_eq!(again, board);
                let report = report_markdown(&part, &metrics, None, &[]);
                assert!(report.contains(&format!("> **Note:** {}\n", inline(&said))), "{report}");
                let page = report_html(&part, &metrics, &PageData::default(), &findings);
                assert!(page.contains(&said), "{said}");
                let table = render_table(&part, &metrics, 120);
                assert!(table.contains("\npartial, missing: "), "{table}");
                // What stands on rows that are not there says so.
                if count == 0 {
                    let open = |finding: &Finding| finding.verdict == ClaimVerdict::NotTestable;
                    assert!(findings.iter().all(open), "{findings:?}");
                    assert!(board.dilemma.is_none() && board.factorial.is_none());
                }
                let compared = compare(whole, &part, &GATE);
                assert_eq!((compared.exit_code(), compared.fails()), (1, false), "{count}");
                assert_eq!(compared.partial.as_ref(), Some(&said));
            }
        }
        assert_eq!(first(&made_up, 6).missing, []);
        assert_eq!(partial(&made_up, 1), None);
    }
}
