//! What each of several processes holds of a stage that they train together.
//!
//! Every tensor that learns has an owner, which adds up its gradients, holds its moments and changes it (ZeRO, stage 1;
//! Rajbhandari et al. 2020, arXiv 1910.02054, section 5.1). Gradients are added in the order of micro-batches, whoever has
//! computed them, so that any number of processes gives the bits of one. Does not know losses or updates.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use synergy_models::weights::{Parameter, Parameters};

use super::optimizer::{Gradients, squares};
use super::{add, vector};
use crate::device::Compute;
use crate::ranks::Ranks;

/// Who owns what.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares {
    ranks: Ranks,
    /// Rank and number of values of every tensor that learns; empty where one process has all.
    owners: BTreeMap<String, (usize, usize)>,
    /// Micro-batches whose gradients are in memory together: a number that all processes agree on.
    at_once: usize,
}

impl Shares {
    /// Deals out `learned` among the ranks of `compute`, the largest first, each to the one that has least.
    pub(super) fn of(compute: &Compute, learned: &Parameters) -> Shares {
        let ranks = &compute.ranks;
        let mut loads = vec![0; ranks.size()];
        let mut sizes: Vec<(usize, &str)> =
            learned.iter().map(|(name, p)| (p.count(), name)).collect();
        sizes.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let owners = sizes.into_iter().map(|(size, name)| {
            let least = (0..loads.len()).min_by_key(|&rank| loads[rank]).unwrap_or(0);
            loads[least] += size;
            (name.to_owned(), (least, size))
        });
        let owners = owners.collect();
        let all: Vec<usize> = ranks.gather(&compute.at_once());
        let at_once = ranks.size() * all.into_iter().min().unwrap_or(1);
        Shares { owners, at_once, ranks: ranks.clone() }
    }

    /// Micro-batches whose gradients are in memory together, in all processes that train on `compute`.
    pub(super) fn at_once(&self, compute: &Compute) -> usize {
        if self.is_alone() { compute.at_once() } else { self.at_once }
    }

    /// The processes that train together.
    pub(super) fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    fn is_alone(&self) -> bool {
        self.ranks.size() == 1
    }

    /// Those of `all` that this process owns.
    pub(super) fn own(&self, all: Parameters) -> Parameters {
        if self.is_alone() {
            return all;
        }
        let is_own = |(name, _): &(&str, &Parameter)| self.owners[*name].0 == self.ranks.rank();
        all.iter().filter(is_own).map(|(name, p)| (name.to_owned(), p.clone())).collect()
    }

    /// Adds the gradients of `num` micro-batches to `sums`, in their order. `parts` are those that this process has computed,
    /// as [`Ranks::own`] deals them; `sums` gets what it owns.
    pub(super) fn add(
        &self,
        parts: Vec<Gradients>,
        num: usize,
        device: &Device,
        sums: &mut Gradients,
    ) {
        if self.is_alone() {
            for (name, gradient) in parts.into_iter().flatten() {
                add(sums, name, gradient);
            }
            return;
        }
        let size = self.ranks.size();
        let mut sent = vec![Vec::new(); size];
        for mut part in parts {
            for (name, (owner, _)) in &self.owners {
                write(&mut sent[*owner], part.remove(name));
            }
        }
        let received = self.ranks.exchange(sent);
        let mut left: Vec<&[u8]> = received.iter().map(Vec::as_slice).collect();
        let own = || self.owners.iter().filter(|(_, (owner, _))| *owner == self.ranks.rank());
        for place in 0..num {
            let from = &mut left[place % size];
            for (name, (_, count)) in own() {
                if let Some(values) = read(from, *count) {
                    add(sums, name.clone(), vector(values, device));
                }
            }
        }
    }

    /// The 2-norm of all gradients together, of which `gradients` are those that this process owns.
    pub(super) fn norm(&self, gradients: &Gradients) -> f64 {
        let own: BTreeMap<String, f64> = squares(gradients).collect();
        let all = if self.is_alone() { vec![own] } else { self.ranks.gather(&own) };
        // In the order of names, whoever has them.
        let all: BTreeMap<String, f64> = all.into_iter().flatten().collect();
        all.values().sum::<f64>().sqrt()
    }

