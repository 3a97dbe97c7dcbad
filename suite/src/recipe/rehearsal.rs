//! A recipe with small counts: every stage, regime and benchmark as it is, in minutes instead of weeks.
//!
//! A rehearsal shows before a long run that every file is read and every stage goes through. Its results mean nothing, and
//! have a name of their own, which no golden result has.

use crate::recipe::{Recipe, ValidationQuestions, few};

/// What is added to the name of a recipe that is rehearsed.
const SUFFIX: &str = "-rehearsal";

/// The profile whose rehearsal is called `name`, if it is one.
pub fn profile(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX)
}

/// The recipe with small counts, of one seed.
pub fn rehearsed(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.name += SUFFIX;
    recipe.note = format!("A rehearsal, whose figures mean nothing. {}", recipe.note);
    recipe.seeds.truncate(1);
    recipe.tables.questions.values_mut().for_each(|questions| questions.limit(few::QUESTIONS));
    recipe.tables.trainings.values_mut().for_each(|training| training.checkpoint_every = 1);
    recipe.stages.values_mut().for_each(|stage| stage.rehearse());
    if let Some(validation) = &mut recipe.validation {
        match &mut validation.questions {
            ValidationQuestions::Drawn(drawn) => few::limit(&mut drawn.per_family, 1),
            ValidationQuestions::Files { num_questions, .. } => *num_questions = Some(few::ANSWERS),
        }
        few::limit(&mut validation.max_new_tokens, few::TOKENS);
    }
    let evaluation = &mut recipe.evaluation;
    if let Some(families) = &mut evaluation.families {
        few::limit(&mut families.drawn.per_family, few::ANSWERS);
        few::limit(&mut families.level_num_samples, few::ANSWERS);
    }
    for benchmark in &mut evaluation.benchmarks {
        benchmark.num_questions = Some(benchmark.about().min(few::PUBLISHED));
    }
    few::limit(&mut evaluation.num_samples, few::ANSWERS);
    evaluation.scored_answers.iter_mut().for_each(|count| few::limit(count, few::ANSWERS));
    let counts = recipe.regimes.iter_mut().filter_map(|regime| regime.num_samples.as_mut());
    counts.for_each(|count| few::limit(count, few::ANSWERS));
    few::limit(&mut evaluation.max_new_tokens, few::TOKENS);
    few::limit(&mut evaluation.external_questions, few::ANSWERS);
    recipe
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_rehearsal_is_a_recipe_with_every_stage_and_regime_and_small_counts() {
        for name in ["smoke", "small", "full-3b", "full-7b", "study"] {
            let path = format!("{}/recipes/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let recipe = Recipe::read(Path::new(&path)).unwrap();
            let rehearsed = rehearsed(&recipe);
            // It could have been written down.
            let text = toml::to_string(&rehearsed).unwrap();
            assert_eq!(Recipe::parse(&text).unwrap(), rehearsed, "{name}");
            let named = |recipe: &Recipe| {
                let regimes = recipe.regimes.iter().map(|r| (r.name.clone(), r.stage.clone()));
                regimes.collect::<Vec<_>>()
            };
            assert_eq!(named(&rehearsed), named(&recipe));
            assert!(rehearsed.stages.keys().eq(recipe.stages.keys()));
            assert_eq!(profile(&rehearsed.name), Some(name));
            for stage in rehearsed.stages.values() {
                if let Some(grpo) = stage.grpo() {
                    assert!(
                        grpo.num_steps <= few::STEPS && grpo.batch_size <= few::BATCH,
                        "{grpo:?}"
                    );
                    assert_eq!(grpo.questions.about(), few::QUESTIONS);
                }
            }
        }
    }
}
