//! Results -> what several answers to a question are worth together: pass@k, majority vote, and the base's vote at the
//! tokens of another row. Pure.
//!
//! This module does not know how answers came about nor how figures are shown. Figures are means over questions, then over
//! seeds, with the intervals of all shares; they follow from the record alone.

use serde::Serialize;

use super::cuts::{Part, parts};
use super::votes::{Vote, vote, votes};
use super::{BASE, Effects, Lineage, Quantity, ResultRow, Results, RowKind, SeedOutcomes};
use crate::rows::CLONE;
use crate::statistics::Interval;

/// Numbers of answers that pass@k is computed for, as far as a row has so many.
const KS: [usize; 5] = [1, 2, 4, 8, 16];

/// A row's answers taken together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowPasses {
    /// Name of the row.
    pub row: String,
    /// Answers to each question, at least: the largest k there is.
    pub num_samples: usize,
    /// All questions with levels first, then parts of them.
    pub parts: Vec<PartPasses>,
}

/// A row's answers to some of the questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartPasses {
    /// The questions that are meant.
    pub part: Part,
    /// How many; at least 1.
    pub num_questions: usize,
    /// For k = 1, 2, 4, 8 and 16, as far as there are so many answers.
    pub pass_at: Vec<PassAt>,
    /// Share of questions whose most frequent answer is right; `None` in results of before answers were kept.
    pub majority: Option<Interval>,
    /// The base's vote with as many tokens as this row spends; `None` for the base itself.
    pub base_at_equal_tokens: Option<EqualTokens>,
}

/// The chance that one of k answers is right, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PassAt {
    /// The number of answers.
    pub k: usize,
    /// Mean over questions, 0 to 1.
    pub share: Interval,
    /// The mean less the base's; `None` for the base itself, and where it has fewer answers.
    pub gain: Option<Interval>,
}

/// The base's vote where it may spend as many tokens on a question as another row does on one answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EqualTokens {
    /// Share of questions whose most frequent answer is right.
    pub accuracy: f64,
    /// Answers of the base that vote, mean over questions; at least 1.
    pub num_answers: f64,
    /// Share of questions for which more answers would fit than the base has.
    pub short: f64,
}

/// The figures of the base, of every regime and of another base.
pub fn passes(results: &Results) -> Vec<RowPasses> {
    let lineage = Lineage::of(results);
    let measured = |(part, questions): (Part, Vec<usize>)| {
        let effects = |quantity| Effects::of(results, &lineage, &questions, quantity);
        let pass_at = KS.map(|k| (k, effects(Quantity::PassAt(k)))).into();
        let majority = effects(Quantity::Majority);
        Measured { part, pass_at, majority, questions }
    };
    let parts: Vec<Measured<'_>> = parts(results).into_iter().map(measured).collect();
    let base = results.row(BASE);
    let is_told = |row: &&ResultRow| row.kind != RowKind::Control || row.name == CLONE;
    let of_row = |row: &ResultRow| {
        let found: Vec<PartPasses> =
            parts.iter().filter_map(|measured| part_passes(measured, row, base)).collect();
        let num_samples = found.first()?.pass_at.last()?.k;
        Some(RowPasses { row: row.name.clone(), num_samples, parts: found })
    };
    results.rows.iter().filter(is_told).filter_map(of_row).collect()
}

/// What is measured over the questions of a part, of all rows.
struct Measured<'a> {
    part: Part,
    questions: Vec<usize>,
    pass_at: Vec<(usize, Effects<'a>)>,
    majority: Effects<'a>,
}

/// A row's answers to the questions of a part; `None` where it was not asked all of them.
fn part_passes(
    Measured { part, questions, pass_at, majority }: &Measured<'_>,
    row: &ResultRow,
    base: Option<&ResultRow>,
) -> Option<PartPasses> {
    let of = |(k, effects): &(usize, Effects<'_>)| {
        let gain = || Some(effects.difference(&row.name, BASE)?.interval);
        let gain = if row.name == BASE { None } else { gain() };
        Some(PassAt { k: *k, share: effects.level(&row.name)?, gain })
    };
    let pass_at: Vec<PassAt> = pass_at.iter().filter_map(of).collect();
    let has_answers = |row: &&ResultRow| row.seeds.iter().all(|seed| !seed.answers.is_empty());
    let base = base.filter(|base| base.name != row.name).filter(has_answers);
    let base_at_equal_tokens = base.and_then(|base| base.seeds.first()).and_then(|base| {
        let all = row.seeds.iter().flat_map(|seed| questions.iter().map(move |&q| (seed, q)));
        let of = |(seed, q)| at_equal_tokens(base, seed, q);
        let found: Vec<EqualTokens> = all.map(of).collect::<Option<_>>()?;
        Some(EqualTokens {
            accuracy: mean(found.iter().map(|e| e.accuracy)),
            num_answers: mean(found.iter().map(|e| e.num_answers)),
            short: mean(found.iter().map(|e| e.short)),
        })
    });
    (!pass_at.is_empty()).then(|| PartPasses {
        part: *part,
        num_questions: questions.len(),
        pass_at,
        majority: majority.level(&row.name),
        base_at_equal_tokens,
    })
}

