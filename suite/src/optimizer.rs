//! AdamW and Muon over named flat parameters.
//!
//! Does not know losses. Written here rather than taken from burn since every constant must come
//! from the recipe, state must resume to the same bits, and Muon needs the matrix shapes.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use synergy_models::weights::{Parameter, Parameters};

use crate::device::Compute;
use crate::recipe::OptimizerSpec;

/// Gradients by name; a frozen parameter has none.
pub type Gradients = BTreeMap<String, Tensor<1>>;

/// The state between steps: what a checkpoint holds beside the weights.
#[derive(Debug, Clone)]
pub struct Optimizer {
    spec: OptimizerSpec,
    num_steps: usize,
    /// First moment (Muon: momentum), zero before the first step.
    pub first: Parameters,
    /// Second moment; stays zero for Muon.
    pub second: Parameters,
}

impl Optimizer {
    /// A fresh state for `parameters`, for a stage of `num_steps` updates.
    pub fn new(spec: &OptimizerSpec, num_steps: usize, parameters: &Parameters) -> Optimizer {
        let zeros = parameters.map(|_, p| p.value.zeros_like());
        Optimizer { spec: spec.clone(), num_steps, first: zeros.clone(), second: zeros }
    }

    /// Share of the peak learning rate at `step` (from 0): linear warm-up, then cosine.
    pub fn schedule(&self, step: usize) -> f64 {
        let warmup = self.spec.warmup_steps;
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let rest = (self.num_steps - warmup.min(self.num_steps)).max(1);
        let done = (step - warmup) as f64 / rest as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        let last = self.spec.final_learning_rate_ratio;
        last + (1.0 - last) * cosine
    }

    /// One update; returns the new parameters and the gradient's norm before clipping.
    pub fn step(
        &mut self,
        step: usize,
        parameters: &Parameters,
        gradients: &Gradients,
        compute: &Compute,
    ) -> (Parameters, f64) {
        let norm = norm(gradients);
        let scale =
            if norm > self.spec.max_grad_norm { self.spec.max_grad_norm / norm } else { 1.0 };
        let schedule = self.schedule(step);
        let items: Vec<(&String, &Tensor<1>)> = gradients.iter().collect();
        let updates = compute.map(&items, |_, (name, gradient)| {
            let gradient = (*gradient).clone().mul_scalar(scale);
            self.update(name, parameters.get(name), gradient, step, schedule)
        });
        let updates: BTreeMap<&str, Update> =
            items.iter().map(|(name, _)| name.as_str()).zip(updates).collect();
        let updated =
            parameters.map(|name, p| updates.get(name).map_or(&p.value, |u| &u.value).clone());
        self.first =
            self.first.map(|name, p| updates.get(name).map_or(&p.value, |u| &u.first).clone());
        self.second =
            self.second.map(|name, p| updates.get(name).map_or(&p.value, |u| &u.second).clone());
        (updated, norm)
    }

    fn update(
        &self,
        name: &str,
        parameter: &Parameter,
        gradient: Tensor<1>,
        step: usize,
        schedule: f64,
    ) -> Update {
        let spec = &self.spec;
        let moment = self.first.get(name).value.clone();
        let second = self.second.get(name).value.clone();
        if uses_muon(spec, name, parameter) {
            let first = moment.mul_scalar(spec.muon_momentum) + gradient.clone();
            let nesterov = gradient + first.clone().mul_scalar(spec.muon_momentum);
            let (rows, columns) = (parameter.shape[0], parameter.shape[1]);
            let direction =
                orthogonalize(nesterov.reshape([rows, columns])).reshape([rows * columns]);
            // Moonlight (Liu et al. 2025, section 2.2): the root-mean-square of an AdamW update.
            let size = 0.2 * (rows.max(columns) as f64).sqrt();
            let lr = spec.muon_learning_rate * schedule;
            let decayed = parameter.value.clone().mul_scalar(1.0 - lr * spec.weight_decay);
            return Update { value: decayed - direction.mul_scalar(lr * size), first, second };
        }
        let first = moment.mul_scalar(spec.beta_1) + gradient.clone().mul_scalar(1.0 - spec.beta_1);
        let second =
            second.mul_scalar(spec.beta_2) + gradient.square().mul_scalar(1.0 - spec.beta_2);
        let t = (step + 1) as i32;
        let m_hat = first.clone().div_scalar(1.0 - spec.beta_1.powi(t));
        let v_hat = second.clone().div_scalar(1.0 - spec.beta_2.powi(t));
        let lr = spec.learning_rate * schedule;
        // Norms and biases are not decayed, as in the Hugging Face trainer.
        let decay = if parameter.shape.len() > 1 { spec.weight_decay } else { 0.0 };
        let decayed = parameter.value.clone().mul_scalar(1.0 - lr * decay);
        let value = decayed - (m_hat / (v_hat.sqrt().add_scalar(spec.epsilon))).mul_scalar(lr);
        Update { value, first, second }
    }
}

/// What one step makes of one parameter, each `[product of shape]`.
struct Update {
    value: Tensor<1>,
    first: Tensor<1>,
    second: Tensor<1>,
}

/// The 2-norm over all gradients.
pub fn norm(gradients: &Gradients) -> f64 {
    let squares =
        gradients.values().map(|g| f64::from(g.clone().square().sum().into_scalar::<f32>()));
    squares.sum::<f64>().sqrt()
}

/// Matrices inside blocks; embeddings, patch embedding and vectors stay with AdamW.
fn uses_muon(spec: &OptimizerSpec, name: &str, parameter: &Parameter) -> bool {
    let hidden = ["model.layers.", "visual.blocks.", "visual.merger.mlp."]
        .iter()
        .any(|p| name.starts_with(p));
    spec.muon_learning_rate > 0.0 && hidden && parameter.shape.len() == 2
}

/// The nearest semi-orthogonal matrix, about: five steps of the quintic Newton-Schulz iteration
/// with Muon's constants (Jordan et al. 2024), whose singular values end between 0.7 and 1.2.
///
/// # Shapes
/// `[rows, columns]` to the same.
fn orthogonalize(gradient: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = gradient.dims();
    let tall = rows > columns;
    let mut x = if tall { gradient.transpose() } else { gradient };
    let size = x.clone().square().sum().sqrt().add_scalar(1e-7).unsqueeze::<2>();
    x = x / size;
    for _ in 0..5 {
        let a = x.clone().matmul(x.clone().transpose());
        let b = a.clone().mul_scalar(-4.7750) + a.clone().matmul(a).mul_scalar(2.0315);
        x = x.clone().mul_scalar(3.4445) + b.matmul(x);
    }
    if tall { x.transpose() } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn orthogonalized_matrices_have_singular_values_near_one() {
        let device = Device::flex();
        let values: Vec<f32> = (0..12).map(|i| ((i * 37 % 11) as f32 - 5.0) / 3.0).collect();
        let x = orthogonalize(Tensor::<1>::from_floats(values.as_slice(), &device).reshape([3, 4]));
        let gram = x.clone().matmul(x.transpose()).try_to_vec_as::<f32>().unwrap();
        for (i, value) in gram.iter().enumerate() {
            let diagonal = i % 4 == 0;
            assert!(
                if diagonal { (0.4..1.5).contains(value) } else { value.abs() < 0.45 },
                "{gram:?}"
            );
        }
    }
}
