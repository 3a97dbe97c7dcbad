//! Estimates against measured memory, published sizes and each other.

use super::*;
use synergy_models::qwen2_5_vl::config::{Preset, SpecialIds};

const SMOKE: &str = include_str!("../../../recipes/smoke.toml");
const RL: &str = "[tables.trainings.rl]\n";
const LORA: &str =
    "lora = { r = 4, lora_alpha = 8.0, target_modules = [\"q_proj\", \"up_proj\"] }\n";

fn preset(preset: Preset) -> VlmConfig {
    let ids = SpecialIds { image: 0, vision_start: 0, vision_end: 0, bos: 0, eos: 0, video: None };
    VlmConfig::preset(preset, 512, ids)
}

fn qwen(size: &str) -> VlmConfig {
    VlmConfig::published(&format!("qwen2.5-vl-{size}")).unwrap()
}

/// The recipe smoke with `keys` in its training table of RL.
fn smoke(keys: &str) -> Recipe {
    Recipe::parse(&SMOKE.replacen(RL, &format!("{RL}{keys}"), 1)).unwrap()
}

fn grpo(keys: &str, config: &VlmConfig, place: Place) -> Estimate {
    let recipe = smoke(keys);
    Estimator::new(&recipe, config, place).stage(&recipe.stages["grpo"])
}

#[test]
fn an_adapter_learns_its_factors_and_has_gradients_of_what_they_change() {
    let (config, recipe) = (preset(Preset::Small), smoke(LORA));
    let estimator = Estimator::new(&recipe, &config, Place::Slices);
    let adapter = estimator.learning(&recipe.tables.trainings["rl"]);
    // Four layers of the decoder, 128 wide and 256 within; the tower is frozen.
    let (changed, factors) = (4 * (128 * 128 + 256 * 128), 4 * 4 * (128 + 128 + 256 + 128));
    let want =
        Learning { with_gradient: changed as f64, factors: Some(factors as f64), tower: false };
    assert_eq!(adapter, want);
    let all = estimator.learning(&recipe.tables.trainings["sft"]);
    let tower = estimator.shapes.iter().filter(|(name, _)| name.starts_with(TOWER));
    let decoder = estimator.parameters() - tower.map(size).sum::<f64>();
    assert_eq!(all, Learning { with_gradient: decoder, factors: None, tower: false });
}

#[test]
fn a_large_model_is_planned_for_a_card_and_has_its_published_size() {
    let recipe = smoke("");
    for (size, billions) in [("3b", 3.75), ("7b", 8.29)] {
        let config = qwen(size);
        let estimator = Estimator::new(&recipe, &config, Place::Slices);
        assert_eq!(estimator.place, Place::Card);
        assert!((estimator.parameters() / 1e9 - billions).abs() < 0.01);
        let said = estimator.assumptions().unwrap();
        assert!(said.contains("not measured") && said.lines().all(|line| line.len() < 120));
    }
    let small = preset(Preset::Small);
    assert!(Estimator::new(&recipe, &small, Place::Slices).assumptions().is_none());
}

/// Peaks of the process (`VmHWM`) in profile smoke on flex, two threads, when answers had 224 tokens at most; what earlier
/// stages asked for is in them.
#[test]
fn memory_is_within_a_factor_of_two_of_what_was_measured() {
    let shorter = SMOKE.replace("_tokens = 384", "_tokens = 224");
    let (config, recipe) = (preset(Preset::Nano), Recipe::parse(&shorter).unwrap());
    let estimator = Estimator::new(&recipe, &config, Place::Slices);
    let stage = |name: &str| estimator.stage(&recipe.stages[name]).memory_bytes;
    for (what, estimate, measured) in [
        ("sft", stage("sft"), 212e6),
        ("grpo", stage("grpo"), 214e6),
        ("grpo_after_sft", stage("grpo_after_sft"), 210e6),
        ("sft_mixed", stage("sft_mixed"), 250e6),
    ] {
        let ratio = estimate / measured;
        assert!((0.6..2.0).contains(&ratio), "{what}: {estimate:.3e} of {measured:.3e}");
    }
}

