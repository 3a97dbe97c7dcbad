//! What a stage takes: steps, tokens, memory, time, disk. Pure arithmetic on a recipe and a model's sizes.
//!
//! Does not know keys. Every term stands for something that training or sampling holds, and says where; what the tables
//! of a plan show is meant to be right within a factor of two, and not too low.

use synergy_benchmarks::families::Family;
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::qwen2_5_vl::layout::{BlockLayout, Layout};
use synergy_models::qwen2_5_vl::shapes::{NamedShape, shapes};
use synergy_models::weights::ComputeDtype;

use crate::device::Place;
use crate::limits::{
    CARD_PARTS, FEATURE_CACHE_BYTES, Limits, QUESTIONS_PER_CHUNK, ROLLOUT_BYTES, SHARD_ROWS,
    SHARDS_MIN, TOWER,
};
use crate::recipe::load::{
    DENSE_STEP_TOKENS, FILES_PROMPT, LearningLoad, Load, PROMPT, RolloutLoad, answer_tokens, mean,
};
use crate::recipe::{
    BASE, BenchmarkSpec, Drawn, Recipe, Role, StageSpec, TrainingSpec, ValidationQuestions,
};

/// Tokens per second, for a model of one million parameters, when training: measured on the machine
/// of `golden/LOG.md` (two cores, burn-flex). Only the estimate of time depends on it.
const TRAIN_TOKENS_PER_S: f64 = 25_000.0;
/// The same when sampling (golden/LOG.md, 2026-11-30).
const SAMPLE_TOKENS_PER_S: f64 = 35_000.0;
/// Shards that are computed at once there.
const CORES: f64 = 2.0;

/// Models of more parameters are planned for a card, whatever computes here: they are not for two cores.
const LARGE: usize = 500_000_000;
/// Operations a second of an H100 in bf16 (dense) and in f32, and bytes a second and bytes of its memory. Source:
/// NVIDIA H100 Tensor Core GPU data sheet, column SXM.
const CARD_BF16_FLOPS: f64 = 989e12;
const CARD_F32_FLOPS: f64 = 67e12;
const CARD_BYTES_PER_S: f64 = 3.35e12;
pub(super) const CARD_BYTES: f64 = 80e9;
/// Share of a card's operations that training reaches. An assumption: PaLM reached 46 % (Chowdhery et al. 2022, table 3)
/// with fused kernels; the plain form fuses nothing, and softmax and norms go through memory in f32.
const FLOPS_SHARE: f64 = 0.25;
/// Share of its bandwidth that decoding reaches. An assumption: a step starts dozens of kernels a layer, which takes
/// about as long as reading the layer.
const BANDWIDTH_SHARE: f64 = 0.3;
/// Seconds of the host for an entry of the vocabulary in a draw at temperature 1, which takes two exponentials: measured
/// on the machine of `golden/LOG.md`, one thread.
const DRAW_S: f64 = 7e-9;

/// Tokens of an answer to a published benchmark. An assumption, between the study's 337 of its RL model and "more than
/// ten times" as many of its SFT model (table 7, section 3).
const PUBLISHED_ANSWER_TOKENS: f64 = 1500.0;
/// Bytes of a number of f32.
const F32: f64 = 4.0;
/// What the program itself holds with a tokenizer and its threads: measured.
const PROGRAM_BYTES: f64 = 40e6;
/// What a context of CUDA with its libraries takes of a card.
const CONTEXT_BYTES: f64 = 1e9;
/// What allocators hold in addition to what is asked of them, as a share: measured on the host, assumed on a card.
const HOST_KEPT: f64 = 0.4;
const CARD_KEPT: f64 = 0.1;
/// Batches whose patches are there at once: two in the queue, one on either side of it, and the copy of an update.
const BATCHES_AHEAD: f64 = 5.0;
/// Bytes of a score of attention while its layer is computed: four of f32 at once, forward as backward, its copy in what
/// is computed in, and the mask.
const SCORE_AT_WORK: f64 = 19.0;
/// Bytes of a logit while the loss is computed: logits, their exponentials, their log-probabilities and a gradient.
const LOGIT: f64 = 16.0;
/// Micro-batches for each core whose gradients wait to be added; see [`crate::device::Compute::at_once`].
const SUMMED: f64 = 8.0;
/// Rows whose logits the native form holds at once, rows that it decodes at once, and prompts that it computes at once.
const NATIVE_LOGIT_ROWS: f64 = 128.0;
const NATIVE_SLOTS: f64 = 64.0;
const NATIVE_PROMPTS: f64 = 16.0;

