//! LoRA in a stage: the factors of an adapter learn, and the model is where the stage starts with the adapter beside its
//! weights, as in PEFT. No gradient has the size of a weight then, and in bf16 no small update is lost in one.
//!
//! The native form knows whole weights only: for it they are merged in f32, which loses nothing, and the gradients of the
//! factors follow from those of the weights by the chain rule. Does not know losses.

use anyhow::{Context as _, Result};
use synergy_benchmarks::seed::Seed;
use synergy_models::lora::Adapter;
use synergy_models::native;
use synergy_models::weights::{ComputeDtype, Parameters};

use crate::recipe::TrainingSpec;
use crate::train::optimizer::Gradients;

/// An adapter that learns, and the parameters it stands on, which stay as they are.
#[derive(Debug, Clone)]
pub(super) struct Learning {
    start: Parameters,
    adapter: Adapter,
    /// The type that the model computes in.
    dtype: ComputeDtype,
    /// True if the model is of weights with the adapter merged in, because the native form computes it.
    is_merged: bool,
}

impl Learning {
    /// A fresh adapter as `training` asks for, which changes nothing yet; `None` if it asks for no adapter.
    pub(super) fn of(
        training: &TrainingSpec,
        start: &Parameters,
        seed: Seed,
    ) -> Result<Option<Learning>> {
        let Some(config) = training.lora_config(&start.shapes())? else { return Ok(None) };
        let (_, any) = start.iter().next().context("a model without parameters")?;
        let rng = &mut seed.fold_in("adapter").rng();
        let adapter = Adapter::init(&config, start, rng, &any.value.device())?;
        let dtype = training.dtype();
        let is_merged = dtype == ComputeDtype::F32 && native::reads(start);
        Ok(Some(Learning { start: start.clone(), adapter, dtype, is_merged }))
    }

    /// The factors, which are the tensors that learn.
    pub(super) fn factors(&self) -> &Parameters {
        &self.adapter.parameters
    }

    /// Takes the factors out, to be changed and put back.
    pub(super) fn take_factors(&mut self) -> Parameters {
        std::mem::take(&mut self.adapter.parameters)
    }

    /// Puts factors in place and returns the model with them.
    pub(super) fn set_factors(&mut self, factors: Parameters) -> Parameters {
        self.adapter.parameters = factors;
        self.model()
    }

    /// The model with the factors as they are, for training to compute with.
    pub(super) fn model(&self) -> Parameters {
        if self.is_merged { self.merged() } else { self.adapter.beside(&self.start) }
    }

    /// The model with the factors merged in, in the type that it computes in.
    pub(super) fn merged_as_computed(&self) -> Parameters {
        self.adapter.apply_as(&self.start, self.dtype)
    }

    /// The model with the factors merged in, its changed weights in f32.
    pub(super) fn merged(&self) -> Parameters {
        self.adapter.apply(&self.start)
    }

    /// Gradients of the factors from those of the parameters of [`Learning::model`].
    pub(super) fn gradients(&self, of_parameters: &Gradients) -> Gradients {
        self.adapter.gradients(of_parameters)
    }

