//! Steps with demonstrations against steps of GRPO and of SFT.

use super::*;
use crate::recipe::{
    Distillation, Guidance, MeanOver, Mu, Named, ObjectivePreset, ObjectiveSpec, PassWeights,
    Prefix, PrefixShare, QuestionsSpec, RatioLevel, RowGain, Signed, TokenWeight, Weighting,
};
use crate::reward::Reward;
use crate::train::fixture::{
    BASE, base, compute, dense, grpo_spec, ids, micro_batch, optimizer, questions, training,
};
use crate::train::pool::{Files, Pool};
use crate::train::pretrain;
use crate::train::rollout::LocalEngine;
use synergy_benchmarks::families::Split;
use synergy_models::qwen2_5_vl::config::Preset;
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_models::weights::{ComputeDtype, Parameters};

/// Twenty steps of RL without demonstrations.
fn spec() -> GrpoSpec {
    // A made-up model's answers are worth nothing, so the step is that of KL alone, which needs a
    // weight that shows.
    grpo_spec(ObjectiveSpec { beta: 0.5, ..ObjectivePreset::GrpoStudy.objective() })
}

/// The same with demonstrations.
fn guided(gate: f64, prefix_until: f64) -> GrpoSpec {
    let weighting = Weighting::Sft { weight: 1.0, mean_over: None, token_weight: None };
    let guidance = Guidance {
        data: "traces".into(),
        gate: Some(gate),
        keep_rl: Some(false),
        by_passes: None,
        mu: None,
        weighting,
        prefix: (prefix_until > 0.0)
            .then_some(Prefix { share: PrefixShare::Linear { until: prefix_until }, rows: None }),
    };
    GrpoSpec { guidance: Some(guidance), ..spec() }
}

/// Dense solutions in the order of the questions.
fn solutions(questions: &[Question]) -> Vec<String> {
    questions.iter().map(|q| dense(&q.sample)).collect()
}

/// Demonstrations that a model which scores is shown, too.
fn shown<'a>(traces: BTreeMap<&'a str, &'a str>) -> StageInputs<'a> {
    StageInputs { demonstrations: traces.clone(), shown: traces, ..StageInputs::default() }
}

fn traces<'a>(questions: &'a [Question], solutions: &'a [String]) -> BTreeMap<&'a str, &'a str> {
    let ids = questions.iter().map(|q| q.sample.id.as_str());
    ids.zip(solutions.iter().map(String::as_str)).collect()
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
    let (training, compute) = (training(&["visual."], micro_batch_size), compute());
    let context = Context::new(&BASE.prompter, &compute, &training);
    let mut trainer =
        Trainer::new(&training, &optimizer(), 10, &BASE.parameters, Seed::root(1)).unwrap();
    let parameters = moved();
    let reference = Reference { parameters: &parameters, features: None, scorer: None };
    let figures = step(&mut trainer, &context, reference).unwrap();
    (trainer.parameters, figures)
}

