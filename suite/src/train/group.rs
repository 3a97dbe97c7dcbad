//! A question with its answers, as one sequence that a step of RL learns from.
//!
//! Does not know rewards or losses. The question comes once, then every answer as a segment of its own: what the prompt
//! costs is paid once.

use anyhow::{Result, ensure};
use synergy_hint::hint;
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::qwen2_5_vl::rope::rope_index;

use crate::reward::Reward;
use crate::train::engine::Question;
use crate::train::guidance::Weights;
use crate::train::sequence::{Prompter, Sequence};

/// One answer to a question: tokens that are given, if any, then those that the policy wrote itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Rollout {
    /// Tokens of a demonstration that the answer begins with.
    pub(super) given: Vec<u32>,
    /// True if the given tokens are learned.
    pub(super) is_learned: bool,
    /// Tokens that the policy wrote.
    pub(super) ids: Vec<u32>,
    /// Log-probability (nats) of each of `ids` under the policy that wrote them.
    pub(super) log_probs: Vec<f64>,
    /// The importance weight of each of `ids`, where another engine has sampled them; empty where all are 1.
    pub(super) weights: Vec<f64>,
    /// What `ids` earned.
    pub(super) reward: f64,
    /// 1 if the answer is right, else 0.
    pub(super) accuracy: f64,
    /// What `ids` earned compared with the rest of their group; 0 until all of a step are known.
    pub(super) advantage: f64,
}

impl Rollout {
    /// A whole demonstration, of which the policy wrote nothing, with what it would have earned.
    pub(super) fn demonstration(given: Vec<u32>, earned: Reward) -> Rollout {
        let Reward { total: reward, accuracy, .. } = earned;
        Rollout { given, is_learned: true, reward, accuracy, ..Rollout::default() }
    }

    /// Tells whether it goes on from the beginning of a demonstration.
    pub(super) fn is_begun(&self) -> bool {
        !self.given.is_empty() && !self.ids.is_empty()
    }
}

/// What a predicted token of a group belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// The policy's own part of the rollout at this place.
    Own(usize),
    /// A demonstration.
    Learned,
}

/// A question and its answers.
#[derive(Clone)]
pub(super) struct Group {
    /// Prompt and answers.
    pub(super) sequence: Sequence,
    /// One for each prediction of `sequence`, in order.
    pub(super) tokens: Vec<Token>,
    /// The answers.
    pub(super) rollouts: Vec<Rollout>,
    /// What the demonstration's tokens earned compared with the rest of the group, where they learn by that.
    pub(super) learned_advantage: f64,
    /// Log-probability (nats) of each prediction under the reference policy; empty until it is known.
    pub(super) reference: Vec<f64>,
    /// The same under the model that scores tokens; empty without one.
    pub(super) scores: Vec<f64>,
    /// What its losses weigh.
    pub(super) weights: Weights,
}

impl Group {
    /// Lays out the answers behind the question.
    ///
    /// # Errors
    /// If prompt and pictures disagree.
    pub(super) fn new(
        prompter: &Prompter,
        question: &Question,
        rollouts: Vec<Rollout>,
    ) -> Result<Group> {
        let prompt = &question.input_ids;
        let grids: Vec<_> = question.patches.iter().map(|p| p.grid).collect();
        let mut positions = rope_index(prompt, &grids, &prompter.config)?;
        let next = positions.iter().flatten().max().map_or(0, |p| p + 1);
        let mut ids = prompt.clone();
        let mut segments = vec![0; prompt.len()];
        let (mut predictions, mut tokens) = (Vec::new(), Vec::new());
        for (k, rollout) in rollouts.iter().enumerate() {
            for (t, &id) in rollout.given.iter().chain(&rollout.ids).enumerate() {
                let given = t < rollout.given.len();
                if !given || rollout.is_learned {
                    predictions.push((if t == 0 { prompt.len() - 1 } else { ids.len() - 1 }, id));
                    tokens.push(if given { Token::Learned } else { Token::Own(k) });
                }
                ids.push(id);
                segments.push(k as u32 + 1);
                positions.push([next + t as u32; 3]);
            }
        }
        let sequence = Sequence {
            input_ids: ids,
            positions,
            segments,
            patches: question.patches.clone(),
            predictions,
        };
        let (reference, scores) = (Vec::new(), Vec::new());
        let weights = Weights { sft: 1.0, rl: 1.0 };
        let group = Group {
            sequence,
            tokens,
            rollouts,
            learned_advantage: 0.0,
            reference,
            scores,
            weights,
        };
        group.check(question, &prompter.config)?;
        Ok(group)
    }

    /// Tokens of demonstrations that are predicted.
    pub(super) fn num_learned(&self) -> usize {
        self.tokens.iter().filter(|token| **token == Token::Learned).count()
    }

    /// The demonstration that nothing of the policy's follows, if there is one.
    pub(super) fn row(&self) -> Option<&Rollout> {
        self.rollouts.iter().find(|rollout| rollout.ids.is_empty() && rollout.is_learned)
    }

    /// Rollouts of which the policy wrote something, each with its place.
    pub(super) fn sampled(&self) -> impl Iterator<Item = (usize, &Rollout)> {
        self.rollouts.iter().enumerate().filter(|(_, rollout)| !rollout.ids.is_empty())
    }

    /// Those of `items`, one for each prediction, that are of `token`.
    pub(super) fn of<'a, T>(
        &'a self,
        token: Token,
        items: impl IntoIterator<Item = T> + 'a,
    ) -> impl Iterator<Item = T> {
        self.tokens
            .iter()
            .zip(items)
            .filter(move |(other, _)| **other == token)
            .map(|(_, item)| item)
    }

    /// Checks that the group is of `question` alone: its prompt and pictures are those that rollouts were made of.
    fn check(&self, question: &Question, config: &VlmConfig) -> Result<()> {
        let layout = config.layout();
        let merge = layout.merge_size;
        let (prompt, ids) = (&question.input_ids, &self.sequence.input_ids);
        let num_image_tokens: usize =
            question.patches.iter().map(|p| p.grid.num_tokens(merge)).sum();
        let found = ids.iter().filter(|id| **id == layout.image_token_id).count();
        ensure!(
            ids.starts_with(prompt) && self.sequence.patches == question.patches,
            hint!(
                (
                    "a group holds the prompt or the pictures of another question than `{}`",
                    question.sample.id
                ),
                "this is a fault of the suite"
            )
        );
        ensure!(
            found == num_image_tokens,
            hint!(
                (
                    "the answers to `{}` are trained with {found} image tokens, but its pictures have {num_image_tokens}",
                    question.sample.id
                ),
                "an answer holds an image token; this is a fault of the suite"
            )
        );
        Ok(())
    }
}
