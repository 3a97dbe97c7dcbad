//! How fast the suite's own work is, on the kept small base and the questions of profile small.
//!
//! Does not know other programs: `peer.py` beside it runs the same work on PyTorch, from what `--dump`
//! writes; `cargo xtask bench` runs both.
//!
//! Three ways to run it, after `cargo bench --profile dev --workspace --bench speed --`:
//! - without an option of ours, criterion measures;
//! - `--json [PART…]` times a few runs of every work whose name holds a PART and prints one JSON line per
//!   figure, so that both programs are timed in the same plain way and a comparison takes minutes;
//! - `--dump DIR` writes the work, and what we compute from it, for a peer to do and to check.

#![expect(clippy::print_stdout, reason = "figures are what this program is for")]

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Instant;

use anyhow::{Context as _, Result};
use criterion::{Criterion, Throughput};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};
use synergy_benchmarks::families::Split;
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_grade::Grader;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::image::Patches;
use synergy_models::merge::{MergeSpec, Method, Rescale, merge};
use synergy_models::native::{Mat, MatMut, Product, product, recorded};
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_models::weights::{ComputeDtype, Parameters};
use synergy_report::completion::Completion;
use synergy_report::score::score;
use synergy_suite::device::Compute;
use synergy_suite::recipe::{
    GrpoSpec, ModelSpec, OptimizerSpec, Recipe, SftSpec, StageSpec, TeacherSpec, TrainingSpec,
};
use synergy_suite::run::base::Base;
use synergy_suite::run::{machine, open_base};
use synergy_suite::train::algorithm::{Draws, Reference, StageInputs};
use synergy_suite::train::dataset;
use synergy_suite::train::engine::{Engine as _, Question};
use synergy_suite::train::features::FeatureCache;
use synergy_suite::train::grpo::Grpo;
use synergy_suite::train::pool::{Files, Pool, drawn};
use synergy_suite::train::register::reasoned;
use synergy_suite::train::rollout::LocalEngine;
use synergy_suite::train::sequence::{Sequence, micro_batches};
use synergy_suite::train::{
    Batch, Context, StepFigures, Trainer, prediction_log_probs, pretrain, sft,
};

mod growth;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Questions, and decoded tokens of each: few, and as many as long answers have.
const DECODED: (usize, [usize; 2]) = (64, [64, 400]);
/// The cap of a step of GRPO whose answers are long.
const LONG_CAP: usize = 448;
/// Rows, inner width and columns of the product that says how wide the machine is: one of a training step.
const WIDTH: [usize; 3] = [2048, 128, 256];
/// Tokens of a prompt and of a completion where there is no picture.
const TEXT: (usize, usize) = (30, 54);
/// Pictures and completions that are timed together.
const PICTURES: usize = 64;
const GRADED: usize = 2048;
/// Timed runs of a figure, at least so many and for at least so long, after one that is not.
const RUNS_MIN: usize = 5;
const SECONDS_MIN: f64 = 3.0;
/// The loss of a place that predicts nothing, by PyTorch's custom.
const IGNORED: i64 = -100;

struct Work {
    recipe: Recipe,
    files: Files,
    base: Base,
    compute: Compute,
}

static WORK: LazyLock<Work> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::set_current_dir(&root).expect("the repository is there");
    let recipe = Recipe::read(Path::new("suite/recipes/small.toml")).expect("a recipe");
    Work::on(None, recipe)
});

/// A question of the training pool.
fn sample(index: u64) -> Sample {
    drawn(1, index, Split::Train, [1, 15])
}

impl Work {
    /// The work on so many threads, or on all there are.
    fn on(num_threads: Option<usize>, recipe: Recipe) -> Work {
        let compute = Compute::open("flex", num_threads).expect("flex is in every build");
        let base = open_base(&recipe, &compute).expect("the kept base is there");
        Work { recipe, files: Files::default(), base, compute }
    }

    fn stage(&self, name: &str) -> &StageSpec {
        self.recipe.stages.get(name).expect("profile small has it")
    }

    fn trainer(&self, optimizer: &OptimizerSpec, parameters: &Parameters) -> Trainer {
        let training = TrainingSpec::none();
        Trainer::new(&training, optimizer, 1000, parameters, Seed::root(1))
            .expect("there is no adapter that might not fit")
    }

