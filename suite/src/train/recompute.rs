//! Gradients without a graph of the whole model (gradient checkpointing): only the hidden states between the decoder's
//! layers are kept, and each layer is computed again when its gradient is asked for.
//!
//! Does not know losses or updates. The numbers are those of [`super::Trainer`]'s own way; memory holds the graph of
//! one layer instead of all, for one more forward pass. The tower before the decoder keeps its graph, if it learns.

use std::collections::BTreeSet;

use burn::tensor::{Gradients as Grads, Tensor};
use synergy_models::config::VlmConfig;
use synergy_models::vlm::{Laid, Vlm, without_padding};
use synergy_models::weights::{ComputeDtype, Parameters};

use super::{Batch, Loss, StepFigures, add, leaves, matrix, predicted, values, vector};
use crate::data::token_batch;
use crate::features::FeatureCache;
use crate::optimizer::Gradients;

/// See [`super::Trainer::update`].
pub(super) fn gradients(
    parameters: &Parameters,
    config: &VlmConfig,
    dtype: ComputeDtype,
    frozen: &BTreeSet<String>,
    batch: &Batch<'_>,
    features: Option<&FeatureCache>,
    loss: &(impl Fn(&[f32], &Batch<'_>) -> Loss + Sync),
) -> (Gradients, StepFigures) {
    let leaves = leaves(parameters, frozen);
    let copies = leaves.cast(dtype);
    let learning = Vlm::over(config, &leaves, &copies);
    // The same copies, of which nothing is learned.
    let copies = copies.map(|_, p| p.value.clone().inner());
    let plain = Vlm::over(config, parameters, &copies).plain();
    let device = plain.device();
    let (tokens, predictions) = token_batch(&batch.sequences, config);
    let pictures = batch.pictures();
    let features = (!pictures.is_empty()).then(|| match features {
        Some(kept) => {
            let kept = matrix(kept.features(&plain, &pictures), config.hidden_size, &device);
            Tensor::from_inner(kept)
        }
        None => learning.image_features(&pictures),
    });
    let Laid { x: embedded, num, rotary, mask, places } =
        learning.lay_out(&tokens, features.as_ref());
    // The way forward, of which no graph is kept.
    let inner = features.map(Tensor::inner);
    let start = plain.lay_out(&tokens, inner.as_ref());
    let mut states = vec![start.x];
    for i in 0..config.num_hidden_layers {
        let x = states[i].clone();
        states.push(plain.decoder.layer(i, x, num, &start.rotary, Some(&start.mask), None));
    }

    let mut found = Gradients::new();
    let mut collect = |grads: &mut Grads, leaves: &Parameters| {
        for (name, leaf) in leaves.iter() {
            let Some(gradient) = leaf.value.grad_remove(grads) else { continue };
            // A tied matrix is met twice, as head and as embedding.
            add(&mut found, name.to_owned(), gradient);
        }
    };
    let state = |x: Tensor<2>| Tensor::from_inner(x).require_grad();

    let last = state(states.pop().expect("a state behind the last layer"));
    let hidden = learning.decoder.last_norm(last.clone());
    let log_probs = predicted(&learning, without_padding(hidden, places), &predictions);
    let loss = loss(&values(log_probs.clone().inner()), batch);
    let slopes = Tensor::from_inner(vector(loss.slopes.clone(), &device));
    let mut grads = (log_probs * slopes).sum().backward();
    collect(&mut grads, &leaves);
    let mut slope = last.grad_remove(&mut grads).expect("the loss hangs on every layer");

    for i in (0..config.num_hidden_layers).rev() {
        let x = state(states.pop().expect("a state before every layer"));
        let y = learning.decoder.layer(i, x.clone(), num, &rotary, Some(&mask), None);
        let mut grads = (y * Tensor::from_inner(slope)).sum().backward();
        collect(&mut grads, &leaves);
        slope = x.grad_remove(&mut grads).expect("a layer hangs on its input");
    }
    // Where neither embeddings nor tower learn, nothing is left to ask for.
    let is_before = |name: &str| name.starts_with("visual.") || name == "model.embed_tokens.weight";
    if leaves.names().any(|name| is_before(name) && !frozen.contains(name)) {
        let mut grads = (embedded * Tensor::from_inner(slope)).sum().backward();
        collect(&mut grads, &leaves);
    }
    (found, loss.into_figures())
}