/// Time and memory that a stage will take.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Estimate {
    /// Updates or, of data, questions; at most.
    pub(super) num_steps: usize,
    /// Tokens that are trained and sampled.
    pub(super) num_tokens: f64,
    /// Memory at its peak.
    pub(super) memory_bytes: f64,
    /// Time from start to end.
    pub(super) seconds: f64,
}

/// Numbers that learn: those with a gradient of their own, and those of an adapter, if one learns in their place.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Learning {
    with_gradient: f64,
    factors: Option<f64>,
    /// True if any of them belong to the tower: then its graph is kept, and no features are.
    tower: bool,
}

/// A stack of equal blocks, of the decoder or the tower.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    depth: f64,
    hidden: f64,
    inner: f64,
    heads: f64,
    /// Width of keys and values together.
    kv: f64,
}

impl Blocks {
    fn of(blocks: &BlockLayout) -> Blocks {
        Blocks {
            depth: blocks.num_layers as f64,
            hidden: blocks.hidden_size as f64,
            inner: blocks.intermediate_size as f64,
            heads: blocks.num_heads as f64,
            kv: blocks.kv_width() as f64,
        }
    }
}

/// What a pass through blocks sees.
#[derive(Debug, Clone, Copy)]
struct Rows {
    tokens: f64,
    /// Keys that each of them is compared with, hidden ones included.
    attended: f64,
    /// Bytes of a number that is computed in.
    bytes: f64,
}

/// Estimates of one recipe from a model of one size in one place.
pub(super) struct Estimator<'a> {
    recipe: &'a Recipe,
    layout: Layout,
    pub(super) place: Place,
    shapes: Vec<NamedShape>,
}

