//! The step loop: gradients of micro-batches, updates, checkpoints inside a stage.
//!
//! Does not know where a stage stands in a regime. Algorithms live in `train/`, one file each; what
//! they share is a [`Trainer`], whose state is all that a checkpoint holds.

mod adapter;
pub mod algorithm;
pub mod dataset;
pub mod engine;
pub mod features;
#[cfg(test)]
pub(crate) mod fixture;
mod frozen;
mod group;
pub mod grpo;
mod guidance;
mod guide;
pub mod kinds;
mod likelihood;
pub mod mismatch;
pub mod objective;
pub mod optimizer;
mod pieces;
mod policy;
pub mod pool;
pub mod pretrain;
pub mod prompt;
mod recompute;
pub mod register;
pub mod rollout;
pub mod sequence;
pub mod sft;
mod shares;
pub mod spread;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use burn::tensor::{Device, Int, Tensor, TensorData};
use synergy_benchmarks::seed::Seed;
use synergy_grade::Grader;
use synergy_hint::hint;
use synergy_models::batch::index;
use synergy_models::native::Native;
use synergy_models::ops::{log_probs, log_probs_and_entropies};
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::qwen2_5_vl::rope::Grid;
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_models::weights::{ComputeDtype, Parameters};
pub use synergy_report::cost::StepFigures;

use crate::device::Compute;
use crate::limits::Limits;
use crate::planted::Planted;
use crate::recipe::{OptimizerSpec, TrainingSpec};
use crate::train::adapter::Learning;
use crate::train::engine::{Adapted, Engine};
use crate::train::features::{FeatureCache, picture_features};
use crate::train::frozen::frozen;
use crate::train::optimizer::{Gradients, Optimizer};
use crate::train::sequence::{Prompter, Sequence, micro_batches, token_batch};
use crate::train::shares::Shares;

/// Figures of an update of which a step with several also records the largest, as `<name>_max`: one update may undo what
/// many did, and a mean hides it.
pub(crate) const LARGEST: [&str; 2] = ["gradient_norm", "kl_nats"];

/// Everything that changes while a stage trains.
#[derive(Debug, Clone)]
pub struct Trainer {
    /// The whole model; an adapter stands beside its weights or is merged into them, where the native form computes.
    pub parameters: Parameters,
    /// The adapter that learns in place of the parameters, if one does.
    adapter: Option<Learning>,
    /// Settings and moments of the optimizer; of several processes each has those of what it owns.
    pub optimizer: Optimizer,
    /// What this process has of what several train.
    shares: Shares,
    /// Updates of the optimizer so far.
    pub num_updates: usize,
}

/// The loss of a micro-batch, as a function of the log-probabilities of its predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// The loss, weighted so that those of micro-batches add up.
    pub value: f64,
    /// Derivative of the loss along the log-probability of each prediction, `[tokens]`.
    pub slopes: Vec<f32>,
    /// Figures that are recorded besides the loss; those of micro-batches add up as well.
    pub figures: StepFigures,
}

/// What a loss is a function of; each has a number for each prediction of a micro-batch.
#[derive(Debug, Clone, Copy)]
pub struct Predicted<'a> {
    /// Log-probabilities in nats.
    pub log_probs: &'a [f32],
    /// Entropies in nats of what the model expects there; empty where none were asked for.
    pub entropies: &'a [f32],
}

/// A bonus on the entropies of what a model expects at its predictions: the loss less a weighted sum of them.
#[derive(Clone, Copy)]
pub struct EntropyBonus<'a> {
    /// The weight of each prediction's entropy in a micro-batch, 0 or more, `[tokens]`; those of all micro-batches of an
    /// update sum to 1.
    pub weights: &'a (dyn Fn(&Batch<'_>) -> Vec<f64> + Sync),
    /// What the weighted sum is multiplied with; 0 where a loss looks at entropies and there is no bonus.
    pub coefficient: f64,
}

impl EntropyBonus<'_> {
    /// Slope of the loss along the entropy of each prediction of `batch`; none where there is no bonus.
    fn slopes(&self, batch: &Batch<'_>) -> Option<Vec<f32>> {
        let slope = |weight: f64| (-self.coefficient * weight) as f32;
        let weights = (self.coefficient > 0.0).then(|| (self.weights)(batch));
        weights.map(|weights| weights.into_iter().map(slope).collect())
    }

    /// Takes the bonus from `loss`, and records the mean of `entropies`.
    fn take(&self, batch: &Batch<'_>, entropies: &[f32], loss: &mut Loss) {
        let weights = (self.weights)(batch);
        assert_eq!(weights.len(), entropies.len(), "a weight for each prediction");
        let mean: f64 = weights.iter().zip(entropies).map(|(w, x)| w * f64::from(*x)).sum();
        loss.value -= self.coefficient * mean;
        loss.figures.insert("policy_entropy_nats".to_owned(), mean);
    }
}

