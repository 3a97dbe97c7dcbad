//! A recipe with small counts: every stage, regime and benchmark as it stands, in minutes instead of weeks.
//!
//! For whoever wants to know before a long run that every file is read and every stage goes through. Its results mean
//! nothing, and stand under a name of their own, which no golden result has.

use crate::recipe::{Keep, Recipe, StageSpec};

/// Questions of a pool, and of all that is measured on, at most.
const QUESTIONS: usize = 8;
/// Questions of each family, and answers to each question, at most.
const ASKED: usize = 2;
/// Questions of a published benchmark, at most: enough to meet every level.
const PUBLISHED: usize = 5;
/// Steps and epochs at most.
const STEPS: usize = 2;
/// Sequences or questions of a step at most, where that divides into its updates.
const BATCH: usize = 2;
/// Tokens of an answer at most.
const TOKENS: usize = 16;

/// What is behind the name of a recipe where it is rehearsed.
const SUFFIX: &str = "-rehearsal";

/// The profile whose rehearsal is called `name`, if it is one.
pub fn profile(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX)
}

/// `recipe` as it is rehearsed. A model that is asked so little is hardly ever right, so samples keep all answers.
pub fn rehearsed(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.name += SUFFIX;
    recipe.note = format!("A rehearsal, whose figures mean nothing. {}", recipe.note);
    recipe.seeds.truncate(1);
    let few = |count: &mut usize, most: usize| *count = (*count).min(most);
    for questions in recipe.tables.questions.values_mut() {
        questions.num_questions = Some(questions.about().min(QUESTIONS));
    }
    for training in recipe.tables.trainings.values_mut() {
        training.checkpoint_every = 1;
    }
    recipe.look_up_again();
    for stage in recipe.stages.values_mut() {
        match stage {
            StageSpec::Pretrain(s) => {
                few(&mut s.num_steps, STEPS);
                few(&mut s.batch_size, BATCH);
            }
            StageSpec::Sft(s) => {
                few(&mut s.num_epochs, STEPS);
                few(&mut s.batch_size, 2 * BATCH);
            }
            StageSpec::Sample(s) => {
                s.keep = Keep::Any;
                few(&mut s.num_generations, ASKED);
                few(&mut s.max_new_tokens, TOKENS);
            }
            StageSpec::Teacher(_) | StageSpec::Mix(_) | StageSpec::Merge(_) => {}
            StageSpec::Grpo(_) | StageSpec::Hybrid(_) => {
                let s = stage.grpo_mut().expect("both have rollouts");
                few(&mut s.num_steps, STEPS);
                s.batch_size =
                    s.num_mini_batches.max(BATCH / s.num_mini_batches * s.num_mini_batches);
                few(&mut s.num_generations, ASKED);
                few(&mut s.max_completion_tokens, TOKENS);
            }
        }
    }
    if let Some(validation) = &mut recipe.validation {
        if validation.files.is_some() {
            validation.num_questions = Some(ASKED);
        }
        validation.questions_per_family = validation.questions_per_family.map(|n| n.min(1));
        few(&mut validation.max_new_tokens, TOKENS);
    }
    let evaluation = &mut recipe.evaluation;
    evaluation.questions_per_family = evaluation.questions_per_family.map(|n| n.min(ASKED));
    evaluation.level_num_samples = evaluation.level_num_samples.map(|n| n.min(ASKED));
    for benchmark in &mut evaluation.benchmarks {
        benchmark.num_questions = Some(benchmark.about().min(PUBLISHED));
    }
    few(&mut evaluation.num_samples, ASKED);
    few(&mut evaluation.max_new_tokens, TOKENS);
    few(&mut evaluation.external_questions, ASKED);
    recipe
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_rehearsal_is_a_recipe_with_every_stage_and_regime_and_small_counts() {
        for name in ["smoke", "small", "full-3b", "full-7b"] {
            let path = format!("{}/recipes/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let recipe = Recipe::read(Path::new(&path)).unwrap();
            let rehearsed = rehearsed(&recipe);
            // It could have been written down.
            let text = toml::to_string(&rehearsed).unwrap();
            assert_eq!(Recipe::parse(&text).unwrap(), rehearsed, "{name}");
            assert_eq!(rehearsed.regimes, recipe.regimes);
            assert!(rehearsed.stages.keys().eq(recipe.stages.keys()));
            assert_eq!(profile(&rehearsed.name), Some(name));
            for stage in rehearsed.stages.values() {
                if let Some(grpo) = stage.grpo() {
                    assert!(grpo.num_steps <= STEPS && grpo.batch_size <= BATCH, "{grpo:?}");
                    assert_eq!(grpo.questions.num_questions, Some(QUESTIONS));
                }
            }
        }
    }
}