/// What the step at this place makes of the base.
fn after_step(spec: &GrpoSpec, micro_batch_size: usize, step: usize) -> (Parameters, StepFigures) {
    after(micro_batch_size, |trainer, context, reference| {
        let questions = questions();
        let solutions = solutions(&questions);
        let pool = Pool { files: &Files::default(), run_seed: 1 };
        let draws = Draws { pool, stage: Seed::root(9) };
        let grpo = Grpo::new(spec, shown(traces(&questions, &solutions)), draws).unwrap();
        let config = &BASE.prompter.config;
        let mut engine = LocalEngine::new(config, context.compute, ComputeDtype::F32);
        grpo.step(trainer, &mut engine, context, reference, &questions, step)
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
    let (guided, _) = after_step(&guided(-1.0, 0.0), 2, 0);
    let (grpo, figures) = after_step(&spec(), 2, 0);
    assert!(distance(&grpo, &BASE.parameters) > 0.1, "nothing was learned");
    assert!(figures["kl_nats"] > 0.0 && figures["groups_intact"] > 0.5);
    assert_eq!(guided.to_bytes(), grpo.to_bytes());
}

#[test]
fn a_prefix_of_nothing_leaves_grpo() {
    let (guided, figures) = after_step(&guided(1.0, 0.7), 2, 16);
    assert!(figures["prefix_share"].abs() < 1e-12 && figures["gated"] > 0.99);
    assert_eq!(guided.to_bytes(), after_step(&spec(), 2, 16).0.to_bytes());
}

#[test]
fn a_gate_that_is_always_open_leaves_sft() {
    for (mean_over, token_weight) in [
        (MeanOver::Answers, None),
        (MeanOver::Tokens, None),
        (MeanOver::Tokens, Some(TokenWeight::Phi {})),
        (MeanOver::Answers, Some(TokenWeight::TrustRegion { alpha: 0.3 })),
    ] {
        let mut spec = guided(1.0, 0.0);
        let weighting = Weighting::Sft { weight: 1.0, mean_over: Some(mean_over), token_weight };
        spec.guidance.as_mut().unwrap().weighting = weighting;
        is_sft(&spec, mean_over, token_weight);
    }
    // A question weighs as one that is learned from rewards, unless the recipe says otherwise.
    is_sft(&guided(1.0, 0.0), MeanOver::Answers, None);
}

/// Asserts that a step by `spec` is one of SFT on the questions' traces.
fn is_sft(spec: &GrpoSpec, mean_over: MeanOver, token_weight: Option<TokenWeight>) {
    let (guided, figures) = after_step(spec, 2, 0);
    let questions = questions();
    let (sft, others) = after(2, |trainer, context, _| {
        let rng = &mut Seed::root(1).rng();
        let sequences: Vec<Sequence> = questions
            .iter()
            .map(|q| {
                let text = BASE.prompter.text(&q.sample, true);
                let turn = [(text, dense(&q.sample))];
                BASE.prompter.conversation(&turn, q.patches.clone(), 0, rng).unwrap()
            })
            .collect();
        let lengths = sequences.iter().map(|sequence| sequence.predictions.len());
        let num_tokens = lengths.clone().sum::<usize>();
        let weight = |length: usize| match mean_over {
            MeanOver::Tokens => 1.0 / num_tokens as f64,
            MeanOver::Answers => 1.0 / (sequences.len() * length) as f64,
        };
        let weights: Vec<f64> = lengths.map(weight).collect();
        pretrain::step_over(trainer, context, &sequences, &weights, token_weight)
    });
    assert!((figures["sft_loss"] - others["loss"]).abs() < 1e-6);
    let (apart, moved) = (distance(&guided, &sft), distance(&sft, &BASE.parameters));
    assert!(apart < 1e-3 * moved, "{apart} apart after a step of {moved}");
}

#[test]
fn a_prefix_is_learned_and_what_follows_it_is_rolled_out() {
    let (_, figures) = after_step(&guided(1.0, 0.5), 2, 5);
    assert!((figures["prefix_share"] - 0.5).abs() < 1e-12);
    assert!(figures["sft_loss"] > 0.0);
    // Rolled out twice.
    let once = after_step(&spec(), 2, 5).1["tokens_generated"];
    assert!(figures["tokens_generated"] > 1.5 * once);
}

#[test]
fn how_a_batch_is_cut_does_not_change_a_step_of_grpo() {
    let (whole, figures) = after_step(&spec(), 4, 0);
    let (cut, others) = after_step(&spec(), 1, 0);
    assert!((figures["loss"] - others["loss"]).abs() < 1e-6);
    let (apart, moved) = (distance(&whole, &cut), distance(&whole, &BASE.parameters));
    assert!(apart < 1e-3 * moved, "{apart} apart after a step of {moved}");
}

/// Groups of made-up answers with the log-probabilities that the base gives them; those of the first have these
/// advantages, all others have none.
fn groups(advantages: [f64; 3]) -> Vec<Group> {
    let rng = &mut Seed::root(7).rng();
    let model = Vlm::new(&BASE.prompter.config, &BASE.parameters);
    let of = |(i, question): (usize, &Question)| {
        let rollouts = advantages.map(|advantage| Rollout {
            ids: ids(rng, 5),
            advantage: if i == 0 { advantage } else { 0.0 },
            ..Rollout::default()
        });
        made_up(&model, question, rollouts.to_vec())
    };
    questions().iter().enumerate().map(of).collect()
}

/// A group of made-up answers with the log-probabilities that `model` gives them.
fn made_up(model: &Vlm, question: &Question, rollouts: Vec<Rollout>) -> Group {
    let mut group = Group::new(&BASE.prompter, question, rollouts).unwrap();
    let sequences = std::slice::from_ref(&group.sequence);
    let log_probs = values(prediction_log_probs(model, &micro_batch(sequences), None));
    group.reference = log_probs.into_iter().map(f64::from).collect();
    for place in 0..group.rollouts.len() {
        let own: Vec<f64> = group.of(Token::Own(place), group.reference.iter().copied()).collect();
        group.rollouts[place].log_probs = own;
    }
    group
}

/// What `groups` are learned to without KL, or with one of next to no weight, for which every group is computed.
fn learned_from(groups: &[Group], beta: f64) -> (Parameters, StepFigures) {
    let objective = ObjectiveSpec { beta, ..ObjectivePreset::GrpoStudy.objective() };
    learned_by(&grpo_spec(objective), groups)
}

/// What `groups` are learned to by `spec`.
fn learned_by(spec: &GrpoSpec, groups: &[Group]) -> (Parameters, StepFigures) {
    let questions = questions();
    after(2, |trainer, context, _| {
        let pool = Pool { files: &Files::default(), run_seed: 1 };
        let draws = Draws { pool, stage: Seed::root(9) };
        let grpo = Grpo::new(spec, StageInputs::default(), draws).unwrap();
        assert_eq!(questions.len(), groups.len());
        let mut figures = StepFigures::new();
        grpo.learn(trainer, context, groups, &mut figures)?;
        Ok(figures)
    })
}

#[test]
fn without_kl_a_group_without_advantage_is_not_computed_and_changes_nothing() {
    let groups = groups([1.0, -0.5, -0.5]);
    let (all, figures) = learned_from(&groups, 1e-300);
    let (few, others) = learned_from(&groups, 0.0);
    let len = |groups: &[Group]| groups.iter().map(|g| g.sequence.input_ids.len()).sum::<usize>();
    assert_eq!(figures["tokens_trained"] as usize, len(&groups));
    assert_eq!(others["tokens_trained"] as usize, len(&groups[..1]));
    // No reference went forward, and none has to be there.
    assert!(!others.contains_key("tokens_forward") && !others.contains_key("kl_nats"));
    assert!((figures["loss"] - others["loss"]).abs() < 1e-6);
    let (apart, moved) = (distance(&all, &few), distance(&all, &BASE.parameters));
    assert!(moved > 0.1 && apart < 1e-3 * moved, "{apart} apart after a step of {moved}");

    // Where no group has any, the optimizer makes its step all the same.
    let (none, figures) = learned_from(&self::groups([0.0; 3]), 0.0);
    assert!(figures["gradient_norm"].abs() < 1e-12 && figures["log_prob_gap"] < 1e-3);
    assert!(distance(&none, &BASE.parameters) < 1e-12);
}

#[test]
fn a_demonstration_that_is_a_row_counts_in_its_groups_mean_and_learns_as_a_rollout_would() {
    let free = ObjectiveSpec { beta: 0.0, ..ObjectivePreset::GrpoStudy.objective() };
    let mut with_rows = guided(1.0, 0.0);
    with_rows.objective = free.clone();
    let guidance = with_rows.guidance.as_mut().unwrap();
    (guidance.keep_rl, guidance.weighting) =
        (Some(true), Weighting::Row { gain: RowGain::LOG_P, sft: None });
    // The same answer as a fourth rollout that the model has just written itself.
    let with_rollouts = GrpoSpec { num_generations: 4, ..grpo_spec(free) };

    let rng = &mut Seed::root(17).rng();
    let model = Vlm::new(&BASE.prompter.config, &BASE.parameters);
    let (mut rows, mut rollouts) = (Vec::new(), Vec::new());
    for question in &questions() {
        let wrong: Vec<Rollout> =
            (0..3).map(|_| Rollout { ids: ids(rng, 5), ..Rollout::default() }).collect();
        let shown = ids(rng, 7);
        let earned = Reward { accuracy: 1.0, format: 1.0, total: 1.0 };
        let row = Rollout::demonstration(shown.clone(), earned);
        let own = Rollout { ids: shown, reward: 1.0, accuracy: 1.0, ..Rollout::default() };
        rows.push(made_up(&model, question, [wrong.clone(), vec![row]].concat()));
        rollouts.push(made_up(&model, question, [wrong, vec![own]].concat()));
    }
    let figures = &mut StepFigures::new();
    add_advantages(None, &with_rows, &mut rows, figures);
    add_advantages(None, &with_rollouts, &mut rollouts, figures);
    for (row, rollout) in rows.iter().zip(&rollouts) {
        let of = |group: &Group| group.rollouts.iter().map(|r| r.advantage).collect::<Vec<_>>();
        assert_eq!(of(row), of(rollout));
        assert!(row.rollouts[3].advantage > 1.0 && row.rollouts[0].advantage < -0.1);
    }
    let (by_rows, _) = learned_by(&with_rows, &rows);
    let (by_rollouts, _) = learned_by(&with_rollouts, &rollouts);
    let (apart, moved) =
        (distance(&by_rows, &by_rollouts), distance(&by_rollouts, &BASE.parameters));
    assert!(apart < 1e-3 * moved, "{apart} apart after a step of {moved}");

    // What is shaped learns otherwise, and rare tokens less.
    let guidance = with_rows.guidance.as_mut().unwrap();
    guidance.weighting = Weighting::Row { gain: RowGain::Shaped { gamma: 0.1 }, sft: None };
    let (shaped, _) = learned_by(&with_rows, &rows);
    assert!(distance(&shaped, &by_rows) > 1e-2 * moved);
}

/// Without its ratio, its mask and its weight, SRFT, GFT and Prefix-RFT are steps of GRPO with rows.
#[test]
fn a_first_update_needs_no_ratio_and_parts_that_are_off_change_nothing() {
    let free = ObjectiveSpec { beta: 0.0, ..ObjectivePreset::GrpoStudy.objective() };
    let groups = groups([1.0, -0.5, -0.5]);
    let (with, _) = learned_by(&grpo_spec(free.clone()), &groups);
    let without = ObjectiveSpec { ratio: RatioLevel::None, ..free.clone() };
    let (without, _) = learned_by(&grpo_spec(without), &groups);
    let moved = distance(&with, &BASE.parameters);
    assert!(moved > 0.1 && distance(&with, &without) < 1e-4 * moved);

    let groups = groups_with_rows();
    let step = |gain, sft, token_weight| {
        let mut spec = guided(1.0, 0.0);
        spec.objective = ObjectiveSpec { token_weight, ..free.clone() };
        let guidance = spec.guidance.as_mut().unwrap();
        (guidance.keep_rl, guidance.weighting) = (Some(true), Weighting::Row { gain, sft });
        learned_by(&spec, &groups).0
    };
    let plain = step(RowGain::LOG_P, None, None);
    let gft = Some(TokenWeight::Gft { tau: 1e-9 });
    for off in [
        step(RowGain::LogP { token_weight: None, entropy_share: Some(1.0) }, None, None),
        step(RowGain::LogP { token_weight: gft, entropy_share: None }, Some(0.0), gft),
    ] {
        let (apart, moved) = (distance(&plain, &off), distance(&plain, &BASE.parameters));
        assert!(moved > 0.1 && apart < 1e-3 * moved, "{apart} apart after a step of {moved}");
    }
}

/// Groups of a right answer of 4 tokens, a wrong one of 6 and a demonstration of 7.
fn groups_with_rows() -> Vec<Group> {
    let rng = &mut Seed::root(29).rng();
    let model = Vlm::new(&BASE.prompter.config, &BASE.parameters);
    let mut of = |question: &Question| {
        let own =
            |ids, accuracy, advantage| Rollout { ids, accuracy, advantage, ..Rollout::default() };
        let earned = Reward { accuracy: 1.0, format: 1.0, total: 1.0 };
        let row = Rollout::demonstration(ids(rng, 7), earned);
        let rollouts = vec![
            own(ids(rng, 4), 1.0, 0.4),
            own(ids(rng, 6), 0.0, -1.0),
            Rollout { advantage: 0.6, ..row },
        ];
        Group { learned_advantage: 0.6, ..made_up(&model, question, rollouts) }
    };
    questions().iter().map(&mut of).collect()
}

/// SRFT: entropies are those of the answer's own tokens, and no slope runs through them.
#[test]
fn right_answers_are_worth_more_where_the_policy_is_unsure_and_demonstrations_weigh_less() {
    let signed = Some(Signed { right: 0.1, wrong: 1.0 });
    let mut spec = guided(1.0, 0.0);
    spec.objective = ObjectiveSpec {
        beta: 0.0,
        ratio: RatioLevel::None,
        signed,
        ..ObjectivePreset::GrpoStudy.objective()
    };
    spec.num_generations = 2;
    let guidance = spec.guidance.as_mut().unwrap();
    let gain = RowGain::Shaped { gamma: 0.1 };
    (guidance.keep_rl, guidance.weighting) = (Some(true), Weighting::Row { gain, sft: Some(0.5) });
    assert!(spec.needs_entropies());

    let all = groups_with_rows();
    let groups = &all[..2];
    let sequences: Vec<Sequence> = groups.iter().map(|group| group.sequence.clone()).collect();
    let batch = micro_batch(&sequences);
    let log_probs: Vec<f32> =
        groups.iter().flat_map(|group| group.reference.iter().map(|x| *x as f32)).collect();
    let entropies: Vec<f32> = (0..log_probs.len()).map(|i| (i as f32 * 0.7).cos() + 1.2).collect();
    let update = Update::new(groups, &spec, GapLimit::of(ComputeDtype::F32));
    let found = Predicted { log_probs: &log_probs, entropies: &entropies };
    let slopes = update.loss(found, &batch).0.slopes;

    let mut start = 0;
    for _ in groups {
        for (place, len) in [4, 6, 7].into_iter().enumerate() {
            let part = start..start + len;
            start = part.end;
            let mean = entropies[part.clone()].iter().sum::<f32>() / len as f32;
            for (slope, log_prob) in slopes[part.clone()].iter().zip(&log_probs[part]) {
                let p = log_prob.exp();
                // Two questions of two answers and a row, each a mean over its tokens.
                let share = 1.0 / (6.0 * len as f32);
                let want = match place {
                    0 => -share * 0.1 * mean.exp(),
                    1 => share,
                    _ => -share * 0.6 * 0.1 * p / (p + 0.1).powi(2) - 0.5 * (-mean).exp() / 14.0,
                };
                assert!((slope - want).abs() < 1e-6, "{place}: {slope} {want}");
            }
        }
    }
    assert_eq!(start, log_probs.len());

    // A step takes them from the model, and says how unsure it is.
    let (learned, figures) = learned_by(&spec, &all);
    assert!(distance(&learned, &BASE.parameters) > 0.1);
    assert!(figures["policy_entropy_nats"] > 0.0);
}

#[test]
fn importance_weights_weigh_what_each_token_of_another_engine_gains() {
    for ratio in [RatioLevel::Token, RatioLevel::Sequence] {
        let objective =
            ObjectiveSpec { beta: 0.0, ratio, ..ObjectivePreset::GrpoStudy.objective() };
        let spec = grpo_spec(objective);
        let mut groups = groups_with_rows();
        let slopes = |groups: &[Group]| {
            let sequences: Vec<Sequence> = groups.iter().map(|g| g.sequence.clone()).collect();
            let log_probs: Vec<f32> =
                groups.iter().flat_map(|g| g.reference.iter().map(|x| *x as f32)).collect();
            let update = Update::new(groups, &spec, GapLimit::of(ComputeDtype::F32));
            let found = Predicted { log_probs: &log_probs, entropies: &[] };
            update.loss(found, &micro_batch(&sequences)).0.slopes
        };
        let before = slopes(&groups[..1]);
        let len = groups[0].rollouts[0].ids.len();
        groups[0].rollouts[0].weights = (0..len).map(|t| 0.5 + t as f64).collect();
        let after = slopes(&groups[..1]);
        assert!(before[..len].iter().all(|slope| slope.abs() > 1e-6), "{before:?}");
        for t in 0..before.len() {
            let weight = if t < len { 0.5 + t as f32 } else { 1.0 };
            assert!((after[t] - weight * before[t]).abs() < 1e-6, "{t}: {before:?} {after:?}");
        }
    }
}

#[test]
fn a_model_that_scores_tokens_draws_the_policy_to_itself_and_says_nothing_of_one_like_it() {
    let free = ObjectiveSpec { beta: 0.0, ..ObjectivePreset::GrpoStudy.objective() };
    let distillation =
        Distillation { from: "sft".into(), weight: 1.0, keep_rewards: false, shows: None };
    let spec = GrpoSpec { distillation: Some(distillation), ..grpo_spec(free) };
    let questions = questions();
    let step = |scorer: &Parameters| {
        after(2, |trainer, context, reference| {
            let pool = Pool { files: &Files::default(), run_seed: 1 };
            let draws = Draws { pool, stage: Seed::root(9) };
            let grpo = Grpo::new(&spec, StageInputs::default(), draws).unwrap();
            let config = &BASE.prompter.config;
            let mut engine = LocalEngine::new(config, context.compute, ComputeDtype::F32);
            let scorer = Reference { parameters: scorer, features: None, scorer: None };
            let reference = Reference { scorer: Some(&scorer), ..reference };
            grpo.step(trainer, &mut engine, context, reference, &questions, 0)
        })
    };
    // A model that scores as the policy itself says nothing.
    let (_, figures) = step(&BASE.parameters);
    assert!(figures["scorer_kl_nats"].abs() < 1e-4, "{}", figures["scorer_kl_nats"]);
    let other = moved();
    let (drawn, others) = step(&other);
    // An estimate from a few tokens, of either sign.
    assert!(others["scorer_kl_nats"].abs() > 1e-3, "{}", others["scorer_kl_nats"]);
    assert!(figures["gradient_norm"] < 1e-3 * others["gradient_norm"], "{figures:?} {others:?}");
    assert!(distance(&drawn, &BASE.parameters) > 0.1);

    // Tokens that the model scores above the policy's own probability become likelier, and others less likely.
    let [own, scorer] = [&BASE.parameters, &other].map(|p| Vlm::new(&BASE.prompter.config, p));
    let rng = &mut Seed::root(3).rng();
    let mut groups = Vec::new();
    for question in &questions {
        let rollouts = (0..3).map(|_| Rollout { ids: ids(rng, 6), ..Rollout::default() }).collect();
        let mut group = made_up(&own, question, rollouts);
        group.scores = made_up(&scorer, question, group.rollouts.clone()).reference;
        groups.push(group);
    }
    let (after, _) = learned_by(&spec, &groups);
    let after = Vlm::new(&BASE.prompter.config, &after);
    let moved = groups.iter().zip(&questions).flat_map(|(group, question)| {
        let now = made_up(&after, question, group.rollouts.clone()).reference;
        let worth = group.scores.iter().zip(&group.reference).map(|(score, old)| score - old);
        let risen = now.into_iter().zip(&group.reference).map(|(new, old)| new - old);
        worth.zip(risen).map(|(worth, risen)| worth * risen).collect::<Vec<_>>()
    });
    assert!(moved.sum::<f64>() > 0.0);
}

#[test]
fn both_losses_weigh_as_the_table_and_the_share_of_the_step_say() {
    let at = |by_passes, mu, step| {
        let mut spec = guided(1.0, 0.0);
        let guidance = spec.guidance.as_mut().unwrap();
        (guidance.gate, guidance.keep_rl) = (None, None);
        (guidance.by_passes, guidance.mu) = (Some(by_passes), mu);
        after_step(&spec, 2, step)
    };
    let row = |from, sft, rl| PassWeights { from, sft, rl };
    // A made-up model is never right: the first line holds.
    let rest = row(1, 0.0, 1.0);
    let (sft, figures) = after_step(&guided(1.0, 0.0), 2, 0);
    let (same, others) = at(vec![row(0, 1.0, 0.0), rest], None, 0);
    assert_eq!(sft.to_bytes(), same.to_bytes());
    let (rl, _) = after_step(&spec(), 2, 0);
    assert_eq!(rl.to_bytes(), at(vec![row(0, 0.0, 1.0), rest], None, 0).0.to_bytes());
    // Half of it is half of the loss.
    let (_, half) = at(vec![row(0, 0.5, 0.0), rest], None, 0);
    assert!((2.0 * half["sft_loss"] - others["sft_loss"]).abs() < 1e-9);
    assert!((figures["sft_loss"] - others["sft_loss"]).abs() < 1e-12);
    // A share of 0 leaves RL and one of 1 leaves SFT.
    let mu = |share| Mu { warmup_steps: 0, decay_steps: 0, peak: share, valley: share };
    let both = || vec![row(0, 1.0, 1.0)];
    let (none, figures) = at(both(), Some(mu(0.0)), 3);
    assert!(figures["mu"].abs() < 1e-12 && figures["sft_loss"].abs() < 1e-12);
    let (of_rl, _) = after_step(&spec(), 2, 3);
    let moved = distance(&of_rl, &BASE.parameters);
    assert!(distance(&none, &of_rl) < 1e-3 * moved);
    let (all, figures) = at(both(), Some(mu(1.0)), 3);
    let (of_sft, _) = after_step(&guided(1.0, 0.0), 2, 3);
    assert!(figures["kl_nats"] > 0.0);
    let moved = distance(&of_sft, &BASE.parameters);
    assert!(distance(&all, &of_sft) < 1e-3 * moved, "{}", distance(&all, &of_sft) / moved);
}

/// What the first step makes of the base with this pool of questions.
fn after_first_of(spec: &GrpoSpec, inputs: StageInputs<'_>) -> (Parameters, StepFigures) {
    after(2, |trainer, context, reference| {
        let pool = Pool { files: &Files::default(), run_seed: 1 };
        let draws = Draws { pool, stage: Seed::root(9) };
        let grpo = Grpo::new(spec, inputs, draws).unwrap();
        let config = &BASE.prompter.config;
        let mut engine = LocalEngine::new(config, context.compute, ComputeDtype::F32);
        let questions = grpo.batch(context.prompter, 0)?;
        let scorer = Reference { parameters: &BASE.parameters, features: None, scorer: None };
        let reference = Reference { scorer: Some(&scorer), ..reference };
        grpo.step(trainer, &mut engine, context, reference, &questions, 0)
    })
}

#[test]
fn groups_whose_answers_all_earned_the_same_are_those_of_other_questions() {
    let with = |num_resamplings, num_questions| {
        let drawn = QuestionsSpec::Drawn { split: Split::Train, num_questions, hops: [1, 2] };
        let questions = Named::new("few", drawn);
        let spec = GrpoSpec { num_resamplings, questions, ..spec() };
        after_first_of(&spec, StageInputs::default())
    };
    // A made-up model is never right, so that all groups are replaced, each time.
    let (none, figures) = with(None, 40);
    let (twice, others) = with(Some(2), 40);
    assert!(!figures.contains_key("resampled") && (others["resampled"] - 2.0).abs() < 1e-12);
    let work = others["tokens_generated"] / figures["tokens_generated"];
    assert!((2.0..4.0).contains(&work), "{work} times the tokens");
    assert!(distance(&none, &twice) > 1e-2 * distance(&none, &BASE.parameters));
    // What the unaided policy earned is that of the questions drawn first.
    for name in ["reward", "accuracy", "length", "entropy_nats"] {
        assert_eq!(figures[name].to_bits(), others[name].to_bits(), "{name}");
    }
    // Where there are no others, the step is that of GRPO.
    let (none, _) = with(None, 4);
    let (alone, figures) = with(Some(2), 4);
    assert!(figures["resampled"].abs() < 1e-12);
    assert_eq!(none.to_bytes(), alone.to_bytes());
}

#[test]
fn a_model_that_is_shown_an_answer_scores_the_same_tokens_otherwise() {
    let free = ObjectiveSpec { beta: 0.0, ..ObjectivePreset::GrpoStudy.objective() };
    let with = |shows, shown| {
        let distillation =
            Distillation { from: "base".into(), weight: 1.0, keep_rewards: false, shows };
        let spec = GrpoSpec { distillation: Some(distillation), ..grpo_spec(free.clone()) };
        after_first_of(&spec, StageInputs { shown, ..StageInputs::default() })
    };
    let questions = questions();
    let solutions = solutions(&questions);
    let demonstration = || Some(Shown::Demonstration { data: "traces".into() });
    // A model that sees the question alone, as the policy does, says nothing of what that wrote.
    let (alone, none) = with(None, BTreeMap::new());
    assert!(none["scorer_kl_nats"].abs() < 1e-4, "{}", none["scorer_kl_nats"]);
    let (unknown, _) = with(demonstration(), BTreeMap::new());
    assert_eq!(alone.to_bytes(), unknown.to_bytes());
    for (shows, shown) in [
        (demonstration(), traces(&questions, &solutions)),
        (Some(Shown::Answer {}), BTreeMap::new()),
    ] {
        let (_, figures) = with(shows.clone(), shown);
        // Tokens differ; their mean over a few answers may be next to nothing.
        let norms = [figures, none.clone()].map(|figures| figures["gradient_norm"]);
        assert!(norms[0] > 0.1 && norms[1] < 1e-4, "{shows:?}: {norms:?}");
    }
    // It stands in the prompt, behind the question.
    let pool = Pool { files: &Files::default(), run_seed: 1 };
    let draws = Draws { pool, stage: Seed::root(9) };
    let spec = grpo_spec(free);
    let grpo = Grpo::new(&spec, shown(traces(&questions, &solutions)), draws).unwrap();
    let rng = &mut Seed::root(3).rng();
    let rollouts: Vec<Rollout> =
        (0..2).map(|_| Rollout { ids: ids(rng, 6), ..Rollout::default() }).collect();
    let group = Group::new(&BASE.prompter, &questions[0], rollouts).unwrap();
    let seen = grpo
        .shown_to_scorer(
            &BASE.prompter,
            &demonstration().unwrap(),
            &questions[..1],
            std::slice::from_ref(&group),
        )
        .unwrap();
    assert_eq!(seen[0].tokens, group.tokens);
    let text = BASE.prompter.tokenizer.decode(&seen[0].sequence.input_ids);
    let (before, behind) = text.split_once(&questions[0].sample.question).unwrap();
    assert!(behind.contains(&solutions[0]) && !before.contains(&solutions[0]), "{text}");
}

#[test]
fn a_rollout_behind_a_prefix_is_compared_with_its_like_and_the_prefix_with_the_others() {
    let mut spec = guided(1.0, 0.5);
    spec.objective = ObjectiveSpec {
        beta: 0.0,
        advantage_epsilon: 0.0,
        ..ObjectivePreset::GrpoStudy.objective()
    };
    let guidance = spec.guidance.as_mut().unwrap();
    guidance.weighting = Weighting::Row { gain: RowGain::LOG_P, sft: None };
    guidance.prefix =
        Some(Prefix { share: PrefixShare::Uniform { high: 0.9, until: 1.0 }, rows: Some(1) });
    let rng = &mut Seed::root(23).rng();
    let model = Vlm::new(&BASE.prompter.config, &BASE.parameters);
    let mut rollout = |reward: f64, given: usize| Rollout {
        given: ids(rng, given),
        is_learned: given > 0,
        ids: ids(rng, 5),
        reward,
        ..Rollout::default()
    };
    let own = [rollout(0.0, 0), rollout(1.0, 0), rollout(0.5, 0)];
    let one = rollout(0.8, 7);
    let (two, three) = (rollout(0.2, 7), rollout(1.0, 7));
    let questions = questions();
    let group = |rollouts| made_up(&model, &questions[0], rollouts);
    let mut groups = vec![
        group([own.to_vec(), vec![one]].concat()),
        group([own.to_vec(), vec![two, three]].concat()),
        group(own.to_vec()),
    ];
    add_advantages(None, &spec, &mut groups, &mut StepFigures::new());
    let of = |group: &Group| group.rollouts.iter().map(|r| r.advantage).collect::<Vec<_>>();
    let deviation = 0.5; // of 0, 1 and 1/2, with one degree less
    let close = |found: &[f64], want: &[f64]| {
        assert_eq!(found.len(), want.len());
        let apart = found.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-12, "{found:?} {want:?}");
    };
    let alone = [-0.5 / deviation, 0.5 / deviation, 0.0];
    close(&of(&groups[0]), &[alone.as_slice(), &[0.8]].concat());
    let pair = 0.5_f64.sqrt(); // of two, with one degree less
    close(&of(&groups[1]), &[alone.as_slice(), &[-pair, pair]].concat());
    close(&of(&groups[2]), &alone);
    let learned: Vec<f64> = groups.iter().map(|group| group.learned_advantage).collect();
    close(&learned, &[0.3, 0.1, 0.0]);
    // The prefix learns by what it is worth: turned round, it is unlearned.
    let mut learned = |worth: f64| {
        groups[0].learned_advantage = worth;
        let others = self::groups([0.0; 3]);
        let (after, _) = learned_by(&spec, &[&groups[..1], &others[1..]].concat());
        let after = Vlm::new(&BASE.prompter.config, &after);
        let now = made_up(&after, &questions[0], groups[0].rollouts.clone());
        let of = |group: &Group| -> f64 {
            group.of(Token::Learned, group.reference.iter()).sum::<f64>()
        };
        of(&now) - of(&groups[0])
    };
    let (risen, fallen) = (learned(0.3), learned(-0.3));
    assert!(risen > fallen, "{risen} {fallen}");
}

#[test]
fn without_kl_a_step_asks_no_reference() {
    let kl_free = GrpoSpec {
        objective: ObjectiveSpec { beta: 0.0, ..ObjectivePreset::GrpoStudy.objective() },
        ..spec()
    };
    let (_, figures) = after_step(&kl_free, 2, 0);
    let (_, others) = after_step(&spec(), 2, 0);
    assert!(figures["tokens_forward"] < others["tokens_forward"]);
    // Prompts and rollouts went forward in either.
    assert!(figures["tokens_forward"] > figures["tokens_generated"]);
    assert!(!figures.contains_key("kl_nats") && others["kl_nats"] > 0.0);
}

#[test]
fn every_end_token_ends_a_rollout() {
    let compute = compute();
    let mut base = base(Preset::Nano, 0.1, &compute);
    // As if the settings for generation listed them all: then the first token is the last.
    base.prompter.end_tokens = (0..base.prompter.config.vocab_size as u32).collect();
    let training = training(&["visual."], 2);
    let context = Context::new(&base.prompter, &compute, &training);
    let (start, spec) = (&base.parameters, spec());
    let mut trainer = Trainer::new(&training, &optimizer(), 10, start, Seed::root(1)).unwrap();
    let pool = Pool { files: &Files::default(), run_seed: 1 };
    let draws = Draws { pool, stage: Seed::root(9) };
    let grpo = Grpo::new(&spec, StageInputs::default(), draws).unwrap();
    let mut engine = LocalEngine::new(&base.prompter.config, &compute, ComputeDtype::F32);
    let reference = Reference { parameters: start, features: None, scorer: None };
    let step = grpo.step(&mut trainer, &mut engine, &context, reference, &questions(), 0);
    let figures = step.unwrap();
    assert!((figures["length"] - 1.0).abs() < 1e-12 && figures["truncated"].abs() < 1e-12);
}

#[test]
fn one_token_far_off_is_no_reason_to_stop_and_one_that_is_no_number_is() {
    let limit = GapLimit::of(ComputeDtype::F32);
    let of = |apart: &[f64]| {
        let mut gap = Gap::default();
        apart.iter().for_each(|apart| gap.add(Gap::of(*apart, limit)));
        gap
    };
    let mut apart = vec![1e-4; 4000];
    apart[7] = 0.3;
    let gap = of(&apart);
    assert!((gap.largest - 0.3).abs() < 1e-12 && gap.num_beyond == 1);
    gap.check(limit).unwrap();
    apart[70..81].fill(0.2);
    let said = synergy_hint::text(&of(&apart).check(limit).unwrap_err());
    assert!(said.contains("0.30 % of tokens") && said.contains("up to 0.3\nhint: "), "{said}");
    for place in [0, 2000, 3999] {
        let mut apart = vec![1e-4; 4000];
        apart[place] = f64::NAN;
        let said = synergy_hint::text(&of(&apart).check(limit).unwrap_err());
        assert!(said.contains("NaN") && said.contains("\nhint: "), "{said}");
    }
    // Numbers of bf16 are coarser.
    let half = GapLimit::of(ComputeDtype::Bf16);
    Gap::of(0.4, half).check(half).unwrap();
}

#[test]
fn an_entropy_bonus_keeps_a_policy_open_and_at_nothing_leaves_every_bit() {
    let with = |entropy: Option<f64>| {
        let objective =
            ObjectiveSpec { entropy, beta: 0.0, ..ObjectivePreset::GrpoStudy.objective() };
        after_step(&grpo_spec(objective), 2, 0)
    };
    let (without, figures) = with(None);
    assert_eq!(with(Some(0.0)).0.to_bytes(), without.to_bytes());
    assert!(!figures.contains_key("policy_entropy_nats"));
    // Groups without advantage are learned from now.
    let (open, figures) = with(Some(1.0));
    let before = figures["policy_entropy_nats"];
    assert!((figures["loss"] + before).abs() < 1e-3, "{figures:?}");
    assert!(distance(&open, &without) > 0.1);
    // The sampled estimate is of the same number.
    assert!((figures["entropy_nats"] - before).abs() < 0.2 * before, "{figures:?}");

    // The next step finds a policy that is more open, on the same answers as on others.
    let objective =
        ObjectiveSpec { entropy: Some(1.0), beta: 0.0, ..ObjectivePreset::GrpoStudy.objective() };
    let spec = grpo_spec(objective);
    let (_, after_two) = after(2, |trainer, context, reference| {
        let questions = questions();
        let pool = Pool { files: &Files::default(), run_seed: 1 };
        let draws = Draws { pool, stage: Seed::root(9) };
        let grpo = Grpo::new(&spec, StageInputs::default(), draws).unwrap();
        let config = &BASE.prompter.config;
        let mut engine = LocalEngine::new(config, context.compute, ComputeDtype::F32);
        grpo.step(trainer, &mut engine, context, reference, &questions, 0)?;
        grpo.step(trainer, &mut engine, context, reference, &questions, 1)
    });
    assert!(after_two["policy_entropy_nats"] > before, "{after_two:?} after {before}");
}
