//! Grouped-query attention over spans of rows, forward and backward, with the weights of at most [`BLOCK`] queries in
//! memory (Dao et al. 2022, arXiv 2205.14135, without their tiling over keys).
//!
//! Does not know where rows come from. Keys that a query cannot see are not computed.

use super::gemm::{Mat, MatMut, product};
use super::kernels::{inner, softmax, softmax_again, softmax_backward};
use super::room::Room;

/// How many queries have their weights in memory at once.
const BLOCK: usize = 64;

/// Rows `start..start + len` that attend among themselves, and to all of `prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Start and length of earlier rows that every row of the span sees.
    pub(crate) prefix: (usize, usize),
    /// True if a row sees only itself and the rows before it in the span.
    pub(crate) causal: bool,
}

impl Span {
    /// Makes a span in which every row sees every other, of a picture that begins at row `picture`.
    pub(crate) fn plain(start: usize, len: usize, picture: usize) -> Span {
        Span { start, len, prefix: (picture, 0), causal: false }
    }
}

/// Heads of one kind of attention. A row of `qkv` is all queries, then all keys, then all values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl Heads {
    /// Returns the width of a row of queries, keys and values.
    pub(crate) fn width(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Returns the width of a row of the output.
    pub(crate) fn out(self) -> usize {
        self.heads * self.head_dim
    }

    fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Returns the first column of the queries, keys and values of a head.
    fn columns(self, head: usize) -> [usize; 3] {
        let kv = head / (self.heads / self.kv_heads);
        let d = self.head_dim;
        [head * d, (self.heads + kv) * d, (self.heads + self.kv_heads + kv) * d]
    }
}

/// A stretch of queries with all the keys they see.
struct Block {
    /// First row of the queries and their number.
    start: usize,
    len: usize,
    /// The keys of the prefix and of the span.
    parts: [Part; 2],
    /// How many keys the first query sees, and how many more each following one.
    valid: usize,
    step: usize,
}

/// A run of consecutive keys.
#[derive(Clone, Copy)]
struct Part {
    /// First row of the keys and their number.
    start: usize,
    len: usize,
    /// Index of the first among all keys of the block.
    column: usize,
}

impl Block {
    /// Counts the keys.
    fn columns(&self) -> usize {
        self.parts.iter().map(|part| part.len).sum()
    }

    fn parts(&self) -> impl Iterator<Item = Part> {
        self.parts.into_iter().filter(|part| part.len > 0)
    }
}

fn blocks(span: &Span) -> impl Iterator<Item = Block> {
    (0..span.len).step_by(BLOCK).map(|i| {
        let len = BLOCK.min(span.len - i);
        let own = if span.causal { i + len } else { span.len };
        let (first, prefix) = span.prefix;
        let parts = [
            Part { start: first, len: prefix, column: 0 },
            Part { start: span.start, len: own, column: prefix },
        ];
        let (valid, step) = if span.causal { (prefix + i + 1, 1) } else { (prefix + own, 0) };
        Block { start: span.start + i, len, parts, valid, step }
    })
}

/// The most weights that a block of `spans` has.
fn largest(spans: &[Span]) -> usize {
    let of = |span: &Span| BLOCK.min(span.len) * (span.prefix.1 + span.len);
    spans.iter().map(of).max().unwrap_or_default()
}

