//! Registers: how a solution becomes an answer.
//!
//! Does not know pictures, tokens or who learns from the answer.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use synergy_benchmarks::families::{Question, Scene, Solution};

use crate::recipe::{RegistersSpec, Trace};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// Cells read off the picture, one after the other.
    Read,
    /// The boxed answer alone.
    Direct,
    /// A few statements before the boxed answer.
    Brief,
    /// Every step before the boxed answer, without words.
    Dense,
    /// Every step in words, each looked at twice, before the boxed answer.
    Long,
}

/// Asks a question of `hops` steps about `scene` for an answer in `register`: what is misread there is misread, and only
/// in the long register noticed.
pub fn asked(
    scene: &Scene,
    hops: usize,
    register: Register,
    registers: &RegistersSpec,
    rng: &mut ChaCha8Rng,
) -> Question {
    match register {
        Register::Long => scene.ask(hops, rng),
        _ => scene.misread(registers.misread, rng).ask(hops, rng),
    }
}

/// Writes the answer to `question` in `register`; `rng` draws the number of statements of a brief one.
pub fn answer(
    question: &Question,
    register: Register,
    registers: &RegistersSpec,
    rng: &mut ChaCha8Rng,
) -> String {
    let Question { solution, answer, .. } = question;
    let trace = match register {
        Register::Direct | Register::Read => return format!("\\boxed{{{answer}}}"),
        Register::Brief => Trace::Brief,
        Register::Dense => Trace::Dense,
        Register::Long => Trace::Long,
    };
    reasoned(&written(solution, trace, registers, rng), answer)
}

/// Writes a solution as `trace`; empty for [`Trace::Written`], which no solution has.
pub fn written(
    solution: &Solution,
    trace: Trace,
    registers: &RegistersSpec,
    rng: &mut ChaCha8Rng,
) -> String {
    match trace {
        Trace::Brief => solution.brief(weighted(&registers.statements, rng) + 1),
        Trace::Dense => solution.dense(),
        Trace::Long => solution.long(registers.misread),
        Trace::Shallow => solution.shallow(),
        Trace::Written => String::new(),
    }
}

/// An answer behind its trace, in the study's tags.
pub fn reasoned(trace: &str, answer: &str) -> String {
    format!("<think> {}</think>\\boxed{{{answer}}}", trace.trim())
}

/// The same answer behind an empty thought; as it is if it has none.
pub fn without_thought(answer: &str) -> String {
    let parts = answer.split_once("<think>").zip(answer.split_once("</think>"));
    parts.map_or_else(
        || answer.to_owned(),
        |((before, _), (_, after))| format!("{before}<think></think>{after}"),
    )
}

/// Draws an index with probability proportional to its weight.
pub fn weighted(weights: &[f64], rng: &mut ChaCha8Rng) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    let drawn = weights.iter().position(|w| {
        left -= w;
        left < 0.0
    });
    drawn.unwrap_or(weights.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use synergy_benchmarks::families::{Family, Split};
    use synergy_benchmarks::seed::Seed;

    fn registers() -> RegistersSpec {
        RegistersSpec {
            statements: vec![0.0, 0.5, 0.0, 0.5],
            dense_suffix: "Dense.".into(),
            long_suffix: "Long.".into(),
            misread: 0.2,
        }
    }

    #[test]
    fn a_thought_is_taken_out_and_the_answer_stays() {
        let answer = reasoned("a1 red 3", "3");
        assert_eq!(without_thought(&answer), "<think></think>\\boxed{3}");
        assert_eq!(without_thought("\\boxed{3}"), "\\boxed{3}");
        assert_eq!(without_thought("<think> no end"), "<think> no end");
    }

    #[test]
    fn a_brief_answer_has_the_statements_that_are_drawn() {
        let scene = Family::Sum.scene(Seed::root(1), Split::Pretrain);
        let question = scene.ask(9, &mut Seed::root(2).rng());
        let mut counts = [0; 5];
        for i in 0..400 {
            let rng = &mut Seed::root(3).at(i).rng();
            let answer = answer(&question, Register::Brief, &registers(), rng);
            let (trace, boxed) = answer.split_once("</think>").unwrap();
            assert_eq!(boxed, format!("\\boxed{{{}}}", question.answer));
            // `<think>`, three words a statement, and `last`.
            counts[(trace.split(' ').count() - 2) / 3] += 1;
        }
        assert_eq!(counts[2] + counts[4], 400);
        assert!((150..250).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn every_register_misreads_and_only_the_long_one_is_right_all_the_same() {
        let mut num_wrong = [0; 3];
        for i in 0..300 {
            let scene = Family::Sum.scene(Seed::root(i), Split::Pretrain);
            let right = scene.ask(4, &mut Seed::root(i).rng()).answer;
            let of = |register| {
                asked(&scene, 4, register, &registers(), &mut Seed::root(i).rng()).answer
            };
            let answers = [Register::Brief, Register::Dense, Register::Long].map(of);
            // The long register draws its start from the same stream, which the others have moved on.
            let own = asked(&scene, 4, Register::Long, &registers(), &mut Seed::root(i).rng());
            assert_eq!(own.answer, right);
            for (num_wrong, answer) in num_wrong.iter_mut().zip(answers) {
                *num_wrong += usize::from(answer != right);
            }
        }
        assert_eq!(num_wrong[2], 0);
        assert!(num_wrong[0] > 100 && num_wrong[0] == num_wrong[1], "{num_wrong:?}");
        let scene = Family::Chart.scene(Seed::root(1), Split::Pretrain);
        let question = asked(&scene, 15, Register::Long, &registers(), &mut Seed::root(1).rng());
        let rng = &mut Seed::root(1).rng();
        assert!(answer(&question, Register::Long, &registers(), rng).contains("no mistake"));
    }
}
