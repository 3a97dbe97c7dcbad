//! The step loop: gradients of micro-batches, updates, checkpoints inside a stage.
//!
//! Does not know where a stage stands in a regime. Algorithms live in `train/`, one file each; what
//! they share is a [`Trainer`], whose state is all that a checkpoint holds.

pub mod grpo;
pub mod pretrain;
pub mod sft;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use burn::tensor::{Int, Tensor, TensorData};
use synergy_models::config::VlmConfig;
use synergy_models::ops::log_probs;
use synergy_models::vlm::{Vlm, index};
use synergy_models::weights::Parameters;

use crate::data::{Prompter, Sequence, micro_batches, pad};
use crate::device::Compute;
use crate::optimizer::{Gradients, Optimizer};
use crate::recipe::TrainingSpec;

/// Figures of one step by name: `loss`, `reward`, `length`, …
pub type StepFigures = BTreeMap<String, f64>;

/// Everything that changes while a stage trains.
#[derive(Debug, Clone)]
pub struct Trainer {
    pub parameters: Parameters,
    pub optimizer: Optimizer,
    /// Updates of the optimizer so far.
    pub num_updates: usize,
}

/// What a stage trains with; the same for all steps.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub prompter: &'a Prompter,
    pub compute: &'a Compute,
    pub training: &'a TrainingSpec,
}

/// A micro-batch ready for the model.
pub struct Batch<'a> {
    /// Numbers of the sequences in the list that was cut.
    pub members: &'a [usize],
    pub sequences: Vec<&'a Sequence>,
}

impl Trainer {
    /// Computes `loss` of every micro-batch of `sequences`, sums its gradients and takes one step.
    ///
    /// `loss` gets the model, the log-probability of every prediction of the micro-batch (`[tokens]`,
    /// sequence by sequence) and the micro-batch; it returns the loss `[1]`, already weighted so that
    /// micro-batches add up, and figures that add up as well.
    ///
    /// # Errors
    /// If loss or gradients are not finite.
    pub fn update(
        &mut self,
        context: &Context<'_>,
        sequences: &[Sequence],
        loss: impl Fn(Tensor<1>, &Batch<'_>) -> (Tensor<1>, StepFigures) + Sync,
    ) -> Result<StepFigures> {
        let config = &context.prompter.config;
        let lengths: Vec<usize> = sequences.iter().map(|s| s.input_ids.len()).collect();
        let cut = micro_batches(&lengths, context.training.micro_batch_size);
        let parts = context.compute.map(&cut, |_, members| {
            let batch =
                Batch { members, sequences: members.iter().map(|&i| &sequences[i]).collect() };
            self.gradients(config, &context.training.freeze, &batch, &loss)
        });
        let mut gradients: Gradients = BTreeMap::new();
        let mut figures = StepFigures::new();
        for (part, part_figures) in parts {
            for (name, gradient) in part {
                let sum = match gradients.remove(&name) {
                    Some(sum) => sum + gradient,
                    None => gradient,
                };
                gradients.insert(name, sum);
            }
            for (name, value) in part_figures {
                *figures.entry(name).or_default() += value;
            }
        }
        let (parameters, norm) =
            self.optimizer.step(self.num_updates, &self.parameters, &gradients, context.compute);
        let loss = figures.get("loss").copied().unwrap_or(f64::NAN);
        ensure!(
            norm.is_finite() && loss.is_finite(),
            "loss {loss} or gradient norm {norm} is not finite at update {}\n\
             hint: lower the learning rate; the last checkpoint is kept",
            self.num_updates
        );
        self.parameters = parameters;
        self.num_updates += 1;
        figures.insert("gradient_norm".into(), norm);
        Ok(figures)
    }

    fn gradients(
        &self,
        config: &VlmConfig,
        freeze: &[String],
        batch: &Batch<'_>,
        loss: &(impl Fn(Tensor<1>, &Batch<'_>) -> (Tensor<1>, StepFigures) + Sync),
    ) -> (Gradients, StepFigures) {
        let frozen = |name: &str| freeze.iter().any(|prefix| name.starts_with(prefix.as_str()));
        let leaves = self.parameters.map(|name, p| {
            let value = Tensor::from_inner(p.value.clone());
            if frozen(name) { value } else { value.require_grad() }
        });
        let model = Vlm::new(config, &leaves);
        let log_probs = prediction_log_probs(&model, batch);
        let (loss, mut figures) = loss(log_probs, batch);
        figures.insert("loss".into(), f64::from(loss.clone().inner().into_scalar::<f32>()));
        let mut grads = loss.backward();
        let gradients = leaves
            .iter()
            .filter_map(|(name, p)| p.value.grad_remove(&mut grads).map(|g| (name.to_owned(), g)))
            .collect();
        (gradients, figures)
    }
}

/// Log-probability of every prediction of a micro-batch, `[tokens]`, sequence by sequence. Only rows
/// that predict meet the vocabulary.
pub fn prediction_log_probs(model: &Vlm, batch: &Batch<'_>) -> Tensor<1> {
    let device = model.device();
    let (tokens, rows, targets) = pad(&batch.sequences, &model.config);
    let pictures: Vec<_> = batch
        .sequences
        .iter()
        .flat_map(|s| s.patches.iter().map(|p| (p.values.as_slice(), p.grid)))
        .collect();
    let features = (!pictures.is_empty()).then(|| model.image_features(&pictures));
    let hidden = model.forward(&tokens, features.as_ref()).select(0, index(rows, &device));
    let targets: Tensor<1, Int> = index(targets, &device);
    log_probs(model.decoder.logits(hidden), targets)
}

/// A vector on the device of `like`, without gradient.
fn constant(values: Vec<f32>, like: &Tensor<1>) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), &like.device())
}
