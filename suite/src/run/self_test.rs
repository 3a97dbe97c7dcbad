//! Tests the gate: with faults that it must find, and with honest reruns that it must let pass.
//!
//! Does not know the gate's rule, nor how a fault is planted. Every probe is a whole run of the profile, judged as
//! any run is; artifacts that a fault does not touch are those of the run without it.

use std::ops::RangeInclusive;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::json;
use synergy_report::compare::compare;
use synergy_report::self_test::{self, Probe, Report};

use crate::planted::Planted;
use crate::recipe::Recipe;
use crate::run::event::Events;
use crate::run::golden;
use crate::run::{Options, Variant, reproduce};

/// Seeds of the reruns, which no recipe uses.
const REDRAWN: RangeInclusive<u64> = 101..=110;
/// The faults that a pull request has time for: one of the parser, one of the weights, two of training.
const FEW: [Planted; 4] =
    [Planted::FirstNumber, Planted::ZeroedTensor, Planted::MixedGroups, Planted::FlippedKl];

/// The probes of a whole test, or `few` of them: the unchanged run, faults, reruns.
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
/// If there are no golden results, the recipe has no gate, or a run cannot be finished.
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
        let judged = self_test::Variant {
            json: json!(variant),
            name: &name(variant),
            note: note(variant),
            is_fault: matches!(variant, Variant::Planted(_)),
        };
        let mut probe = Probe::judged(judged, &compare(&golden, &outcome.results, gate));
        probe.wall_time_s = clock.elapsed().as_secs_f64();
        let word = if probe.is_right { "right" } else { "WRONG" };
        events.say(&format!("  {word}  {}: {}", name(variant), probe.summary()));
        probes.push(probe);
    }
    bar.finish(&format!("{} runs judged", probes.len()));
    let passed = probes.iter().all(|probe| probe.is_right);
    Ok(Report { profile: recipe.name.clone(), passed, probes })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_test_has_every_fault_and_ten_reruns() {
        let whole = variants(false);
        assert_eq!(whole.len(), 1 + Planted::ALL.len() + 10);
        assert!(variants(true).iter().all(|variant| whole.contains(variant)));
    }
}
