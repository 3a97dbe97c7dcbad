//! How fast the suite's own work is, on the kept small base and the questions of profile small.
//!
//! Does not know other programs: `peer.py` beside it runs the same work on PyTorch, from the batch that
//! `--dump DIR` writes; `cargo xtask bench` runs both.

use std::hint::black_box;
use std::path::Path;
use std::sync::LazyLock;

use criterion::{Criterion, Throughput};
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::Sampling;
use synergy_models::vlm::Vlm;
use synergy_suite::base::Base;
use synergy_suite::data::{Sequence, train_sample};
use synergy_suite::device::Compute;
use synergy_suite::evaluate::{Question, rollouts};
use synergy_suite::optimizer::Optimizer;
use synergy_suite::recipe::{GrpoSpec, Recipe, SftSpec, StageSpec, TrainingSpec};
use synergy_suite::run::open_base;
use synergy_suite::train::{Context, Trainer, grpo, pretrain, sft};

/// Questions and their decoded tokens.
const DECODED: (usize, usize) = (64, 64);

struct Work {
    recipe: Recipe,
    base: Base,
    compute: Compute,
}

static WORK: LazyLock<Work> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::set_current_dir(&root).expect("the repository is there");
    let recipe = Recipe::read(Path::new("suite/recipes/small.toml")).expect("a recipe");
    let compute = Compute::open("flex", None).expect("flex is in every build");
    let base = open_base(&recipe, &compute).expect("the kept base is there");
    Work { recipe, base, compute }
});

impl Work {
    fn stage(&self, name: &str) -> &StageSpec {
        self.recipe.stages.get(name).expect("profile small has it")
    }

    fn trainer(&self, stage: &StageSpec) -> Trainer {
        Trainer {
            optimizer: Optimizer::new(stage.optimizer(), 1000, &self.base.parameters),
            parameters: self.base.parameters.clone(),
            num_updates: 0,
        }
    }

    fn context<'a>(&'a self, training: &'a TrainingSpec) -> Context<'a> {
        Context { prompter: &self.base.prompter, compute: &self.compute, training }
    }

    fn sft(&self) -> (&StageSpec, &SftSpec) {
        let stage = self.stage("sft");
        let StageSpec::Sft(spec) = stage else { panic!("sft is SFT") };
        (stage, spec)
    }

    fn grpo(&self) -> (&StageSpec, &GrpoSpec) {
        let stage = self.stage("grpo");
        let StageSpec::Grpo(spec) = stage else { panic!("grpo is GRPO") };
        (stage, spec)
    }

    fn sequences(&self) -> Vec<Sequence> {
        let (_, spec) = self.sft();
        sft::batch(&self.base.prompter, spec, 1, Seed::root(1), 0).expect("a batch")
    }

    fn questions(&self, num: usize) -> Vec<Question> {
        (0..num as u64)
            .map(|i| Question::new(&self.base.prompter, train_sample(1, i, [1, 15]), true))
            .collect::<Result<_, _>>()
            .expect("questions")
    }
}

/// One update on a batch of SFT: gradients and optimizer.
fn train_step(c: &mut Criterion) {
    let (stage, _) = WORK.sft();
    let sequences = WORK.sequences();
    let tokens: usize = sequences.iter().map(|s| s.input_ids.len()).sum();
    let (context, mut trainer) = (WORK.context(stage.training()), WORK.trainer(stage));
    let mut group = c.benchmark_group("train");
    group.sample_size(10).throughput(Throughput::Elements(tokens as u64));
    group.bench_function("step", |b| {
        b.iter(|| pretrain::step(&mut trainer, &context, &sequences).expect("a step"));
    });
    group.finish();
}

/// One step of GRPO: rollouts, rewards, updates.
fn grpo_step(c: &mut Criterion) {
    let (stage, spec) = WORK.grpo();
    let questions = grpo::batch(&WORK.base.prompter, spec, 1, Seed::root(1), 0).expect("a batch");
    let context = WORK.context(stage.training());
    let mut group = c.benchmark_group("grpo");
    group.sample_size(10);
    group.bench_function("step", |b| {
        // From the same weights each time: answers, and with them the work, stay the same.
        b.iter(|| {
            let mut trainer = WORK.trainer(stage);
            let (reference, seed) = (&WORK.base.parameters, Seed::root(1));
            grpo::step(&mut trainer, &context, spec, reference, &questions, seed).expect("a step")
        });
    });
    group.finish();
}

/// Greedy answers of one length to questions with a picture each.
fn decode(c: &mut Criterion) {
    let (num, new) = DECODED;
    let questions = WORK.questions(num);
    let training = WORK.sft().0.training();
    let context = WORK.context(training);
    let model = Vlm::new(&WORK.base.prompter.config, &WORK.base.parameters);
    let sampling = Sampling { eos_token_id: Vec::new(), ..Sampling::greedy(new, 0) };
    let mut group = c.benchmark_group("decode");
    group.sample_size(10).throughput(Throughput::Elements((num * new) as u64));
    group.bench_function("64 sequences", |b| {
        b.iter(|| black_box(rollouts(&model, &context, &questions, 1, &sampling, Seed::root(1))));
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    train_step(&mut criterion);
    decode(&mut criterion);
    grpo_step(&mut criterion);
    criterion.final_summary();
}