impl<'a> Estimator<'a> {
    /// On `place`, or on a card if the model is large.
    pub(super) fn new(recipe: &'a Recipe, config: &'a VlmConfig, place: Place) -> Estimator<'a> {
        let shapes = shapes(config);
        let is_large = count(&shapes) > LARGE as f64;
        let place = if is_large { Place::Card } else { place };
        Estimator { recipe, layout: config.layout(), place, shapes }
    }

    /// Parameters of the model.
    pub(super) fn parameters(&self) -> f64 {
        count(&self.shapes)
    }

    /// Time, memory and disk of one whole stage, as if nothing of it were done yet.
    pub(super) fn stage(&self, spec: &StageSpec) -> Estimate {
        let load = spec.load_among(&self.recipe.stages);
        let trained = load.learned.map_or(0.0, |l| l.batch * l.mean());
        // A frozen model adds a forward pass, a third of a step.
        let trained = (1.0 + 0.33 * load.reference_passes) * trained;
        let sampled = load.asked.map_or(0.0, |a| a.questions * a.samples * a.answer);
        let seconds = match self.place {
            Place::Card => {
                let learning = load.learned.map_or(0.0, |l| self.learning_on_card(spec, &load, &l));
                learning + load.asked.map_or(0.0, |a| self.decoding_on_card(&a, spec.dtype()))
            }
            Place::Slices | Place::Host => self.seconds_on_cores(trained, sampled),
        };
        let [judged, judging] = self.judged_epoch(spec, &load);
        Estimate {
            num_steps: load.num_steps,
            num_tokens: load.num_rounds * (trained + sampled) + load.num_validations * judged,
            memory_bytes: self.memory(spec, &load),
            seconds: load.num_rounds * seconds + load.num_validations * judging,
        }
    }

    /// Tokens and seconds of the answers that judge one of a stage's checkpoints, if any do.
    fn judged_epoch(&self, spec: &StageSpec, load: &Load) -> [f64; 2] {
        let Some(asked) = self.validated(spec, load) else { return [0.0; 2] };
        let tokens = asked.questions * asked.samples * asked.answer;
        let seconds = match self.place {
            Place::Card => self.decoding_on_card(&asked, spec.dtype()),
            Place::Slices | Place::Host => self.seconds_on_cores(0.0, tokens),
        };
        [tokens, seconds]
    }

    /// Time and memory of `num_completions` in evaluations; they have no steps.
    pub(super) fn evaluation(&self, num_completions: usize) -> Estimate {
        let asked = self.evaluated();
        let completions = num_completions as f64;
        let dtype = self.recipe.evaluation.dtype();
        let seconds = match self.place {
            Place::Card => {
                let chunks = completions / (asked.questions * asked.samples);
                chunks * self.decoding_on_card(&asked, dtype)
            }
            Place::Slices | Place::Host => self.seconds_on_cores(0.0, completions * asked.answer),
        };
        let weights = self.base() + self.asking(dtype, false);
        // A chunk's pictures at a time.
        let data = self.patches(asked.questions * asked.prompt.picture);
        Estimate {
            num_steps: 0,
            num_tokens: completions * asked.answer,
            memory_bytes: self.held(weights + data + self.rollouts(&asked, dtype, false)),
            seconds,
        }
    }

    /// Bytes that a finished stage leaves in the store, and those of the checkpoint inside one: what learns and two
    /// moments of it, written before the one that they replace is removed.
    pub(super) fn disk(&self, spec: &StageSpec) -> [f64; 2] {
        if !spec.keeps_weights() {
            return [0.0; 2];
        }
        let learning = spec.training().map(|training| self.learning(training));
        let factors = learning.and_then(|l| l.factors);
        let learned = factors.unwrap_or(self.parameters());
        let inside = if learning.is_some() { 2.0 * 3.0 * F32 * learned } else { 0.0 };
        [F32 * (self.parameters() + factors.unwrap_or(0.0)), inside]
    }

    /// A chunk of an evaluation.
    fn evaluated(&self) -> RolloutLoad {
        let e = &self.recipe.evaluation;
        let cap = e.max_new_tokens as f64;
        let drawn = e.drawn().map(|(drawn, _)| drawn);
        let published: usize = e.benchmarks.iter().map(BenchmarkSpec::about).sum();
        let families = drawn.map_or(0, |drawn| drawn.per_family * Family::ALL.len());
        // The small models are terse; full ones think aloud, some of them to the cap.
        let (prompt, answer) = match drawn {
            Some(Drawn { hops, .. }) if published == 0 => {
                (PROMPT, answer_tokens(mean(hops), DENSE_STEP_TOKENS) + 20.0)
            }
            _ => (FILES_PROMPT, PUBLISHED_ANSWER_TOKENS.min(cap)),
        };
        let questions = (families + published).min(QUESTIONS_PER_CHUNK) as f64;
        let alike = published == 0;
        RolloutLoad { questions, samples: e.num_samples as f64, prompt, answer, cap, alike }
    }

    /// Counts what learns by a training table.
    fn learning(&self, training: &TrainingSpec) -> Learning {
        // Whether an adapter fits, and patterns are patterns, has been asked before there is a plan.
        let lora = training.lora_config(&self.shapes).ok().flatten();
        let frozen = training.freeze_patterns().unwrap_or_default();
        let is_learned = |(name, _): &&NamedShape| !frozen.iter().any(|f| f.is_match(name));
        let changed: Vec<&NamedShape> = match &lora {
            Some(lora) => lora.weights(&self.shapes).unwrap_or_default(),
            None => self.shapes.iter().filter(is_learned).collect(),
        };
        Learning {
            with_gradient: changed.iter().map(|shape| size(shape)).sum(),
            factors: lora.and_then(|lora| Some(count(&lora.factors(&self.shapes).ok()?))),
            tower: changed.iter().any(|(name, _)| name.starts_with(TOWER)),
        }
    }

    /// Bytes that a stage holds at its peak.
    fn memory(&self, spec: &StageSpec, load: &Load) -> f64 {
        let model = F32 * self.parameters();
        // The base stays open for all stages, and is what they start from if they name it.
        let is_base = spec.weights(Role::Start).iter().all(|from| *from == BASE);
        let work = match (spec.training(), &load.learned) {
            (Some(training), Some(learned)) => {
                let start = if is_base { 0.0 } else { model };
                start + self.training(spec, load, training, learned)
            }
            // What two parents make, and those, which are the host's.
            _ if load.num_parents > 0.0 => model + self.on_host(load.num_parents * model),
            _ => load.asked.map_or(0.0, |asked| {
                let data = self.patches(asked.questions * asked.prompt.picture);
                let asks = self.asking(spec.dtype(), is_base);
                asks + data + self.rollouts(&asked, spec.dtype(), false)
            }),
        };
        self.held(self.base() + work)
    }

    /// Bytes that training holds in addition to the weights that it starts from, which are also what KL is measured from.
    fn training(
        &self,
        spec: &StageSpec,
        load: &Load,
        training: &TrainingSpec,
        learned: &LearningLoad,
    ) -> f64 {
        let learning = self.learning(training);
        let (dtype, learns) =
            (training.dtype(), learning.factors.unwrap_or(learning.with_gradient));
        let state = match learning.factors {
            // Changed weights and two moments; those of what is frozen are zeros, which are there all the same.
            None => F32 * (learning.with_gradient + 2.0 * self.parameters()),
            // The native form has the sums of weights and factors, the plain form in bf16 both side by side; factors have
            // moments of their own.
            Some(factors) => {
                let is_plain = self.place != Place::Slices && dtype == ComputeDtype::F32;
                let beside = if is_plain { 0.0 } else { bytes(dtype) * learning.with_gradient };
                beside + 3.0 * F32 * factors
            }
        };
        let best = if spec.keeps_best() { learns } else { 0.0 };
        let micro = (training.micro_batch_size as f64).min(learned.per_update);
        let num_micro = (learned.per_update / micro).ceil();
        let shards = self.at_once(num_micro);
        // Sums, and those of some micro-batches that wait to be added.
        let most = if self.place == Place::Card { 1.0 } else { SUMMED * CORES };
        let waiting = most.min(num_micro - 1.0);
        let gradients = match learning.factors {
            None => (1.0 + waiting) * learning.with_gradient,
            // The native form makes those of factors from those of the weights.
            Some(factors) if self.place == Place::Slices => {
                (1.0 + waiting) * factors + shards * learning.with_gradient
            }
            Some(factors) => (1.0 + waiting) * factors,
        };
        // Weights that are held in what is computed in have no copy.
        let is_half = self.recipe.base_dtype() == dtype && spec.weights(Role::Start) == [BASE];
        let copy = if is_half { 0.0 } else { self.copy(dtype) } + self.head(dtype);
        let graphs = shards * (copy + self.graph(training, &learning, learned, micro));
        let rollouts = [load.asked, self.validated(spec, load)].into_iter().flatten();
        let rollouts = rollouts
            .map(|asked| copy + self.rollouts(&asked, dtype, !learning.tower))
            .fold(0.0, f64::max);
        let features = if learning.tower { 0.0 } else { self.features(load, learned) };
        let ahead = self.patches(BATCHES_AHEAD * learned.batch * learned.prompt.picture);
        state + F32 * best + features + ahead + rollouts.max(F32 * gradients + graphs)
    }

    /// Bytes that one micro-batch of the longest sequences keeps for its backward pass.
    fn graph(
        &self,
        training: &TrainingSpec,
        learning: &Learning,
        learned: &LearningLoad,
        micro: f64,
    ) -> f64 {
        let bytes = bytes(training.dtype());
        let recomputes = training.recompute() && self.place != Place::Slices;
        let (mut tokens, mut attended) = (micro * learned.longest(), learned.longest());
        let mut predictions = micro * learned.predictions();
        if recomputes {
            // See [`Limits`]: a piece at a time, blocks of its queries, chunks of its logits.
            let limits = Limits::new(training.max_packed_tokens);
            let packed =
                (limits.max_packed_tokens as f64).max(learned.prompt.tokens() + learned.longest);
            if attended > packed.min(limits.whole as f64) {
                tokens = attended.min(packed);
                attended = if tokens > limits.whole as f64 { limits.block as f64 } else { tokens };
            }
            predictions = predictions.min(limits.logits as f64);
        }
        let (blocks, rows) = (self.decoder(), Rows { tokens, attended, bytes });
        let (kept, at_work) = (self.kept(blocks, rows), self.at_work(blocks, rows));
        let vocab = self.layout.vocab_size as f64;
        let logits = match self.place {
            Place::Slices => F32 * vocab * predictions.min(NATIVE_LOGIT_ROWS),
            // All rows that predict at once.
            _ => LOGIT * vocab * predictions,
        };
        let decoder = if recomputes {
            // States between layers, and one layer's graph.
            blocks.depth * tokens * blocks.hidden * bytes + logits.max(kept + at_work)
        } else {
            blocks.depth * kept + logits.max(at_work)
        };
        let pictures = if learning.tower { micro } else { 1.0 };
        decoder + self.tower_pass(pictures, learned.prompt.picture, bytes, learning.tower)
    }

    /// Bytes that one layer keeps for its backward pass.
    fn kept(&self, blocks: Blocks, rows: Rows) -> f64 {
        let Blocks { hidden, inner, heads, kv, .. } = blocks;
        let Rows { tokens, attended, bytes } = rows;
        match self.place {
            // Its input, queries, what attention mixed, the sum with it; keys and values; gate and up.
            Place::Slices => F32 * tokens * (4.0 * hidden + kv + 2.0 * inner),
            // In f32 whatever is computed in: the inputs of both norms, the gate and its sigmoid, the exponentials of
            // attention. Else: both norms before and after their weight, queries twice, what attention mixed twice, the
            // sum with it; keys and values twice; silu, up and their product; attention's weights.
            Place::Host | Place::Card => {
                let of_token = (2.0 * F32 + 9.0 * bytes) * hidden
                    + 2.0 * bytes * kv
                    + (2.0 * F32 + 3.0 * bytes) * inner;
                tokens * (of_token + (F32 + bytes) * heads * attended)
            }
        }
    }

    /// Bytes that one layer takes besides while it is computed, forward or backward.
    fn at_work(&self, blocks: Blocks, rows: Rows) -> f64 {
        let Blocks { hidden, inner, heads, kv, .. } = blocks;
        let of_token = F32 * (5.0 * hidden + kv + 3.0 * inner);
        match self.place {
            // The native form never has the scores of more than a few rows.
            Place::Slices => rows.tokens * of_token,
            _ => rows.tokens * (of_token + SCORE_AT_WORK * heads * rows.attended),
        }
    }

    /// Bytes of the tower over `pictures` together, each of so many tokens; with its graph if it learns.
    fn tower_pass(&self, pictures: f64, tokens: f64, bytes: f64, learns: bool) -> f64 {
        let (blocks, [patches, attended]) = (self.tower(), self.attended(tokens));
        let rows = Rows { tokens: pictures * patches, attended: patches, bytes };
        let work = self.kept(blocks, rows) + self.at_work(blocks, rows);
        let graph = blocks.depth * self.kept(blocks, Rows { attended, ..rows });
        if learns { graph + work } else { work }
    }

    /// Bytes of answers to questions that are asked together.
    fn rollouts(&self, asked: &RolloutLoad, dtype: ComputeDtype, features_kept: bool) -> f64 {
        let (bytes, prompt, vocab) =
            (bytes(dtype), asked.prompt.tokens(), self.layout.vocab_size as f64);
        let (blocks, num_shards) = (self.decoder(), num_shards(asked));
        let questions = (asked.questions / num_shards).ceil();
        let rows = questions * asked.samples;
        // Keys and values of a token.
        let cached = blocks.depth * blocks.kv * bytes;
        let prefill = |questions: f64| {
            let rows = Rows { tokens: questions * prompt, attended: prompt, bytes };
            self.kept(blocks, rows) + self.at_work(blocks, rows)
        };
        let (cache, prefill, rows) = match self.place {
            Place::Slices => {
                // Prompts once; a row's lists double as they grow, and few rows reach the cap.
                let rows = rows.min(NATIVE_SLOTS);
                let cache = cached * (questions * prompt + rows * asked.cap);
                (cache, prefill(questions.min(NATIVE_PROMPTS)), rows)
            }
            _ => {
                // Room for every row to the cap, and of one layer a copy for attention and one to move it.
                let copies = 1.0 + 2.0 / blocks.depth;
                (copies * rows * (prompt + asked.cap) * cached, prefill(questions), rows)
            }
        };
        let logits = rows * vocab * (F32 + bytes);
        let pictures = if features_kept || !asked.alike { 1.0 } else { questions };
        let tower = self.tower_pass(pictures, asked.prompt.picture, bytes, false);
        let all = cache + tower.max(prefill).max(logits);
        // What is more is cut into chunks, of one row at least.
        let row = (prompt + asked.cap) * cached
            + self.tower_pass(1.0, asked.prompt.picture, bytes, false);
        self.at_once(num_shards) * all.min(self.budget().max(row))
    }

    /// Bytes that the rollouts of a shard may take at once; see [`crate::device::Compute`].
    fn budget(&self) -> f64 {
        match self.place {
            Place::Card => CARD_BYTES / CARD_PARTS as f64,
            _ => ROLLOUT_BYTES as f64,
        }
    }

    /// Questions that choose among a stage's checkpoints, if they do.
    fn validated(&self, spec: &StageSpec, load: &Load) -> Option<RolloutLoad> {
        let validation = self.recipe.validation.as_ref().filter(|_| spec.keeps_best())?;
        let cap = validation.max_new_tokens as f64;
        let (questions, prompt, alike) = match &validation.questions {
            ValidationQuestions::Files { files, num_questions } => {
                (num_questions.unwrap_or(files.about_questions), FILES_PROMPT, false)
            }
            ValidationQuestions::Drawn(drawn) => {
                (drawn.per_family * Family::ALL.len(), PROMPT, true)
            }
        };
        let questions = questions as f64;
        // A model answers as it has learned to.
        let answer = load.learned.map_or(cap, |learned| learned.answer.min(cap));
        Some(RolloutLoad { questions, samples: 1.0, prompt, answer, cap, alike })
    }

    /// Bytes of the base's weights.
    fn base(&self) -> f64 {
        bytes(self.recipe.base_dtype()) * self.parameters()
    }

    /// Bytes of the weights of a model that is only asked, in addition to the base's.
    fn asking(&self, dtype: ComputeDtype, is_base: bool) -> f64 {
        let is_there = is_base && self.recipe.base_dtype() == dtype;
        let weights = if is_there { 0.0 } else { bytes(dtype) * self.parameters() };
        weights + self.head(dtype)
    }

    /// Bytes of the head in f32, in which logits are computed, where weights are not.
    fn head(&self, dtype: ComputeDtype) -> f64 {
        let size = self.layout.vocab_size as f64 * self.decoder().hidden;
        if dtype == ComputeDtype::F32 { 0.0 } else { F32 * size }
    }

    /// Bytes of a copy of the weights in what is computed in, if that is another type.
    fn copy(&self, dtype: ComputeDtype) -> f64 {
        if dtype == ComputeDtype::F32 { 0.0 } else { bytes(dtype) * self.parameters() }
    }

    /// Bytes of the patches of pictures of so many tokens in all, which are the host's.
    fn patches(&self, tokens: f64) -> f64 {
        let per_token = self.layout.merge_size.pow(2) * self.layout.patch_values;
        self.on_host(F32 * tokens * per_token as f64)
    }

    /// Bytes of the features of pictures that are cached for a stage, which are the host's.
    fn features(&self, load: &Load, learned: &LearningLoad) -> f64 {
        let tokens = load.num_pictures as f64 * learned.prompt.picture;
        let bytes = F32 * tokens * self.layout.decoder.hidden_size as f64;
        self.on_host(bytes.min(FEATURE_CACHE_BYTES as f64))
    }

    fn on_host(&self, bytes: f64) -> f64 {
        if self.place == Place::Card { 0.0 } else { bytes }
    }

    /// Adds what the program and its allocator take.
    fn held(&self, bytes: f64) -> f64 {
        match self.place {
            Place::Card => CONTEXT_BYTES + (1.0 + CARD_KEPT) * bytes,
            _ => PROGRAM_BYTES + (1.0 + HOST_KEPT) * bytes,
        }
    }

    /// Shards of `all` that are computed at once.
    fn at_once(&self, all: f64) -> f64 {
        if self.place == Place::Card { 1.0 } else { all.min(CORES) }
    }

    fn decoder(&self) -> Blocks {
        Blocks::of(&self.layout.decoder)
    }

    fn tower(&self) -> Blocks {
        Blocks::of(&self.layout.tower)
    }

    /// Patches of a picture of so many tokens, and those that a patch is compared with in the mean of blocks.
    fn attended(&self, tokens: f64) -> [f64; 2] {
        let layout = &self.layout;
        let patches = tokens * layout.merge_size.pow(2) as f64;
        let window = (layout.window_patches as f64).min(patches);
        let whole = layout.num_full_attention_layers as f64 / layout.tower.num_layers as f64;
        [patches, whole * patches + (1.0 - whole) * window]
    }

    fn seconds_on_cores(&self, trained: f64, sampled: f64) -> f64 {
        let scale = self.parameters() / 1e6;
        scale * (trained / TRAIN_TOKENS_PER_S + sampled / SAMPLE_TOKENS_PER_S)
    }

    /// Seconds of a step on a card, but for rollouts. Moments and gradients are read in some tenths of a second, which
    /// is left out.
    fn learning_on_card(&self, spec: &StageSpec, load: &Load, learned: &LearningLoad) -> f64 {
        let Some(training) = spec.training() else { return 0.0 };
        // Backward is twice forward, without gradients of weights as much as forward, and layers may be computed again
        // (Kaplan et al. 2020, section 2.1).
        let learning = self.learning(training);
        let passes = |learns: bool| match learning.factors {
            _ if !learns => 1.0,
            Some(_) => 2.0,
            None => 3.0,
        };
        let reference = load.reference_passes;
        let packed = training.max_packed_tokens.unwrap_or(usize::MAX) as f64;
        let again = match training.recompute() {
            // Of several pieces the way forward is gone once more, for their slopes.
            true if learned.mean() > packed => 2.0,
            true => 1.0,
            false => 0.0,
        };
        let decoder =
            (passes(true) + again + reference) * self.forward(learned.mean(), learned.mean());
        let tower = (passes(learning.tower) + reference) * self.see(learned.prompt.picture);
        learned.batch * (decoder + tower) / flops_per_s(training.dtype())
    }

    /// Seconds of answers on a card.
    fn decoding_on_card(&self, asked: &RolloutLoad, dtype: ComputeDtype) -> f64 {
        let (blocks, bytes) = (self.decoder(), bytes(dtype));
        let prompt = asked.prompt.tokens();
        let prefill = self.forward(prompt, prompt) + self.see(asked.prompt.picture);
        let prefill = asked.questions * prefill / flops_per_s(dtype);
        // Some row of every shard and chunk reaches the cap, and each of its steps reads all weights.
        let cached = blocks.depth * blocks.kv * bytes;
        let row = (prompt + asked.cap) * cached;
        let rows = asked.questions * asked.samples;
        let num_chunks = num_shards(asked).max(rows / (self.budget() / row).floor().max(1.0));
        let weights = num_chunks * asked.cap * bytes * self.layout.forward_flops() / 2.0;
        let tokens = asked.questions * asked.samples * asked.answer;
        let cache = tokens * (prompt + asked.answer / 2.0) * blocks.depth * blocks.kv * bytes;
        let read = (weights + cache) / (BANDWIDTH_SHARE * CARD_BYTES_PER_S);
        prefill + read + tokens * self.layout.vocab_size as f64 * DRAW_S
    }

    /// Operations of `tokens` through the decoder, attention's own among them: all rows meet all keys.
    fn forward(&self, tokens: f64, attended: f64) -> f64 {
        let Blocks { depth, hidden, .. } = self.decoder();
        tokens * (self.layout.forward_flops() + 4.0 * depth * hidden * attended)
    }

    /// Operations of a picture of so many tokens through the tower.
    fn see(&self, tokens: f64) -> f64 {
        let (Blocks { depth, hidden, .. }, [patches, attended]) =
            (self.tower(), self.attended(tokens));
        let weights = self.layout.num_tower_parameters as f64;
        patches * (2.0 * weights + 4.0 * depth * hidden * attended)
    }

    /// The assumptions behind the estimates, where the machine has not been measured.
    pub(super) fn assumptions(&self) -> Option<String> {
        if self.place != Place::Card {
            return None;
        }
        let tera = |number: f64| number / 1e12;
        Some(format!(
            "  not measured: a card like an H100, {:.0} TFLOP/s in bf16 and {:.0} in f32 at {:.0} %, attention's included,\n  \
             {:.2} TB/s at {:.0} %, and draws on the host, {:.1} ms a token\n  \
             assumed: questions of files take {:.0} tokens, {:.0} of them a picture; some answers reach the cap\n",
            tera(CARD_BF16_FLOPS),
            tera(CARD_F32_FLOPS),
            100.0 * FLOPS_SHARE,
            tera(CARD_BYTES_PER_S),
            100.0 * BANDWIDTH_SHARE,
            1e3 * DRAW_S * self.layout.vocab_size as f64,
            FILES_PROMPT.tokens(),
            FILES_PROMPT.picture,
        ))
    }
}

fn size((_, shape): &NamedShape) -> f64 {
    shape.iter().product::<usize>() as f64
}

fn count(shapes: &[NamedShape]) -> f64 {
    shapes.iter().map(size).sum()
}

fn bytes(dtype: ComputeDtype) -> f64 {
    match dtype {
        ComputeDtype::F32 => F32,
        ComputeDtype::Bf16 => F32 / 2.0,
    }
}

fn flops_per_s(dtype: ComputeDtype) -> f64 {
    FLOPS_SHARE
        * match dtype {
            ComputeDtype::F32 => CARD_F32_FLOPS,
            ComputeDtype::Bf16 => CARD_BF16_FLOPS,
        }
}

/// Parts that questions are cut into; see [`crate::train::rollout::rollouts`].
fn num_shards(asked: &RolloutLoad) -> f64 {
    let rows = asked.questions * asked.samples;
    (rows / SHARD_ROWS as f64).ceil().max(SHARDS_MIN as f64).min(asked.questions)
}

#[cfg(test)]
mod tests;
