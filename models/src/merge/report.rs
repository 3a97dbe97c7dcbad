//! Figures about a merge: norms, distances and agreement of the parents, over all tensors or a group.
//!
//! Does not know files or formulas. Sums are in f64, in the order in which tensors are added.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// The distances of two parents from their base.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MergeReport {
    /// 2-norm of the base.
    pub norm_base: f64,
    /// Norm of the first parent's difference from the base, relative to the base's norm.
    pub distance_a: f64,
    /// The same of the second parent.
    pub distance_b: f64,
    /// Cosine between the two differences, from -1 to 1.
    pub cosine: f64,
    /// Share of the numbers that both parents changed, from 0 to 1.
    pub overlap: f64,
    /// Share of those numbers that the parents changed in opposite directions, from 0 to 1.
    pub sign_conflicts: f64,
}

/// The parents and their merge, over some tensors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many tensors were merged.
    pub num_tensors: usize,
    /// How many numbers they have.
    pub num_numbers: usize,
    /// 2-norm of the first parent.
    pub norm_a: f64,
    /// 2-norm of the second parent.
    pub norm_b: f64,
    /// 2-norm of the merge.
    pub norm_merged: f64,
    /// The parents' distance from each other, relative to the mean of their norms.
    pub distance: f64,
    /// Distances from the base; absent if no base was given.
    pub from_base: Option<MergeReport>,
}

/// The purpose of a tensor, as far as its name tells.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Group {
    /// Tokens to vectors and back.
    Embeddings,
    /// Attention of the decoder.
    Attention,
    /// Feed-forward layers of the decoder.
    Mlp,
    /// Norms of the decoder.
    Norms,
    /// The vision tower, and the layers between it and the decoder.
    Vision,
    /// Everything else.
    Other,
}

impl Group {
    /// Finds the group of the tensor `name` by the words that published models use.
    pub fn of(name: &str) -> Group {
        // A norm's name contains that of the layer it belongs to, so norms are looked for first.
        const WORDS: [(Group, &[&str]); 5] = [
            (Group::Vision, &["visual", "vision", "image", "mm_projector", "multi_modal"]),
            (Group::Norms, &["norm", "ln_"]),
            (Group::Embeddings, &["embed", "lm_head", "wte.", "wpe."]),
            (Group::Attention, &["attn", "attention"]),
            (Group::Mlp, &["mlp", "feed_forward", "ffn", "expert", "moe"]),
        ];
        let name = name.to_lowercase();
        let is = |(_, words): &&(Group, &[&str])| words.iter().any(|word| name.contains(word));
        WORDS.iter().find(is).map_or(Group::Other, |(group, _)| *group)
    }
}

/// Running sums over tensors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    num_tensors: usize,
    num_numbers: usize,
    /// Squared norms.
    a: f64,
    b: f64,
    merged: f64,
    apart: f64,
    base: Option<FromBase>,
}

#[derive(Debug, Clone, Copy, Default)]
struct FromBase {
    base: f64,
    a: f64,
    b: f64,
    dot: f64,
    both: usize,
    conflicts: usize,
}

impl Figures {
    /// Adds a tensor of each parent and, if there is one, of the base.
    pub fn add_parents(&mut self, a: &[f32], b: &[f32], base: Option<&[f32]>) {
        self.num_tensors += 1;
        self.num_numbers += a.len();
        for (a, b) in a.iter().zip(b) {
            self.a += square(*a);
            self.b += square(*b);
            self.apart += square(a - b);
        }
        let Some(base) = base else { return };
        let sums = self.base.get_or_insert_default();
        for ((a, b), base) in a.iter().zip(b).zip(base) {
            let (da, db) = (f64::from(a - base), f64::from(b - base));
            sums.base += square(*base);
            sums.a += da * da;
            sums.b += db * db;
            sums.dot += da * db;
            sums.both += usize::from(da * db != 0.0);
            sums.conflicts += usize::from(da * db < 0.0);
        }
    }

    /// Adds the merge of the tensor added last.
    pub fn add_merged(&mut self, merged: &[f32]) {
        self.merged += merged.iter().copied().map(square).sum::<f64>();
    }

    /// Adds the sums over other tensors.
    pub fn add(&mut self, other: &Figures) {
        self.num_tensors += other.num_tensors;
        self.num_numbers += other.num_numbers;
        self.a += other.a;
        self.b += other.b;
        self.merged += other.merged;
        self.apart += other.apart;
        if let Some(more) = &other.base {
            let sums = self.base.get_or_insert_default();
            sums.base += more.base;
            sums.a += more.a;
            sums.b += more.b;
            sums.dot += more.dot;
            sums.both += more.both;
            sums.conflicts += more.conflicts;
        }
    }

