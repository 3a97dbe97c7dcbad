//! `synergy chat`: a conversation with a checkpoint, whose answers are printed as they are generated.
//!
//! Does not know benchmarks. Each turn is computed from the whole conversation, as an evaluation would.

use std::io::{BufRead as _, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use image::RgbImage;
use synergy_benchmarks::sample::{Details, ImageSource, Sample};
use synergy_benchmarks::seed::Seed;
use synergy_hint::{Explain as _, Hinted, hint};
use synergy_models::checkpoint::{Checkpoint, Encoded};
use synergy_models::generate::{Sampling, generate_with};
use synergy_models::tokenizer::Message;

use crate::commands::arguments::ModelArgs;
use crate::commands::output::{report, tell};
use crate::device::Compute;
use crate::recipe::{EngineSpec, OWN, PromptSpec};
use crate::run::event;
use crate::run::model::Model;
use crate::served::Served;
use crate::train::engine::{Engine as _, Question};
use crate::train::sequence::Prompter;

const EXAMPLES: &str = "\
Examples:
  synergy chat --model golden/base/small \"2+2?\"
  synergy chat --model DIR --image a.png --image b.png \"What differs between <image> and <image>?\"
  synergy chat --model DIR --adapter ADAPTER --temperature 0 < questions.txt";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ChatArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// A picture (PNG or JPEG) that the first question is about; may be given several times
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// System prompt, which comes before the first question
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// What answers: own (the suite itself, piece by piece), vllm, sglang, or the file of another engine
    #[arg(long, default_value = OWN, value_name = "NAME|FILE")]
    engine: String,
    /// The question, `<image>` where a picture belongs; without it every line of standard input is one
    question: Option<String>,
}

/// Without these the checkpoint's own `generation_config.json` decides.
#[derive(Debug, Args)]
struct SamplingArgs {
    /// 0 takes the most probable token
    #[arg(long)]
    temperature: Option<f64>,
    /// 1 keeps all
    #[arg(long)]
    top_p: Option<f64>,
    /// 0 keeps all
    #[arg(long)]
    top_k: Option<usize>,
    /// 1 changes nothing
    #[arg(long)]
    repetition_penalty: Option<f64>,
    /// Length limit of an answer, in tokens
    #[arg(long, default_value_t = 1024)]
    max_new_tokens: usize,
    /// Seed of the sampling
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn unwritten() -> Hinted {
    hint!("failed to write the answer to standard output", "is the disk full?")
}

pub(super) fn run(args: &ChatArgs) -> Result<u8> {
    let pictures = args.image.iter().map(|path| synergy_picture::read(path));
    let pictures = pictures.collect::<Result<Vec<_>>>()?;
    let opened = args.model.open()?;
    let asked = &args.sampling;
    let mut sampling = opened.checkpoint.sampling(asked.max_new_tokens);
    sampling.temperature = asked.temperature.unwrap_or(sampling.temperature);
    sampling.top_p = asked.top_p.unwrap_or(sampling.top_p);
    sampling.top_k = asked.top_k.unwrap_or(sampling.top_k);
    sampling.repetition_penalty = asked.repetition_penalty.unwrap_or(sampling.repetition_penalty);
    sampling.check()?;
    let engine = EngineSpec::named(&args.engine)?;
    let served = engine.map(|engine| Asked::new(&engine, args, &opened)).transpose()?;
    let mut chat = Chat {
        model: &opened,
        served,
        sampling,
        seed: Seed::root(asked.seed).fold_in("chat"),
        pictures,
        messages: args.system.as_deref().map(Message::system).into_iter().collect(),
    };
    match &args.question {
        Some(question) => chat.answer(question)?,
        None => chat.answer_lines()?,
    }
    Ok(0)
}

/// A conversation so far; its first question is about `pictures`.
#[derive(Debug)]
struct Chat<'a> {
    model: &'a Model,
    /// Servers that answer in place of this process.
    served: Option<Asked>,
    sampling: Sampling,
    seed: Seed,
    pictures: Vec<RgbImage>,
    messages: Vec<Message>,
}

/// An answer of the model.
#[derive(Debug)]
struct Answer {
    text: String,
    num_tokens: usize,
    /// False if the length limit cut it.
    finished: bool,
}