/// Everything that a stage trains with and that is the same for all steps.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Turns samples into tokens and back.
    pub prompter: &'a Prompter,
    /// The device.
    pub compute: &'a Compute,
    /// Settings of training: what is frozen, in which portions gradients are computed, and in which type.
    pub training: &'a TrainingSpec,
    /// The cache of picture features, where the stage leaves the vision tower as it is.
    pub features: Option<&'a FeatureCache>,
    /// The rules by which an answer is right.
    pub grader: Grader,
    /// The fault that is planted in training on purpose, if one is.
    pub planted: Option<Planted>,
}

impl<'a> Context<'a> {
    /// A context without cached features, judging by `boxed-1`, with nothing broken.
    pub fn new(
        prompter: &'a Prompter,
        compute: &'a Compute,
        training: &'a TrainingSpec,
    ) -> Context<'a> {
        let grader = Grader::default();
        Context { prompter, compute, training, features: None, grader, planted: None }
    }

    /// The model of `parameters`, which computes in the type that the stage computes in.
    pub fn model(&self, parameters: &Parameters) -> Vlm {
        Vlm::computing(&self.prompter.config, parameters, self.training.dtype())
    }
}

/// A micro-batch ready for the model.
pub struct Batch<'a> {
    /// Numbers of the sequences in the list that was cut into micro-batches.
    pub members: &'a [usize],
    /// The sequences themselves, in the order of `members`.
    pub sequences: Vec<&'a Sequence>,
    /// Micro-batches that the list was cut into.
    pub num_micro_batches: usize,
}

impl Trainer {
    /// A trainer at `start`, before the first of `num_updates`; a fresh adapter is drawn from `seed`.
    ///
    /// # Errors
    /// If an adapter is asked for that fits no layer.
    pub fn new(
        training: &TrainingSpec,
        optimizer: &OptimizerSpec,
        num_updates: usize,
        start: &Parameters,
        seed: Seed,
    ) -> Result<Trainer> {
        let adapter = Learning::of(training, start, seed)?;
        let learned = adapter.as_ref().map_or(start, Learning::factors);
        let optimizer = Optimizer::new(optimizer, num_updates, learned);
        let parameters = match &adapter {
            Some(adapter) => adapter.model(),
            None => start.cast(ComputeDtype::F32),
        };
        Ok(Trainer { parameters, adapter, optimizer, shares: Shares::default(), num_updates: 0 })
    }

    /// Trains with the ranks of `compute` from now on, each of which has the same trainer at this moment and makes the same
    /// calls.
    pub fn share(&mut self, compute: &Compute) {
        self.shares = Shares::of(compute, self.learned());
        let Optimizer { first, second, .. } = &mut self.optimizer;
        for moments in [first, second] {
            *moments = self.shares.own(std::mem::take(moments));
        }
    }

    /// First and second moments of everything that learns, whoever has them.
    pub fn moments(&self) -> [Parameters; 2] {
        let Optimizer { first, second, .. } = &self.optimizer;
        [first, second].map(|part| self.shares.whole(part, self.learned()))
    }

    /// Puts back what [`Trainer::moments`] and [`Trainer::learned`] gave after `num_updates`.
    pub fn resume(&mut self, learned: Parameters, moments: [Parameters; 2], num_updates: usize) {
        let [first, second] = moments.map(|moments| self.shares.own(moments));
        (self.optimizer.first, self.optimizer.second) = (first, second);
        self.set_learned(learned);
        self.num_updates = num_updates;
    }

    /// The tensors that the optimizer changes: an adapter's factors, or the parameters.
    pub fn learned(&self) -> &Parameters {
        self.adapter.as_ref().map_or(&self.parameters, Learning::factors)
    }

    /// Replaces the tensors that [`Trainer::learned`] gives, and with them the model.
    pub fn set_learned(&mut self, learned: Parameters) {
        match &mut self.adapter {
            Some(adapter) => self.parameters = adapter.set_factors(learned),
            None => self.parameters = learned,
        }
    }