    /// Computes the figures from the sums.
    pub fn summary(&self) -> Summary {
        let (norm_a, norm_b) = (self.a.sqrt(), self.b.sqrt());
        Summary {
            num_tensors: self.num_tensors,
            num_numbers: self.num_numbers,
            norm_a,
            norm_b,
            norm_merged: self.merged.sqrt(),
            distance: ratio(self.apart.sqrt(), f64::midpoint(norm_a, norm_b)),
            from_base: self.base.map(|sums| sums.report(self.num_numbers)),
        }
    }

    /// Computes the distances of the parents from their base; zeros if no base was added.
    pub fn report(&self) -> MergeReport {
        self.base.unwrap_or_default().report(self.num_numbers)
    }
}

impl FromBase {
    fn report(&self, num_numbers: usize) -> MergeReport {
        let norm_base = self.base.sqrt();
        MergeReport {
            norm_base,
            distance_a: ratio(self.a.sqrt(), norm_base),
            distance_b: ratio(self.b.sqrt(), norm_base),
            cosine: ratio(self.dot, (self.a * self.b).sqrt()),
            overlap: ratio(self.both as f64, num_numbers as f64),
            sign_conflicts: ratio(self.conflicts as f64, self.both as f64),
        }
    }
}

fn square(x: f32) -> f64 {
    f64::from(x).powi(2)
}

/// Divides; 0 where `whole` is not positive, since biases may all be zero and JSON has no infinity.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got} is not {want}");
    }

    #[test]
    fn figures_by_hand() {
        // Differences 1 -2 0 2 and 3 2 0 0.
        const A: [f32; 4] = [2.0, 2.0, 1.0, 7.0];
        const B: [f32; 4] = [4.0, 6.0, 1.0, 5.0];
        const BASE: [f32; 4] = [1.0, 4.0, 1.0, 5.0];
        let mut figures = Figures::default();
        for part in [0..1, 1..4] {
            let mut one = Figures::default();
            one.add_parents(&A[part.clone()], &B[part.clone()], Some(&BASE[part.clone()]));
            one.add_merged(&[3.0, 4.0, 0.0, 0.0][part]);
            figures.add(&one);
        }
        let summary = figures.summary();
        assert_eq!((summary.num_tensors, summary.num_numbers), (2, 4));
        close(summary.norm_a, 58_f64.sqrt());
        close(summary.norm_b, 78_f64.sqrt());
        close(summary.norm_merged, 5.0);
        close(summary.distance, 24_f64.sqrt() / (0.5 * (58_f64.sqrt() + 78_f64.sqrt())));
        let report = summary.from_base.unwrap();
        assert_eq!(report, figures.report());
        close(report.norm_base, 43_f64.sqrt());
        close(report.distance_a, (9.0_f64 / 43.0).sqrt());
        close(report.distance_b, (13.0_f64 / 43.0).sqrt());
        close(report.cosine, -1.0 / 117_f64.sqrt());
        close(report.overlap, 0.5);
        close(report.sign_conflicts, 0.5);

        let mut alone = Figures::default();
        alone.add_parents(&A, &B, None);
        assert_eq!(alone.summary().from_base, None);
        let mut still = Figures::default();
        still.add_parents(&BASE, &BASE, Some(&BASE));
        let report = still.report();
        assert!(report.distance_a.abs() + report.cosine.abs() + report.sign_conflicts < 1e-12);
    }

    #[test]
    fn names_of_many_architectures_have_a_group() {
        for (name, group) in [
            ("model.embed_tokens.weight", Group::Embeddings),
            ("lm_head.weight", Group::Embeddings),
            ("transformer.wte.weight", Group::Embeddings),
            ("model.layers.0.self_attn.q_proj.bias", Group::Attention),
            ("model.layers.0.self_attn.q_norm.weight", Group::Norms),
            ("model.layers.0.post_attention_layernorm.weight", Group::Norms),
            ("bert.embeddings.LayerNorm.weight", Group::Norms),
            ("transformer.h.3.ln_1.bias", Group::Norms),
            ("model.layers.1.mlp.experts.7.up_proj.weight", Group::Mlp),
            ("model.layers.1.block_sparse_moe.gate.weight", Group::Mlp),
            ("visual.blocks.0.norm1.weight", Group::Vision),
            ("visual.merger.mlp.0.weight", Group::Vision),
            ("multi_modal_projector.linear_1.weight", Group::Vision),
            ("logit_scale", Group::Other),
        ] {
            assert_eq!(Group::of(name), group, "{name}");
        }
    }
}
