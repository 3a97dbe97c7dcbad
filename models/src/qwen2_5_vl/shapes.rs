//! Names and shapes of all parameters.
//!
//! Does not know values.

use super::config::VlmConfig;
use super::names::{EMBEDDING, HEAD, NORM};

/// The name of a tensor and its shape.
pub type NamedShape = (String, Vec<usize>);

/// Lists every parameter of a model of `config` by its published name. It is the one list of what a checkpoint holds:
/// initialising, loading and saving use it.
pub fn shapes(config: &VlmConfig) -> Vec<NamedShape> {
    let mut list: Vec<NamedShape> = Vec::new();
    let mut add = |name: String, shape: &[usize]| list.push((name, shape.to_vec()));
    let v = &config.vision_config;
    add(
        "visual.patch_embed.proj.weight".into(),
        &[v.hidden_size, v.in_chans, v.temporal_patch_size, v.patch_size, v.patch_size],
    );
    for i in 0..v.depth {
        let b = format!("visual.blocks.{i}");
        add(format!("{b}.norm1.weight"), &[v.hidden_size]);
        add(format!("{b}.norm2.weight"), &[v.hidden_size]);
        add(format!("{b}.attn.qkv.weight"), &[3 * v.hidden_size, v.hidden_size]);
        add(format!("{b}.attn.qkv.bias"), &[3 * v.hidden_size]);
        add(format!("{b}.attn.proj.weight"), &[v.hidden_size, v.hidden_size]);
        add(format!("{b}.attn.proj.bias"), &[v.hidden_size]);
        for gate in ["gate_proj", "up_proj"] {
            add(format!("{b}.mlp.{gate}.weight"), &[v.intermediate_size, v.hidden_size]);
            add(format!("{b}.mlp.{gate}.bias"), &[v.intermediate_size]);
        }
        add(format!("{b}.mlp.down_proj.weight"), &[v.hidden_size, v.intermediate_size]);
        add(format!("{b}.mlp.down_proj.bias"), &[v.hidden_size]);
    }
    let merged = v.hidden_size * v.spatial_merge_size * v.spatial_merge_size;
    add("visual.merger.ln_q.weight".into(), &[v.hidden_size]);
    add("visual.merger.mlp.0.weight".into(), &[merged, merged]);
    add("visual.merger.mlp.0.bias".into(), &[merged]);
    add("visual.merger.mlp.2.weight".into(), &[v.out_hidden_size, merged]);
    add("visual.merger.mlp.2.bias".into(), &[v.out_hidden_size]);

    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let kv = config.num_key_value_heads * config.head_dim();
    add(EMBEDDING.into(), &[config.vocab_size, hidden]);
    for i in 0..config.num_hidden_layers {
        let l = format!("model.layers.{i}");
        add(format!("{l}.input_layernorm.weight"), &[hidden]);
        add(format!("{l}.post_attention_layernorm.weight"), &[hidden]);
        for (name, width) in [("q", hidden), ("k", kv), ("v", kv)] {
            add(format!("{l}.self_attn.{name}_proj.weight"), &[width, hidden]);
            add(format!("{l}.self_attn.{name}_proj.bias"), &[width]);
        }
        add(format!("{l}.self_attn.o_proj.weight"), &[hidden, hidden]);
        add(format!("{l}.mlp.gate_proj.weight"), &[inner, hidden]);
        add(format!("{l}.mlp.up_proj.weight"), &[inner, hidden]);
        add(format!("{l}.mlp.down_proj.weight"), &[hidden, inner]);
    }
    add(NORM.into(), &[hidden]);
    if !config.tie_word_embeddings {
        add(HEAD.into(), &[config.vocab_size, hidden]);
    }
    list
}

/// Counts the numbers in tensors of these shapes.
pub fn count<'a>(shapes: impl IntoIterator<Item = &'a NamedShape>) -> usize {
    shapes.into_iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}