    /// As in a stage whose pictures are all new to it.
    fn context<'a>(
        &'a self,
        training: &'a TrainingSpec,
        features: Option<&'a FeatureCache>,
    ) -> Context<'a> {
        Context { features, ..Context::new(&self.base.prompter, &self.compute, training) }
    }

    fn features(&self, training: &TrainingSpec, parameters: &Parameters) -> Option<FeatureCache> {
        FeatureCache::of(training, parameters).expect("what is frozen is there")
    }

    fn sft(&self) -> &SftSpec {
        let StageSpec::Sft(spec) = self.stage("sft") else { panic!("sft is SFT") };
        spec
    }

    /// Long traces of the questions of SFT.
    fn teacher(&self) -> TeacherSpec {
        let StageSpec::Teacher(spec) = self.stage("true_long") else { panic!("a teacher") };
        spec.clone()
    }

    fn grpo(&self) -> &GrpoSpec {
        let StageSpec::Grpo(spec) = self.stage("grpo") else { panic!("grpo is GRPO") };
        spec
    }

    fn sequences(&self) -> Vec<Sequence> {
        let examples = dataset::teacher(
            &self.teacher(),
            self.pool(),
            self.base.prompter.prompt.registers.as_ref(),
            Seed::root(1),
        );
        let examples = examples.expect("families are drawn").examples;
        sft::batch(&self.base.prompter, self.sft(), &examples, self.pool(), Seed::root(1), 0)
            .expect("a batch")
    }

    /// GRPO by `spec`, without demonstrations.
    fn algorithm<'a>(&'a self, spec: &'a GrpoSpec) -> Grpo<'a> {
        let draws = Draws { pool: self.pool(), stage: Seed::root(1) };
        Grpo::new(spec, StageInputs::default(), draws).expect("families are drawn")
    }

    fn pool(&self) -> Pool<'_> {
        Pool { files: &self.files, run_seed: 1 }
    }

    /// Questions to decode answers to.
    fn questions(&self) -> Vec<Question> {
        (0..DECODED.0 as u64)
            .map(|i| Question::new(&self.base.prompter, sample(i), true))
            .collect::<Result<_, _>>()
            .expect("questions")
    }

    /// Questions of one step of GRPO.
    fn asked(&self) -> Vec<Question> {
        self.algorithm(self.grpo()).batch(&self.base.prompter, 0).expect("a batch")
    }

    /// A step without pictures: its settings, random weights, which hardly ever end an answer before
    /// the cap, the questions cut to a length, and their texts.
    fn in_text(&self) -> (GrpoSpec, Parameters, Vec<Question>, Vec<String>) {
        let tokenizer = &self.base.prompter.tokenizer;
        let spec = GrpoSpec { max_completion_tokens: TEXT.1, ..self.grpo().clone() };
        let parameters = self.random();
        let cut = |question: Question| {
            let ids = tokenizer.encode(&self.base.prompter.text(&question.sample, true));
            let text = tokenizer.decode(&ids[..TEXT.0]);
            let input_ids = tokenizer.encode(&text);
            (Question { input_ids, patches: Vec::new(), ..question }, text)
        };
        let (questions, texts) = self.asked().into_iter().map(cut).unzip();
        (spec, parameters, questions, texts)
    }

    /// Random weights of the base's shape, which hardly ever end an answer before the cap.
    fn random(&self) -> Parameters {
        let config = &self.base.prompter.config;
        Parameters::init(config, &mut Seed::root(1).rng(), &self.compute.device)
    }

    /// GRPO whose answers are as long as long ones are.
    fn long(&self) -> GrpoSpec {
        GrpoSpec { max_completion_tokens: LONG_CAP, ..self.grpo().clone() }
    }

    /// One step of GRPO from `parameters`: always from the same, so that answers, and with them the
    /// work, stay the same.
    fn grpo_step(
        &self,
        spec: &GrpoSpec,
        parameters: &Parameters,
        questions: &[Question],
    ) -> StepFigures {
        let stage = self.grpo();
        let mut trainer = self.trainer(&stage.optimizer, parameters);
        let features = self.features(&stage.training, parameters);
        let context = self.context(&stage.training, features.as_ref());
        let reference = Reference { parameters, features: features.as_ref(), scorer: None };
        let mut engine = self.engine(stage.training.dtype()).with_features(features.as_ref());
        self.algorithm(spec)
            .step(&mut trainer, &mut engine, &context, reference, questions, 0)
            .expect("a step")
    }

    /// Greedy answers of so many tokens, which no end token ends.
    fn decode(
        &self,
        engine: &LocalEngine<'_>,
        questions: &[Question],
        num_tokens: usize,
    ) -> Vec<Vec<Generated>> {
        let sampling = Sampling { eos_token_id: Vec::new(), ..Sampling::greedy(num_tokens, 0) };
        engine.generate(questions, 1, &sampling, Seed::root(1)).expect("finite logits")
    }

    /// The engine of this process with the base's weights.
    fn loaded(&self) -> LocalEngine<'_> {
        let mut engine = self.engine(ComputeDtype::F32);
        engine.load(&self.base.parameters).expect("weights of this shape");
        engine
    }

    /// The engine of this process, without weights.
    fn engine(&self, dtype: ComputeDtype) -> LocalEngine<'_> {
        LocalEngine::new(&self.base.prompter.config, &self.compute, dtype)
    }
}