    /// The model as the stage leaves it; what has learned is in f32.
    pub fn finished(&self) -> Parameters {
        self.adapter.as_ref().map_or_else(|| self.parameters.clone(), Learning::merged)
    }

    /// Gives `engine` the model as it is, as an adapter where one learns.
    ///
    /// # Errors
    /// See [`Engine::load`].
    pub fn give_to(&self, engine: &mut dyn Engine) -> Result<()> {
        match &self.adapter {
            Some(adapter) => engine.load_adapted(&Adapted {
                parameters: &self.parameters,
                merged: &|| adapter.merged_as_computed(),
                files: &|| adapter.files().into(),
            }),
            None => engine.load(&self.parameters),
        }
    }

    /// The files of the adapter that learns, in PEFT's layout; empty without an adapter.
    pub fn adapter_files(&self) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
        self.adapter.iter().flat_map(Learning::files)
    }

    /// Computes `loss` of every micro-batch of `sequences`, sums its gradients and takes one step.
    ///
    /// `loss` gets the log-probability of every prediction of the micro-batch, `[tokens]`, sequence by
    /// sequence, and the micro-batch.
    ///
    /// # Errors
    /// If loss or gradients are not finite, or a pattern of `freeze` matches no parameter.
    pub fn update(
        &mut self,
        context: &Context<'_>,
        sequences: &[Sequence],
        loss: impl Fn(&[f32], &Batch<'_>) -> Loss + Sync,
    ) -> Result<StepFigures> {
        let of_log_probs = |found: Predicted<'_>, batch: &Batch<'_>| loss(found.log_probs, batch);
        self.update_with(context, sequences, None, of_log_probs)
    }

    /// [`Trainer::update`] with a bonus on entropies, if there is one; it is part of the loss that is recorded.
    ///
    /// # Errors
    /// See [`Trainer::update`].
    pub fn update_with(
        &mut self,
        context: &Context<'_>,
        sequences: &[Sequence],
        bonus: Option<EntropyBonus<'_>>,
        loss: impl Fn(Predicted<'_>, &Batch<'_>) -> Loss + Sync,
    ) -> Result<StepFigures> {
        let frozen = frozen(context.training, &self.parameters)?;
        let lengths: Vec<usize> = sequences.iter().map(|s| s.input_ids.len()).collect();
        let cut = micro_batches(&lengths, context.training.micro_batch_size);
        let network = Network {
            config: &context.prompter.config,
            parameters: &self.parameters,
            dtype: context.training.dtype(),
            frozen: &frozen,
            features: context.features,
            bonus,
        };
        let model = Vlm::new(network.config, network.parameters);
        let native = model.native.as_ref().filter(|_| network.dtype == ComputeDtype::F32);
        let part = |_: usize, (_, members): &(usize, &Vec<usize>)| {
            let batch = Batch {
                members,
                sequences: members.iter().map(|&i| &sequences[i]).collect(),
                num_micro_batches: cut.len(),
            };
            let (gradients, figures) = match native {
                Some(native) => network.native_gradients(native, &model, &batch, &loss),
                None if context.training.recompute() => {
                    let limits = Limits::new(context.training.max_packed_tokens);
                    recompute::gradients(&network, limits, &batch, &loss)
                }
                None => network.gradients(&batch, &loss),
            };
            // Those of the weights that an adapter is merged into are far more than its own.
            let of_factors = self.adapter.as_ref().map(|adapter| adapter.gradients(&gradients));
            (of_factors.unwrap_or(gradients), figures)
        };
        let mut gradients: Gradients = BTreeMap::new();
        let mut of_parts: Vec<StepFigures> = Vec::new();
        let (shares, device) = (&self.shares, &context.compute.device);
        // Summed in the order of the micro-batches, a few at a time: nothing holds those of all.
        for some in cut.chunks(shares.at_once(context.compute)) {
            let parts = context.compute.map(&shares.ranks().own(some), part);
            let (parts, own): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            shares.add(parts, some.len(), device, &mut gradients);
            of_parts.extend(shares.ranks().deal(own, some.len()));
        }
        let mut figures = summed(of_parts);
        let norm = shares.norm(&gradients);
        let loss = figures.get("loss").copied().unwrap_or(f64::NAN);
        ensure!(
            norm.is_finite() && loss.is_finite(),
            hint!(
                (
                    "loss {loss} or gradient norm {norm} is not finite at update {}",
                    self.num_updates
                ),
                "lower the learning rate"
            )
        );
        // What it holds of the parameters would keep them from being changed in place.
        drop(model);
        let mut learned = match &mut self.adapter {
            Some(adapter) => {
                self.parameters = Parameters::default();
                adapter.take_factors()
            }
            None => std::mem::take(&mut self.parameters),
        };
        let changed: BTreeSet<String> = gradients.keys().cloned().collect();
        self.optimizer.step(self.num_updates, &mut learned, gradients, norm, context.compute);
        self.shares.spread(&mut learned, |name| changed.contains(name));
        self.set_learned(learned);
        self.num_updates += 1;
        figures.insert("gradient_norm".into(), norm);
        Ok(figures)
    }
}

