//! The rule on made-up studies, and on simulated ones for its false alarms and its power.
//!
//! This module does not test figures of training, which have their own.

use super::*;
use crate::score::Training;
use crate::score::fixture::{Behavior, LONG, SHARP, UNTUNED, header, levels, row, study};
use proptest::prelude::*;
use synergy_benchmarks::seed::Seed;

pub(crate) const GATE: GateSpec = GateSpec {
    false_alarm: 0.05,
    share_band: 0.03,
    length_band: 0.15,
    words_band: 0.3,
    figure_share_band: 0.1,
    figure_ratio_band: 0.5,
};

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
fn verdict(comparison: &Comparison, row: &str, level: Option<Level>, metric: Metric) -> Verdict {
    let wanted = |cell: &&CellVerdict| {
        cell.row == row && cell.benchmark.is_none() && cell.level == level && cell.metric == metric
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

/// Deviation over training seeds of a regime's accuracy, and of its length and words as shares, in the simulations.
#[derive(Clone, Copy)]
struct TrainingNoise {
    accuracy: f64,
    others: f64,
}

/// What golden results of profile `small` show for SFT, and for RL.
const QUIET: TrainingNoise = TrainingNoise { accuracy: 0.012, others: 0.02 };
const LOUD: TrainingNoise = TrainingNoise { accuracy: 0.038, others: 0.02 };

const REGIMES: usize = 6;

/// A run of profile `small`'s shape, its outcomes drawn directly: questions of their own difficulty, four
/// answers each, every regime and seed a little off by chance. `loss` is taken from the first regime.
fn simulated(
    questions: usize,
    seeds: usize,
    stream: Seed,
    loss: f64,
    noise: TrainingNoise,
) -> Results {
    let mut results = study(questions / 5, &[1]);
    results.questions.retain(|question| question.level.is_some());
    // All regimes are trained alike, each by a stage of its own.
    let stage = results.training.remove(0);
    results.training = (0..REGIMES)
        .map(|i| {
            let (regime, stage_name) = (format!("regime_{i}"), format!("stage_{i}"));
            let summary = [("loss_end".to_owned(), 0.5)].into();
            Training { regime, stage: stage_name, summary, ..stage.clone() }
        })
        .collect();
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
                // What is seen between seeds holds the noise of four answers to each question.
                let sampling = 0.15 / (4.0 * count as f64);
                let own = (noise.accuracy.powi(2) - sampling).max(0.0).sqrt();
                let off = [own, noise.others, noise.others].map(|deviation| {
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
                    answers: Vec::new(),
                    num_long: Vec::new(),
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
                    let mut tokens = || (30.0 * (1.0 + off[1]) + 10.0 * rng.random::<f64>()) as u32;
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

fn share_of_runs_that_fail(
    questions: usize,
    [golden, run]: [usize; 2],
    loss: f64,
    runs: u64,
    noise: TrainingNoise,
) -> f64 {
    let failed = (0..runs).filter(|stream| {
        let golden = simulated(questions, golden, Seed::root(1).at(*stream), 0.0, noise);
        let run = simulated(questions, run, Seed::root(2).at(*stream), loss, noise);
        let comparison = compare(&golden, &run);
        if loss > 0.0 {
            return verdict(&comparison, "regime_0", None, Metric::Accuracy) == Verdict::Regressed;
        }
        comparison.exit_code() != 0
    });
    failed.count() as f64 / runs as f64
}

#[test]
fn equal_models_fail_the_gate_in_at_most_one_comparison_in_twenty() {
    // Each run trains again: the chance of training is in the rule, whether a run has one seed or three.
    for (seeds, runs, noise) in [(1, 80, QUIET), (3, 60, LOUD)] {
        let share = share_of_runs_that_fail(300, [3, seeds], 0.0, runs, noise);
        assert!(share <= 0.05, "{share} of equal runs of {seeds} seeds fail");
    }
}

/// The number of seeds with which the gate says it finds five points finds them.
#[test]
fn as_many_seeds_as_the_gate_asks_for_find_a_loss_of_five_points() {
    for (noise, runs) in [(QUIET, 40), (LOUD, 25)] {
        let few = simulated(400, 3, Seed::root(1), 0.0, noise);
        let alpha = gate_alpha(&GATE, REGIMES + 1);
        let shown = powers(&[&few], alpha).remove(0);
        assert!((shown.deviation - noise.accuracy).abs() < 0.4 * noise.accuracy, "{shown:?}");
        let per_seed = REGIMES as f64;
        let needed = statistics::seeds_needed(LOSS, noise.accuracy, alpha, per_seed).unwrap();
        let found = share_of_runs_that_fail(400, [needed, needed], LOSS, runs, noise);
        assert!(found >= 0.7, "{found} with {needed} seeds");
    }
    let found = share_of_runs_that_fail(400, [3, 3], LOSS, 20, LOUD);
    assert!(found < 0.5, "{found} with three seeds of loud training");
}

#[test]
fn an_effect_within_the_band_is_the_same_however_clear_it_is() {
    let golden = simulated(600, 1, Seed::root(1), 0.0, QUIET);
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
        let mut results = simulated(600, 1, Seed::root(1), 0.0, QUIET);
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
fn answers_that_are_all_alike_leave_a_width() {
    let alike = |letter: &str, seed: u64| {
        let mut results = simulated(60, 1, Seed::root(seed), 0.0, QUIET);
        for outcomes in results.rows.iter_mut().flat_map(|r| &mut r.seeds[0].outcomes) {
            *outcomes = letter.to_owned();
        }
        results
    };
    let comparison = compare(&alike("c", 1), &alike("w", 1));
    let cell = comparison.cells.iter().find(|c| c.metric == Metric::Accuracy).unwrap();
    let effect = cell.effect.unwrap();
    // Tango's interval of -1 over 60 questions is 12 points wide.
    assert!((effect.half_width() - 0.060_172).abs() < 1e-4, "{effect:?}");
    assert_eq!(cell.verdict, Verdict::Regressed);
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
        for comparison in [compare(&golden, &run), compare(&run, &golden), compare(&run, &run)] {
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
    assert_eq!(comparison.count(Verdict::Same), comparison.verdicts().count());
}

#[test]
fn external_benchmarks_and_controls_do_not_gate() {
    let golden = study(20, &[1]);
    let comparison = compare(&golden, &golden);
    assert!(comparison.cells.iter().all(|cell| cell.benchmark.as_deref() != Some("easy_vqa")));
    let rows: BTreeSet<&str> = comparison.cells.iter().map(|cell| cell.row.as_str()).collect();
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), ["base", "rl", "sft", "two_stage"]);
    // all, 5 levels, 5 families, 5 levels of each.
    assert_eq!(comparison.cells.len(), 4 * 36 * Metric::VARIANTS.len());
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
            let behavior = Behavior { accuracy, num_tokens, num_waits, truncated, unparsed: 0.05 };
            pair(20, seed, behavior)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn results_are_the_same_as_themselves(results in any_results()) {
        let comparison = compare(&results, &results);
        prop_assert_eq!(comparison.count(Verdict::Same), comparison.verdicts().count());
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