/// One thing that is timed, its inputs made ahead.
struct Timed {
    /// What it is called in a table.
    figure: String,
    /// How many of what one run does; none where its time is the figure.
    count: Option<(usize, &'static str)>,
    run: Box<dyn FnMut()>,
}

type Make = Box<dyn Fn() -> Timed>;

/// Name for criterion, and what makes it. GRPO comes first, so that the peak of memory is its own.
fn works() -> Vec<(String, Make)> {
    type Named = (&'static str, fn() -> Timed);
    let plain: [Named; 11] = [
        ("grpo/step", grpo_step),
        ("grpo/long answers", grpo_long),
        ("grpo/text only", grpo_text),
        ("train/step", train_step),
        ("train/products alone", products),
        ("train/forward", forward),
        ("decode/64 sequences", || decode(0)),
        ("decode/64 long answers", || decode(1)),
        ("processor/64 pictures", processor),
        ("grading/2048 answers", grading),
        ("merge/TIES", merging),
    ];
    let plain = plain.into_iter().map(|(name, make)| (name.to_owned(), Box::new(make) as Make));
    plain.chain(threads()).chain(growth::works()).collect()
}

/// A step of GRPO by the number of threads, up to all cores.
fn threads() -> Vec<(String, Make)> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let numbers = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < all);
    let make = |num_threads: usize| -> (String, Make) {
        let plural = if num_threads == 1 { "" } else { "s" };
        let name = format!("threads/{num_threads} thread{plural}");
        let make = move || {
            let work = Work::on(Some(num_threads), WORK.recipe.clone());
            let questions = work.asked();
            let run = move || {
                work.grpo_step(work.grpo(), &work.base.parameters, &questions);
            };
            let figure = format!("GRPO step, {num_threads} thread{plural}");
            Timed { figure, count: None, run: Box::new(run) }
        };
        (name, Box::new(make))
    };
    numbers.chain([all]).map(make).collect()
}

/// One step of GRPO: rollouts, rewards, updates.
fn grpo_step() -> Timed {
    let questions = WORK.asked();
    let run = move || {
        WORK.grpo_step(WORK.grpo(), &WORK.base.parameters, &questions);
    };
    Timed { figure: "GRPO step".into(), count: None, run: Box::new(run) }
}

/// The same with answers as long as long ones are, from random weights.
fn grpo_long() -> Timed {
    let (spec, parameters, questions) = (WORK.long(), WORK.random(), WORK.asked());
    let run = move || {
        WORK.grpo_step(&spec, &parameters, &questions);
    };
    let figure = format!("GRPO step, {LONG_CAP} tokens");
    Timed { figure, count: None, run: Box::new(run) }
}

/// The same without pictures, from random weights.
fn grpo_text() -> Timed {
    let (spec, parameters, questions, _) = WORK.in_text();
    let run = move || {
        WORK.grpo_step(&spec, &parameters, &questions);
    };
    Timed { figure: "GRPO step, text only".into(), count: None, run: Box::new(run) }
}

