//! `synergy inspect`: a receipt of what a model sees of a prompt, and its most probable next tokens.
//!
//! Does not sample. Everything printed is what the forward pass was given, not a second computation.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use synergy_hint::hint;
use synergy_models::batch::{TokenBatch, index};
use synergy_models::checkpoint::{Checkpoint, Encoded};
use synergy_models::qwen2_5_vl::rope::{Position, rope_index};
use synergy_models::tokenizer::{Message, Tokenizer};

use crate::commands::arguments::ModelArgs;
use crate::commands::output::put;
use crate::run::model::Model;

const EXAMPLES: &str = "\
Examples:
  synergy inspect --model DIR --image a.png --prompt \"What is this?\"
  synergy inspect --model DIR --prompt \"The sky is\" --raw --top 10 --json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// A picture (PNG or JPEG); may be given several times
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// The user's turn, `<image>` where a picture belongs
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Take the prompt as it is, without the chat template
    #[arg(long)]
    raw: bool,
    /// Number of next tokens
    #[arg(long, default_value_t = 5, value_name = "K")]
    top: usize,
    /// Print the receipt as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs) -> Result<u8> {
    ensure!(args.top > 0, hint!("--top is 0, so no next token would be shown", "at least 1"));
    let opened = args.model.open()?;
    let receipt = inspect(&opened, &args.image, &args.prompt, args.raw, args.top)?;
    if args.json {
        put(&format!("{}\n", serde_json::to_string(&receipt).context("plain data")?))?;
    } else {
        put(&describe(&receipt, &args.model.model, &opened.checkpoint.tokenizer))?;
    }
    Ok(0)
}

/// What a model sees of a prompt, and what it would say next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub images: Vec<ImageReceipt>,
    /// The text that is tokenized; each picture is still one token in it.
    pub prompt: String,
    pub input_ids: Vec<u32>,
    /// Positions in time, height and width: `[3][sequence]`.
    pub rope_index: [Vec<u32>; 3],
    /// The most probable next tokens, best first.
    pub top: Vec<Candidate>,
}

/// Sizes of one picture, in pixels if nothing else is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageReceipt {
    pub path: PathBuf,
    pub width: usize,
    pub height: usize,
    pub resized_width: usize,
    pub resized_height: usize,
    /// Numbers of patches: frames, rows, columns.
    pub image_grid_thw: [usize; 3],
    pub num_tokens: usize,
}

/// A possible next token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub id: u32,
    pub token: String,
    /// Log-probability in nats, over the whole vocabulary.
    pub log_prob: f64,
}