/// Computes attention into `out`.
///
/// # Shapes
/// `qkv [rows, width]`, `out [rows, heads * head_dim]`; `lse [rows, heads]` gets what [`backward`] needs.
pub(crate) fn forward(qkv: &[f32], heads: Heads, spans: &[Span], out: &mut [f32], lse: &mut [f32]) {
    let (width, out_width) = (heads.width(), heads.out());
    let mut room = Room::of(largest(spans));
    for span in spans {
        for head in 0..heads.heads {
            let [q, k, v] = heads.columns(head);
            for block in blocks(span) {
                let columns = block.columns();
                let weights = &mut room[..block.len * columns];
                scores(qkv, heads, &block, [q, k], weights);
                for (r, row) in weights.chunks_exact_mut(columns).enumerate() {
                    lse[(block.start + r) * heads.heads + head] =
                        softmax(row, block.valid + r * block.step);
                }
                for Part { start, len, column } in block.parts() {
                    let out = &mut out[block.start * out_width + q..];
                    product(
                        MatMut::new(out, block.len, heads.head_dim, out_width),
                        Mat::new(&weights[column..], block.len, len, columns),
                        Mat::new(&qkv[start * width + v..], len, heads.head_dim, width),
                        1.0,
                        column > 0,
                    );
                }
            }
        }
    }
}

/// Computes the scaled products of the block's queries with all its keys, `[queries, keys]`.
fn scores(qkv: &[f32], heads: Heads, block: &Block, [q, k]: [usize; 2], scores: &mut [f32]) {
    let (width, d, columns) = (heads.width(), heads.head_dim, block.columns());
    for Part { start, len, column } in block.parts() {
        product(
            MatMut::new(&mut scores[column..], block.len, len, columns),
            Mat::new(&qkv[block.start * width + q..], block.len, d, width),
            Mat::new(&qkv[start * width + k..], len, d, width).t(),
            heads.scale(),
            false,
        );
    }
}

/// Computes the gradient of `qkv` into `dqkv`, which must be zero, from that of `out`.
pub(crate) fn backward(
    qkv: &[f32],
    heads: Heads,
    spans: &[Span],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dqkv: &mut [f32],
) {
    let (width, out_width, d) = (heads.width(), heads.out(), heads.head_dim);
    let mut rooms = [Room::of(largest(spans)), Room::of(largest(spans))];
    for span in spans {
        for head in 0..heads.heads {
            let [q, k, v] = heads.columns(head);
            for block in blocks(span) {
                let columns = block.columns();
                let [weights, slopes] =
                    rooms.each_mut().map(|room| &mut room[..block.len * columns]);
                scores(qkv, heads, &block, [q, k], weights);
                for (r, row) in weights.chunks_exact_mut(columns).enumerate() {
                    let lse = lse[(block.start + r) * heads.heads + head];
                    softmax_again(row, block.valid + r * block.step, lse);
                }
                let dout_at = block.start * out_width + q;
                let dout_block = || Mat::new(&dout[dout_at..], block.len, d, out_width);
                for Part { start, len, column } in block.parts() {
                    product(
                        MatMut::new(&mut dqkv[start * width + v..], len, d, width),
                        Mat::new(&weights[column..], block.len, len, columns).t(),
                        dout_block(),
                        1.0,
                        true,
                    );
                    product(
                        MatMut::new(&mut slopes[column..], block.len, len, columns),
                        dout_block(),
                        Mat::new(&qkv[start * width + v..], len, d, width).t(),
                        1.0,
                        false,
                    );
                }
                for (r, (p, dp)) in
                    weights.chunks_exact(columns).zip(slopes.chunks_exact_mut(columns)).enumerate()
                {
                    let at = dout_at + r * out_width;
                    let along = inner(&out[at..at + d], &dout[at..at + d]);
                    softmax_backward(p, dp, along, heads.scale());
                }
                for Part { start, len, column } in block.parts() {
                    let slopes = Mat::new(&slopes[column..], block.len, len, columns);
                    product(
                        MatMut::new(&mut dqkv[block.start * width + q..], block.len, d, width),
                        slopes,
                        Mat::new(&qkv[start * width + k..], len, d, width),
                        1.0,
                        true,
                    );
                    product(
                        MatMut::new(&mut dqkv[start * width + k..], len, d, width),
                        slopes.t(),
                        Mat::new(&qkv[block.start * width + q..], block.len, d, width),
                        1.0,
                        true,
                    );
                }
            }
        }
    }
}
