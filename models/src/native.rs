//! The native form of the model: on slices of the host's memory, fused, forward and backward by hand.
//!
//! Does not know losses or sampling. It serves where the parameters lie in burn-flex's memory as f32;
//! everywhere else the plain form over burn's tensors computes the same ([`crate::qwen2_5_vl::text`],
//! [`crate::qwen2_5_vl::vision`]), and tests compare the two. Sequences stand one after the other without
//! padding, and attention is computed over spans, so nothing is computed that is not used.

use std::collections::BTreeMap;

use burn::backend::flex::FlexTensor;
use burn::backend::{BackendTensor, DispatchTensorKind};
use burn::tensor::Tensor;

use self::attention::{Heads, Span};
use self::block::{Angles, Gradients, Linear, LinearGradient, Shape, Tape, Weights};
use self::kernels::{log_sum_exp, rms_norm, rms_norm_backward};
use self::room::Room;
use crate::batch::{Source, TokenBatch};
use crate::qwen2_5_vl::config::VlmConfig;
use crate::qwen2_5_vl::names::{EMBEDDING, HEAD, NORM, TOWER, is_factor};
use crate::qwen2_5_vl::rope::decoder_tables;
use crate::weights::{Parameter, Parameters};

pub(crate) mod attention;
mod block;
mod cache;
pub(crate) mod decode;
mod gemm;
pub(crate) mod kernels;
mod packed;
mod room;
mod tower;
mod vectors;

pub use self::gemm::{Mat, MatMut, Product, product, recorded};
pub use self::tower::TowerPass;

/// Number of rows whose logits are in memory at once.
const HEAD_BLOCK: usize = 128;

/// Gradients by name of the parameter, `[product of shape]` each; frozen parameters have no entry.
pub type HostGradients = BTreeMap<String, Vec<f32>>;

/// A model over parameters that are borrowed from burn-flex.
#[derive(Debug, Clone)]
pub struct Native {
    config: VlmConfig,
    tensors: BTreeMap<String, FlexTensor>,
}

/// The results of a forward pass through the decoder that [`Native::backward`] needs.
#[derive(Debug)]
pub struct Pass {
    cos: Vec<f32>,
    sin: Vec<f32>,
    spans: Vec<Span>,
    tapes: Vec<Tape>,
    /// Before the last norm, `[rows, hidden_size]`.
    x: Vec<f32>,
    scales: Vec<f32>,
    /// Normalized rows that predict, `[predictions, hidden_size]`.
    predicting: Vec<f32>,
    predictions: Vec<(usize, u32)>,
    lse: Vec<f32>,
    /// Entropy of each predicted distribution, if it was asked for.
    entropies: Vec<f32>,
    /// Slopes of the loss along them, if it depends on them.
    entropy_slopes: Vec<f32>,
    sources: Vec<Source>,
}

impl Pass {
    /// The entropy in nats of what the model expects at each prediction, `[predictions]`; empty if [`Native::predicted`] was
    /// not asked for them.
    pub fn entropies(&self) -> &[f32] {
        &self.entropies
    }

    /// The normalized states that predict, `[predictions, hidden_size]`: what the head turns into logits.
    pub fn predicting(&self) -> &[f32] {
        &self.predicting
    }

    /// Makes the loss depend on the entropies as well, with these slopes `[predictions]`.
    ///
    /// # Panics
    /// If there is not one for each of [`Pass::entropies`].
    #[must_use]
    pub fn with_entropy_slopes(self, entropy_slopes: Vec<f32>) -> Pass {
        assert_eq!(self.entropies().len(), entropy_slopes.len(), "a slope for each entropy");
        Pass { entropy_slopes, ..self }
    }
}

/// Tells whether models over `parameters` have the native form.
pub fn reads(parameters: &Parameters) -> bool {
    parameters.iter().all(|(name, p)| readable(name, p).is_some())
}

