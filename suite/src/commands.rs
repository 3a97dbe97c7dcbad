//! The command line: a file for each verb, with its arguments, its help and what it calls in the other rooms.
//!
//! Exit codes are decided here only: 0 all well, 1 a finding (a regression), 2 could not finish,
//! 130 stopped by Ctrl-C.

mod arguments;
mod base_gate;
mod chat;
pub mod evaluate;
mod export;
mod golden;
mod grade;
pub mod inspect;
mod join;
mod leaderboard;
mod levels;
mod merge;
mod output;
mod plan;
mod reproduce;
mod score;
mod self_test;
mod show;
mod train_base;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use synergy_hint::hint;

use crate::run::event::interrupted;

const EXAMPLES: &str = "\
Examples:
  synergy plan --profile small              what a run would do, and how long it takes
  synergy reproduce --profile smoke         all regimes on the nano model, in seconds
  synergy golden check --profile smoke      compare the last run with the recorded results
  synergy leaderboard site --out site a.json b.json
                                            one page over the runs of several machines
  synergy show --out sheet.png              what the questions look like
  synergy chat --model DIR --image a.png \"What is this?\"
                                            ask any Qwen2.5-VL checkpoint";

/// What happens to a reasoning vision-language model when it is post-trained with long-CoT SFT, RL
/// or both: on easy and hard questions, in accuracy, style and length.
#[derive(Debug, Parser)]
#[command(name = "synergy", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train what is missing, evaluate by difficulty, publish a leaderboard
    Reproduce(reproduce::ReproduceArgs),
    /// Print what `reproduce` would do: stages, steps, tokens, memory, time
    Plan(plan::PlanArgs),
    /// Compare a finished run with golden results, or record it as golden
    Golden(golden::GoldenArgs),
    /// Prove the gate: plant faults that it must see, and rerun what it must let pass
    SelfTest(self_test::SelfTestArgs),
    /// Ask any model the questions of any benchmark and judge its answers by rules
    Evaluate(evaluate::EvaluateArgs),
    /// Sample a model several times per question and cut levels by its pass rates
    Levels(levels::LevelsArgs),
    /// Judge answers from standard input, a JSON object per line
    Grade(grade::GradeArgs),
    /// Join the results of several runs of one recipe, made on other days or machines, to one
    Join(join::JoinArgs),
    /// Check, join and show the leaderboards of several runs
    Leaderboard(leaderboard::LeaderboardArgs),
    /// Grade the stored completions of a run again, without the model
    Score(score::ScoreArgs),
    /// Train the base model of the repository by its own recipe and write it to its folder
    TrainBase(train_base::TrainBaseArgs),
    /// Measure whether a base is good enough to start a study from, and write the report beside it
    BaseGate(base_gate::BaseGateArgs),
    /// Write pictures of the procedural families to look at: a sheet, or a page with questions and answers
    Show(show::ShowArgs),
    /// Ask a checkpoint: one question, or a conversation from standard input
    Chat(chat::ChatArgs),
    /// Print what a checkpoint sees of a prompt, and its most probable next tokens
    Inspect(inspect::InspectArgs),
    /// Write a checkpoint in the Hugging Face layout: another type, other shards, an adapter merged
    Export(export::ExportArgs),
    /// Merge two checkpoints of any architecture, tensor by tensor, and report how far apart they are
    Merge(merge::MergeArgs),
}

/// Runs the verb on the command line and reports its error, if it has one.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| output::refuse(&error));
    match within_memory(|| dispatch(&cli.command)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::report(&error);
            ExitCode::from(if interrupted() { 130 } else { 2 })
        }
    }
}

fn dispatch(command: &Command) -> Result<u8> {
    match command {
        Command::Reproduce(args) => reproduce::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Golden(args) => golden::run(args),
        Command::SelfTest(args) => self_test::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Levels(args) => levels::run(args),
        Command::Grade(args) => grade::run(args),
        Command::Join(args) => join::run(args),
        Command::Leaderboard(args) => leaderboard::run(args),
        Command::Score(args) => score::run(args),
        Command::TrainBase(args) => train_base::run(args),
        Command::BaseGate(args) => base_gate::run(args),
        Command::Show(args) => show::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Export(args) => export::run(args),
        Command::Merge(args) => merge::run(args),
    }
}

/// Runs `work`. libtorch reports a lack of memory by a panic, in whichever thread: here that becomes an error like any
/// other, and finished stages stay. Every other panic is a fault of the program and ends it as usual.
fn within_memory(work: impl FnOnce() -> Result<u8>) -> Result<u8> {
    static LACKED: Mutex<Option<String>> = Mutex::new(None);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let Some(line) = panic.payload_as_str().and_then(lacks_memory) else { return usual(panic) };
        if let Ok(mut lacked) = LACKED.lock() {
            *lacked = Some(line.to_owned());
        }
    }));
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let lacked = LACKED.lock().ok().and_then(|mut lacked| lacked.take());
        match lacked {
            Some(line) => bail!(hint!("the device has too little memory: {line}", "`synergy plan` shows what each stage takes; a smaller micro_batch_size or max_packed_tokens, \
                 gradient_checkpointing, lora or a larger card")),
            None => std::panic::resume_unwind(panic),
        }
    })
}

/// Finds the line of `message` in which libtorch reports that there is too little memory.
fn lacks_memory(message: &str) -> Option<&str> {
    let lacks = |line: &&str| {
        ["out of memory", "can't allocate memory"].iter().any(|words| line.contains(words))
    };
    message.lines().find(lacks).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_an_error_with_a_hint_in_any_thread_and_other_panics_are_none() {
        let message = "Internal torch error: CUDA out of memory. Tried to allocate 2.00 GiB\nException raised from";
        let in_a_thread = || {
            std::thread::scope(|scope| scope.spawn(|| panic!("{message}")).join())
                .map_err(|panic| std::panic::resume_unwind(panic))
        };
        let error = synergy_hint::text(&within_memory(in_a_thread).unwrap_err());
        assert!(
            error.starts_with(
                "the device has too little memory: Internal torch error: CUDA out of memory. Tried to allocate 2.00 \
                 GiB\nhint: "
            ),
            "{error}"
        );
        assert_eq!(within_memory(|| Ok(3)).unwrap(), 3);
        let other = std::panic::catch_unwind(|| within_memory(|| panic!("a fault")));
        assert!(other.is_err());
        let cpu = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried";
        assert_eq!(lacks_memory(cpu), Some(cpu));
        assert_eq!(lacks_memory("index out of bounds"), None);
    }
}
