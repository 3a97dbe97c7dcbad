//! What an answer of RL earns, and whether it can be earned without answering.
//!
//! Does not know models or groups. The study's reward is 0.9 accuracy + 0.1 format, each 0 or 1; what
//! counts as the answer is stricter here than in evaluation, since a policy finds every leniency.

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::{Family, Split};
use synergy_benchmarks::sample::Sample;
use synergy_grade::answer::{Outcome, boxes, equivalent, format_reward};
use synergy_grade::{Grader, grade};
use synergy_hint::hint;

/// What an answer of RL earns: `accuracy_weight` if it is right, `format_weight` if it has the form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardSpec {
    /// Paid for a right answer; above 0.
    pub accuracy_weight: f64,
    /// Paid for the form of an answer; 0 or more.
    pub format_weight: f64,
    /// What counts as the answer.
    pub answer: AnswerRule,
}

/// What counts as the answer that a reward looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerRule {
    /// What the boxes behind the thought say, which is closed; several boxes say the same. Boxes within the thought are
    /// part of the thinking: a trace of R1 often boxes its result there and again behind it.
    OnlyBox,
    /// The last box anywhere, as evaluation reads it: a policy is paid for listing every answer, so no
    /// reward passes the audit with it.
    LastBox,
}

/// The parts of a reward, each 0 or 1, and their weighted sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reward {
    /// 1 for a right answer.
    pub accuracy: f64,
    /// 1 for the form of an answer.
    pub format: f64,
    /// The weighted sum.
    pub total: f64,
}

/// What the completion `text` to `sample` earns by the rules of `grader`. A truncated one earns nothing.
pub fn reward(
    spec: &RewardSpec,
    grader: Grader,
    text: &str,
    sample: &Sample,
    finished: bool,
) -> Reward {
    let is_right =
        |text: &str| grade(grader, &sample.target(), text, finished).outcome == Outcome::Correct;
    let right = match spec.answer {
        AnswerRule::LastBox => is_right(text),
        AnswerRule::OnlyBox => {
            only_box(text).is_some_and(|said| is_right(&format!("\\boxed{{{said}}}")))
        }
    };
    let share = |holds: bool| f64::from(u8::from(holds));
    let (accuracy, format) = (share(right), share(finished && format_reward(text)));
    let total = spec.accuracy_weight * accuracy + spec.format_weight * format;
    Reward { accuracy, format, total }
}

/// What all boxes behind the thought say, if they say the same. The thought ends where it is first closed, so that
/// nobody lists answers between several ends of it.
fn only_box(text: &str) -> Option<&str> {
    let said = match text.split_once("</think>") {
        Some((_, said)) => said,
        None if text.contains("<think>") => return None,
        None => text,
    };
    let boxes = boxes(said);
    let last = *boxes.last()?;
    (!last.is_empty() && boxes.iter().all(|b| equivalent(b, last))).then_some(last)
}

/// Completions that answer nothing, with the name of the trick; `others` are answers the question might
/// have had.
fn degenerate(sample: &Sample, prompt: &str, others: &[String]) -> Vec<(&'static str, String)> {
    let gold = &sample.answer;
    let all: Vec<&str> =
        others.iter().map(String::as_str).filter(|o| *o != gold).chain([gold.as_str()]).collect();
    let boxed = |list: &[&str]| list.iter().map(|a| format!("\\boxed{{{a}}}")).collect::<String>();
    let mut reversed = all.clone();
    reversed.reverse();
    let ends = |a: &&str| format!("</think>\\boxed{{{a}}}");
    let between_ends = format!("<think>{}", all.iter().map(ends).collect::<String>());
    vec![
        ("nothing", String::new()),
        ("an empty thought", "<think></think>\\boxed{}".to_owned()),
        ("all options in one box", format!("<think></think>\\boxed{{{}}}", all.join(" "))),
        ("a box for every option", format!("<think></think>{}", boxed(&all))),
        ("the same, the right one first", format!("<think></think>{}", boxed(&reversed))),
        ("every digit", "<think></think>\\boxed{0123456789}".to_owned()),
        ("every digit without a box", "<think></think>0 1 2 3 4 5 6 7 8 9".to_owned()),
        ("the prompt again", prompt.to_owned()),
        ("the prompt as a thought", format!("<think>{prompt}</think>{prompt}")),
        ("a thought that does not end", format!("<think>\\boxed{{{gold}}}")),
        ("a box that does not close", format!("<think></think>\\boxed{{{gold}")),
        ("the answer within the thought only", format!("<think>\\boxed{{{gold}}}</think>done")),
        ("options between ends of the thought", between_ends),
        ("options in the thought, no answer", format!("<think>{}</think>", boxed(&all))),
        ("the answer without a box", format!("<think></think>{gold}")),
    ]
}