/// The vote of as many of the base's answers to `q` as take no more tokens than one of `seed`'s: at least one, at most all.
/// It is the mean over every run of so many answers in a row, the last followed by the first: each answer votes equally
/// often. `None` where the base was not asked.
fn at_equal_tokens(base: &SeedOutcomes, seed: &SeedOutcomes, q: usize) -> Option<EqualTokens> {
    let tokens = |seed: &SeedOutcomes| mean(seed.num_tokens[q].iter().map(|n| f64::from(*n)));
    let votes = votes(base, q);
    if votes.is_empty() {
        return None;
    }
    let fit = (tokens(seed) / tokens(base).max(1.0)).floor().max(1.0) as usize;
    let num = fit.min(votes.len());
    let around = || votes.iter().copied().cycle();
    let of_run = |start: usize| {
        let run: Vec<Vote> = around().skip(start).take(num).collect();
        vote(&run)
    };
    Some(EqualTokens {
        accuracy: mean((0..votes.len()).map(of_run)),
        num_answers: num as f64,
        short: f64::from(u8::from(fit > votes.len())),
    })
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::study;
    use crate::score::votes::tests::seed;

    #[test]
    fn the_base_votes_with_the_tokens_of_the_other() {
        let base = seed("cwcw", &[2, 1, 2, 3], 10);
        let of = |tokens| at_equal_tokens(&base, &seed("w", &[1], tokens), 0).unwrap();
        // One answer at least, even of a longer base: its plain accuracy.
        for tokens in [3, 19] {
            let found = of(tokens);
            assert!((found.num_answers - 1.0).abs() < 1e-12);
            assert!((found.accuracy - 0.5).abs() < 1e-12, "{found:?}");
        }
        // Runs of three: cwc, wcw (three ways), cwc, wcw.
        let found = of(35);
        assert!((found.num_answers - 3.0).abs() < 1e-12 && found.short.abs() < 1e-12);
        assert!((found.accuracy - (1.0 + 1.0 + 1.0 / 3.0 + 1.0 / 3.0) / 4.0).abs() < 1e-12);
        // Two of four are right and the wrong ones differ.
        let found = of(1000);
        assert!((found.accuracy - 1.0).abs() < 1e-12 && (found.short - 1.0).abs() < 1e-12);
    }

    #[test]
    fn every_row_and_part_of_a_study_has_its_figures() {
        let results = study(40, &[1, 2]);
        let told = passes(&results);
        let names: Vec<&str> = told.iter().map(|row| row.row.as_str()).collect();
        assert_eq!(names, ["base", "sft", "rl", "two_stage"]);
        for row in &told {
            assert_eq!((row.num_samples, row.parts.len()), (4, 11));
            let all = &row.parts[0];
            assert_eq!((all.part, all.num_questions), (Part::All, 200));
            let ks: Vec<usize> = all.pass_at.iter().map(|p| p.k).collect();
            assert_eq!(ks, [1, 2, 4]);
            assert!(all.pass_at.is_sorted_by(|a, b| a.share.mean <= b.share.mean));
            assert_eq!(all.base_at_equal_tokens.is_none(), row.row == "base");
            for at in &all.pass_at {
                let Interval { mean, low, high } = at.share;
                assert!(0.0 < low && low < mean && mean < high && high < 1.0, "{:?}", at.share);
                let base = told[0].parts[0].pass_at.iter().find(|of| of.k == at.k).unwrap();
                let gain = at.gain.map(|gain| gain.mean);
                let want = (row.row != "base").then_some(mean - base.share.mean);
                assert!((gain.unwrap_or(0.0) - want.unwrap_or(0.0)).abs() < 1e-12);
                assert_eq!(gain.is_some(), want.is_some());
            }
        }
        // pass@1 is accuracy; the vote of a base that is often right is better than one answer of it.
        let accuracy = crate::score::Metrics::of(&results).average("base").unwrap().accuracy;
        let base = &told[0].parts;
        assert!((base[0].pass_at[0].share.mean - accuracy.mean).abs() < 1e-12);
        // And has its interval.
        assert!((base[0].pass_at[0].share.low - accuracy.low).abs() < 1e-12);
        let easy = base.iter().find(|p| p.part == Part::Fifth(0)).unwrap();
        assert!(easy.num_questions > 20);
        let level = base.iter().find(|p| p.part.to_string() == "L1").unwrap();
        assert!(level.majority.unwrap().mean > level.pass_at[0].share.mean);
        // SFT's answers are three times as long: three answers of the base fit.
        let equal = told[1].parts[0].base_at_equal_tokens.unwrap();
        assert!(equal.num_answers > 2.5 && equal.num_answers < 4.0, "{equal:?}");

        let mut older = results;
        older.rows.iter_mut().flat_map(|r| &mut r.seeds).for_each(|s| s.answers = Vec::new());
        let told = passes(&older);
        assert!(told.iter().all(|row| row.parts[0].majority.is_none()));
        assert!(told.iter().all(|row| row.parts[0].base_at_equal_tokens.is_none()));
        assert!(told[0].parts[0].pass_at.len() == 3);
    }
}
