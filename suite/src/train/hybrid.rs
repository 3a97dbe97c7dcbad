//! GRPO with an SFT loss where its rollouts fail: interleaved, and progressive with a shrinking prefix.
//!
//! Knows nothing of regimes. Deviations from the study: it does not give the weight of the SFT loss where
//! training is interleaved, nor the shape of the prefix's schedule; the recipe says both.

use std::collections::BTreeMap;

use anyhow::Result;
use synergy_benchmarks::seed::Seed;
use synergy_models::vlm::Vlm;

use crate::recipe::HybridSpec;
use crate::train::grpo::{Answer, Reference, Rolled, answers, group, learn, roll};
use crate::train::rollout::Question;
use crate::train::{Context, StepFigures, Trainer};

/// One step. `taught` has answers by question; `done` is the share of the stage's steps that is behind.
///
/// # Errors
/// See [`crate::train::grpo::step`].
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
    let policy = context.model(&trainer.parameters);
    let mut figures = StepFigures::new();
    let rolled = roll(&policy, context, &spec.grpo, questions, &[], seed, &mut figures)?;
    let answer_ids = |question: &Question| {
        taught.get(question.sample.id.as_str()).map(|text| {
            let mut ids = prompter.tokenizer.encode(text);
            ids.push(prompter.tokenizer.ids.eos);
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
    let again =
        roll_again(&policy, context, spec, questions, &gated, &prefixes, seed, &mut figures)?;
    drop(policy);

    let mut groups = Vec::with_capacity(questions.len());
    let mut again = again.into_iter();
    for (i, question) in questions.iter().enumerate() {
        let whole = |ids: &Vec<u32>| Answer {
            ids: ids.clone(),
            num_given: ids.len(),
            is_learned: true,
            log_probs: Vec::new(),
            reward: 0.0,
        };
        let own = || answers(&rolled[i], &[]);
        let parts = match (&gated[i], prefixes[i]) {
            (Some(_), Some([])) => own(),
            (Some(ids), Some(prefix)) if prefix.len() < ids.len() => {
                let rolled = again.next().expect("rolled out again above");
                answers(&rolled, prefix)
            }
            (Some(ids), _) if spec.rl_on_gated => own().into_iter().chain([whole(ids)]).collect(),
            (Some(ids), _) => vec![whole(ids)],
            (None, _) => own(),
        };
        groups.push(group(prompter, question, &parts)?);
    }
    learn(trainer, context, &spec.grpo, reference, &groups, spec.sft_weight, &mut figures)?;
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

/// Rollouts of the questions whose prefix is something, but not the whole answer, in their order. Of their
/// figures the tokens count; all others are those of unaided rollouts.
#[expect(clippy::too_many_arguments, reason = "those of the step itself")]
fn roll_again(
    policy: &Vlm,
    context: &Context<'_>,
    spec: &HybridSpec,
    questions: &[Question],
    gated: &[Option<Vec<u32>>],
    prefixes: &[Option<&[u32]>],
    seed: Seed,
    figures: &mut StepFigures,
) -> Result<Vec<Rolled>> {
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
        return Ok(Vec::new());
    }
    let mut aside = StepFigures::new();
    let seed = seed.fold_in("prefix");
    let rolled = roll(policy, context, &spec.grpo, &asked, &given, seed, &mut aside)?;
    for name in ["tokens_generated", "tokens_forward"] {
        *figures.entry(name.to_owned()).or_default() += aside[name];
    }
    Ok(rolled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Compute;
    use crate::recipe::{
        GrpoSpec, Named, ObjectivePreset, ObjectiveSpec, OptimizerSpec, PromptSpec, QuestionsSpec,
        TrainingSpec,
    };
    use crate::reward::{AnswerRule, RewardSpec};
    use crate::run::base::Base;
    use crate::train::pool::drawn;
    use crate::train::sequence::Sequence;
    use crate::train::{grpo, pretrain};
    use std::sync::LazyLock;
    use synergy_benchmarks::families::Split;
    use synergy_models::config::Preset;
    use synergy_models::weights::Parameters;

    static BASE: LazyLock<Base> = LazyLock::new(|| {
        let prompt = PromptSpec { suffix: "Box it.".into(), verbose_suffix: "Aloud.".into() };
        let compute = Compute::open("flex", Some(1)).unwrap();
        Base::fresh(Preset::Nano, 400, 0.1, &prompt, 1, &compute).unwrap()
    });

    fn training(micro_batch_size: usize) -> TrainingSpec {
        TrainingSpec { freeze: vec!["visual.".into()], micro_batch_size, ..TrainingSpec::none() }
    }

    fn spec(gate: f64, prefix_until: f64) -> HybridSpec {
        let optimizer = OptimizerSpec {
            learning_rate: 1e-3,
            muon_learning_rate: 0.0,
            muon_momentum: 0.95,
            beta_1: 0.9,
            beta_2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1e9,
            warmup_steps: 0,
            final_learning_rate_ratio: 1.0,
        };
        // A made-up model's answers are worth nothing, so the step is that of KL alone, which needs a
        // weight that shows.
        let objective = ObjectiveSpec { beta: 0.5, ..ObjectivePreset::GrpoStudy.objective() };
        let grpo = GrpoSpec {
            from: "base".into(),
            num_steps: 1,
            batch_size: 4,
            num_mini_batches: 1,
            num_generations: 3,
            temperature: 1.0,
            max_completion_tokens: 6,
            objective,
            reward: Named::new(
                "study",
                RewardSpec {
                    accuracy_weight: 0.9,
                    format_weight: 0.1,
                    answer: AnswerRule::OnlyBox,
                },
            ),
            questions: Named::new("few", QuestionsSpec::drawn(Split::Train, 4, [1, 2])),
            skip_solved_by: None,
            training: Named::new("all", training(2)),
            optimizer: Named::new("usual", optimizer),
        };
        HybridSpec {
            data: "traces".into(),
            gate,
            rl_on_gated: false,
            sft_weight: 1.0,
            prefix_until,
            grpo,
        }
    }

    fn questions() -> Vec<Question> {
        let question =
            |i| Question::new(&BASE.prompter, drawn(1, i, Split::Train, [1, 2]), true).unwrap();
        (0..4).map(question).collect()
    }

    fn traces(questions: &[Question]) -> BTreeMap<&str, &str> {
        questions.iter().map(|q| (q.sample.id.as_str(), q.sample.terse.as_str())).collect()
    }

    /// KL is measured from elsewhere, so that it has a slope in the first step.
    fn moved() -> Parameters {
        BASE.parameters
            .map(|name, p| p.value.clone() * if name == "model.norm.weight" { 1.2 } else { 1.0 })
    }

    /// What `step` makes of the base.
    fn after(
        micro_batch_size: usize,
        step: impl FnOnce(&mut Trainer, &Context<'_>, Reference<'_>) -> Result<StepFigures>,
    ) -> (Parameters, StepFigures) {
        let (training, compute) =
            (training(micro_batch_size), Compute::open("flex", Some(1)).unwrap());
        let context = Context::new(&BASE.prompter, &compute, &training);
        let optimizer = &spec(0.0, 0.0).grpo.optimizer;
        let mut trainer =
            Trainer::new(&training, optimizer, 10, &BASE.parameters, Seed::root(1)).unwrap();
        let parameters = moved();
        let reference = Reference { parameters: &parameters, features: None };
        let figures = step(&mut trainer, &context, reference).unwrap();
        (trainer.parameters, figures)
    }

    fn after_grpo(micro_batch_size: usize) -> (Parameters, StepFigures) {
        after(micro_batch_size, |trainer, context, reference| {
            let spec = spec(0.0, 0.0).grpo;
            grpo::step(trainer, context, &spec, reference, &questions(), Seed::root(9))
        })
    }

    fn after_hybrid(spec: &HybridSpec, done: f64) -> (Parameters, StepFigures) {
        after(2, |trainer, context, reference| {
            let questions = questions();
            let taught = traces(&questions);
            step(trainer, context, spec, reference, &questions, &taught, done, Seed::root(9))
        })
    }

    fn distance(a: &Parameters, b: &Parameters) -> f64 {
        let squares = |(name, p): (&str, &synergy_models::weights::Parameter)| -> f64 {
            let other = b.get(name).to_vec();
            p.to_vec().iter().zip(other).map(|(x, y)| f64::from(x - y).powi(2)).sum()
        };
        a.iter().map(squares).sum::<f64>().sqrt()
    }

    #[test]
    fn a_gate_that_never_opens_leaves_grpo() {
        let (hybrid, _) = after_hybrid(&spec(-1.0, 0.0), 0.0);
        let (grpo, figures) = after_grpo(2);
        assert!(distance(&grpo, &BASE.parameters) > 0.1, "nothing was learned");
        assert!(figures["kl_nats"] > 0.0 && figures["groups_intact"] > 0.5);
        assert_eq!(hybrid.to_bytes(), grpo.to_bytes());
    }

    #[test]
    fn a_prefix_of_nothing_leaves_grpo() {
        let (hybrid, figures) = after_hybrid(&spec(1.0, 0.7), 0.8);
        assert!(figures["prefix_share"].abs() < 1e-12 && figures["gated"] > 0.99);
        assert_eq!(hybrid.to_bytes(), after_grpo(2).0.to_bytes());
    }

    #[test]
    fn a_gate_that_is_always_open_leaves_sft() {
        let (hybrid, figures) = after_hybrid(&spec(1.0, 0.0), 0.0);
        let questions = questions();
        let (sft, others) = after(2, |trainer, context, _| {
            let rng = &mut Seed::root(1).rng();
            let sequences: Vec<Sequence> = questions
                .iter()
                .map(|q| {
                    let text = BASE.prompter.text(&q.sample, true);
                    let turn = [(text, q.sample.terse.clone())];
                    BASE.prompter.conversation(&turn, q.patches.clone(), 0, rng).unwrap()
                })
                .collect();
            pretrain::step(trainer, context, &sequences)
        });
        assert!((figures["sft_loss"] - others["loss"]).abs() < 1e-6);
        let (apart, moved) = (distance(&hybrid, &sft), distance(&sft, &BASE.parameters));
        assert!(apart < 1e-3 * moved, "{apart} apart after a step of {moved}");
    }

    #[test]
    fn a_prefix_is_learned_and_what_follows_it_is_rolled_out() {
        let (_, figures) = after_hybrid(&spec(1.0, 0.5), 0.25);
        assert!((figures["prefix_share"] - 0.5).abs() < 1e-12);
        assert!(figures["sft_loss"] > 0.0);
        // Rolled out twice.
        let once = after_grpo(2).1["tokens_generated"];
        assert!(figures["tokens_generated"] > 1.5 * once);
    }

    #[test]
    fn how_a_batch_is_cut_does_not_change_a_step_of_grpo() {
        let (whole, figures) = after_grpo(4);
        let (cut, others) = after_grpo(1);
        assert!((figures["loss"] - others["loss"]).abs() < 1e-6);
        let (apart, moved) = (distance(&whole, &cut), distance(&whole, &BASE.parameters));
        assert!(apart < 1e-3 * moved, "{apart} apart after a step of {moved}");
    }

    #[test]
    fn the_prefix_shrinks_from_all_to_nothing() {
        let shares = [0.0, 0.35, 0.7, 1.0].map(|done| prefix_share(0.7, done));
        for (share, want) in shares.into_iter().zip([1.0, 0.5, 0.0, 0.0]) {
            assert!((share - want).abs() < 1e-12, "{share} {want}");
        }
        assert!((prefix_share(0.0, 0.9) - 1.0).abs() < 1e-12);
    }
}