/// Checks that no trick of a fixed list earns more than the format's part by the rules of `grader`, for questions of
/// every family.
///
/// # Errors
/// If a trick pays, which the error names, or a weight is outside its range.
pub fn audit(spec: &RewardSpec, grader: Grader) -> Result<()> {
    let RewardSpec { accuracy_weight, format_weight, .. } = *spec;
    ensure!(
        accuracy_weight > 0.0
            && format_weight >= 0.0
            && accuracy_weight.is_finite()
            && format_weight.is_finite(),
        hint!(
            "accuracy_weight {accuracy_weight} and format_weight {format_weight} reward no right answer",
            "the study's are 0.9 and 0.1"
        )
    );
    for family in Family::ALL {
        let samples: Vec<Sample> = (0..AUDITED)
            .map(|i| Sample::procedural(family, 0, Split::Validation, i, 1..=3))
            .collect();
        let mut others: Vec<String> = samples.iter().map(|s| s.answer.clone()).collect();
        others.sort();
        others.dedup();
        for sample in &samples {
            let prompt = format!("{} put your final answer within \\boxed{{}}.", sample.question);
            for (trick, text) in degenerate(sample, &prompt, &others) {
                let earned = reward(spec, grader, &text, sample, true).total;
                if earned > format_weight + 1e-12 {
                    bail!(hint!(
                        (
                            "the reward pays {earned} for {trick} (`{text}` where `{}` is right)",
                            sample.answer
                        ),
                        (
                            "{}",
                            match spec.answer {
                                AnswerRule::LastBox => "answer = \"only_box\"",
                                AnswerRule::OnlyBox => "grader = \"synergy-1\" or \"boxed-1\"",
                            }
                        )
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Questions of each family that the audit asks.
const AUDITED: u64 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: RewardSpec =
        RewardSpec { accuracy_weight: 0.9, format_weight: 0.1, answer: AnswerRule::OnlyBox };

    #[track_caller]
    fn check(text: &str, finished: bool, want: f64) {
        let mut sample = Sample::procedural(Family::Sum, 1, Split::Test, 0, 1..=1);
        sample.answer = "3".into();
        for grader in [Grader::Boxed1, Grader::Synergy1, Grader::MathRuler] {
            let got = reward(&STUDY, grader, text, &sample, finished).total;
            assert!((got - want).abs() < 1e-12, "{} {text}: {got}", grader.name());
        }
    }

    #[test]
    fn an_answer_earns_accuracy_and_format_each_for_itself() {
        check("<think>a1 3</think>\\boxed{3}", true, 1.0);
        check("<think>a1 3</think>\\boxed{4}", true, 0.1);
        check("\\boxed{3}", true, 0.9);
        check("<think>a1 3</think>so \\boxed{3} , that is \\boxed{03} .", true, 1.0);
        check("<think>a1 3</think>\\boxed{3}", false, 0.0);
        // Whatever boxes the thought holds.
        check("<think>a1 \\boxed{3}</think>\\boxed{3}", true, 1.0);
        check("<think>a1 \\boxed{4} no \\boxed{2}</think>\\boxed{3}", true, 1.0);
        check("<think>a1 \\boxed{3}</think>\\boxed{4}", true, 0.1);
        check("<think>a1 \\boxed{3}</think>so 3", true, 0.0);
        // Between two ends of a thought an answer is said.
        check("<think>a1</think>\\boxed{2}</think>\\boxed{3}", true, 0.1);
        check("<think>a1 3</think>\\boxed{2}\\boxed{3}", true, 0.1);
        check("<think>a1 3 \\boxed{3}", true, 0.0);
    }

    #[test]
    fn the_studys_reward_passes_the_audit_and_a_lenient_one_does_not() {
        for grader in [Grader::Boxed1, Grader::Synergy1, Grader::MathRuler] {
            audit(&STUDY, grader).unwrap();
        }
        // A grader that takes the last number of a box pays for listing all.
        let error = synergy_hint::text(&audit(&STUDY, Grader::MathVerify).unwrap_err());
        assert!(error.starts_with("the reward pays 1 for all options in one box"), "{error}");
        let lenient = RewardSpec { answer: AnswerRule::LastBox, ..STUDY };
        let error = synergy_hint::text(&audit(&lenient, Grader::Boxed1).unwrap_err());
        assert!(error.starts_with("the reward pays 1 for a box for every option"), "{error}");
        let upside_down = RewardSpec { accuracy_weight: 0.0, ..STUDY };
        let error = synergy_hint::text(&audit(&upside_down, Grader::Boxed1).unwrap_err());
        assert!(error.contains("reward no right answer\nhint: "), "{error}");
    }
}