    /// Puts into `learned` what the others have changed, as this process has what `is_changed` of its own.
    pub(super) fn spread(&self, learned: &mut Parameters, is_changed: impl Fn(&str) -> bool) {
        let changed = |name: &str| {
            let value = || learned.get(name).value.clone();
            is_changed(name).then(value)
        };
        for (name, parameter) in self.of_others(learned, changed) {
            learned.insert(name, parameter);
        }
    }

    /// All of what each process has a part of: moments, for a checkpoint. Its shapes are those of `learned`.
    pub(super) fn whole(&self, part: &Parameters, learned: &Parameters) -> Parameters {
        let mut all = part.clone();
        for (name, parameter) in self.of_others(learned, |name| Some(part.get(name).value.clone()))
        {
            all.insert(name, parameter);
        }
        all
    }

    /// What the others have of their own, if anything, by name, in shape and place like `learned`; they get what `own` gives
    /// of this process's.
    fn of_others(
        &self,
        learned: &Parameters,
        own: impl Fn(&str) -> Option<Tensor<1>>,
    ) -> Vec<(String, Parameter)> {
        let here = self.ranks.rank();
        let owned = |rank: usize| self.owners.iter().filter(move |(_, (owner, _))| *owner == rank);
        let all = self.ranks.gather_bytes(|| {
            let mut bytes = Vec::new();
            owned(here).for_each(|(name, _)| write(&mut bytes, own(name)));
            bytes
        });
        let mut found = Vec::new();
        for (rank, bytes) in all.into_iter().flatten().enumerate().filter(|(r, _)| *r != here) {
            let mut left = bytes.as_slice();
            for (name, (_, count)) in owned(rank) {
                let Some(values) = read(&mut left, *count) else { continue };
                let Parameter { shape, value } = learned.get(name);
                let parameter = Parameter::new(shape.clone(), values, &value.device());
                found.push((name.clone(), parameter));
            }
        }
        found
    }
}