    /// The adapter's files by name, in PEFT's layout.
    pub(super) fn files(&self) -> [(&'static str, Vec<u8>); 2] {
        self.adapter.files()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::recipe::{LoraSpec, OptimizerSpec};
    use crate::train::fixture::{self, BASE, answered, compute, micro_batch};
    use crate::train::likelihood::sft_loss;
    use crate::train::sequence::Sequence;
    use crate::train::{
        Batch, Context, Network, Predicted, StepFigures, Trainer, frozen, prediction_log_probs,
        pretrain, recompute, values,
    };
    use burn::tensor::Tensor;
    use rand::RngExt;
    use synergy_models::qwen2_5_vl::names::is_factor;
    use synergy_models::qwen2_5_vl::vlm::Vlm;
    use synergy_models::weights::Parameter;

    fn training(freeze: &[&str], target_modules: &[&str]) -> TrainingSpec {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let lora = LoraSpec { r: 3, lora_alpha: 6.0, target_modules: owned(target_modules) };
        TrainingSpec { lora: Some(lora), ..fixture::training(freeze, 2) }
    }

    fn trainer(training: &TrainingSpec) -> Trainer {
        let optimizer = OptimizerSpec {
            learning_rate: 1e-2,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            ..fixture::optimizer()
        };
        Trainer::new(training, &optimizer, 20, &BASE.parameters, Seed::root(1)).unwrap()
    }

    fn sequences() -> Vec<Sequence> {
        let rng = &mut Seed::root(2).rng();
        (0..3).map(|i| answered(i, [1, 2], rng)).collect()
    }

    /// Figures of `num_steps` steps of SFT on the same sequences.
    fn train(trainer: &mut Trainer, training: &TrainingSpec, num_steps: usize) -> Vec<StepFigures> {
        let compute = compute();
        let context = Context::new(&BASE.prompter, &compute, training);
        let sequences = sequences();
        (0..num_steps).map(|_| pretrain::step(trainer, &context, &sequences).unwrap()).collect()
    }

    #[test]
    fn gradients_of_the_factors_are_those_of_a_graph_through_the_sum() {
        let names = ["q_proj", "v_proj", "o_proj", "down_proj", "qkv", "merger.mlp.2", "lm_head"];
        let training = training(&[], &names);
        let config = &BASE.prompter.config;
        let mut trainer = trainer(&training);
        // A fresh B is zero, and so is the gradient of A.
        let rng = &mut Seed::root(3).rng();
        let drawn = trainer.learned().iter().map(|(name, p)| {
            let values = (0..p.count()).map(|_| rng.random_range(-0.1..0.1)).collect();
            let device = p.value.device();
            (name.to_owned(), Parameter::new(p.shape.clone(), values, &device))
        });
        let drawn: Parameters = drawn.collect();
        trainer.set_learned(drawn.clone());
        let learning = trainer.adapter.as_ref().unwrap();

        let sequences = sequences();
        let batch = micro_batch(&sequences);
        let loss = |Predicted { log_probs, .. }: Predicted<'_>, _: &Batch<'_>| {
            sft_loss(log_probs, 1.0 / log_probs.len() as f64, None)
        };

        let lifted = |p: &Parameter| Tensor::from_inner(p.value.clone());
        let leaves = drawn.map(|_, p| lifted(p).require_grad());
        let adapter = Adapter { parameters: leaves.clone(), ..learning.adapter.clone() };
        let model = Vlm::new(config, &adapter.apply(&BASE.parameters.map(|_, p| lifted(p))));
        let log_probs = prediction_log_probs(&model, &batch, None);
        let count = log_probs.dims()[0] as f64;
        let mut grads = log_probs.sum().mul_scalar(-1.0 / count).backward();
        let want: Gradients = leaves
            .iter()
            .map(|(name, p)| (name.to_owned(), p.value.grad_remove(&mut grads).unwrap()))
            .collect();

        let frozen = frozen(&training, &trainer.parameters).unwrap();
        let merged = Vlm::new(config, &trainer.parameters);
        let native = merged.native.as_ref().unwrap();
        let network = Network {
            config,
            parameters: &trainer.parameters,
            dtype: ComputeDtype::F32,
            frozen: &frozen,
            features: None,
            bonus: None,
        };
        let whole = Limits::new(None);
        let parameters = &learning.adapter.beside(&BASE.parameters);
        let frozen = &crate::train::frozen(&training, parameters).unwrap();
        let beside = Network { parameters, frozen, ..network };
        let forms = [
            ("native", 2, network.native_gradients(native, &merged, &batch, &loss).0),
            ("plain", 2, network.gradients(&batch, &loss).0),
            ("recomputed", 2, recompute::gradients(&network, whole, &batch, &loss).0),
            ("beside", 1, beside.gradients(&batch, &loss).0),
            ("beside, recomputed", 1, recompute::gradients(&beside, whole, &batch, &loss).0),
        ];
        for (form, factors_each, of_parameters) in forms {
            let num = factors_each * of_parameters.len();
            assert_eq!(num, want.len(), "{form}: others have gradients");
            let got = learning.gradients(&of_parameters);
            assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
            for (name, got) in got {
                let [got, want] = [values(got), values(want[&name].clone())];
                let norm = |v: &mut dyn Iterator<Item = f32>| {
                    v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
                };
                let whole = norm(&mut want.iter().copied());
                let apart = norm(&mut got.iter().zip(&want).map(|(a, b)| a - b));
                assert!(apart <= 1e-4 * whole, "{form}, {name}: {apart} of {whole}");
            }
        }
    }

    /// The largest number that is left of `[rows, columns]` after `num_steps` of elimination with full pivots, as a
    /// share of the largest before: nothing if that is the rank.
    fn beyond_rank(mut matrix: Vec<f64>, columns: usize, num_steps: usize) -> f64 {
        let largest = |m: &[f64]| m.iter().map(|x| x.abs()).fold(0.0, f64::max);
        let before = largest(&matrix);
        for _ in 0..num_steps {
            let most = largest(&matrix);
            let at = matrix.iter().position(|x| x.abs() >= most).unwrap();
            let (pivot_row, pivot_column) = (at / columns, at % columns);
            let row = matrix[pivot_row * columns..][..columns].to_vec();
            for numbers in matrix.chunks_mut(columns) {
                let share = numbers[pivot_column] / row[pivot_column];
                numbers.iter_mut().zip(&row).for_each(|(x, y)| *x -= share * y);
            }
        }
        largest(&matrix) / before
    }

    #[test]
    fn only_what_is_adapted_changes_and_by_no_more_than_the_rank() {
        let training = training(&["visual."], &["q_proj", "up_proj", "down_proj"]);
        let mut trainer = trainer(&training);
        assert_eq!(trainer.learned().names().count(), 2 * 3 * 4, "the tower is frozen");
        assert!(trainer.optimizer.first.names().eq(trainer.learned().names()));
        train(&mut trainer, &training, 4);
        for (name, after) in trainer.parameters.iter() {
            let before = BASE.parameters.get(name);
            let adapted = name.starts_with("model.")
                && ["q_proj.weight", "up_proj.weight", "down_proj.weight"]
                    .iter()
                    .any(|end| name.ends_with(end));
            let pairs = after.to_vec().into_iter().zip(before.to_vec());
            let change: Vec<f64> = pairs.map(|(x, y)| f64::from(x) - f64::from(y)).collect();
            if !adapted {
                assert!(change.iter().all(|x| x.to_bits() == 0), "`{name}` has changed");
                continue;
            }
            let left = |rank| beyond_rank(change.clone(), before.shape[1], rank);
            assert!(left(0) > 0.99 && left(2) > 1e-3, "`{name}` has less than its rank");
            assert!(left(3) < 1e-4, "`{name}` has more than its rank: {}", left(3));
        }
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in trainer.adapter_files() {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let device = &BASE.parameters.get("model.norm.weight").value.device();
        let read = Adapter::read(dir.path(), &BASE.parameters, device).unwrap();
        assert_eq!(read.apply(&BASE.parameters).to_bytes(), trainer.parameters.to_bytes());
    }

    #[test]
    fn twenty_steps_of_fine_tuning_lower_the_loss() {
        let training = training(&["visual."], &["q_proj", "v_proj", "up_proj", "down_proj"]);
        let half = TrainingSpec { dtype: Some(ComputeDtype::Bf16), ..training.clone() };
        let losses = [&training, &half].map(|training| {
            let mut trainer = trainer(training);
            let figures = train(&mut trainer, training, 20);
            let (first, last) = (figures[0]["loss"], figures[19]["loss"]);
            assert!(last < 0.8 * first, "{first} to {last}");
            // Merged for the native form, which computes in f32 alone; beside the weights in bf16, which stay as they are.
            let has_factors = trainer.parameters.names().any(is_factor);
            assert_eq!(has_factors, training.dtype() == ComputeDtype::Bf16);
            assert!(!trainer.finished().names().any(is_factor));
            last
        });
        assert!((losses[0] - losses[1]).abs() < 0.05 * losses[0], "{losses:?}");
    }

    #[test]
    fn what_matches_nothing_is_refused() {
        let refusal = |training: &TrainingSpec| {
            let shapes = BASE.parameters.shapes();
            synergy_hint::text(&training.lora_config(&shapes).unwrap_err())
        };
        let nothing = refusal(&training(&[], &["q_proj", "q_porj"]));
        assert!(nothing.contains("`target_modules` [\"q_porj\"]\nhint: "), "{nothing}");
        let frozen = refusal(&training(&["model."], &["q_proj"]));
        assert!(frozen.contains("matches every layer of `target_modules`\nhint: "), "{frozen}");
    }
}