impl Native {
    /// Borrows the parameters, if they lie in the host's memory as f32 and burn does not track their gradients.
    pub(crate) fn of(config: &VlmConfig, parameters: &Parameters) -> Option<Native> {
        let tensors =
            parameters.iter().map(|(name, p)| Some((name.to_owned(), readable(name, p)?)));
        Some(Native { config: config.clone(), tensors: tensors.collect::<Option<_>>()? })
    }

    /// Makes zeros for the gradients of the parameters whose name is `wanted`.
    fn zeros(&self, wanted: impl Fn(&str) -> bool) -> HostGradients {
        let names = self.tensors.keys().filter(|name| wanted(name));
        names.map(|name| (name.clone(), vec![0.0; self.slice(name).len()])).collect()
    }

    fn slice(&self, name: &str) -> &[f32] {
        let tensor = self.tensors.get(name).unwrap_or_else(|| panic!("no parameter `{name}`"));
        tensor.as_slice::<f32>().expect("checked when it was borrowed")
    }

    fn linear(&self, name: &str, inputs: usize, has_bias: bool) -> Linear<'_> {
        Linear {
            weight: self.slice(&format!("{name}.weight")),
            bias: has_bias.then(|| self.slice(&format!("{name}.bias"))),
            inputs,
        }
    }

    fn head(&self) -> &'static str {
        if self.config.tie_word_embeddings { EMBEDDING } else { HEAD }
    }

    fn shape(&self) -> Shape {
        let c = &self.config;
        Shape {
            hidden: c.hidden_size,
            inner: c.intermediate_size,
            heads: Heads {
                heads: c.num_attention_heads,
                kv_heads: c.num_key_value_heads,
                head_dim: c.head_dim(),
            },
            eps: c.rms_norm_eps as f32,
        }
    }

    fn layer(&self, i: usize) -> Weights<'_> {
        let (hidden, name) = (self.config.hidden_size, format!("model.layers.{i}"));
        let qkv = |part: &str| self.linear(&format!("{name}.self_attn.{part}_proj"), hidden, true);
        let gate = |part: &str| self.linear(&format!("{name}.mlp.{part}_proj"), hidden, false);
        Weights {
            norm1: self.slice(&format!("{name}.input_layernorm.weight")),
            qkv: ["q", "k", "v"].map(qkv),
            out: self.linear(&format!("{name}.self_attn.o_proj"), self.shape().heads.out(), false),
            norm2: self.slice(&format!("{name}.post_attention_layernorm.weight")),
            gates: ["gate", "up"].map(gate),
            down: self.linear(
                &format!("{name}.mlp.down_proj"),
                self.config.intermediate_size,
                false,
            ),
        }
    }

    /// Computes the log-probabilities of `predictions`, each a row among all tokens of the batch and the id that it
    /// predicts, and what [`Native::backward`] needs.
    ///
    /// # Shapes
    /// `features [tokens of all pictures, hidden_size]`; returns `[predictions]`, in nats.
    pub fn log_probs(
        &self,
        batch: &TokenBatch,
        features: &[f32],
        predictions: &[(usize, u32)],
    ) -> (Vec<f32>, Pass) {
        self.predicted(batch, features, predictions, false)
    }

    /// [`Native::log_probs`], and with `entropies` also [`Pass::entropies`].
    pub fn predicted(
        &self,
        batch: &TokenBatch,
        features: &[f32],
        predictions: &[(usize, u32)],
        entropies: bool,
    ) -> (Vec<f32>, Pass) {
        let (shape, hidden) = (self.shape(), self.config.hidden_size);
        let sources = batch.sources(&self.config, !features.is_empty());
        let mut x = self.embed(&sources, features);
        let (cos, sin) = self.angles(batch);
        let spans = spans(batch);
        let angles = Angles { cos: &cos, sin: &sin };
        let tapes = (0..self.config.num_hidden_layers)
            .map(|i| self.layer(i).forward(shape, &mut x, angles, &spans))
            .collect();

        let mut predicting = vec![0.0; predictions.len() * hidden];
        let mut before = vec![0.0; predictions.len() * hidden];
        for (row, &(at, _)) in before.chunks_exact_mut(hidden).zip(predictions) {
            row.copy_from_slice(&x[at * hidden..(at + 1) * hidden]);
        }
        let mut scales = vec![0.0; predictions.len()];
        let norm = self.slice(NORM);
        rms_norm(&before, norm, shape.eps, &mut predicting, &mut scales);
        let (mut log_probs, mut lse) = (Vec::new(), Vec::new());
        let mut found = Vec::new();
        let vocab = self.config.vocab_size;
        let targets: Vec<u32> = predictions.iter().map(|p| p.1).collect();
        self.logits(&predicting, |first, logits| {
            for (row, &target) in logits.chunks_exact(vocab).zip(&targets[first..]) {
                let total = log_sum_exp(row);
                lse.push(total);
                log_probs.push(row[target as usize] - total);
                if entropies {
                    found.push(kernels::entropy(row, total));
                }
            }
        });
        let predictions = predictions.to_vec();
        let pass = Pass {
            cos,
            sin,
            spans,
            tapes,
            x: before,
            scales,
            predicting,
            predictions,
            lse,
            entropies: found,
            entropy_slopes: Vec::new(),
            sources,
        };
        (log_probs, pass)
    }

    /// Computes the gradients of all parameters of the decoder that are not `frozen`, and of the features, from
    /// `dlog_probs`, those of the log-probabilities.
    ///
    /// # Shapes
    /// `dlog_probs [predictions]`; returns gradients of the features `[num_features, hidden_size]`.
    pub fn backward(
        &self,
        pass: Pass,
        dlog_probs: &[f32],
        num_features: usize,
        frozen: &dyn Fn(&str) -> bool,
    ) -> (HostGradients, Vec<f32>) {
        let (shape, hidden) = (self.shape(), self.config.hidden_size);
        let mut pool = self.zeros(|name| !name.starts_with(TOWER) && !frozen(name));

        let dpredicting = self.head_backward(&pass, dlog_probs, pool.get_mut(self.head()));
        let mut dbefore = Room::zeros(pass.x.len());
        let (norm, dnorm) = (self.slice(NORM), pool.get_mut(NORM).map(Vec::as_mut_slice));
        rms_norm_backward(&dpredicting, &pass.x, norm, &pass.scales, &mut dbefore, dnorm);
        let mut d = Room::zeros(pass.sources.len() * hidden);
        for (row, &(at, _)) in dbefore.chunks_exact(hidden).zip(&pass.predictions) {
            kernels::add(&mut d[at * hidden..(at + 1) * hidden], row);
        }

        let angles = Angles { cos: &pass.cos, sin: &pass.sin };
        for (i, tape) in pass.tapes.into_iter().enumerate().rev() {
            let mut gradients = Parts::of(&mut pool, &format!("model.layers.{i}.")).layer();
            self.layer(i).backward(shape, tape, &mut d, angles, &pass.spans, &mut gradients);
        }

        let mut dfeatures = vec![0.0; num_features * hidden];
        let mut dembed = pool.get_mut(EMBEDDING);
        for (row, source) in d.chunks_exact(hidden).zip(&pass.sources) {
            match (*source, &mut dembed) {
                (Source::Token(id), Some(dembed)) => {
                    kernels::add(&mut dembed[id as usize * hidden..][..hidden], row);
                }
                (Source::Feature(feature), _) => {
                    kernels::add(&mut dfeatures[feature * hidden..][..hidden], row);
                }
                (Source::Token(_), None) => {}
            }
        }
        (pool, dfeatures)
    }

    /// Computes the gradients of the normalized rows, `[predictions, hidden_size]`, and adds to `dhead` that of the head.
    /// Logits are computed again, block by block.
    fn head_backward(
        &self,
        pass: &Pass,
        dlog_probs: &[f32],
        mut dhead: Option<&mut Vec<f32>>,
    ) -> Room {
        let (hidden, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let weight = Mat::new(self.slice(self.head()), vocab, hidden, hidden);
        let mut dpredicting = Room::of(pass.predicting.len());
        self.logits(&pass.predicting, |first, logits| {
            let rows = logits.len() / vocab;
            for (r, row) in logits.chunks_exact_mut(vocab).enumerate() {
                let (d, lse) = (dlog_probs[first + r], pass.lse[first + r]);
                match pass.entropy_slopes.get(first + r) {
                    Some(&slope) => {
                        kernels::entropy_backward(row, lse, pass.entropies[first + r], d, slope);
                    }
                    None => {
                        kernels::softmax_again(row, vocab, lse);
                        kernels::scale(row, -d);
                    }
                }
                row[pass.predictions[first + r].1 as usize] += d;
            }
            let dlogits = Mat::new(logits, rows, vocab, vocab);
            let part = first * hidden..(first + rows) * hidden;
            let dx = MatMut::new(&mut dpredicting[part.clone()], rows, hidden, hidden);
            product(dx, dlogits, weight, 1.0, false);
            if let Some(dhead) = &mut dhead {
                let x = Mat::new(&pass.predicting[part], rows, hidden, hidden);
                product(MatMut::new(dhead, vocab, hidden, hidden), dlogits.t(), x, 1.0, true);
            }
        });
        dpredicting
    }

    /// Hands logits of normalized rows to `each`, block by block, with the first row's number.
    fn logits(&self, rows: &[f32], mut each: impl FnMut(usize, &mut [f32])) {
        let (hidden, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let weight = Mat::new(self.slice(self.head()), vocab, hidden, hidden).t();
        let mut logits = Vec::new();
        for (i, block) in rows.chunks(HEAD_BLOCK * hidden).enumerate() {
            let num = block.len() / hidden;
            logits.resize(num * vocab, 0.0);
            let dst = MatMut::new(&mut logits, num, vocab, vocab);
            product(dst, Mat::new(block, num, hidden, hidden), weight, 1.0, false);
            each(i * HEAD_BLOCK, &mut logits);
        }
    }

    fn embed(&self, sources: &[Source], features: &[f32]) -> Room {
        let (hidden, table) = (self.config.hidden_size, self.slice(EMBEDDING));
        let mut x = Room::of(sources.len() * hidden);
        for (row, source) in x.chunks_exact_mut(hidden).zip(sources) {
            row.copy_from_slice(match *source {
                Source::Token(id) => &table[id as usize * hidden..][..hidden],
                Source::Feature(feature) => &features[feature * hidden..][..hidden],
            });
        }
        x
    }

    fn angles(&self, batch: &TokenBatch) -> (Vec<f32>, Vec<f32>) {
        decoder_tables(&batch.positions.concat(), &self.config)
    }
}

/// The gradients of some parameters, borrowed by name.
struct Parts<'a>(BTreeMap<&'a str, &'a mut [f32]>);

impl<'a> Parts<'a> {
    /// Borrows the gradients whose names begin with `prefix`, by the rest of their names.
    fn of(pool: &'a mut HostGradients, prefix: &str) -> Parts<'a> {
        let named = pool.iter_mut().filter_map(|(name, gradient)| {
            Some((name.strip_prefix(prefix)?, gradient.as_mut_slice()))
        });
        Parts(named.collect())
    }

    /// Takes the gradient called `name`, if it is wanted.
    fn take(&mut self, name: &str) -> Option<&'a mut [f32]> {
        self.0.remove(name)
    }

    /// Takes the gradients of the linear layer `name`, if that of its weight is wanted.
    fn linear(&mut self, name: &str) -> Option<LinearGradient<'a>> {
        let bias = self.take(&format!("{name}.bias"));
        self.take(&format!("{name}.weight")).map(|weight| LinearGradient { weight, bias })
    }

    /// Takes the gradients of a layer of the decoder.
    fn layer(&mut self) -> Gradients<'a> {
        Gradients {
            norm1: self.take("input_layernorm.weight"),
            qkv: ["q", "k", "v"].map(|part| self.linear(&format!("self_attn.{part}_proj"))),
            out: self.linear("self_attn.o_proj"),
            norm2: self.take("post_attention_layernorm.weight"),
            gates: ["gate", "up"].map(|part| self.linear(&format!("mlp.{part}_proj"))),
            down: self.linear("mlp.down_proj"),
        }
    }
}