/// One update on a batch of SFT: gradients and optimizer.
fn train_step() -> Timed {
    let stage = WORK.sft();
    let sequences = WORK.sequences();
    let num_tokens = sequences.iter().map(|s| s.input_ids.len()).sum();
    let mut trainer = WORK.trainer(&stage.optimizer, &WORK.base.parameters);
    let run = move || {
        let features = WORK.features(&stage.training, &trainer.parameters);
        let context = WORK.context(&stage.training, features.as_ref());
        pretrain::step(&mut trainer, &context, &sequences).expect("a step");
    };
    Timed { figure: "train step".into(), count: Some((num_tokens, "tokens/s")), run: Box::new(run) }
}

/// Nothing but the matrix products of the same step, of the same shapes: what a step could not be faster
/// than with these products.
fn products() -> Timed {
    let sequences = WORK.sequences();
    let num_tokens = sequences.iter().map(|s| s.input_ids.len()).sum();
    let mut step = train_step();
    (step.run)();
    let products = recorded(|| (step.run)());
    let largest = |size: fn(&Product) -> usize| products.iter().map(size).max().unwrap_or(0);
    let numbers = [
        largest(|p| p.rows * p.columns),
        largest(|p| p.rows * p.inner),
        largest(|p| p.inner * p.columns),
    ];
    // Dealt out in turn, so that threads end together.
    let shards: Vec<Vec<Product>> =
        (0..8).map(|k| products.iter().copied().skip(k).step_by(8).collect()).collect();
    let run = move || {
        WORK.compute.map(&shards, |_, shard| {
            let [mut to, left, right] = numbers.map(|count| vec![1.0_f32; count]);
            for &Product { rows, inner, columns, transposed: [left_turned, right_turned] } in shard
            {
                let side = |data, rows, columns, turned| {
                    if turned {
                        Mat::new(data, columns, rows, rows).t()
                    } else {
                        Mat::new(data, rows, columns, columns)
                    }
                };
                product(
                    MatMut::new(&mut to, rows, columns, columns),
                    side(&left, rows, inner, left_turned),
                    side(&right, inner, columns, right_turned),
                    1.0,
                    false,
                );
            }
            black_box(to[0])
        });
    };
    let count = Some((num_tokens, "tokens/s"));
    Timed { figure: "train step, products alone".into(), count, run: Box::new(run) }
}

/// Log-probabilities of the same batch, without gradients.
fn forward() -> Timed {
    let sequences = WORK.sequences();
    let lengths: Vec<usize> = sequences.iter().map(|s| s.input_ids.len()).collect();
    let cut = micro_batches(&lengths, WORK.sft().training.micro_batch_size);
    let model = Vlm::new(&WORK.base.prompter.config, &WORK.base.parameters);
    let run = move || {
        black_box(WORK.compute.map(&cut, |_, members| {
            let sequences = members.iter().map(|&i| &sequences[i]).collect();
            let batch = Batch { members, sequences, num_micro_batches: cut.len() };
            prediction_log_probs(&model, &batch, None)
        }));
    };
    let count = Some((lengths.iter().sum(), "tokens/s"));
    Timed { figure: "forward".into(), count, run: Box::new(run) }
}

/// Greedy answers of one length, that of [`DECODED`] at `place`, to questions with a picture each.
fn decode(place: usize) -> Timed {
    let questions = WORK.questions();
    let engine = WORK.loaded();
    let (num_questions, num_tokens) = (DECODED.0, DECODED.1[place]);
    let run = move || {
        black_box(WORK.decode(&engine, &questions, num_tokens));
    };
    let count = Some((num_questions * num_tokens, "tokens/s"));
    let figure = ["decoding".to_owned(), format!("decoding, {num_tokens} tokens")];
    Timed { figure: figure[place].clone(), count, run: Box::new(run) }
}

/// How wide the machine is: one product, on every thread at once.
fn width() -> Timed {
    const TIMES: usize = 64;
    let [rows, inner, columns] = WIDTH;
    let num_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = vec![(); num_threads];
    let run = move || {
        WORK.compute.map(&each, |_, ()| {
            let (left, right) = (vec![1.0_f32; rows * inner], vec![1.0_f32; inner * columns]);
            let mut to = vec![0.0_f32; rows * columns];
            for _ in 0..TIMES {
                product(
                    MatMut::new(&mut to, rows, columns, columns),
                    Mat::new(&left, rows, inner, inner),
                    Mat::new(&right, inner, columns, columns),
                    1.0,
                    false,
                );
            }
            black_box(to[0])
        });
    };
    let operations = 2 * num_threads * TIMES * rows * inner * columns;
    let figure = "width of the machine: products of all threads".to_owned();
    // In millions, whose remainder is none of the figure's digits.
    Timed { figure, count: Some((operations / 1_000_000, "MFLOP/s")), run: Box::new(run) }
}

