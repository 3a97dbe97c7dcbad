//! The gate put to the test: faults that it must see, and honest reruns that it must let pass.
//!
//! Does not know the gate's rule, nor how a fault is planted. Every probe is a whole run of the profile, judged as
//! any run is; what a fault leaves as it was is taken from the run without it.

use std::ops::RangeInclusive;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::compare::{Comparison, Verdict, compare};
use crate::event::Events;
use crate::golden;
use crate::planted::Planted;
use crate::recipe::Recipe;
use crate::run::{Options, Variant, reproduce};
use crate::statistics::Interval;
use crate::table::{Grid, NOTHING, draw, verdict_rows};

/// Seeds of the reruns; no recipe has them.
const REDRAWN: RangeInclusive<u64> = 101..=110;
/// What a pull request has time for: one fault of the parser, one of the weights, two of training.
const FEW: [Planted; 4] =
    [Planted::FirstNumber, Planted::ZeroedTensor, Planted::MixedGroups, Planted::FlippedKl];

/// One run that the gate judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    pub variant: Variant,
    pub note: String,
    /// Whether the gate said what it must: a regression for a fault, none for an honest run.
    pub is_right: bool,
    pub num_regressed: usize,
    /// The clearest finding: what, golden's value, the run's and the effect.
    pub finding: Option<String>,
    pub wall_time_s: f64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub profile: String,
    pub passed: bool,
    pub probes: Vec<Probe>,
}

impl Report {
    /// 1 when the gate was wrong about any probe, else 0.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.passed)
    }
}

/// The probes of a whole test, or `few` of them: the run as it is, faults, reruns.
fn variants(few: bool) -> Vec<Variant> {
    let faults = if few { &FEW[..] } else { &Planted::ALL[..] };
    let reruns = if few { 1 } else { REDRAWN.count() };
    let faults = faults.iter().copied().map(Variant::Planted);
    let redrawn = REDRAWN.take(reruns).map(Variant::Redrawn);
    [Variant::Usual].into_iter().chain(faults).chain(redrawn).collect()
}

/// Judges every probe of profile `recipe` by its golden results.
///
/// # Errors
/// If there are none, the recipe has no gate, or a run cannot be finished.
pub fn run(recipe: &Recipe, options: &Options, few: bool) -> Result<Report> {
    let gate = recipe.gate()?;
    let golden = golden::read(&recipe.name)?;
    let variants = variants(few);
    let events = Events::open(&options.runs_dir.join("self-test/events.jsonl"), options.quiet)?;
    let mut bar = events.bar("self-test", variants.len(), 0);
    let mut probes = Vec::new();
    for variant in variants {
        bar.at(probes.len(), format!("{}: {}", name(variant), note(variant)));
        let clock = Instant::now();
        let outcome = reproduce(recipe, &Options { variant, quiet: true, ..options.clone() })
            .with_context(|| format!("probe `{}` could not finish", name(variant)))?;
        let probe = judge(variant, &compare(&golden, &outcome.results, gate), clock);
        let word = if probe.is_right { "right" } else { "WRONG" };
        events.say(&format!("  {word}  {}: {}", name(variant), told(&probe)));
        probes.push(probe);
    }
    bar.finish(&format!("{} runs judged", probes.len()));
    let passed = probes.iter().all(|probe| probe.is_right);
    Ok(Report { profile: recipe.name.clone(), passed, probes })
}

fn judge(variant: Variant, comparison: &Comparison, clock: Instant) -> Probe {
    let num_regressed = comparison.count(Verdict::Regressed);
    let is_right = match variant {
        Variant::Planted(_) => num_regressed > 0,
        Variant::Usual | Variant::Redrawn(_) => comparison.exit_code() == 0,
    };
    Probe {
        variant,
        note: note(variant).to_owned(),
        is_right,
        num_regressed,
        finding: clearest(comparison),
        wall_time_s: clock.elapsed().as_secs_f64(),
    }
}

/// The regression that is farthest from chance, rows as a whole before their parts and figures of training.
fn clearest(comparison: &Comparison) -> Option<String> {
    let rows = verdict_rows(comparison, Verdict::Regressed);
    let regressed = |verdict: Verdict| verdict == Verdict::Regressed;
    let cells = comparison.cells.iter().filter(|cell| regressed(cell.verdict)).map(|cell| {
        let whole = cell.benchmark.is_none() && cell.level.is_none();
        (whole, cell.effect)
    });
    let figures = comparison.figures.iter().filter(|figure| regressed(figure.verdict));
    let all = cells.chain(figures.map(|figure| (false, figure.effect)));
    let clear = |effect: Option<Interval>| {
        effect.map_or(0.0, |effect| effect.mean.abs() / effect.half_width().max(f64::MIN_POSITIVE))
    };
    let (_, row) = all.zip(&rows).max_by(|((a_whole, a), _), ((b_whole, b), _)| {
        a_whole.cmp(b_whole).then(clear(*a).total_cmp(&clear(*b)))
    })?;
    let [name, scope, metric, _, golden, run, effect, _] = row.as_slice() else { return None };
    Some(format!("{name}, {scope}: {metric} {golden} to {run}, {effect}"))
}

