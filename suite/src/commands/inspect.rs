//! The receipt of what a model sees of a prompt, and what it would say next.
//!
//! Does not sample. Everything printed is what the forward pass was given, not a second computation.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use synergy_models::image::read_picture;
use synergy_models::rope::{Position, rope_index};
use synergy_models::tokenizer::{Message, Tokenizer};
use synergy_models::vlm::{TokenBatch, index};

use crate::run::model::Model;

/// What a prompt becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub images: Vec<ImageReceipt>,
    /// The text that is tokenized; each picture is one token in it still.
    pub prompt: String,
    pub input_ids: Vec<u32>,
    /// Positions in time, height and width: `[3][sequence]`.
    pub rope_index: [Vec<u32>; 3],
    /// The most probable next tokens.
    pub top: Vec<Candidate>,
}

/// What a picture becomes; sizes in pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageReceipt {
    pub path: PathBuf,
    pub width: usize,
    pub height: usize,
    pub resized_width: usize,
    pub resized_height: usize,
    /// Patches: frames, rows, columns.
    pub image_grid_thw: [usize; 3],
    pub num_tokens: usize,
}

/// A possible next token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub id: u32,
    pub token: String,
    /// In nats, over the whole vocabulary.
    pub log_prob: f64,
}

/// What `model` sees of `prompt` about the pictures in the files `images`, and the `top` most probable
/// next tokens. With `raw` the prompt is taken as it is, without the chat template.
///
/// # Errors
/// If a picture cannot be read, or the prompt has places for more or fewer pictures.
pub fn inspect(
    model: &Model,
    images: &[PathBuf],
    prompt: &str,
    raw: bool,
    top: usize,
) -> Result<Receipt> {
    let pictures = images.iter().map(|path| read_picture(path)).collect::<Result<Vec<_>>>()?;
    let checkpoint = &model.checkpoint;
    let encoded = if raw {
        checkpoint.encode_raw(prompt.to_owned(), &pictures)?
    } else {
        checkpoint.encode(&[Message::user_marked(pictures.len(), prompt)?], &pictures)?
    };
    let grids: Vec<_> = encoded.patches.iter().map(|p| p.grid).collect();
    let positions = rope_index(&encoded.input_ids, &grids, &checkpoint.config)?;
    let top = next(model, &encoded, &positions, top)?;

    let side = checkpoint.processor.patch_size;
    let merge = checkpoint.processor.merge_size;
    let receipts = images.iter().zip(&pictures).zip(&grids).map(|((path, picture), grid)| {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        ImageReceipt {
            path: path.clone(),
            width,
            height,
            resized_width: grid.w * side,
            resized_height: grid.h * side,
            image_grid_thw: [grid.t, grid.h, grid.w],
            num_tokens: grid.num_tokens(merge),
        }
    });
    Ok(Receipt {
        images: receipts.collect(),
        prompt: encoded.text,
        rope_index: [0, 1, 2].map(|axis| positions.iter().map(|p| p[axis]).collect()),
        input_ids: encoded.input_ids,
        top,
    })
}

/// The `top` most probable tokens after `encoded`; of equals the one with the smaller id comes first.
fn next(
    model: &Model,
    encoded: &synergy_models::checkpoint::Encoded,
    positions: &[Position],
    top: usize,
) -> Result<Vec<Candidate>> {
    let (vlm, features) = model.ready(encoded)?;
    let len = encoded.input_ids.len();
    let batch = TokenBatch {
        input_ids: vec![encoded.input_ids.clone()],
        positions: vec![positions.to_vec()],
        feature_starts: vec![0],
        ..TokenBatch::default()
    };
    let hidden = vlm.forward(&batch, features.as_ref());
    let last = hidden.select(0, index(vec![len as i64 - 1], &vlm.device()));
    let logits = vlm.decoder.logits(last).try_into_vec_as::<f32>().expect("float data is readable");
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let total: f64 = logits.iter().map(|&l| (f64::from(l) - largest).exp()).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let candidates = order.into_iter().take(top).map(|id| Candidate {
        id: id as u32,
        token: model.checkpoint.tokenizer.token(id as u32),
        log_prob: f64::from(logits[id]) - largest - total.ln(),
    });
    Ok(candidates.collect())
}

/// The receipt for a person: runs of one token on one line.
pub fn describe(receipt: &Receipt, dir: &Path, tokenizer: &Tokenizer) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        writeln!(out, "{text}").expect("a string takes all");
    };
    line(format_args!("model   {}", dir.display()));
    for (i, image) in receipt.images.iter().enumerate() {
        let [t, h, w] = image.image_grid_thw;
        line(format_args!(
            "image {} {}: {} x {} -> {} x {} pixels, grid {t} x {h} x {w}, {} tokens",
            i + 1,
            image.path.display(),
            image.width,
            image.height,
            image.resized_width,
            image.resized_height,
            image.num_tokens
        ));
    }
    line(format_args!("prompt"));
    for text in receipt.prompt.split_inclusive('\n') {
        line(format_args!("  | {}", text.replace('\n', "\u{23ce}")));
    }
    line(format_args!("tokens  {}", receipt.input_ids.len()));
    line(format_args!(
        "  {:>11} {:>7}  {:<24} {:>9} {:>9} {:>9}",
        "place", "id", "token", "time", "height", "width"
    ));
    let ids = &receipt.input_ids;
    let mut start = 0;
    while start < ids.len() {
        let run = ids[start..].iter().take_while(|&&id| id == ids[start]).count();
        let end = start + run - 1;
        let range = |row: &[u32]| {
            let (low, high) =
                (row[start..=end].iter().min().copied(), row[start..=end].iter().max().copied());
            match (low, high) {
                (Some(low), Some(high)) if low != high => format!("{low}-{high}"),
                (low, _) => low.unwrap_or(0).to_string(),
            }
        };
        let place = if run > 1 { format!("{start}-{end}") } else { start.to_string() };
        let times = if run > 1 { format!(" x {run}") } else { String::new() };
        let token = format!("{:?}{times}", tokenizer.token(ids[start]));
        let [t, h, w] = &receipt.rope_index;
        line(format_args!(
            "  {place:>11} {:>7}  {token:<24} {:>9} {:>9} {:>9}",
            ids[start],
            range(t),
            range(h),
            range(w)
        ));
        start = end + 1;
    }
    line(format_args!("next"));
    for candidate in &receipt.top {
        let share = candidate.log_prob.exp();
        line(format_args!(
            "  {:>7}  {:<24} {:>9.4} nats {:>6.2} %  {}",
            candidate.id,
            format!("{:?}", candidate.token),
            candidate.log_prob,
            100.0 * share,
            "\u{2588}".repeat((share * 30.0).round() as usize)
        ));
    }
    out
}