/// Drawn pictures to patches, on one thread.
fn processor() -> Timed {
    let pictures: Vec<_> = (0..PICTURES as u64)
        .flat_map(|i| sample(i).load_images().expect("drawn pictures"))
        .collect();
    let run = move || {
        for picture in &pictures {
            black_box(WORK.base.prompter.processor.patches(picture).expect("patches"));
        }
    };
    let count = Some((PICTURES, "pictures/s"));
    Timed { figure: "processor".into(), count, run: Box::new(run) }
}

/// The teacher's answers judged: outcome, form, style; on one thread.
fn grading() -> Timed {
    let completions: Vec<Completion> = (0..GRADED as u64)
        .map(|i| {
            let sample = sample(i);
            let solution = sample.solution.as_ref().expect("a family solves its questions");
            let trace = if i % 2 == 0 { solution.dense() } else { solution.long(0.1) };
            let text = reasoned(&trace, &sample.answer);
            Completion::new(&sample, 0, text, 0, true)
        })
        .collect();
    let run = move || {
        for completion in &completions {
            black_box(score(completion, Grader::Boxed1));
        }
    };
    Timed { figure: "grading".into(), count: Some((GRADED, "answers/s")), run: Box::new(run) }
}

/// TIES of two models near the base, on one thread.
fn merging() -> Timed {
    let base = &WORK.base.parameters;
    let near = |by: f64| base.map(|_, p| p.value.clone().mul_scalar(1.0 + by));
    let (a, b) = (near(1e-2), near(-1e-3));
    let spec = MergeSpec {
        method: Method::Ties,
        share: 0.5,
        density: 0.5,
        normalize: true,
        lambda: 1.0,
        rescale: Rescale::None,
        seed: 1,
    };
    let run = move || {
        black_box(merge(&spec, &a, &b, base).expect("three models of one shape"));
    };
    let count = Some((base.count(), "parameters/s"));
    Timed { figure: "merging".into(), count, run: Box::new(run) }
}

/// Measures with criterion; its own filters hold.
fn criterion() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, make) in works() {
        let mut timed = make();
        let (group, function) = name.split_once('/').expect("a group and a function");
        let mut group = criterion.benchmark_group(group);
        group.sample_size(10);
        if let Some((count, _)) = timed.count {
            group.throughput(Throughput::Elements(count as u64));
        }
        group.bench_function(function, |b| b.iter(|| (timed.run)()));
        group.finish();
    }
    criterion.final_summary();
}

/// Times the works whose name holds one of `parts`, all of them without parts, and prints a JSON line
/// for each figure: the median, the lowest and the highest of its runs.
fn json_lines(parts: &[&str]) {
    for (i, (name, make)) in works().into_iter().enumerate() {
        if !parts.is_empty() && !parts.iter().any(|part| name.contains(part)) {
            continue;
        }
        print_timed(make());
        // Before anything else has run.
        if i == 0
            && let Some(bytes) = memory_bytes_max()
        {
            print_figure("GRPO step, peak memory", &[bytes as f64 / 1e6], "MB");
        }
    }
    // Last, since the first has the memory; ratios of two machines are told apart by it.
    print_timed(width());
}

/// Times a few runs and prints their line.
fn print_timed(mut timed: Timed) {
    (timed.run)();
    let (mut values, begin) = (Vec::new(), Instant::now());
    while values.len() < RUNS_MIN || begin.elapsed().as_secs_f64() < SECONDS_MIN {
        let start = Instant::now();
        (timed.run)();
        let seconds = start.elapsed().as_secs_f64();
        values.push(timed.count.map_or(seconds, |(count, _)| count as f64 / seconds));
    }
    values.sort_by(f64::total_cmp);
    print_figure(&timed.figure, &values, timed.count.map_or("s", |(_, unit)| unit));
}

/// One figure from its sorted `values`.
fn print_figure(figure: &str, values: &[f64], unit: &str) {
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    let (commit, dirty) = machine::commit();
    let line = json!({
        "figure": figure,
        "program": "synergy",
        "value": round(values[values.len() / 2]),
        "unit": unit,
        "low": round(values[0]),
        "high": round(values[values.len() - 1]),
        "machine": machine::describe(),
        "commit": if dirty { format!("{commit} with changes") } else { commit },
    });
    println!("{line}");
}