/// Lists the spans of all sequences: one for a sequence without segments; with segments one each, and segment 0 is
/// the prefix of every other.
fn spans(batch: &TokenBatch) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut first = 0;
    for (i, row) in batch.input_ids.iter().enumerate() {
        match batch.segments.get(i) {
            None => {
                spans.push(Span { start: first, len: row.len(), prefix: (first, 0), causal: true });
            }
            Some(segments) => {
                let mut at = 0;
                for run in segments.chunk_by(|a, b| a == b) {
                    let own = run[0] != 0;
                    let prompt = segments.iter().take_while(|&&s| s == 0).count();
                    assert!(own || at == 0, "segment 0 stands first");
                    let prefix = (first, if own { prompt } else { 0 });
                    spans.push(Span { start: first + at, len: run.len(), prefix, causal: true });
                    at += run.len();
                }
            }
        }
        first += row.len();
    }
    spans
}

/// Lets `change` change the numbers of `tensors` in place, if all lie in burn-flex's memory as f32 from end to end.
/// Otherwise does nothing. Memory that other tensors share is copied first. Returns the tensors and the result of
/// `change`, if it ran.
pub fn in_place<const N: usize, R>(
    tensors: [Tensor<1>; N],
    change: impl FnOnce([&mut [f32]; N]) -> R,
) -> ([Tensor<1>; N], Option<R>) {
    if !tensors.iter().all(|tensor| host(tensor).is_some_and(|t| whole(&t))) {
        return (tensors, None);
    }
    let mut tensors = tensors.map(Tensor::into_dispatch);
    let numbers = tensors.each_mut().map(|tensor| match &mut tensor.kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => tensor.storage_mut::<f32>(),
        _ => unreachable!("checked above"),
    });
    let done = change(numbers);
    (tensors.map(Tensor::from_dispatch), Some(done))
}

