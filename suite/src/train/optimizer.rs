//! AdamW and Muon over named flat parameters.
//!
//! Does not know losses. Written here rather than taken from burn since every constant must come
//! from the recipe, state must resume to the same bits, and Muon needs the matrix shapes.

use std::collections::BTreeMap;
use std::sync::Mutex;

use burn::tensor::Tensor;
use synergy_models::native::{Mat, MatMut, in_place, product};
use synergy_models::qwen2_5_vl::names::BLOCKS;
use synergy_models::weights::{Parameter, Parameters};

use crate::device::Compute;
use crate::recipe::OptimizerSpec;

/// Gradients by name of their parameter, each `[product of its shape]`; a frozen parameter has no gradient.
pub type Gradients = BTreeMap<String, Tensor<1>>;

/// The state between steps, which a checkpoint holds besides the weights.
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

    /// Updates every parameter that has a gradient, in place where nothing else holds its memory. `norm` is that of all
    /// gradients, before clipping.
    ///
    /// # Panics
    /// If there is a gradient of an unknown parameter.
    pub fn step(
        &mut self,
        step: usize,
        parameters: &mut Parameters,
        gradients: Gradients,
        norm: f64,
        compute: &Compute,
    ) {
        let scale =
            if norm > self.spec.max_grad_norm { self.spec.max_grad_norm / norm } else { 1.0 };
        let rates = Rates { step, scale, schedule: self.schedule(step) };
        let works: Vec<Mutex<Option<Work>>> = gradients
            .into_iter()
            .map(|(name, gradient)| {
                let take = |from: &mut Parameters| {
                    from.remove(&name).unwrap_or_else(|| panic!("no parameter `{name}`"))
                };
                let Parameter { shape, value } = take(parameters);
                let first = take(&mut self.first).value;
                let second = take(&mut self.second).value;
                Mutex::new(Some(Work { name, shape, state: [value, first, second], gradient }))
            })
            .collect();
        let spec = &self.spec;
        let updated = compute.map(&works, |_, work| {
            let work = work.lock().expect("taken once").take().expect("taken once");
            update(spec, rates, work)
        });
        for (name, shape, [value, first, second]) in updated {
            let put = |to: &mut Parameters, value| {
                to.insert(name.clone(), Parameter { shape: shape.clone(), value });
            };
            put(parameters, value);
            put(&mut self.first, first);
            put(&mut self.second, second);
        }
    }
}

/// One parameter, its moments and its gradient.
struct Work {
    name: String,
    shape: Vec<usize>,
    /// Value, first and second moment, each `[product of shape]`.
    state: [Tensor<1>; 3],
    gradient: Tensor<1>,
}

/// Numbers that all parameters of a step share.
#[derive(Debug, Clone, Copy)]
struct Rates {
    step: usize,
    /// Factor of all gradients, at most 1, so that their norm is not above the recipe's.
    scale: f64,
    /// Share of the peak learning rate.
    schedule: f64,
}

/// Constants of AdamW (Loshchilov and Hutter 2019, algorithm 2) at one step.
#[derive(Debug, Clone, Copy)]
struct AdamW {
    scale: f64,
    beta_1: f64,
    beta_2: f64,
    /// `1 - beta^t` of both moments.
    corrections: [f64; 2],
    epsilon: f64,
    learning_rate: f64,
    /// Share of a value that decay leaves.
    kept: f64,
}

/// Computes the new state of a parameter; gives its name, shape and state.
fn update(spec: &OptimizerSpec, rates: Rates, work: Work) -> (String, Vec<usize>, [Tensor<1>; 3]) {
    let Work { name, shape, state, gradient } = work;
    // Norms and biases are not decayed, as in the Hugging Face trainer.
    let decay = if shape.len() > 1 { spec.weight_decay } else { 0.0 };
    let state = if uses_muon(spec, &name, &shape) {
        let rate = spec.muon_learning_rate * rates.schedule;
        let gradient = gradient.mul_scalar(rates.scale);
        muon(state, gradient, [shape[0], shape[1]], spec.muon_momentum, rate, 1.0 - rate * decay)
    } else {
        let t = (rates.step + 1) as i32;
        let learning_rate = spec.learning_rate * rates.schedule;
        let adamw = AdamW {
            scale: rates.scale,
            beta_1: spec.beta_1,
            beta_2: spec.beta_2,
            corrections: [1.0 - spec.beta_1.powi(t), 1.0 - spec.beta_2.powi(t)],
            epsilon: spec.epsilon,
            learning_rate,
            kept: 1.0 - learning_rate * decay,
        };
        adamw.update(state, gradient)
    };
    (name, shape, state)
}

