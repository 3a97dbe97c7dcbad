//! Pretraining: next-token loss on conversations about pictures, the answers only.
//!
//! Knows nothing of regimes. A conversation asks about one picture in several registers; where it
//! starts, how far it goes and how positions jump are drawn, so that no skill is tied to a place.

use anyhow::Result;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use synergy_benchmarks::families::{NUM_CELLS, Scene, Split};
use synergy_benchmarks::seed::Seed;

use crate::recipe::{AskedRegister, FAMILIES, PretrainSpec, RegisterWeights, TokenWeight};
use crate::train::algorithm::{Algorithm, Draws, Step};
use crate::train::likelihood::sft_loss;
use crate::train::register::{Register, answer, asked, weighted};
use crate::train::sequence::{Prompter, Sequence};
use crate::train::{Context, Loss, StepFigures, Trainer};

/// Pretraining by the settings of one stage.
pub struct Pretrain<'a> {
    /// The stage's settings.
    pub spec: &'a PretrainSpec,
    /// Where it draws from.
    pub draws: Draws<'a>,
}

impl Algorithm for Pretrain<'_> {
    fn num_steps(&self) -> usize {
        self.spec.num_steps
    }

    fn prepare<'a>(&'a self, prompter: &Prompter, number: usize) -> Result<Step<'a>> {
        let sequences = batch(prompter, self.spec, self.draws.stage, number)?;
        Ok(Box::new(move |trainer, _, context, _| step(trainer, context, &sequences)))
    }
}

/// Draws the conversations of `step`; pictures come from the pretrain split.
///
/// # Errors
/// If the chat template fails.
pub fn batch(
    prompter: &Prompter,
    spec: &PretrainSpec,
    seed: Seed,
    step: usize,
) -> Result<Vec<Sequence>> {
    let seed = seed.fold_in("pretrain").at(step as u64);
    (0..spec.batch_size)
        .map(|i| {
            let seed = seed.at(i as u64);
            let rng = &mut seed.fold_in("turns").rng();
            let family = FAMILIES[rng.random_range(0..FAMILIES.len())];
            // In a maze a question of so many steps is there; the others ask for the nearest there are.
            let hops = weighted(&spec.hops, rng) + 1;
            let scene = family.scene_of(seed.fold_in("scene"), Split::Pretrain, hops);
            let turns: Vec<_> = (0..spec.num_turns)
                .map(|_| turn(prompter, &scene, spec, rng))
                .collect::<Result<_>>()?;
            let patches = vec![prompter.processor.patches(&scene.render())?];
            prompter.conversation(&turns, patches, spec.position_gap_max, rng)
        })
        .collect()
}

/// Makes one update with the mean loss over all answer tokens of the batch.
///
/// # Errors
/// See [`Trainer::update`].
pub fn step(
    trainer: &mut Trainer,
    context: &Context<'_>,
    sequences: &[Sequence],
) -> Result<StepFigures> {
    let num_tokens: usize = sequences.iter().map(|s| s.predictions.len()).sum();
    let weights = vec![1.0 / num_tokens as f64; sequences.len()];
    step_over(trainer, context, sequences, &weights, None)
}

/// Makes one update whose loss is the sum over answer tokens, each of the weight of its sequence and by its own
/// probability, if it weighs by that.
///
/// # Shapes
/// `weights [sequences]`.
///
/// # Errors
/// See [`Trainer::update`].
pub fn step_over(
    trainer: &mut Trainer,
    context: &Context<'_>,
    sequences: &[Sequence],
    weights: &[f64],
    token_weight: Option<TokenWeight>,
) -> Result<StepFigures> {
    let num_tokens: usize = sequences.iter().map(|s| s.predictions.len()).sum();
    let mut figures = trainer.update(context, sequences, |log_probs, batch| {
        let mut total = Loss { value: 0.0, slopes: Vec::new(), figures: StepFigures::new() };
        let mut rest = log_probs;
        for (&member, sequence) in batch.members.iter().zip(&batch.sequences) {
            let (own, others) = rest.split_at(sequence.predictions.len());
            rest = others;
            let loss = sft_loss(own, weights[member], token_weight);
            total.value += loss.value;
            total.slopes.extend(loss.slopes);
            for (name, value) in loss.figures {
                *total.figures.entry(name).or_default() += value;
            }
        }
        total
    })?;
    figures.insert("answer_tokens".into(), num_tokens as f64);
    let trained = sequences.iter().map(|s| s.input_ids.len() as f64).sum();
    figures.insert("tokens_trained".into(), trained);
    Ok(figures)
}

/// Draws a turn about `scene`, in a register drawn by the spec's weights: (user text, model text).
fn turn(
    prompter: &Prompter,
    scene: &Scene,
    spec: &PretrainSpec,
    rng: &mut ChaCha8Rng,
) -> Result<(String, String)> {
    let register = register(&spec.registers, rng);
    if register == Register::Read {
        let [low, high] = spec.read_cells;
        return Ok(scene.read(rng.random_range(0..NUM_CELLS), rng.random_range(low..=high)));
    }
    let registers = prompter.registers()?;
    let question = asked(scene, weighted(&spec.hops, rng) + 1, register, registers, rng);
    let instruction = match register {
        Register::Brief => format!(" {}", prompter.prompt.suffix),
        Register::Dense => format!(" {}", registers.suffix(AskedRegister::Dense)),
        Register::Long => format!(" {}", registers.suffix(AskedRegister::Long)),
        Register::Read | Register::Direct => String::new(),
    };
    let text = format!("{}{instruction}", question.text);
    Ok((text, answer(&question, register, registers, rng)))
}

fn register(weights: &RegisterWeights, rng: &mut ChaCha8Rng) -> Register {
    let RegisterWeights { read, direct, brief, dense, long } = *weights;
    let all = [
        (Register::Read, read),
        (Register::Direct, direct),
        (Register::Brief, brief),
        (Register::Dense, dense),
        (Register::Long, long),
    ];
    all[weighted(&all.map(|(_, weight)| weight), rng)].0
}
