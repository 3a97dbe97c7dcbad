//! Faults that the gate must see: planted by `synergy self-test`, by nothing else, and by no recipe.
//!
//! Does not know how a fault is found. A fault is part of every key that it changes, so that no other run can
//! take its artifacts for its own.

use serde::Serialize;
use synergy_grade::Grader;
use synergy_models::weights::{Parameter, Parameters};
use synergy_report::completion::Completion;
use synergy_report::score::{Score, score};

use crate::recipe::Recipe;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Planted {
    FirstNumber,
    OtherPicture,
    CutGeneration,
    MixedGroups,
    BlindReward,
    ZeroedTensor,
    FlippedKl,
    DoubledTemperature,
}

/// Where [`Planted::CutGeneration`] cuts, in tokens.
const CUT: usize = 30;

impl Planted {
    /// Every fault.
    pub const ALL: [Planted; 8] = [
        Planted::FirstNumber,
        Planted::OtherPicture,
        Planted::CutGeneration,
        Planted::MixedGroups,
        Planted::BlindReward,
        Planted::ZeroedTensor,
        Planted::FlippedKl,
        Planted::DoubledTemperature,
    ];

    /// The fault's name, as in JSON and as a folder.
    pub fn name(self) -> &'static str {
        match self {
            Planted::FirstNumber => "first_number",
            Planted::OtherPicture => "other_picture",
            Planted::CutGeneration => "cut_generation",
            Planted::MixedGroups => "mixed_groups",
            Planted::BlindReward => "blind_reward",
            Planted::ZeroedTensor => "zeroed_tensor",
            Planted::FlippedKl => "flipped_kl",
            Planted::DoubledTemperature => "doubled_temperature",
        }
    }

    /// What is wrong, in a few words.
    pub fn note(self) -> &'static str {
        match self {
            Planted::FirstNumber => "the parser takes the first number",
            Planted::OtherPicture => "questions come with another's picture",
            Planted::CutGeneration => "generation is cut at 30 tokens",
            Planted::MixedGroups => "advantages mix the answers of several questions",
            Planted::BlindReward => "the reward ignores accuracy",
            Planted::ZeroedTensor => "one weight tensor is zero",
            Planted::FlippedKl => "KL has the wrong sign",
            Planted::DoubledTemperature => "the temperature is doubled",
        }
    }

    /// `recipe` as it runs where the fault is one of settings.
    pub fn change(self, recipe: &mut Recipe) {
        match self {
            Planted::CutGeneration => recipe.evaluation.max_new_tokens = CUT,
            Planted::DoubledTemperature => recipe.evaluation.temperature *= 2.0,
            Planted::BlindReward | Planted::FlippedKl => {
                for spec in recipe.stages.values_mut().filter_map(|stage| stage.grpo_mut()) {
                    match self {
                        Planted::BlindReward => spec.reward.accuracy_weight = 0.0,
                        _ => spec.objective.beta = -spec.objective.beta,
                    }
                }
            }
            Planted::FirstNumber
            | Planted::OtherPicture
            | Planted::MixedGroups
            | Planted::ZeroedTensor => {}
        }
    }

    /// Returns whether it changes what a stage with rollouts does, beyond its settings.
    pub fn is_in_rollouts(self) -> bool {
        self == Planted::MixedGroups
    }

    /// Returns whether it changes what a model answers, beyond the settings.
    pub fn is_in_answers(self) -> bool {
        matches!(self, Planted::OtherPicture | Planted::ZeroedTensor)
    }

    /// The judgement of `completion` by the rules of `grader`.
    pub fn score(self, completion: &Completion, grader: Grader) -> Score {
        let mut judged = score(completion, grader);
        if self == Planted::FirstNumber {
            let text = format!("\\boxed{{{}}}", first_number(&completion.text));
            let read = score(&Completion { text, ..completion.clone() }, grader);
            (judged.outcome, judged.answer) = (read.outcome, read.answer);
        }
        judged
    }

    /// What a model is asked with: the projection that ends the last MLP is zero.
    pub fn weights(self, parameters: &mut Parameters) {
        if self != Planted::ZeroedTensor {
            return;
        }
        let is_projection = |name: &&str| name.ends_with(".mlp.down_proj.weight");
        let last = parameters.names().filter(is_projection).max().map(str::to_owned);
        let name = last.expect("a language model has an MLP");
        let Parameter { shape, value } = parameters.get(&name);
        let zeroed = Parameter { shape: shape.clone(), value: value.zeros_like() };
        parameters.insert(name, zeroed);
    }

    /// What advantages are computed from, `[questions][answers]`: the k-th group has the k-th answers.
    pub fn groups(rewards: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let longest = rewards.iter().map(Vec::len).max().unwrap_or_default();
        let of = |k: usize| rewards.iter().filter_map(|group| group.get(k).copied()).collect();
        (0..longest).map(of).collect()
    }
}

/// The first run of digits; nothing if there is none.
fn first_number(text: &str) -> &str {
    let start = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
    let rest = &text[start..];
    &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn smoke() -> Recipe {
        Recipe::read(Path::new("recipes/smoke.toml")).unwrap()
    }

    #[test]
    fn a_fault_of_settings_changes_its_setting_and_no_other_fault_does() {
        for planted in Planted::ALL {
            let mut recipe = smoke();
            planted.change(&mut recipe);
            let of_settings = matches!(
                planted,
                Planted::CutGeneration
                    | Planted::DoubledTemperature
                    | Planted::BlindReward
                    | Planted::FlippedKl
            );
            assert_eq!(recipe != smoke(), of_settings, "{}", planted.name());
        }
    }

    #[test]
    fn the_first_number_is_not_the_answer() {
        let completion = Completion {
            sample_id: "sum/test/1/00001".into(),
            benchmark: "sum".into(),
            hops: 2,
            sample: 0,
            answer: "7".into(),
            choices: Vec::new(),
            precision: None,
            text: "<think>a1 3 + 4</think>\\boxed{7}".into(),
            num_tokens: 9,
            finished: true,
            unanswered: None,
        };
        let usual = score(&completion, Grader::Boxed1);
        assert_eq!(usual.outcome.code(), 'c');
        let broken = Planted::FirstNumber.score(&completion, Grader::Boxed1);
        assert_eq!(broken.outcome.code(), 'w');
        assert_eq!(Planted::ZeroedTensor.score(&completion, Grader::Boxed1), usual);
    }

    #[test]
    fn mixed_groups_hold_answers_of_several_questions_and_come_back() {
        let rewards = [vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0]];
        let mixed = Planted::groups(&rewards);
        assert_eq!(mixed, [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]);
        assert_eq!(Planted::groups(&mixed), rewards);
    }
}