impl AdamW {
    fn update(self, [value, first, second]: [Tensor<1>; 3], gradient: Tensor<1>) -> [Tensor<1>; 3] {
        let (tensors, done) =
            in_place([value, first, second, gradient], |[value, first, second, gradient]| {
                self.in_one_pass(value, first, second, gradient);
            });
        let [value, first, second, gradient] = tensors;
        if done.is_some() {
            [value, first, second]
        } else {
            self.plain(value, first, second, gradient)
        }
    }

    /// One update of numbers on the host, each of which is read once and written once.
    fn in_one_pass(
        self,
        value: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
    ) {
        let (scale, epsilon, kept) = (self.scale as f32, self.epsilon as f32, self.kept as f32);
        let (beta_1, beta_2) = (self.beta_1 as f32, self.beta_2 as f32);
        let (rest_1, rest_2) = ((1.0 - self.beta_1) as f32, (1.0 - self.beta_2) as f32);
        let rate = (self.learning_rate / self.corrections[0]) as f32;
        let root = (1.0 / self.corrections[1].sqrt()) as f32;
        let moments = first.iter_mut().zip(second).zip(gradient);
        for (value, ((first, second), gradient)) in value.iter_mut().zip(moments) {
            let gradient = gradient * scale;
            *first = *first * beta_1 + gradient * rest_1;
            *second = *second * beta_2 + gradient * gradient * rest_2;
            *value = *value * kept - rate * *first / (second.sqrt() * root + epsilon);
        }
    }

    /// One update by burn's operations, on any backend.
    fn plain(
        self,
        value: Tensor<1>,
        first: Tensor<1>,
        second: Tensor<1>,
        gradient: Tensor<1>,
    ) -> [Tensor<1>; 3] {
        let gradient = gradient.mul_scalar(self.scale);
        let first = first.mul_scalar(self.beta_1) + gradient.clone().mul_scalar(1.0 - self.beta_1);
        let second =
            second.mul_scalar(self.beta_2) + gradient.square().mul_scalar(1.0 - self.beta_2);
        let mean = first.clone().div_scalar(self.corrections[0]);
        let root = second.clone().div_scalar(self.corrections[1]).sqrt();
        let step = mean / root.add_scalar(self.epsilon);
        [value.mul_scalar(self.kept) - step.mul_scalar(self.learning_rate), first, second]
    }
}

/// One update of a matrix by Muon; the second moment stays as it is. `kept` is what decay leaves.
fn muon(
    [value, first, second]: [Tensor<1>; 3],
    gradient: Tensor<1>,
    [rows, columns]: [usize; 2],
    momentum: f64,
    learning_rate: f64,
    kept: f64,
) -> [Tensor<1>; 3] {
    let first = first.mul_scalar(momentum) + gradient.clone();
    let nesterov = gradient + first.clone().mul_scalar(momentum);
    let ([nesterov], done) =
        in_place([nesterov], |[numbers]| orthogonalize_in_place(numbers, rows, columns));
    let direction = match done {
        Some(()) => nesterov,
        None => orthogonalize(nesterov.reshape([rows, columns])).reshape([rows * columns]),
    };
    // Moonlight (Liu et al. 2025, section 2.2): the root-mean-square of an AdamW update.
    let size = 0.2 * (rows.max(columns) as f64).sqrt();
    [value.mul_scalar(kept) - direction.mul_scalar(learning_rate * size), first, second]
}

/// The square of the 2-norm of every gradient, with its name.
pub(super) fn squares(gradients: &Gradients) -> impl Iterator<Item = (String, f64)> {
    let square = |g: &Tensor<1>| f64::from(g.clone().square().sum().into_scalar::<f32>());
    gradients.iter().map(move |(name, gradient)| (name.clone(), square(gradient)))
}

/// Tells whether Muon updates a parameter: matrices inside blocks; embeddings and vectors stay with AdamW.
fn uses_muon(spec: &OptimizerSpec, name: &str, shape: &[usize]) -> bool {
    let hidden = BLOCKS.iter().any(|p| name.starts_with(p));
    spec.muon_learning_rate > 0.0 && hidden && shape.len() == 2
}

/// Steps of the Newton-Schulz iteration, and its constants (Jordan et al. 2024): `x <- (a + b A + c A A) x`
/// with `A = x x'`.
const NEWTON_SCHULZ: (usize, [f64; 3]) = (5, [3.4445, -4.7750, 2.0315]);