/// The model whose gradients are computed, by whichever way.
struct Network<'a> {
    config: &'a VlmConfig,
    parameters: &'a Parameters,
    /// The type that is computed in; gradients are in f32.
    dtype: ComputeDtype,
    /// Names of the parameters that have no gradient.
    frozen: &'a BTreeSet<String>,
    features: Option<&'a FeatureCache>,
    /// A bonus on the entropies of what is predicted.
    bonus: Option<EntropyBonus<'a>>,
}

impl Network<'_> {
    /// Gradients of a micro-batch by burn's graph of the whole model.
    fn gradients(
        &self,
        batch: &Batch<'_>,
        loss: &(impl Fn(Predicted<'_>, &Batch<'_>) -> Loss + Sync),
    ) -> (Gradients, StepFigures) {
        let leaves = leaves(self.parameters, self.frozen);
        let model = Vlm::computing(self.config, &leaves, self.dtype);
        let (log_probs, entropies) = match self.bonus {
            Some(_) => {
                let [log_probs, entropies] = predicted_with_entropies(&model, batch, self.features);
                (log_probs, Some(entropies))
            }
            None => (prediction_log_probs(&model, batch, self.features), None),
        };
        let host = |tensor: &Tensor<1>| values(tensor.clone().inner());
        let found = entropies.as_ref().map_or_else(Vec::new, host);
        let predicted = Predicted { log_probs: &host(&log_probs), entropies: &found };
        let mut loss = loss(predicted, batch);
        // The same slopes along the log-probabilities, so the same gradient.
        let device = log_probs.device();
        let along = |slopes: Vec<f32>| Tensor::from_inner(vector(slopes, &device));
        let mut sum = (log_probs * along(loss.slopes.clone())).sum();
        if let (Some(bonus), Some(entropies)) = (self.bonus, entropies) {
            bonus.take(batch, &found, &mut loss);
            if let Some(slopes) = bonus.slopes(batch) {
                sum = sum + (entropies * along(slopes)).sum();
            }
        }
        let mut grads = sum.backward();
        let gradients = leaves
            .iter()
            .filter_map(|(name, p)| p.value.grad_remove(&mut grads).map(|g| (name.to_owned(), g)))
            .collect();
        (gradients, loss.into_figures())
    }

    /// Gradients of a micro-batch without a graph, by the native form of `model`, which is the network's.
    fn native_gradients(
        &self,
        native: &Native,
        model: &Vlm,
        batch: &Batch<'_>,
        loss: &(impl Fn(Predicted<'_>, &Batch<'_>) -> Loss + Sync),
    ) -> (Gradients, StepFigures) {
        let (tokens, predictions) = token_batch(&batch.sequences, self.config);
        let pictures = batch.pictures();
        let (features, tower) = match self.features {
            Some(cache) => (cache.features(model, &pictures), None),
            None => {
                let (features, tower) = native.image_features(&pictures);
                (features, Some(tower))
            }
        };
        let with_entropies = self.bonus.is_some();
        let (log_probs, mut pass) =
            native.predicted(&tokens, &features, &predictions, with_entropies);
        let device = model.device();
        let predicted = Predicted { log_probs: &log_probs, entropies: pass.entropies() };
        let mut loss = loss(predicted, batch);
        if let Some(bonus) = self.bonus {
            bonus.take(batch, pass.entropies(), &mut loss);
            if let Some(slopes) = bonus.slopes(batch) {
                pass = pass.with_entropy_slopes(slopes);
            }
        }
        let is_frozen = |name: &str| self.frozen.contains(name);
        let num_features = features.len() / model.layout.decoder.hidden_size;
        let (mut gradients, dfeatures) =
            native.backward(pass, &loss.slopes, num_features, &is_frozen);
        if let Some(tower) = tower.filter(|_| num_features > 0 && native.tower_learns(&is_frozen)) {
            gradients.extend(native.tower_backward(tower, &dfeatures, &is_frozen));
        }
        let gradients = gradients.into_iter().map(|(name, values)| (name, vector(values, &device)));
        (gradients.collect(), loss.into_figures())
    }
}