fn name(variant: Variant) -> String {
    match variant {
        Variant::Usual => "as it is".to_owned(),
        Variant::Planted(planted) => planted.name().to_owned(),
        Variant::Redrawn(seed) => format!("seed {seed}"),
    }
}

fn note(variant: Variant) -> &'static str {
    match variant {
        Variant::Usual => "nothing is wrong",
        Variant::Planted(planted) => planted.note(),
        Variant::Redrawn(_) => "nothing is wrong, trained and asked with another seed",
    }
}

fn told(probe: &Probe) -> String {
    match &probe.finding {
        Some(finding) => format!("{} regressed; {finding}", probe.num_regressed),
        None => "nothing regressed".to_owned(),
    }
}

/// The report for a terminal of `width` columns.
pub fn render(report: &Report, width: u16) -> String {
    let header = ["", "probe", "what is wrong", "what was clearest", "regressed", "time"];
    let line = |probe: &Probe| {
        let finding = probe.finding.clone().unwrap_or_else(|| NOTHING.to_owned());
        vec![
            if probe.is_right { "right" } else { "WRONG" }.to_owned(),
            name(probe.variant),
            probe.note.clone(),
            finding,
            probe.num_regressed.to_string(),
            format!("{:.0} s", probe.wall_time_s),
        ]
    };
    let rows = report.probes.iter().map(line).collect();
    let grid = Grid { header: header.map(str::to_owned).to_vec(), rows };
    let of = |planted: bool| {
        let probes = report.probes.iter();
        let kind: Vec<&Probe> = probes
            .filter(|probe| matches!(probe.variant, Variant::Planted(_)) == planted)
            .collect();
        (kind.iter().filter(|probe| probe.is_right).count(), kind.len())
    };
    let ((seen, faults), (let_pass, honest)) = (of(true), of(false));
    format!(
        "{}\nprofile {}: {seen} of {faults} planted faults seen, {let_pass} of {honest} honest runs let pass\n",
        draw(&grid, width, 4),
        report.profile
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::GATE;
    use crate::score::Results;
    use crate::score::fixture::study;

    fn probe(variant: Variant, run: &Results) -> Probe {
        let golden = study(40, &[1]);
        judge(variant, &compare(&golden, run, &GATE), Instant::now())
    }

    fn longer() -> Results {
        let mut run = study(40, &[1]);
        run.rows.iter_mut().filter(|row| row.name == "rl").for_each(|row| {
            row.seeds[0].num_tokens.iter_mut().flatten().for_each(|tokens| *tokens *= 2);
        });
        run
    }

    #[test]
    fn a_fault_must_be_seen_and_an_honest_run_must_pass() {
        let same = study(40, &[1]);
        for (variant, is_right_same, is_right_longer) in [
            (Variant::Planted(Planted::CutGeneration), false, true),
            (Variant::Usual, true, false),
            (Variant::Redrawn(101), true, false),
        ] {
            assert_eq!(probe(variant, &same).is_right, is_right_same);
            assert_eq!(probe(variant, &longer()).is_right, is_right_longer);
        }
    }

    #[test]
    fn the_report_reads() {
        let mut probes = vec![
            probe(Variant::Usual, &study(40, &[1])),
            probe(Variant::Planted(Planted::CutGeneration), &longer()),
            probe(Variant::Redrawn(101), &longer()),
        ];
        probes.iter_mut().for_each(|probe| probe.wall_time_s = 12.0);
        let report = Report { profile: "smoke".into(), passed: false, probes };
        insta::assert_snapshot!(render(&report, 120), @"
        ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
               probe           what is wrong                        what was clearest                       regressed  time
        ════════════════════════════════════════════════════════════════════════════════════════════════════════════════════
        right  as it is        nothing is wrong                     –                                               0  12 s
        right  cut_generation  generation is cut at 30 tokens       rl, all: length 17.90 to 35.80, +17.90         11  12 s
                                                                    [+17.80, +18.00]
        WRONG  seed 101        nothing is wrong, trained and asked  rl, all: length 17.90 to 35.80, +17.90         11  12 s
                               with another seed                    [+17.80, +18.00]
        ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
        profile smoke: 1 of 1 planted faults seen, 1 of 2 honest runs let pass
        ");
    }

    #[test]
    fn a_whole_test_has_every_fault_and_ten_reruns() {
        let whole = variants(false);
        assert_eq!(whole.len(), 1 + Planted::ALL.len() + 10);
        assert!(variants(true).iter().all(|variant| whole.contains(variant)));
    }
}