/// Returns whether a tensor covers all of its memory.
fn whole(tensor: &FlexTensor) -> bool {
    tensor.as_slice::<f32>().map(<[f32]>::len) == Some(tensor.storage::<f32>().len())
}

/// Returns the memory of a tensor, if it is burn-flex's and f32.
/// Borrows a parameter that the native form can compute with: it knows no factors of adapters.
fn readable(name: &str, p: &Parameter) -> Option<FlexTensor> {
    if is_factor(name) { None } else { host(&p.value) }
}

fn host(tensor: &Tensor<1>) -> Option<FlexTensor> {
    match tensor.clone().into_dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => {
            tensor.as_slice::<f32>().is_some().then_some(tensor)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qwen2_5_vl::vlm::Vlm;
    use crate::tests::fixtures::{self, Pictures, cases, distance, relative_distance};
    use proptest::prelude::*;

    fn native(model: &Vlm) -> &Native {
        model.native.as_ref().expect("the fixtures lie in the host's memory")
    }

    #[test]
    fn log_probs_and_features_are_those_of_the_plain_form() {
        for name in ["model-untied", "model-tied"] {
            let (config, parameters) = fixtures::host_model(name);
            let (model, pictures) = (Vlm::new(&config, &parameters), Pictures::read());
            let plain = model.clone().plain();
            for case in cases() {
                let media = [pictures.all(&case.pictures), pictures.all(&case.videos)].concat();
                let features = native(&model).image_features(&media).0;
                if !media.is_empty() {
                    let want = plain.image_features(&media).try_into_vec_as::<f32>().unwrap();
                    assert!(distance(&features, &want) < 5e-5, "{name}, {}", case.name);
                }
                let batch = case.batch(&pictures, &config);
                let tokens: usize = batch.input_ids.iter().map(Vec::len).sum();
                let predictions: Vec<(usize, u32)> =
                    (0..tokens).map(|row| (row, (row * 31 % config.vocab_size) as u32)).collect();
                let (got, _) = native(&model).log_probs(&batch, &features, &predictions);
                let logits = case.logits(&pictures, &plain);
                let rows = logits.chunks(config.vocab_size).zip(&predictions);
                let want: Vec<f32> =
                    rows.map(|(row, &(_, id))| row[id as usize] - log_sum_exp(row)).collect();
                assert!(distance(&got, &want) < 1e-4, "{name}, {}", case.name);
            }
        }
    }

    #[test]
    fn gradients_of_decoder_and_tower_are_those_of_the_reference() {
        for (name, file) in [("model-untied", "loss_grad"), ("model-tied", "loss_grad_tied")] {
            let (config, parameters) = fixtures::host_model(name);
            let (model, pictures) = (Vlm::new(&config, &parameters), Pictures::read());
            let native = native(&model);
            let (case, predictions) = fixtures::labelled();
            let (features, tower) = native.image_features(&pictures.all(&case.pictures));
            let batch = case.batch(&pictures, &config);
            let (log_probs, pass) = native.log_probs(&batch, &features, &predictions);
            let share = 1.0 / log_probs.len() as f32;
            let num_features = features.len() / config.hidden_size;
            let slopes = vec![-share; log_probs.len()];
            let (mut gradients, dfeatures) =
                native.backward(pass, &slopes, num_features, &|_| false);
            gradients.extend(native.tower_backward(tower, &dfeatures, &|_| false));
            let names: Vec<&str> = gradients.keys().map(String::as_str).collect();
            assert_eq!(names, parameters.names().collect::<Vec<_>>());
            for (key, (_, want)) in fixtures::tensors(&format!("{file}.safetensors")) {
                let apart = relative_distance(&gradients[&key], &want);
                assert!(apart < 1e-3, "{name}, {key}: {apart}");
            }
        }
    }

    #[test]
    fn entropies_and_the_gradient_of_their_bonus_are_those_of_the_reference() {
        for (name, recorded) in fixtures::recorded_losses() {
            let (want, (config, parameters)) = (recorded.with_entropy, fixtures::host_model(&name));
            let (model, pictures) = (Vlm::new(&config, &parameters), Pictures::read());
            let native = native(&model);
            let (case, predictions) = fixtures::labelled();
            let (features, tower) = native.image_features(&pictures.all(&case.pictures));
            let batch = case.batch(&pictures, &config);
            let (log_probs, pass) = native.predicted(&batch, &features, &predictions, true);
            assert!(distance(pass.entropies(), &want.entropies) < 1e-4, "{name}");
            let share = 1.0 / log_probs.len() as f32;
            let slopes = vec![-share; log_probs.len()];
            let pass = pass.with_entropy_slopes(vec![-share * want.coefficient; slopes.len()]);
            let num_features = features.len() / config.hidden_size;
            let (mut gradients, dfeatures) =
                native.backward(pass, &slopes, num_features, &|_| false);
            gradients.extend(native.tower_backward(tower, &dfeatures, &|_| false));
            for (key, want) in want.gradient_norms {
                let squares = gradients[&key].iter().map(|x| f64::from(*x).powi(2));
                let norm = squares.sum::<f64>().sqrt();
                assert!((norm - want).abs() < 1e-3 * want, "{name}, {key}: {norm} {want}");
            }
        }
    }

    #[test]
    fn what_is_changed_in_place_is_nobody_elses() {
        let device = burn::tensor::Device::flex();
        let numbers = |tensor: &Tensor<1>| tensor.try_to_vec_as::<f32>().unwrap();
        let mine = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &device);
        let (shared, part) = (mine.clone(), mine.clone().narrow(0, 1, 2));
        let double = |[x]: [&mut [f32]; 1]| x.iter_mut().for_each(|x| *x *= 2.0);
        let ([mine], done) = in_place([mine], double);
        assert!(done.is_some());
        assert_eq!(numbers(&mine), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(numbers(&shared), [1.0, 2.0, 3.0, 4.0]);
        // A part of a tensor, or one that burn follows, is left to burn's operations.
        let ([part], done) = in_place([part], double);
        assert!(done.is_none());
        assert_eq!(numbers(&part), [2.0, 3.0]);
        assert!(in_place([Tensor::from_inner(mine).require_grad()], double).1.is_none());
    }

    /// A batch of text: a prompt with continuations, and a plain sequence.
    fn packed(lengths: &[usize]) -> TokenBatch {
        let (mut segments, mut positions) = (Vec::new(), Vec::new());
        for (i, &len) in lengths.iter().enumerate() {
            segments.extend(vec![i as u32; len]);
            let start = if i == 0 { 0 } else { lengths[0] };
            positions.extend((start..start + len).map(|p| [p as u32; 3]));
        }
        let ids = |seed: usize, len: usize| {
            (0..len).map(|i| ((i * 37 + seed * 11) % 600) as u32).collect()
        };
        let plain = 9;
        TokenBatch {
            input_ids: vec![ids(1, segments.len()), ids(2, plain)],
            positions: vec![positions, (0..plain).map(|p| [p as u32; 3]).collect()],
            feature_starts: vec![0, 0],
            segments: vec![segments, vec![0; plain]],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

        /// Long enough for several blocks of queries.
        #[test]
        fn packed_continuations_have_the_log_probs_and_gradients_of_the_plain_form(
            lengths in proptest::collection::vec(1usize..90, 2..5)
        ) {
            let (config, parameters) = fixtures::host_model("model-untied");
            let model = Vlm::new(&config, &parameters);
            let batch = packed(&lengths);
            let tokens: usize = batch.input_ids.iter().map(Vec::len).sum();
            let predictions: Vec<(usize, u32)> =
                (0..tokens).step_by(3).map(|row| (row, (row % 600) as u32)).collect();
            let (got, pass) = native(&model).log_probs(&batch, &[], &predictions);
            let slopes: Vec<f32> = (0..got.len()).map(|i| (i as f32).sin()).collect();
            let frozen = |name: &str| name.contains("layers.1.mlp");
            let (gradients, _) = native(&model).backward(pass, &slopes, 0, &frozen);

            let leaves = parameters.map(|name, p| {
                let value = Tensor::from_inner(p.value.clone());
                if frozen(name) { value } else { value.require_grad() }
            });
            let plain = Vlm::new(&config, &leaves);
            prop_assert!(plain.native.is_none());
            let device = plain.device();
            let rows = predictions.iter().map(|p| p.0 as i64).collect();
            let targets = predictions.iter().map(|p| i64::from(p.1)).collect();
            let hidden = plain.forward(&batch, None).select(0, crate::batch::index(rows, &device));
            let want = crate::ops::log_probs(plain.decoder.logits(hidden), crate::batch::index(targets, &device));
            prop_assert!(distance(&got, &want.try_to_vec_as::<f32>().unwrap()) < 2e-5);
            let slopes = Tensor::<1>::from_floats(slopes.as_slice(), &device);
            let mut want = (want * slopes).sum().backward();
            for (name, p) in leaves.iter().filter(|(name, _)| !name.starts_with("visual.")) {
                let want = p.value.grad_remove(&mut want).map(|g| g.try_into_vec_as::<f32>().unwrap());
                prop_assert_eq!(want.is_some(), gradients.contains_key(name), "{}", name);
                if let Some(want) = want {
                    prop_assert!(relative_distance(&gradients[name], &want) < 1e-4, "{}", name);
                }
            }
        }
    }
}
