//! Demonstrations for the groups of a step: in the place of rollouts, beside them, or as the beginning of others.
//!
//! Does not know losses.

use std::collections::BTreeMap;

use anyhow::Result;
use synergy_benchmarks::seed::Seed;

use crate::recipe::{Guidance, Prefix, PrefixShare};
use crate::train::StepFigures;
use crate::train::engine::Question;
use crate::train::group::Rollout;
use crate::train::guidance::{Weights, drawn_share, mu_at};
use crate::train::policy::{Policy, add_work};
use crate::train::sequence::Prompter;

/// What gives demonstrations in one step.
#[derive(Clone, Copy)]
pub(super) struct Guide<'a> {
    pub(super) guidance: &'a Guidance,
    /// Who answers.
    pub(super) policy: &'a Policy<'a>,
    /// Demonstrations by the ids of their questions.
    pub(super) demonstrations: &'a BTreeMap<&'a str, &'a str>,
    /// The questions of the step.
    pub(super) questions: &'a [Question],
    pub(super) step: usize,
    /// What the step draws from.
    pub(super) seed: Seed,
}

/// A group that is rolled out again from a part of its demonstration.
struct Begun {
    /// Place of its question.
    place: usize,
    /// The whole demonstration.
    demonstration: Vec<u32>,
    /// The share of it that is given.
    share: f64,
}

impl Begun {
    /// What is given of the demonstration, whose end is not: something is left to be written.
    fn prefix(&self) -> &[u32] {
        let len = (self.demonstration.len() as f64 * self.share).round() as usize;
        &self.demonstration[..len.min(self.demonstration.len() - 1)]
    }
}

