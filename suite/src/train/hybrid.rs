//! GRPO with an SFT loss where its rollouts fail: interleaved, and progressive with a shrinking prefix.
//!
//! Knows nothing of regimes. Deviations from the study: it does not give the weight of the SFT loss where
//! training is interleaved, nor the shape of the prefix's schedule; the recipe says both.

use std::collections::BTreeMap;

use anyhow::Result;
use synergy_benchmarks::seed::Seed;
use synergy_models::vlm::Vlm;

use crate::evaluate::Question;
use crate::recipe::HybridSpec;
use crate::train::grpo::{Answer, Reference, Rolled, answers, group, roll, updates};
use crate::train::{Context, StepFigures, Trainer};

/// One step. `taught` has answers by question; `done` is the share of the stage's steps that is behind.
///
/// # Errors
/// See [`Trainer::update`].
#[expect(clippy::too_many_arguments, reason = "those of GRPO's step, and what is taught")]
pub fn step(
    trainer: &mut Trainer,
    context: &Context<'_>,
    spec: &HybridSpec,
    reference: Reference<'_>,
    questions: &[Question],
    taught: &BTreeMap<&str, &str>,
    done: f64,
    seed: Seed,
) -> Result<StepFigures> {
    let prompter = context.prompter;
    let policy = Vlm::new(&prompter.config, &trainer.parameters);
    let mut figures = StepFigures::new();
    let rolled = roll(&policy, context, &spec.grpo, questions, &[], seed, &mut figures);
    let answer_ids = |question: &Question| {
        taught.get(question.sample.id.as_str()).map(|text| {
            let mut ids = prompter.tokenizer.encode(text);
            ids.push(prompter.config.eos_token_id);
            ids
        })
    };
    // Whole answers of gated groups; where none is known, rewards alone teach.
    let gated: Vec<Option<Vec<u32>>> = questions
        .iter()
        .zip(&rolled)
        .map(|(question, rolled)| {
            (rolled.pass_rate <= spec.gate).then(|| answer_ids(question)).flatten()
        })
        .collect();
    let kept = prefix_share(spec.prefix_until, done);
    let prefixes: Vec<Option<&[u32]>> = gated
        .iter()
        .map(|ids| ids.as_ref().map(|ids| &ids[..(ids.len() as f64 * kept).round() as usize]))
        .collect();
    let again = roll_again(&policy, context, spec, questions, &gated, &prefixes, seed);
    drop(policy);

    let mut groups = Vec::with_capacity(questions.len());
    let mut again = again.into_iter();
    for (i, question) in questions.iter().enumerate() {
        let whole = |ids: &Vec<u32>| Answer {
            ids: ids.clone(),
            num_given: ids.len(),
            is_learned: true,
            log_probs: Vec::new(),
            advantage: 0.0,
        };
        let own = || answers(&spec.grpo, &rolled[i], &[]);
        let parts = match (&gated[i], prefixes[i]) {
            (Some(_), Some([])) => own(),
            (Some(ids), Some(prefix)) if prefix.len() < ids.len() => {
                let rolled = again.next().expect("rolled out again above");
                answers(&spec.grpo, &rolled, prefix)
            }
            (Some(ids), _) if spec.rl_on_gated => own().into_iter().chain([whole(ids)]).collect(),
            (Some(ids), _) => vec![whole(ids)],
            (None, _) => own(),
        };
        groups.push(group(prompter, question, &parts)?);
    }
    updates(trainer, context, &spec.grpo, reference, &groups, spec.sft_weight, &mut figures)?;
    let num_gated = gated.iter().flatten().count();
    figures.insert("gated".into(), num_gated as f64 / questions.len() as f64);
    figures.insert("prefix_share".into(), kept);
    Ok(figures)
}

/// Share of an answer that is given: all of it in the first step, nothing from `until` on; always all of it
/// if `until` is 0.
fn prefix_share(until: f64, done: f64) -> f64 {
    if until > 0.0 { (1.0 - done / until).clamp(0.0, 1.0) } else { 1.0 }
}

/// Rollouts of the questions whose prefix is something, but not the whole answer, in their order.
fn roll_again(
    policy: &Vlm,
    context: &Context<'_>,
    spec: &HybridSpec,
    questions: &[Question],
    gated: &[Option<Vec<u32>>],
    prefixes: &[Option<&[u32]>],
    seed: Seed,
) -> Vec<Rolled> {
    let mut asked = Vec::new();
    let mut given = Vec::new();
    for ((question, ids), prefix) in questions.iter().zip(gated).zip(prefixes) {
        if let (Some(ids), Some(prefix)) = (ids, *prefix)
            && !prefix.is_empty()
            && prefix.len() < ids.len()
        {
            let input_ids = [&question.input_ids, prefix].concat();
            asked.push(Question { input_ids, ..question.clone() });
            given.push(prefix);
        }
    }
    if asked.is_empty() {
        return Vec::new();
    }
    // Figures of the step are those of unaided rollouts.
    let mut aside = StepFigures::new();
    roll(policy, context, &spec.grpo, &asked, &given, seed.fold_in("prefix"), &mut aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_shrinks_from_all_to_nothing() {
        let shares = [0.0, 0.35, 0.7, 1.0].map(|done| prefix_share(0.7, done));
        for (share, want) in shares.into_iter().zip([1.0, 0.5, 0.0, 0.0]) {
            assert!((share - want).abs() < 1e-12, "{share} {want}");
        }
        assert!((prefix_share(0.0, 0.9) - 1.0).abs() < 1e-12);
    }
}
