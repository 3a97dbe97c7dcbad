//! What a self-test of the gate found: a probe for each run that the gate judged, and the report of all.
//!
//! This module does not know how a fault is planted or how a run is made.

use serde::Serialize;
use serde_json::Value;

use crate::compare::{Comparison, Verdict};
use crate::statistics::Interval;
use crate::text::terminal::{Grid, NOTHING, draw, verdict_rows};

/// One run that the gate judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// The variant of the run that was judged, as JSON names it.
    pub variant: Value,
    /// True if something is broken on purpose in it.
    #[serde(skip)]
    pub is_fault: bool,
    /// Name of the variant for people.
    #[serde(skip)]
    pub name: String,
    /// What is wrong with the run, in one sentence.
    pub note: String,
    /// True if the gate's verdict is the right one: a regression for a fault, no regression for an honest run.
    pub is_right: bool,
    /// Cells and figures that regressed.
    pub num_regressed: usize,
    /// The clearest finding: what, golden's value, the run's and the effect.
    pub finding: Option<String>,
    /// Wall time of the run in seconds.
    pub wall_time_s: f64,
}

/// The outcome of a self-test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Name of the recipe.
    pub profile: String,
    /// True if the gate was right about every probe.
    pub passed: bool,
    /// Every run that was judged, in order.
    pub probes: Vec<Probe>,
}

impl Report {
    /// 1 when the gate was wrong about any probe, else 0.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.passed)
    }
}

impl Probe {
    /// Judges a run by its comparison with golden results: a fault must regress, an honest run must pass.
    /// `wall_time_s` is set by whoever measured it.
    pub fn judged(variant: Variant<'_>, comparison: &Comparison) -> Probe {
        let num_regressed = comparison.count(Verdict::Regressed);
        let is_right =
            if variant.is_fault { num_regressed > 0 } else { comparison.exit_code() == 0 };
        Probe {
            variant: variant.json,
            is_fault: variant.is_fault,
            name: variant.name.to_owned(),
            note: variant.note.to_owned(),
            is_right,
            num_regressed,
            finding: clearest(comparison),
            wall_time_s: 0.0,
        }
    }

    /// Says in a few words what the gate found.
    pub fn summary(&self) -> String {
        match &self.finding {
            Some(finding) => format!("{} regressed; {finding}", self.num_regressed),
            None => "nothing regressed".to_owned(),
        }
    }
}

/// A run to be judged: its names, and whether it is broken on purpose.
#[derive(Debug, Clone)]
pub struct Variant<'a> {
    /// Name in JSON.
    pub json: Value,
    /// Name for people.
    pub name: &'a str,
    /// What is wrong with the run, if anything is.
    pub note: &'a str,
    /// True if something is broken on purpose.
    pub is_fault: bool,
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

/// Draws the report for a terminal of `width` columns.
pub fn render(report: &Report, width: u16) -> String {
    let header = ["", "probe", "what is wrong", "what was clearest", "regressed", "time"];
    let line = |probe: &Probe| {
        let finding = probe.finding.clone().unwrap_or_else(|| NOTHING.to_owned());
        vec![
            if probe.is_right { "right" } else { "WRONG" }.to_owned(),
            probe.name.clone(),
            probe.note.clone(),
            finding,
            probe.num_regressed.to_string(),
            format!("{:.0} s", probe.wall_time_s),
        ]
    };
    let grid = Grid::new(header, report.probes.iter().map(line));
    let of = |planted: bool| {
        let probes = report.probes.iter();
        let kind: Vec<&Probe> = probes.filter(|probe| probe.is_fault == planted).collect();
        (kind.iter().filter(|probe| probe.is_right).count(), kind.len())
    };
    let ((seen, faults), (let_pass, honest)) = (of(true), of(false));
    format!(
        "{}\nprofile {}: {seen} of {faults} planted faults found, {let_pass} of {honest} honest runs passed\n",
        draw(&grid, width, 4),
        report.profile
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::compare;
    use crate::compare::tests::GATE;
    use crate::score::Results;
    use crate::score::fixture::study;
    use serde_json::json;

    const FAULT: (&str, &str) = ("cut_generation", "generation is cut at 30 tokens");
    const USUAL: (&str, &str) = ("as it is", "nothing is wrong");

    fn probe((name, note): (&str, &str), run: &Results) -> Probe {
        let variant = Variant { json: json!(name), name, note, is_fault: name == FAULT.0 };
        Probe::judged(variant, &compare(&study(40, &[1]), run, &GATE))
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
        for (variant, is_right_same, is_right_longer) in
            [(FAULT, false, true), (USUAL, true, false)]
        {
            assert_eq!(probe(variant, &same).is_right, is_right_same);
            assert_eq!(probe(variant, &longer()).is_right, is_right_longer);
        }
    }

    #[test]
    fn the_report_reads() {
        let mut probes = vec![
            probe(USUAL, &study(40, &[1])),
            probe(FAULT, &longer()),
            probe(("seed 101", "nothing is wrong, trained and asked with another seed"), &longer()),
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
        profile smoke: 1 of 1 planted faults found, 1 of 2 honest runs passed
        ");
    }
}
