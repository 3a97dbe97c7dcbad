//! Stages of kind `pretrain`: next-token training on conversations about pictures.

use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::{MAX_HOPS, NUM_CELLS};

use super::kind::{Input, Role, StageKind, few};
use super::load::{LearningLoad, Load, Others, Prompt};
use crate::recipe::fault::{Checked, require, within};
use crate::recipe::registers::AskedRegister;
use crate::recipe::tables::{Named, OptimizerSpec, TrainingSpec};

/// Mean and greatest length of a turn in tokens.
const TURN_TOKENS: [f64; 2] = [85.0, 350.0];
/// What stands before the first turn.
const PROMPT: Prompt = Prompt { picture: 16.0, text: 6.0 };

/// Next-token training on conversations about pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainSpec {
    /// The stage it starts from, or `base`.
    pub from: String,
    /// Updates; at least 1.
    pub num_steps: usize,
    /// Pictures per step, one conversation each; at least 1.
    pub batch_size: usize,
    /// Turns of a conversation; at least 1.
    pub num_turns: usize,
    /// Share of turns in each register; normalised.
    pub registers: RegisterWeights,
    /// Fewest and most cells of a reading turn; 1 to [`NUM_CELLS`].
    pub read_cells: [usize; 2],
    /// Weight of 1, 2, 3 … hops in task turns, the same in every register.
    pub hops: Vec<f64>,
    /// Before each answer positions jump by 0 to this many, so that no skill is tied to a position.
    pub position_gap_max: u32,
    /// Settings of training, by the name of their table.
    pub training: Named<TrainingSpec>,
    /// The optimizer, by the name of its table.
    pub optimizer: Named<OptimizerSpec>,
}

/// How often each register occurs; weights of 0 or more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterWeights {
    /// Cells are read out.
    pub read: f64,
    /// The answer alone.
    pub direct: f64,
    /// A few statements, then the answer.
    pub brief: f64,
    /// Every step without words, then the answer.
    pub dense: f64,
    /// Every step in words, each looked at twice, then the answer.
    pub long: f64,
}

impl RegisterWeights {
    /// How often answers are asked for in `register`.
    pub(crate) fn weight(&self, register: AskedRegister) -> f64 {
        match register {
            AskedRegister::Dense => self.dense,
            AskedRegister::Long => self.long,
        }
    }
}

impl StageKind for PretrainSpec {
    fn inputs(&self) -> Vec<Input<'_>> {
        vec![Input::new(Role::Start, "from", &self.from)]
    }

    fn check(&self) -> Checked {
        for (key, count) in [
            ("num_steps", self.num_steps),
            ("batch_size", self.batch_size),
            ("num_turns", self.num_turns),
        ] {
            require!(count > 0, key, "{key} = 0 is outside its range: at least 1");
        }
        let Self { hops, registers, .. } = self;
        require!(
            !hops.is_empty() && hops.len() <= MAX_HOPS,
            "hops",
            "hops has {} weights, not 1 to {MAX_HOPS}",
            hops.len()
        );
        require!(hops.iter().sum::<f64>() > 0.0, "hops", "all weights of hops are 0");
        let RegisterWeights { read, direct, brief, dense, long } = *registers;
        for (key, weight) in
            [("read", read), ("direct", direct), ("brief", brief), ("dense", dense), ("long", long)]
        {
            within(key, weight, 0.0.., "0 or more").map_err(|fault| fault.below("registers"))?;
        }
        require!(
            read + direct + brief + dense + long > 0.0,
            "registers",
            "all weights of registers are 0"
        );
        let [low, high] = self.read_cells;
        require!(
            low >= 1 && low <= high && high <= NUM_CELLS,
            "read_cells",
            "read_cells = [{low}, {high}] must be [low, high] within 1 to {NUM_CELLS}, low <= high"
        );
        Ok(())
    }

    fn register(&self) -> Option<&'static str> {
        Some("registers")
    }

    fn load(&self, _: &dyn Others<'_>) -> Load {
        let learned = LearningLoad {
            batch: self.batch_size as f64,
            per_update: self.batch_size as f64,
            prompt: PROMPT,
            num_answers: self.num_turns as f64,
            answer: TURN_TOKENS[0],
            longest: TURN_TOKENS[1],
        };
        Load {
            num_steps: self.num_steps,
            num_rounds: self.num_steps as f64,
            learned: Some(learned),
            ..Load::default()
        }
    }

    fn rehearse(&mut self) {
        few::limit(&mut self.num_steps, few::STEPS);
        few::limit(&mut self.batch_size, few::BATCH);
        self.training.checkpoint_every = 1;
    }

    fn trained(&self) -> Option<(&TrainingSpec, &OptimizerSpec)> {
        Some((&self.training, &self.optimizer))
    }
}