impl Chat<'_> {
    /// Answers every line of standard input.
    fn answer_lines(&mut self) -> Result<()> {
        let stdin = std::io::stdin();
        let is_person = stdin.is_terminal();
        let mut line = String::new();
        loop {
            if is_person {
                tell("> ")?;
            }
            line.clear();
            let read = stdin.lock().read_line(&mut line);
            if read.explain(|| hint!("failed to read standard input", "lines are UTF-8 text"))? == 0
            {
                return Ok(());
            }
            match line.trim() {
                "" => {}
                // A person may ask again; a program wants to know.
                question if is_person => {
                    if let Err(error) = self.answer(question) {
                        report(&error);
                    }
                }
                question => self.answer(question)?,
            }
        }
    }

    /// Streams one answer to standard output, and prints its speed on standard error.
    fn answer(&mut self, question: &str) -> Result<()> {
        let clock = Instant::now();
        let mut out = std::io::stdout();
        let answer = self.ask(question, &mut out)?;
        writeln!(out).explain(unwritten)?;
        let seconds = clock.elapsed().as_secs_f64();
        let cut = if answer.finished { "" } else { ", cut off by --max-new-tokens" };
        let rate = answer.num_tokens as f64 / seconds;
        tell(&format!(
            "({} tokens in {seconds:.1} s, {rate:.1} a second{cut})\n",
            answer.num_tokens
        ))
    }

    /// Asks `question` and writes the answer to `out` piece by piece.
    ///
    /// # Errors
    /// If the question has more or fewer places for pictures than there are, the conversation is too
    /// long for the model, or `out` cannot be written. The conversation is then as it was before.
    fn ask(&mut self, question: &str, out: &mut dyn Write) -> Result<Answer> {
        let is_first = self.messages.iter().all(|m| m.role == "system");
        let num_images = if is_first { self.pictures.len() } else { 0 };
        let mut messages = self.messages.clone();
        messages.push(Message::user_marked(num_images, question)?);
        let checkpoint = &self.model.checkpoint;
        let encoded = checkpoint.encode(&messages, &self.pictures)?;
        let room = checkpoint.config.layout().max_position_embeddings - encoded.input_ids.len();
        let sampling = Sampling {
            max_new_tokens: self.sampling.max_new_tokens.min(room),
            ..self.sampling.clone()
        };
        let turn = messages.len() as u64;
        let answer = match &self.served {
            Some(served) => served.answer(self, encoded, &sampling, turn, out)?,
            None => self.stream(&encoded, &sampling, turn, out)?,
        };
        messages.push(Message::assistant(&answer.text));
        self.messages = messages;
        Ok(answer)
    }

    /// Generates an answer in this process and writes it to `out` as it comes.
    fn stream(
        &self,
        encoded: &Encoded,
        sampling: &Sampling,
        turn: u64,
        out: &mut dyn Write,
    ) -> Result<Answer> {
        let checkpoint = &self.model.checkpoint;
        let (vlm, features) = self.model.ready(encoded)?;
        let mut stream = checkpoint.tokenizer.stream();
        let mut answer = Answer { text: String::new(), num_tokens: 0, finished: false };
        let mut is_finite = true;
        let mut written = Ok(());
        let mut show = |text: &str, answer: &mut Answer| {
            answer.text.push_str(text);
            if written.is_ok() && !text.is_empty() {
                written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            }
        };
        let rng = |_, _| self.seed.at(turn).rng();
        generate_with(
            &vlm,
            &[encoded.prompt()],
            features.as_ref(),
            1,
            sampling,
            &rng,
            &mut |token| {
                answer.num_tokens += 1;
                answer.finished = token.is_end;
                is_finite &= token.log_prob.is_finite();
                show(&stream.push(token.id), &mut answer);
            },
        );
        ensure!(
            is_finite,
            hint!("the model's logits are not finite", "its weights are damaged or have diverged")
        );
        show(&stream.finish(), &mut answer);
        written.explain(unwritten)?;
        Ok(answer)
    }
}

/// Servers that answer questions about the pictures of a conversation.
#[derive(Debug)]
struct Asked {
    served: Served,
    images: Vec<ImageSource>,
}

impl Asked {
    /// Starts the servers of `engine` with `model`.
    fn new(engine: &EngineSpec, args: &ChatArgs, model: &Model) -> Result<Asked> {
        let compute = Compute::open("auto", None)?;
        let prompt = PromptSpec { suffix: String::new(), registers: None };
        let prompter = Prompter::of(Checkpoint::read(&args.model.model)?, prompt);
        let (place, say) = ((&prompter, &compute), event::say);
        let mut served = Served::new(engine, place, Path::new("runs"), say, event::interrupted)?;
        served.load(&model.parameters)?;
        let images = args.image.iter().cloned().map(ImageSource::File).collect();
        Ok(Asked { served, images })
    }

    /// Asks for an answer and writes it to `out` when it is whole.
    fn answer(
        &self,
        chat: &Chat<'_>,
        encoded: Encoded,
        sampling: &Sampling,
        turn: u64,
        out: &mut dyn Write,
    ) -> Result<Answer> {
        let sample = Sample {
            id: turn.to_string(),
            benchmark: "chat".to_owned(),
            hops: 0,
            images: self.images.clone(),
            question: String::new(),
            choices: Vec::new(),
            answer: String::new(),
            solution: None,
            response: String::new(),
            details: Details::default(),
            origin: None,
        };
        let Encoded { input_ids, patches, .. } = encoded;
        let question = Question { sample, input_ids, patches, position_gap: 0 };
        let answers = self.served.generate(&[question], 1, sampling, chat.seed)?;
        let answer = answers.into_iter().flatten().next().context("a question has an answer")?;
        let text = chat.model.checkpoint.tokenizer.decode(&answer.ids);
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).explain(unwritten)?;
        Ok(Answer { text, num_tokens: answer.ids.len(), finished: answer.finished })
    }
}