/// The most memory that this process has held so far, where the system tells.
fn memory_bytes_max() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Writes to `dir` what a peer needs to do the same work, and what we compute from it:
///
/// - `train.safetensors`: the batch of a training step, right-padded; `labels` as PyTorch has them;
/// - `decode.safetensors`: the prompts, left-padded, and our greedy `answers`;
/// - `pictures/*.png`: of the questions of the step of GRPO;
/// - `random`: a checkpoint of the weights that the step with long answers starts from;
/// - `work.json`: the questions, every setting, and the loss of the training step.
///
/// # Errors
/// If a file cannot be written.
fn dump(dir: &Path) -> Result<()> {
    let pictures = dir.join("pictures");
    fs::create_dir_all(&pictures)
        .with_context(|| format!("failed to create the folder `{}`", pictures.display()))?;
    let base = &WORK.base;

    let stage = WORK.sft();
    let sequences = WORK.sequences();
    dump_sequences(&dir.join("train.safetensors"), &sequences)?;
    let mut trainer = WORK.trainer(&stage.optimizer, &base.parameters);
    let figures = pretrain::step(&mut trainer, &WORK.context(&stage.training, None), &sequences)?;

    let questions = WORK.questions();
    for (num_tokens, file) in DECODED.1.into_iter().zip(["decode", "decode_long"]) {
        let answers = WORK.decode(&WORK.loaded(), &questions, num_tokens);
        dump_questions(&dir.join(file).with_extension("safetensors"), &questions, &answers)?;
    }

    let asked = WORK.asked();
    let grpo = WORK.grpo();
    let grpo_figures = WORK.grpo_step(grpo, &base.parameters, &asked);
    let mut in_pictures = Vec::new();
    for (i, question) in asked.iter().enumerate() {
        let file = format!("{i:02}.png");
        let pixels = question.sample.load_images()?.swap_remove(0);
        let path = pictures.join(&file);
        pixels.save(&path).with_context(|| format!("failed to write `{}`", path.display()))?;
        in_pictures.push(json!({
            "text": base.prompter.text(&question.sample, true),
            "picture": file,
            "answer": question.sample.answer,
        }));
    }

    let random = WORK.random();
    let long_figures = WORK.grpo_step(&WORK.long(), &random, &asked);
    dump_random(&dir.join("random"), &random)?;

    let (text_spec, random, asked, texts) = WORK.in_text();
    let text_figures = WORK.grpo_step(&text_spec, &random, &asked);
    let in_text: Vec<Value> = asked
        .iter()
        .zip(texts)
        .map(|(q, text)| json!({ "text": text, "num_tokens": q.input_ids.len() }))
        .collect();

    let work = json!({
        "model": WORK.recipe.model,
        "freeze": stage.training.freeze,
        "train": {
            "num_tokens": sequences.iter().map(|s| s.input_ids.len()).sum::<usize>(),
            "loss": figures["loss"],
            "optimizer": *stage.optimizer,
        },
        "decode": { "num_new_tokens": DECODED.1 },
        "long": { "max_completion_tokens": LONG_CAP, "mean_length": long_figures["length"] },
        "grpo": {
            "spec": grpo,
            "reward": *grpo.reward,
            "optimizer": *grpo.optimizer,
            "mean_length": grpo_figures["length"],
            "questions": in_pictures,
        },
        "text": {
            "max_completion_tokens": text_spec.max_completion_tokens,
            "mean_length": text_figures["length"],
            "questions": in_text,
        },
    });
    let path = dir.join("work.json");
    fs::write(&path, serde_json::to_string_pretty(&work)?)
        .with_context(|| format!("failed to write `{}`", path.display()))
}

/// The kept base's folder with other weights.
fn dump_random(dir: &Path, random: &Parameters) -> Result<()> {
    fs::create_dir_all(dir)?;
    let ModelSpec::Kept { path: kept, .. } = &WORK.recipe.model else { panic!("a kept base") };
    for file in ["config.json", "generation_config.json"] {
        fs::copy(kept.join(file), dir.join(file))
            .with_context(|| format!("failed to copy `{file}` of `{}`", kept.display()))?;
    }
    fs::write(dir.join("model.safetensors"), random.to_bytes())?;
    Ok(())
}