/// Appends the numbers of `tensor`, or that there is none.
fn write(bytes: &mut Vec<u8>, tensor: Option<Tensor<1>>) {
    bytes.push(u8::from(tensor.is_some()));
    if let Some(tensor) = tensor {
        let values = super::values(tensor);
        bytes.reserve(4 * values.len());
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
}

/// Takes what [`write`] has appended of a tensor of `count` numbers.
fn read(bytes: &mut &[u8], count: usize) -> Option<Vec<f32>> {
    let (is_there, rest) = bytes.split_first().expect("one for each name");
    *bytes = rest;
    if *is_there == 0 {
        return None;
    }
    let (own, rest) = bytes.split_at(4 * count);
    *bytes = rest;
    let (numbers, _) = own.as_chunks::<4>();
    Some(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::together;
    use crate::recipe::{LoraSpec, ObjectivePreset, OptimizerSpec, TrainingSpec};
    use crate::train::algorithm::{Draws, Reference, StageInputs};
    use crate::train::fixture::{BASE, answered, grpo_spec, optimizer, questions, training};
    use crate::train::grpo::Grpo;
    use crate::train::pool::{Files, Pool};
    use crate::train::rollout::LocalEngine;
    use crate::train::{Context, StepFigures, Trainer, pretrain};
    use synergy_benchmarks::seed::Seed;
    use synergy_models::weights::ComputeDtype;

    /// All that a stage is after some steps: what has learned, both moments, and the figures.
    type After = ([Vec<u8>; 3], Vec<StepFigures>);

    /// Steps of fine-tuning by `ranks`, the last of them by a trainer that goes on from the moments of the first.
    fn tuned(ranks: &Ranks, training: &TrainingSpec, optimizer: &OptimizerSpec) -> After {
        let compute = Compute::open("flex", Some(1 + ranks.rank() % 2)).unwrap().with_ranks(ranks);
        let context = Context::new(&BASE.prompter, &compute, training);
        let rng = &mut Seed::root(2).rng();
        let sequences: Vec<_> = (0..7).map(|i| answered(i, [1, 2], rng)).collect();
        let new = || {
            let start = &BASE.parameters;
            let mut new = Trainer::new(training, optimizer, 9, start, Seed::root(1)).unwrap();
            new.share(&compute);
            new
        };
        let mut trainer = new();
        let step = |trainer: &mut Trainer| pretrain::step(trainer, &context, &sequences).unwrap();
        let mut figures = vec![step(&mut trainer), step(&mut trainer)];
        let mut later = new();
        later.resume(trainer.learned().clone(), trainer.moments(), trainer.num_updates);
        figures.push(step(&mut later));
        let [first, second] = later.moments();
        ([later.learned(), &first, &second].map(Parameters::to_bytes), figures)
    }

    #[test]
    fn any_number_of_processes_gives_the_bits_of_one() {
        let muon = OptimizerSpec { muon_learning_rate: 1e-3, ..optimizer() };
        let clipped = OptimizerSpec { max_grad_norm: 0.1, ..optimizer() };
        let names = ["q_proj", "down_proj"].map(str::to_owned).to_vec();
        let lora = Some(LoraSpec { r: 3, lora_alpha: 6.0, target_modules: names });
        let whole = training(&["visual."], 1);
        let adapter = TrainingSpec { lora, ..whole.clone() };
        for (training, optimizer) in [(&whole, &clipped), (&whole, &muon), (&adapter, &muon)] {
            let one = tuned(&Ranks::default(), training, optimizer);
            for size in [2, 3, 9] {
                for found in together(size, |ranks| tuned(ranks, training, optimizer)) {
                    assert!(found == one, "{size} processes");
                }
            }
        }
    }

    #[test]
    fn rollouts_that_several_processes_share_teach_what_those_of_one_do() {
        let step = |ranks: &Ranks| {
            let spec = grpo_spec(ObjectivePreset::GrpoStudy.objective());
            let compute = Compute::open("flex", Some(1)).unwrap().with_ranks(ranks);
            let context = Context::new(&BASE.prompter, &compute, &spec.training);
            let start = &BASE.parameters;
            let mut trainer =
                Trainer::new(&spec.training, &optimizer(), 10, start, Seed::root(1)).unwrap();
            trainer.share(&compute);
            // Nothing is earned here: what teaches is the distance from another model.
            let other = start.map(|_, p| p.value.clone().mul_scalar(1.1));
            let config = &BASE.prompter.config;
            let mut engine = LocalEngine::new(config, &compute, ComputeDtype::F32).together();
            let reference = Reference { parameters: &other, features: None, scorer: None };
            let pool = Pool { files: &Files::default(), run_seed: 1 };
            let draws = Draws { pool, stage: Seed::root(9) };
            let grpo = Grpo::new(&spec, StageInputs::default(), draws).unwrap();
            let mut step = |n| {
                grpo.step(&mut trainer, &mut engine, &context, reference, &questions(), n).unwrap()
            };
            let figures = [step(0), step(1)];
            (trainer.parameters.to_bytes(), figures)
        };
        let (weights, figures) = step(&Ranks::default());
        assert!(figures[1]["tokens_generated"] > 0.0 && figures[1]["gradient_norm"] > 0.0);
        for size in [2, 3] {
            for found in together(size, step) {
                assert_eq!(found.1, figures, "{size} processes");
                assert!(found.0 == weights, "{size} processes");
            }
        }
    }

    #[test]
    fn each_has_its_share_of_the_moments_and_nothing_of_others() {
        let learned = &BASE.parameters;
        let all = learned.count();
        let shares = together(4, |ranks| {
            let compute = Compute::open("flex", Some(1)).unwrap().with_ranks(ranks);
            Shares::of(&compute, learned).own(learned.clone())
        });
        assert_eq!(shares.iter().map(Parameters::count).sum::<usize>(), all);
        for share in &shares {
            let evenly = share.count() as f64 * 4.0 / all as f64;
            assert!((0.8..1.2).contains(&evenly), "{evenly} of an even share");
        }
    }
}