/// The nearest semi-orthogonal matrix, about: the singular values end between 0.7 and 1.2.
///
/// # Shapes
/// `[rows, columns]` to the same.
fn orthogonalize(gradient: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = gradient.dims();
    let tall = rows > columns;
    let (num_steps, [a, b, c]) = NEWTON_SCHULZ;
    let mut x = if tall { gradient.transpose() } else { gradient };
    let size = x.clone().square().sum().sqrt().add_scalar(1e-7).unsqueeze::<2>();
    x = x / size;
    for _ in 0..num_steps {
        let gram = x.clone().matmul(x.clone().transpose());
        let sum = gram.clone().mul_scalar(b) + gram.clone().matmul(gram).mul_scalar(c);
        x = x.clone().mul_scalar(a) + sum.matmul(x);
    }
    if tall { x.transpose() } else { x }
}

/// [`orthogonalize`] on the host, row-major. A tall matrix is multiplied from its other side, `x (a + b A + c A A)`
/// with `A = x' x`, so nothing is transposed.
fn orthogonalize_in_place(numbers: &mut [f32], rows: usize, columns: usize) {
    let (num_steps, constants) = NEWTON_SCHULZ;
    let [a, b, c] = constants.map(|x| x as f32);
    let side = rows.min(columns);
    let size = numbers.iter().map(|x| x * x).sum::<f32>().sqrt() + 1e-7;
    numbers.iter_mut().for_each(|x| *x /= size);
    let (mut gram, mut sum) = (vec![0.0; side * side], vec![0.0; side * side]);
    let mut next = vec![0.0; numbers.len()];
    for _ in 0..num_steps {
        let x = Mat::new(numbers, rows, columns, columns);
        let (left, right) = if rows > columns { (x.t(), x) } else { (x, x.t()) };
        product(MatMut::new(&mut gram, side, side, side), left, right, 1.0, false);
        sum.copy_from_slice(&gram);
        sum.iter_mut().for_each(|x| *x *= b);
        let gram = Mat::new(&gram, side, side, side);
        product(MatMut::new(&mut sum, side, side, side), gram, gram, c, true);
        sum.iter_mut().step_by(side + 1).for_each(|x| *x += a);
        let sum = Mat::new(&sum, side, side, side);
        let (left, right) = if rows > columns { (x, sum) } else { (sum, x) };
        product(MatMut::new(&mut next, rows, columns, columns), left, right, 1.0, false);
        numbers.copy_from_slice(&next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn numbers(tensor: &Tensor<1>) -> Vec<f32> {
        tensor.try_to_vec_as::<f32>().unwrap()
    }

    #[test]
    fn adamw_in_one_pass_is_that_of_burns_operations() {
        let device = Device::flex();
        let wave = |phase: f32, size: f32| -> Tensor<1> {
            let values: Vec<f32> = (0..77).map(|i| (i as f32 * 0.7 + phase).sin() * size).collect();
            Tensor::from_floats(values.as_slice(), &device)
        };
        let mut fused = [wave(0.0, 1.0), wave(1.0, 0.0), wave(2.0, 0.0)];
        let mut plain = fused.clone();
        for t in 1..6 {
            let adamw = AdamW {
                scale: 0.5,
                beta_1: 0.9,
                beta_2: 0.95,
                corrections: [1.0 - 0.9_f64.powi(t), 1.0 - 0.95_f64.powi(t)],
                epsilon: 1e-8,
                learning_rate: 1e-2,
                kept: 0.99,
            };
            let gradient = wave(t as f32, 3.0);
            let before = numbers(&gradient);
            fused = adamw.update(fused, gradient.clone());
            assert_eq!(numbers(&gradient), before);
            let [value, first, second] = plain;
            plain = adamw.plain(value, first, second, gradient);
            for (a, b) in fused.iter().zip(&plain) {
                for (a, b) in numbers(a).iter().zip(numbers(b)) {
                    assert!((a - b).abs() < 2e-6 * (1.0 + b.abs()), "step {t}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn on_the_host_matrices_of_any_shape_are_orthogonalized_as_by_burn() {
        let device = Device::flex();
        for (rows, columns) in [(6, 6), (5, 12), (12, 5)] {
            let mut numbers: Vec<f32> =
                (0..rows * columns).map(|i| ((i * 37 % 11) as f32 - 5.0) / 3.0).collect();
            let plain = Tensor::<1>::from_floats(numbers.as_slice(), &device);
            let plain = orthogonalize(plain.reshape([rows, columns]));
            orthogonalize_in_place(&mut numbers, rows, columns);
            for (a, b) in numbers.iter().zip(plain.try_into_vec_as::<f32>().unwrap()) {
                assert!((a - b).abs() < 1e-4, "{rows} x {columns}: {a} {b}");
            }
        }
    }

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