impl Guide<'_> {
    /// Gives demonstrations to groups that fail: in the place of their rollouts, in addition to them, or as the beginning of
    /// others. Returns what the losses of each group weigh, and figures: of the others' the tokens count, all others are
    /// those of unaided rollouts.
    pub(super) fn groups(
        self,
        answers: &mut [Vec<Rollout>],
    ) -> Result<(Vec<Weights>, StepFigures)> {
        let Guide { guidance, policy, questions, step, seed, .. } = self;
        let done = step as f64 / policy.spec.num_steps as f64;
        let mu = guidance.mu.map(|mu| mu_at(mu, step));
        let (mut num_guided, mut sum_of_shares, mut again) = (0, 0.0, Vec::new());
        let mut weights = vec![Weights::RL; questions.len()];
        for (i, (question, rollouts)) in questions.iter().zip(answers.iter_mut()).enumerate() {
            let num_right = rollouts.iter().filter(|rollout| rollout.accuracy > 0.5).count();
            let wanted = Weights::of(guidance, num_right, rollouts.len());
            let find = || self.demonstration(policy.context.prompter, question);
            // Where no demonstration is known, rewards alone teach.
            let Some(demonstration) = (wanted.sft > 0.0).then(find).flatten() else { continue };
            num_guided += 1;
            let rng = &mut seed.fold_in("share").at(i as u64).rng();
            let share = guidance.prefix.map_or(1.0, |prefix| drawn_share(prefix.share, done, rng));
            sum_of_shares += share;
            let len = demonstration.len();
            let num_given = (len as f64 * share).round() as usize;
            // Beside rollouts of its own, a group never has the whole demonstration.
            let is_of_some = guidance.prefix.is_some_and(|prefix| prefix.rows.is_some());
            if is_of_some || num_given < len {
                if num_given > 0 {
                    again.push(Begun { place: i, demonstration, share });
                    weights[i] = Weights { rl: 1.0, ..wanted };
                }
                continue;
            }
            if wanted.rl <= 0.0 {
                rollouts.clear();
            }
            let earned = policy.earned(question, &demonstration);
            rollouts.push(Rollout::demonstration(demonstration, earned));
            weights[i] = wanted;
        }
        weights.iter_mut().for_each(|weights| *weights = weights.shared(mu));
        let mut figures = StepFigures::from([
            ("gated".to_owned(), num_guided as f64 / questions.len() as f64),
            ("prefix_share".to_owned(), sum_of_shares / f64::from(num_guided.max(1))),
        ]);
        match guidance.prefix {
            Some(Prefix { share: PrefixShare::Shortest { num_trials }, .. }) => {
                self.search(again, num_trials, answers, &mut figures)?;
            }
            Some(Prefix { rows, .. }) if !again.is_empty() => {
                let num = rows.unwrap_or(policy.spec.num_generations);
                let rolled = self.begin(&again, num, seed.fold_in("prefix"), &mut figures)?;
                for (begun, rollouts) in again.into_iter().zip(rolled) {
                    let all = &mut answers[begun.place];
                    all.truncate(all.len() - num);
                    all.extend(rollouts);
                }
            }
            _ => {}
        }
        figures.extend(mu.map(|mu| ("mu".to_owned(), mu)));
        Ok((weights, figures))
    }

    /// Looks for the shortest part of each demonstration from which any rollout is right, by halving. Groups that none
    /// helps keep what they have. The share of the figures is that of what was found, 0 for groups without.
    fn search(
        self,
        mut again: Vec<Begun>,
        num_trials: usize,
        answers: &mut [Vec<Rollout>],
        figures: &mut StepFigures,
    ) -> Result<()> {
        let num = self.policy.spec.num_generations;
        // The longest share from which none was right, and the shortest from which one was.
        let mut known = vec![(0.0, 1.0); again.len()];
        let mut found = vec![0.0; again.len()];
        for trial in 0..num_trials as u64 {
            if again.is_empty() {
                break;
            }
            for (begun, (low, high)) in again.iter_mut().zip(&known) {
                begun.share = f64::midpoint(*low, *high);
            }
            let seed = self.seed.fold_in("prefix").at(trial);
            let rolled = self.begin(&again, num, seed, figures)?;
            for (k, (begun, rollouts)) in again.iter().zip(rolled).enumerate() {
                if rollouts.iter().any(|rollout| rollout.accuracy > 0.5) {
                    known[k].1 = begun.share;
                    found[k] = begun.share;
                    answers[begun.place] = rollouts;
                } else {
                    known[k].0 = begun.share;
                }
            }
        }
        let mean = found.iter().sum::<f64>() / found.len().max(1) as f64;
        figures.insert("prefix_share".to_owned(), mean);
        Ok(())
    }

    /// The demonstration for `question`, with the end of the answer, if one is known.
    fn demonstration(self, prompter: &Prompter, question: &Question) -> Option<Vec<u32>> {
        let text = self.demonstrations.get(question.sample.id.as_str())?;
        let mut ids = prompter.tokenizer.encode(text);
        ids.push(prompter.tokenizer.ids.eos);
        Some(ids)
    }

    /// Rolls out `num` answers from each of `begun`, and adds what that took to `figures`.
    fn begin(
        self,
        begun: &[Begun],
        num: usize,
        seed: Seed,
        figures: &mut StepFigures,
    ) -> Result<Vec<Vec<Rollout>>> {
        let Guide { policy, questions, .. } = self;
        let prefixes: Vec<Vec<u32>> = begun.iter().map(|begun| begun.prefix().to_vec()).collect();
        let of = |begun: &Begun| {
            let question = &questions[begun.place];
            let input_ids = [&question.input_ids, begun.prefix()].concat();
            Question { input_ids, ..question.clone() }
        };
        let longer: Vec<Question> = begun.iter().map(of).collect();
        let (rolled, aside) = policy.roll(&longer, &prefixes, num, seed)?;
        add_work(figures, &aside);
        Ok(rolled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{GrpoSpec, ObjectivePreset, Weighting};
    use crate::train::Context;
    use crate::train::engine::Engine;
    use crate::train::fixture::{BASE, compute, dense, grpo_spec, questions, training};
    use synergy_models::generate::{Generated, Sampling};
    use synergy_models::weights::Parameters;

    /// Goes on with the demonstration where it was given more than this share of it, and else says nothing.
    struct Helped<'a> {
        needs: f64,
        demonstrations: &'a [Vec<u32>],
        questions: &'a [Question],
    }

    impl Engine for Helped<'_> {
        fn load(&mut self, _: &Parameters) -> Result<()> {
            Ok(())
        }

        fn generate(
            &self,
            questions: &[Question],
            num_samples: usize,
            _: &Sampling,
            _: Seed,
        ) -> Result<Vec<Vec<Generated>>> {
            let answer = |question: &Question| {
                let id = &question.sample.id;
                let place = self.questions.iter().position(|q| q.sample.id == *id).unwrap();
                let given = question.input_ids.len() - self.questions[place].input_ids.len();
                let whole = &self.demonstrations[place];
                assert!(question.input_ids.ends_with(&whole[..given]));
                let is_helped = given as f64 > self.needs * whole.len() as f64;
                let ids = if is_helped { whole[given..].to_vec() } else { vec![whole[0]] };
                let log_probs = vec![-0.5; ids.len()];
                vec![Generated { ids, log_probs, finished: is_helped }; num_samples]
            };
            Ok(questions.iter().map(answer).collect())
        }
    }

    /// What is made of groups of which none is right without help, and of figures: `needs` is the share of a demonstration
    /// that helps.
    fn guided(prefix: Prefix, gate: f64, needs: f64) -> (Vec<Vec<Rollout>>, StepFigures) {
        let guidance = Guidance {
            data: "traces".into(),
            gate: Some(gate),
            keep_rl: Some(false),
            by_passes: None,
            mu: None,
            weighting: Weighting::Sft { weight: 1.0, mean_over: None, token_weight: None },
            prefix: Some(prefix),
        };
        let objective = ObjectivePreset::GrpoStudy.objective();
        let spec = GrpoSpec { guidance: Some(guidance), ..grpo_spec(objective) };
        let questions = questions();
        let texts: Vec<String> = questions
            .iter()
            .map(|q| format!("<think> {}</think>\\boxed{{{}}}", dense(&q.sample), q.sample.answer))
            .collect();
        let ids = questions.iter().map(|q| q.sample.id.as_str());
        let demonstrations: BTreeMap<&str, &str> =
            ids.zip(texts.iter().map(String::as_str)).collect();
        let tokenizer = &BASE.prompter.tokenizer;
        let whole: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| [tokenizer.encode(text), vec![tokenizer.ids.eos]].concat())
            .collect();
        let engine = Helped { needs, demonstrations: &whole, questions: &questions };
        let (training, compute) = (training(&["visual."], 2), compute());
        let context = Context::new(&BASE.prompter, &compute, &training);
        let policy = Policy { engine: &engine, context: &context, spec: &spec };
        let seed = Seed::root(3);
        let (mut answers, _) = policy.roll(&questions, &[], spec.num_generations, seed).unwrap();
        let guide = Guide {
            guidance: spec.guidance.as_ref().unwrap(),
            policy: &policy,
            demonstrations: &demonstrations,
            questions: &questions,
            step: 0,
            seed,
        };
        let (weights, figures) = guide.groups(&mut answers).unwrap();
        assert!(weights.iter().all(|weights| (weights.rl - 1.0).abs() < 1e-12));
        (answers, figures)
    }

    #[test]
    fn the_shortest_prefix_that_helps_is_found_by_halving() {
        let search = |num_trials, needs| {
            guided(Prefix { share: PrefixShare::Shortest { num_trials }, rows: None }, 0.0, needs)
        };
        // Half helps, a quarter does not, three eighths do.
        let (answers, figures) = search(3, 0.3);
        assert!((figures["prefix_share"] - 0.375).abs() < 1e-12, "{figures:?}");
        for rollouts in &answers {
            assert_eq!(rollouts.len(), 3);
            assert!(rollouts.iter().all(|r| r.accuracy > 0.5 && r.is_begun()));
            let shares: Vec<f64> = rollouts
                .iter()
                .map(|r| r.given.len() as f64 / (r.given.len() + r.ids.len()) as f64)
                .collect();
            assert!(shares.iter().all(|share| (0.3..0.45).contains(share)), "{shares:?}");
            assert!(rollouts[0].is_learned && !rollouts[1].is_learned);
        }
        // With more trials it is shorter.
        assert!(search(6, 0.3).1["prefix_share"] < 0.36);
        // What nothing helps keeps its own rollouts.
        let (answers, figures) = search(3, 2.0);
        assert!(figures["prefix_share"].abs() < 1e-12);
        assert!(answers.iter().flatten().all(|r| !r.is_begun() && !r.is_learned));
        assert!(figures["tokens_generated"] > 0.0);
    }

    #[test]
    fn some_rollouts_of_a_group_begin_with_the_prefix_and_others_are_its_own() {
        let share = PrefixShare::Uniform { high: 0.8, until: 1.0 };
        for rows in [1, 2] {
            let (answers, figures) = guided(Prefix { share, rows: Some(rows) }, 1.0, 0.5);
            assert!((figures["prefix_share"] - 0.8).abs() < 1e-12);
            for rollouts in answers {
                let begun: Vec<bool> = rollouts.iter().map(Rollout::is_begun).collect();
                assert_eq!(begun, [rows > 2, rows > 1, rows > 0]);
                let learned: Vec<bool> = rollouts.iter().map(|r| r.is_learned).collect();
                assert_eq!(learned.iter().filter(|is_learned| **is_learned).count(), 1);
                assert!(rollouts[2].accuracy > 0.5 && rollouts[0].accuracy < 0.5);
            }
        }
    }

    #[test]
    fn a_prefix_without_a_piece_leaves_the_rollouts() {
        let pieces = |high, low| PrefixShare::Binomial { num_pieces: 4, high, low, until: 1.0 };
        let of = |share| guided(Prefix { share, rows: None }, 1.0, 0.9);
        let (none, figures) = of(pieces(0.0, 0.0));
        assert!(figures["prefix_share"].abs() < 1e-12);
        assert!(none.iter().flatten().all(|r| r.given.is_empty()));
    }
}