/// The batch as one rectangle, padded on the right.
fn dump_sequences(path: &Path, sequences: &[Sequence]) -> Result<()> {
    let width = sequences.iter().map(|s| s.input_ids.len()).max().unwrap_or(0);
    let num = sequences.len();
    let mut tensors = Tensors::new();
    let mut ids = vec![0; num * width];
    let mut mask = vec![0; num * width];
    let mut labels = vec![IGNORED; num * width];
    let mut positions = vec![0; 3 * num * width];
    for (i, sequence) in sequences.iter().enumerate() {
        for (t, (&id, position)) in sequence.input_ids.iter().zip(&sequence.positions).enumerate() {
            ids[i * width + t] = i64::from(id);
            mask[i * width + t] = 1;
            for (axis, &p) in position.iter().enumerate() {
                positions[(axis * num + i) * width + t] = i64::from(p);
            }
        }
        for &(at, target) in &sequence.predictions {
            // The peer shifts: what is predicted at a place stands in the next one.
            labels[i * width + at + 1] = i64::from(target);
        }
    }
    tensors.add("input_ids", &[num, width], &ids);
    tensors.add("attention_mask", &[num, width], &mask);
    tensors.add("labels", &[num, width], &labels);
    tensors.add("position_ids", &[3, num, width], &positions);
    tensors.add_pictures(sequences.iter().flat_map(|s| &s.patches));
    tensors.write(path)
}

/// The prompts as one rectangle, padded on the left, and their answers.
fn dump_questions(path: &Path, questions: &[Question], answers: &[Vec<Generated>]) -> Result<()> {
    let width = questions.iter().map(|q| q.input_ids.len()).max().unwrap_or(0);
    let mut tensors = Tensors::new();
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for question in questions {
        let padding = vec![0; width - question.input_ids.len()];
        ids.extend(&padding);
        ids.extend(question.input_ids.iter().map(|&id| i64::from(id)));
        mask.extend(&padding);
        mask.extend(vec![1; question.input_ids.len()]);
    }
    let answers: Vec<i64> =
        answers.iter().flatten().flat_map(|a| a.ids.iter().map(|&id| i64::from(id))).collect();
    let num = questions.len();
    tensors.add("input_ids", &[num, width], &ids);
    tensors.add("attention_mask", &[num, width], &mask);
    tensors.add("answers", &[num, answers.len() / num], &answers);
    tensors.add_pictures(questions.iter().flat_map(|q| &q.patches));
    tensors.write(path)
}

/// Tensors by name, as bytes.
struct Tensors(BTreeMap<&'static str, (Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn new() -> Tensors {
        Tensors(BTreeMap::new())
    }

    fn add(&mut self, name: &'static str, shape: &[usize], values: &[i64]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.0.insert(name, (Dtype::I64, shape.to_vec(), bytes));
    }

    /// `pixel_values` and `image_grid_thw`, pictures one after another.
    fn add_pictures<'a>(&mut self, pictures: impl Iterator<Item = &'a Patches> + Clone) {
        let grids: Vec<i64> = pictures
            .clone()
            .flat_map(|p| [p.grid.t, p.grid.h, p.grid.w].map(|n| n as i64))
            .collect();
        self.add("image_grid_thw", &[grids.len() / 3, 3], &grids);
        let num: usize = pictures.clone().map(|p| p.grid.num_patches()).sum();
        let values: Vec<u8> =
            pictures.flat_map(|p| &p.values).flat_map(|value| value.to_le_bytes()).collect();
        let shape = vec![num, values.len() / size_of::<f32>() / num];
        self.0.insert("pixel_values", (Dtype::F32, shape, values));
    }

    fn write(&self, path: &Path) -> Result<()> {
        let views: BTreeMap<&str, TensorView<'_>> = self
            .0
            .iter()
            .map(|(&name, (dtype, shape, bytes))| {
                Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?))
            })
            .collect::<Result<_>>()?;
        serialize_to_file(views, None, path)
            .with_context(|| format!("failed to write `{}`", path.display()))
    }
}

fn main() -> Result<()> {
    // Cargo adds `--bench`, which means nothing to us.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--dump", dir] => return dump(Path::new(dir)),
        ["--json", ref parts @ ..] => json_lines(parts),
        _ => criterion(),
    }
    Ok(())
}
