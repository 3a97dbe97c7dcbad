//! A conversation with a checkpoint: turns in, the answer as it comes.
//!
//! Does not know benchmarks. Each turn is computed from the whole conversation, as an evaluation would.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use image::RgbImage;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Sampling, generate_with};
use synergy_models::tokenizer::Message;

use crate::run::model::Model;

/// A conversation so far.
#[derive(Debug)]
pub struct Chat<'a> {
    model: &'a Model,
    sampling: Sampling,
    seed: Seed,
    pictures: Vec<RgbImage>,
    messages: Vec<Message>,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    pub num_tokens: usize,
    /// Whether the model ended it itself.
    pub finished: bool,
}

impl<'a> Chat<'a> {
    /// A new conversation; the first question is about `pictures`.
    pub fn new(
        model: &'a Model,
        sampling: Sampling,
        seed: u64,
        system: Option<&str>,
        pictures: Vec<RgbImage>,
    ) -> Chat<'a> {
        let messages = system.map(Message::system).into_iter().collect();
        Chat { model, sampling, seed: Seed::root(seed).fold_in("chat"), pictures, messages }
    }

    /// Asks `question`; the answer goes to `out` piece by piece.
    ///
    /// # Errors
    /// If the question has more or fewer places for pictures than there are, the conversation is too
    /// long for the model, or `out` cannot be written. The conversation is then as it was before.
    pub fn ask(&mut self, question: &str, out: &mut dyn Write) -> Result<Answer> {
        let is_first = self.messages.iter().all(|m| m.role == "system");
        let num_images = if is_first { self.pictures.len() } else { 0 };
        let mut messages = self.messages.clone();
        messages.push(Message::user_marked(num_images, question)?);
        let checkpoint = &self.model.checkpoint;
        let encoded = checkpoint.encode(&messages, &self.pictures)?;
        let (vlm, features) = self.model.ready(&encoded)?;
        let room = checkpoint.config.layout().max_position_embeddings - encoded.input_ids.len();
        let sampling = Sampling {
            max_new_tokens: self.sampling.max_new_tokens.min(room),
            ..self.sampling.clone()
        };
        let mut stream = checkpoint.tokenizer.stream();
        let mut answer = Answer { text: String::new(), num_tokens: 0, finished: false };
        let mut is_finite = true;
        let mut written = Ok(());
        let mut show = |text: &str, answer: &mut Answer| {
            answer.text.push_str(text);
            if written.is_ok() && !text.is_empty() {
                written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            }
        };
        let turn = messages.len() as u64;
        let rng = |_, _| self.seed.at(turn).rng();
        generate_with(
            &vlm,
            &[encoded.prompt()],
            features.as_ref(),
            1,
            &sampling,
            &rng,
            &mut |token| {
                answer.num_tokens += 1;
                answer.finished = token.is_end;
                is_finite &= token.log_prob.is_finite();
                show(&stream.push(token.id), &mut answer);
            },
        );
        ensure!(
            is_finite,
            "the model's logits are not finite\nhint: its weights are damaged or diverged"
        );
        show(&stream.finish(), &mut answer);
        written.context("failed to write the answer")?;
        messages.push(Message::assistant(&answer.text));
        self.messages = messages;
        Ok(answer)
    }
}