#[test]
fn what_saves_memory_takes_less() {
    let bytes = |keys: &str| grpo(keys, &qwen("7b"), Place::Card).memory_bytes;
    let again = "gradient_checkpointing = true\n";
    assert!(bytes(again) < bytes(""));
    assert!(bytes(&format!("{again}{LORA}")) < bytes(again));
    // What is kept between layers is halved, and a copy of the weights comes with it.
    assert!(bytes("dtype = \"bf16\"\n") < bytes("") + 2.0 * 8.3e9 * (1.0 + CARD_KEPT));
    let config = qwen("7b");
    let recipe = smoke("dtype = \"bf16\"\n");
    let estimator = Estimator::new(&recipe, &config, Place::Card);
    assert!((estimator.copy(ComputeDtype::Bf16) / 1e9 - 16.6).abs() < 0.1);
    assert!(estimator.copy(ComputeDtype::F32).abs() < 1.0);
    // Base and what two parents make, in f32; those are the host's.
    let merge = estimator.stage(&recipe.stages["merge_linear_25"]).memory_bytes;
    assert!(merge > 8.0 * 8.29e9 && merge < 12.0 * 8.29e9, "{merge}");
}

#[test]
fn a_card_takes_longer_to_compute_layers_again_and_in_f32() {
    let seconds = |keys: &str| grpo(keys, &qwen("7b"), Place::Card).seconds;
    let half = "dtype = \"bf16\"\n";
    let again = seconds(&format!("{half}gradient_checkpointing = true\n"));
    assert!(seconds(half) < again && again < seconds(""));
    // 24 steps of 24 x 8 answers of 32 tokens: each costs the host 152064 entries of 12 ns.
    let draws = 24.0 * 24.0 * 8.0 * 32.0 * 152_064.0 * DRAW_S;
    assert!(draws < seconds(half) && seconds(half) < 3.0 * draws, "{draws} {}", seconds(half));
}

#[test]
fn a_stage_that_keeps_its_best_epoch_takes_the_time_to_judge_all() {
    let last = SMOKE.replace("checkpoint = \"best\"", "checkpoint = \"last\"");
    let recipes = [Recipe::parse(SMOKE).unwrap(), Recipe::parse(&last).unwrap()];
    // Of two epochs each 12 questions of 6 families, answered as the data is.
    let of = |config: &VlmConfig, place| {
        let stages = recipes
            .each_ref()
            .map(|recipe| Estimator::new(recipe, config, place).stage(&recipe.stages["sft_mixed"]));
        [stages[0].num_tokens - stages[1].num_tokens, stages[0].seconds - stages[1].seconds]
    };
    let load = recipes[0].stages["sft_mixed"].load_among(&recipes[0].stages);
    let tokens = 2.0 * 12.0 * 6.0 * load.learned.unwrap().answer;
    let [more, seconds] = of(&preset(Preset::Nano), Place::Slices);
    assert!((more / tokens - 1.0).abs() < 1e-9, "{more} {tokens}");
    assert!(seconds > 0.0);
    // On a card the draws alone take most of the time.
    let [more, seconds] = of(&qwen("7b"), Place::Card);
    assert!((more / tokens - 1.0).abs() < 1e-9 && seconds > tokens * 152_064.0 * DRAW_S);
}

#[test]
fn without_kl_no_reference_is_computed() {
    let estimate = |beta: &str| {
        let text = SMOKE.replacen("grpo_study\" }", &format!("grpo_study\", beta = {beta} }}"), 1);
        let recipe = Recipe::parse(&text).unwrap();
        Estimator::new(&recipe, &preset(Preset::Nano), Place::Slices).stage(&recipe.stages["grpo"])
    };
    let [with, without] = ["0.1", "0.0"].map(estimate);
    assert!(without.num_tokens < with.num_tokens && without.seconds < with.seconds);
}

#[test]
fn a_checkpoint_inside_a_stage_is_of_what_learns() {
    let (config, recipe) = (preset(Preset::Small), smoke(LORA));
    let estimator = Estimator::new(&recipe, &config, Place::Slices);
    let disk = |name: &str| estimator.disk(&recipe.stages[name]).map(|bytes| bytes as usize);
    let model = 4 * estimator.parameters() as usize;
    let factors = 4 * 4 * 4 * (128 + 128 + 256 + 128);
    assert_eq!(disk("sft"), [model, 6 * model]);
    assert_eq!(disk("grpo"), [model + factors, 6 * factors]);
    assert_eq!(disk("merge_linear_25"), [model, 0]);
    for data in ["true_long", "rl_answers", "mixed"] {
        assert_eq!(disk(data), [0; 2], "{data}");
    }
}