/// Computes the receipt of `prompt` about the pictures in the files `images`, with the `top` most probable next tokens.
/// With `raw` the prompt is taken as it is, without the chat template.
fn inspect(
    model: &Model,
    images: &[PathBuf],
    prompt: &str,
    raw: bool,
    top: usize,
) -> Result<Receipt> {
    let checkpoint = &model.checkpoint;
    let (pictures, encoded) = encode(checkpoint, images, prompt, raw)?;
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

/// Reads the pictures in `images` and makes of them and of `prompt` what the model is given.
fn encode(
    checkpoint: &Checkpoint,
    images: &[PathBuf],
    prompt: &str,
    raw: bool,
) -> Result<(Vec<RgbImage>, Encoded)> {
    let pictures = images.iter().map(|path| synergy_picture::read(path));
    let pictures = pictures.collect::<Result<Vec<_>>>()?;
    let encoded = if raw {
        checkpoint.encode_raw(prompt.to_owned(), &pictures)?
    } else {
        checkpoint.encode(&[Message::user_marked(pictures.len(), prompt)?], &pictures)?
    };
    Ok((pictures, encoded))
}

/// Finds the `top` most probable tokens after `encoded`; of equals the one with the smaller id comes first.
fn next(
    model: &Model,
    encoded: &Encoded,
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

/// Renders the receipt for a person: repeats of one token share a line.
fn describe(receipt: &Receipt, dir: &Path, tokenizer: &Tokenizer) -> String {
    let mut lines = vec![format!("model   {}", dir.display())];
    for (i, image) in receipt.images.iter().enumerate() {
        let [t, h, w] = image.image_grid_thw;
        lines.push(format!(
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
    lines.push("prompt".to_owned());
    let prompt = receipt.prompt.split_inclusive('\n');
    lines.extend(prompt.map(|text| format!("  | {}", text.replace('\n', "\u{23ce}"))));
    lines.push(format!("tokens  {}", receipt.input_ids.len()));
    lines.extend(token_lines(receipt, tokenizer));
    lines.push("next".to_owned());
    lines.extend(receipt.top.iter().map(|candidate| {
        let share = candidate.log_prob.exp();
        format!(
            "  {:>7}  {:<24} {:>9.4} nats {:>6.2} %  {}",
            candidate.id,
            format!("{:?}", candidate.token),
            candidate.log_prob,
            100.0 * share,
            "\u{2588}".repeat((share * 30.0).round() as usize)
        )
    }));
    lines.join("\n") + "\n"
}

/// A head and a line for each run of one token, with its place, id, text and positions.
fn token_lines(receipt: &Receipt, tokenizer: &Tokenizer) -> Vec<String> {
    let line = |[place, id, token, t, h, w]: [&str; 6]| {
        format!("  {place:>11} {id:>7}  {token:<24} {t:>9} {h:>9} {w:>9}")
    };
    let range = |low: String, high: String| if low == high { low } else { format!("{low}-{high}") };
    let mut lines = vec![line(["place", "id", "token", "time", "height", "width"])];
    let mut start = 0;
    for run in receipt.input_ids.chunk_by(|a, b| a == b) {
        let end = start + run.len();
        let times = if run.len() > 1 { format!(" x {}", run.len()) } else { String::new() };
        let [t, h, w] = receipt.rope_index.each_ref().map(|axis| {
            let low = axis[start..end].iter().min().copied().unwrap_or(0);
            let high = axis[start..end].iter().max().copied().unwrap_or(0);
            range(low.to_string(), high.to_string())
        });
        lines.push(line([
            &range(start.to_string(), (end - 1).to_string()),
            &run[0].to_string(),
            &format!("{:?}{times}", tokenizer.token(run[0])),
            &t,
            &h,
            &w,
        ]));
        start = end;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use synergy_benchmarks::datasets::mapped::{self, Mapping};

    use crate::recipe::PromptSpec;
    use crate::train::engine::Question;
    use crate::train::sequence::Prompter;

    const PARITY: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/parity/fixtures/processor");
    const MAPPING: &str = "benchmark = \"mine\"\nquestion = \"q\"\nanswer = \"a\"\n\
                           pictures = [{ column = \"path\", kind = \"path\" }, { column = \"cell\", kind = \"base64\" }]\n";

    fn checkpoint() -> Checkpoint {
        Checkpoint::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/base/nano")))
            .unwrap()
    }

    /// Every kind of picture file that the reference was recorded on.
    fn pictures() -> Vec<PathBuf> {
        let files = std::fs::read_dir(PARITY).unwrap().map(|entry| entry.unwrap().path());
        let is_picture =
            |path: &PathBuf| path.extension().is_some_and(|end| end == "png" || end == "jpg");
        let mut pictures: Vec<PathBuf> = files.filter(is_picture).collect();
        pictures.sort();
        pictures
    }

    #[test]
    fn a_model_is_given_the_same_by_inspect_and_by_an_evaluation() {
        const TEXT: &str = "What is this?";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let row = |picture: &PathBuf| {
            let cell = BASE64_STANDARD.encode(std::fs::read(picture).unwrap());
            serde_json::json!({ "q": TEXT, "a": "4", "path": picture, "cell": cell }).to_string()
        };
        let pictures = pictures();
        assert_eq!(pictures.len(), 14);
        let rows: Vec<String> = pictures.iter().map(row).collect();
        std::fs::write(&path, rows.join("\n")).unwrap();
        let mapping = Mapping::parse(MAPPING, Path::new("map.toml")).unwrap();
        let prompt = PromptSpec { suffix: String::new(), registers: None };
        let prompter = Prompter::of(checkpoint(), prompt);
        let checkpoint = checkpoint();
        let mut samples = mapped::open(&mapping, &path).unwrap();
        for picture in pictures {
            let sample = samples.next().unwrap().unwrap();
            let question = Question::of_text(&prompter, sample, TEXT).unwrap();
            let images = [picture.clone(), picture.clone()];
            let (_, encoded) = encode(&checkpoint, &images, TEXT, false).unwrap();
            assert!(question.patches == encoded.patches, "{}: tensors differ", picture.display());
            assert_eq!(question.input_ids, encoded.input_ids, "{}", picture.display());
        }
    }
}