/// Adds up the figures of micro-batches in their order.
fn summed(parts: Vec<StepFigures>) -> StepFigures {
    let mut sums = StepFigures::new();
    for (name, value) in parts.into_iter().flatten() {
        *sums.entry(name).or_default() += value;
    }
    sums
}

/// Adds `gradient` to that of the parameter `name`.
fn add(gradients: &mut Gradients, name: String, gradient: Tensor<1>) {
    let sum = match gradients.remove(&name) {
        Some(sum) => sum + gradient,
        None => gradient,
    };
    gradients.insert(name, sum);
}

/// The parameters as leaves of a graph; those that are frozen get no gradient.
fn leaves(parameters: &Parameters, frozen: &BTreeSet<String>) -> Parameters {
    parameters.map(|name, p| {
        let value = Tensor::from_inner(p.value.clone());
        if frozen.contains(name) { value } else { value.require_grad() }
    })
}

impl Loss {
    /// The figures with the loss among them.
    fn into_figures(self) -> StepFigures {
        let Loss { value, mut figures, .. } = self;
        figures.insert("loss".into(), value);
        figures
    }
}

impl Batch<'_> {
    /// Patches and grids of the pictures of all sequences, in order.
    fn pictures(&self) -> Vec<(&[f32], Grid)> {
        let patches = self.sequences.iter().flat_map(|s| &s.patches);
        patches.map(|p| (p.values.as_slice(), p.grid)).collect()
    }
}

/// Log-probability in nats of every prediction of a micro-batch, `[tokens]`, sequence by sequence. Logits are computed
/// only at positions whose next token is predicted.
pub fn prediction_log_probs(
    model: &Vlm,
    batch: &Batch<'_>,
    features: Option<&FeatureCache>,
) -> Tensor<1> {
    let (tokens, predictions) = token_batch(&batch.sequences, &model.config);
    let pictures = batch.pictures();
    if let Some(native) = &model.native {
        let features = match features {
            Some(cache) => cache.features(model, &pictures),
            None => native.image_features(&pictures).0,
        };
        let log_probs = native.log_probs(&tokens, &features, &predictions).0;
        return vector(log_probs, &model.device());
    }
    let features = picture_features(model, features, &pictures);
    predicted(model, model.forward(&tokens, features.as_ref()), &predictions)
}

/// [`prediction_log_probs`] and the entropy in nats of what the model expects there, by burn's operations.
fn predicted_with_entropies(
    model: &Vlm,
    batch: &Batch<'_>,
    features: Option<&FeatureCache>,
) -> [Tensor<1>; 2] {
    let (tokens, predictions) = token_batch(&batch.sequences, &model.config);
    let features = picture_features(model, features, &batch.pictures());
    let hidden = model.forward(&tokens, features.as_ref());
    let (logits, targets) = logits(model, hidden, &predictions);
    log_probs_and_entropies(logits, targets)
}

/// Log-probabilities of `predictions`, `[tokens]`, from the hidden states behind the last norm.
fn predicted(model: &Vlm, hidden: Tensor<2>, predictions: &[(usize, u32)]) -> Tensor<1> {
    let (logits, targets) = logits(model, hidden, predictions);
    log_probs(logits, targets)
}

/// Logits `[predictions, vocabulary]` where something is predicted, and what that is, `[predictions]`.
fn logits(
    model: &Vlm,
    hidden: Tensor<2>,
    predictions: &[(usize, u32)],
) -> (Tensor<2>, Tensor<1, Int>) {
    let device = hidden.device();
    let (rows, targets) = predictions.iter().map(|&(row, id)| (row as i64, i64::from(id))).unzip();
    (model.decoder.logits(hidden.select(0, index(rows, &device))), index(targets, &device))
}

fn vector(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

/// A matrix of rows of `width` numbers on `device`.
pub(crate) fn matrix(values: Vec<f32>, width: usize, device: &Device) -> Tensor<2> {
    let shape = [values.len() / width, width];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The numbers of a vector on the host.
pub(crate) fn values(vector: Tensor<1>) -> Vec<f32> {
    vector.try_into_vec_as::<f32>().expect("float data is readable as f32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fixture::{BASE, answered, ids, micro_batch, optimizer, packed, training};
    use crate::train::likelihood::sft_loss;

    fn log_probs_of(sequences: &[Sequence]) -> Vec<f32> {
        let model = Vlm::new(&BASE.prompter.config, &BASE.parameters);
        values(prediction_log_probs(&model, &micro_batch(sequences), None))
    }

    #[test]
    fn rollouts_packed_after_one_prompt_have_the_log_probs_of_separate_ones() {
        let rng = &mut Seed::root(3).rng();
        let prompt = ids(rng, 7);
        let answers: Vec<Vec<u32>> = [5, 1, 9].iter().map(|&n| ids(rng, n)).collect();
        let together = log_probs_of(&[packed(&prompt, &answers)]);
        let apart: Vec<f32> = answers
            .iter()
            .flat_map(|a| log_probs_of(&[packed(&prompt, std::slice::from_ref(a))]))
            .collect();
        assert_eq!(together.len(), 15);
        for (a, b) in together.iter().zip(&apart) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn padding_and_company_do_not_change_log_probs() {
        let rng = &mut Seed::root(4).rng();
        let short = packed(&ids(rng, 3), &[ids(rng, 4)]);
        let long = packed(&ids(rng, 30), &[ids(rng, 12)]);
        let together = log_probs_of(&[short.clone(), long]);
        for (a, b) in together.iter().zip(log_probs_of(&[short])) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    fn network<'a>(config: &'a VlmConfig, frozen: &'a BTreeSet<String>) -> Network<'a> {
        let parameters = &BASE.parameters;
        Network {
            config,
            parameters,
            dtype: ComputeDtype::F32,
            frozen,
            features: None,
            bonus: None,
        }
    }

    /// Asserts that `got` are the gradients `want`, each to the given share of its norm.
    fn assert_close(got: &Gradients, want: &Gradients, share: f64) {
        let norm = |t: Tensor<1>| f64::from(t.square().sum().into_scalar::<f32>()).sqrt();
        assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
        for (name, want) in want {
            let (whole, apart) = (norm(want.clone()), norm(want.clone() - got[name].clone()));
            assert!(apart <= share * whole + 1e-9, "{name}: {apart} of {whole}");
        }
    }

    fn update(micro_batch_size: usize, num_threads: usize) -> (Parameters, f64) {
        let rng = &mut Seed::root(5).rng();
        let sequences: Vec<Sequence> =
            (0..6).map(|i| packed(&ids(rng, 4 + i), &[ids(rng, 8), ids(rng, 3)])).collect();
        let training = training(&["visual."], micro_batch_size);
        let compute = Compute::open("flex", Some(num_threads)).unwrap();
        let context = Context::new(&BASE.prompter, &compute, &training);
        let start = &BASE.parameters;
        let mut trainer = Trainer::new(&training, &optimizer(), 10, start, Seed::root(1)).unwrap();
        let figures = pretrain::step(&mut trainer, &context, &sequences).unwrap();
        (trainer.parameters, figures["gradient_norm"])
    }

    #[test]
    fn both_forms_of_the_model_give_the_same_gradients_and_log_probs() {
        let rng = &mut Seed::root(6).rng();
        let seen = answered(3, [2, 4], rng);
        let text = Sequence { segments: Vec::new(), ..packed(&ids(rng, 5), &[ids(rng, 9)]) };
        let sequences = [seen, text];
        let batch = micro_batch(&sequences);
        let model = Vlm::new(&BASE.prompter.config, &BASE.parameters);
        let (native, plain) = (model.native.as_ref().unwrap(), model.clone().plain());
        let log_probs = |model: &Vlm| values(prediction_log_probs(model, &batch, None));
        for (a, b) in log_probs(&model).iter().zip(log_probs(&plain)) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }

        let frozen = BTreeSet::from(["model.norm.weight".to_owned()]);
        let network = network(&model.config, &frozen);
        let loss = |Predicted { log_probs, .. }: Predicted<'_>, _: &Batch<'_>| {
            sft_loss(log_probs, 1.0 / log_probs.len() as f64, None)
        };
        let (ours, figures) = network.native_gradients(native, &model, &batch, &loss);
        let (burns, others) = network.gradients(&batch, &loss);
        assert!((figures["loss"] - others["loss"]).abs() < 1e-5);
        assert_close(&ours, &burns, 1e-3);
    }

    #[test]
    fn layers_that_are_computed_again_give_the_gradients_of_the_whole_graph() {
        let rng = &mut Seed::root(6).rng();
        let seen = answered(3, [2, 4], rng);
        let group = packed(&ids(rng, 5), &[ids(rng, 9), ids(rng, 3), ids(rng, 1), ids(rng, 4)]);
        let segments = vec![0; seen.input_ids.len()];
        let sequences = [Sequence { segments, ..seen }, group];
        let batch = micro_batch(&sequences);
        let whole = Limits::new(None);
        // Pieces of one answer or two, attention in blocks of three queries, logits of four rows.
        let cut = Limits { max_packed_tokens: 16, whole: 6, block: 3, logits: 4 };
        // Slopes of their own, so that no two predictions can be taken for each other.
        let loss = |Predicted { log_probs, .. }: Predicted<'_>, _: &Batch<'_>| {
            let slopes = (0..log_probs.len()).map(|i| (i as f32).cos()).collect::<Vec<_>>();
            let value = log_probs.iter().zip(&slopes).map(|(x, s)| f64::from(x * s)).sum();
            Loss { value, slopes, figures: StepFigures::new() }
        };
        let mut tied = BASE.prompter.config.clone();
        tied.tie_word_embeddings = true;
        let before: BTreeSet<String> = BASE
            .parameters
            .names()
            .filter(|name| name.starts_with("visual.") || name.contains("embed_tokens"))
            .map(str::to_owned)
            .collect();
        for (config, frozen) in [
            (&BASE.prompter.config, BTreeSet::new()),
            (&tied, BTreeSet::new()),
            (&BASE.prompter.config, before),
        ] {
            let network = network(config, &frozen);
            let (want, figures) = network.gradients(&batch, &loss);
            let model = Vlm::new(config, &BASE.parameters).plain();
            let log_probs = values(prediction_log_probs(&model, &batch, None));
            for limits in [whole, cut] {
                for (a, b) in
                    log_probs.iter().zip(recompute::log_probs(&model, &batch, None, limits))
                {
                    assert!((a - b).abs() < 1e-4, "{a} {b} {limits:?}");
                }
                let (got, others) = recompute::gradients(&network, limits, &batch, &loss);
                assert!((figures["loss"] - others["loss"]).abs() < 1e-4);
                assert_close(&got, &want, 1e-4);
            }
        }
    }

    /// Weights of their own for all predictions, some of them 0.
    fn weights(batch: &Batch<'_>) -> Vec<f64> {
        let num: usize = batch.sequences.iter().map(|s| s.predictions.len()).sum();
        (0..num).map(|i| 0.05 * (i % 4) as f64).collect()
    }

    #[test]
    fn a_bonus_on_entropies_has_one_gradient_in_every_form_and_it_is_that_of_its_value() {
        let rng = &mut Seed::root(6).rng();
        let seen = answered(3, [2, 4], rng);
        let group = packed(&ids(rng, 5), &[ids(rng, 9), ids(rng, 3), ids(rng, 4)]);
        let segments = vec![0; seen.input_ids.len()];
        let sequences = [Sequence { segments, ..seen }, group];
        let batch = micro_batch(&sequences);
        let loss = |found: Predicted<'_>, _: &Batch<'_>| sft_loss(found.log_probs, 0.02, None);
        let frozen = BTreeSet::from(["model.norm.weight".to_owned()]);
        let config = &BASE.prompter.config;
        let bonus = EntropyBonus { weights: &weights, coefficient: 0.7 };
        let without = network(config, &frozen);
        let with = Network { bonus: Some(bonus), ..network(config, &frozen) };
        let model = Vlm::new(config, &BASE.parameters);
        let native = model.native.as_ref().unwrap();
        let (ours, figures) = with.native_gradients(native, &model, &batch, &loss);
        let (burns, others) = with.gradients(&batch, &loss);
        assert_close(&ours, &burns, 1e-3);
        let entropy = figures["policy_entropy_nats"];
        assert!((entropy - others["policy_entropy_nats"]).abs() < 1e-4);
        let cut = Limits { max_packed_tokens: 16, whole: 6, block: 3, logits: 4 };
        for limits in [Limits::new(None), cut] {
            let (again, others) = recompute::gradients(&with, limits, &batch, &loss);
            assert_close(&again, &burns, 1e-3);
            assert!((entropy - others["policy_entropy_nats"]).abs() < 1e-4);
        }

        // The bonus is taken from the loss, and its own gradient is not small.
        let (plain, others) = without.native_gradients(native, &model, &batch, &loss);
        assert!((others["loss"] - 0.7 * entropy - figures["loss"]).abs() < 1e-5);
        let name = "lm_head.weight";
        let norm = |t: Tensor<1>| f64::from(t.square().sum().into_scalar::<f32>()).sqrt();
        assert!(norm(plain[name].clone() - ours[name].clone()) > 0.05 * norm(ours[name].clone()));

        // Along its own gradient the loss rises as the gradient's norm says.
        let size = norm(ours[name].clone());
        let at = |by: f64| {
            let moved = BASE.parameters.map(|other, p| {
                let step = ours.get(name).filter(|_| other == name);
                step.map_or_else(
                    || p.value.clone(),
                    |step| p.value.clone() + step.clone().mul_scalar(by / size),
                )
            });
            let network = Network { parameters: &moved, ..network(config, &frozen) };
            let network = Network { bonus: Some(bonus), ..network };
            network.gradients(&batch, &loss).1["loss"]
        };
        let rise = (at(0.02) - at(-0.02)) / 0.04;
        assert!((rise - size).abs() < 0.01 * size, "{rise} {size}");
    }

    #[test]
    fn micro_batches_add_up_to_the_batch() {
        let (_, whole) = update(6, 1);
        let (_, cut) = update(2, 1);
        assert!((whole - cut).abs() < 1e-4 * whole, "{whole} {cut}");
    }

    #[test]
    fn answers_weigh_by_their_tokens_or_alike() {
        let rng = &mut Seed::root(8).rng();
        let [short, long] = [2, 14].map(|len| packed(&ids(rng, 5), &[ids(rng, len)]));
        let mean = |s: &Sequence| {
            let log_probs = log_probs_of(std::slice::from_ref(s));
            -log_probs.iter().map(|x| f64::from(*x)).sum::<f64>() / log_probs.len() as f64
        };
        let (of_short, of_long) = (mean(&short), mean(&long));
        let sequences = [short, long];
        for (weights, want) in [
            ([1.0 / 16.0; 2], (2.0 * of_short + 14.0 * of_long) / 16.0),
            ([1.0 / 4.0, 1.0 / 28.0], f64::midpoint(of_short, of_long)),
        ] {
            // However the batch is cut.
            for micro_batch_size in [1, 2] {
                let training = training(&["visual."], micro_batch_size);
                let compute = Compute::open("flex", Some(1)).unwrap();
                let context = Context::new(&BASE.prompter, &compute, &training);
                let (start, seed) = (&BASE.parameters, Seed::root(1));
                let mut trainer = Trainer::new(&training, &optimizer(), 10, start, seed).unwrap();
                let figures =
                    pretrain::step_over(&mut trainer, &context, &sequences, &weights, None)
                        .unwrap();
                let apart = (figures["loss"] - want).abs();
                assert!(apart < 1e-4, "{weights:?}: {apart} from {want}");
            }
        }
        assert!((of_short - of_long).abs() > 1e-2, "the two are alike");
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let one = update(1, 1).0.to_bytes();
        for num_threads in [2, 4, 8] {
            assert!(update(1, num_threads).0.to_bytes() == one, "{num_threads} threads");
        }
    }

    #[test]
    fn a_pattern_freezes_what_it_matches_from_the_start() {
        let count = |pattern: &str| {
            frozen(&training(&[pattern], 1), &BASE.parameters).map(|names| names.len())
        };
        let all = BASE.parameters.names().count();
        assert_eq!(count(".").unwrap(), all);
        assert_eq!(count(r"visual\.merger").unwrap(), 5);
        assert_eq!(count(r"(visual\.|model\.)").unwrap() + 1, all); // the head is left
        let merger_trains = count(r"visual\.(patch_embed|blocks)").unwrap();
        assert_eq!(merger_trains + 5, count("visual.").unwrap());
        let nothing = synergy_hint::text(&count("layers").unwrap_err());
        assert!(nothing.contains("`layers`, which no parameter matches\nhint: "), "{nothing}");
        assert!(
            synergy_hint::text(&count("(").unwrap_err())
                .contains("is not a regular expression\nhint: ")
        );
    }

    #[test]
    fn frozen_parameters_stay_and_others_move() {
        let (after, _) = update(6, 1);
        for (name, parameter) in after.iter() {
            let same = parameter.to_vec() == BASE.parameters.get(name).to_vec();
            assert_eq!(same, name.starts_with("visual."), "{name}");
        }
    }
}
