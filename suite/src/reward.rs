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
    /// What an answer's length changes of that; nothing without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<LengthReward>,
}

/// What an answer earns by its length, once all answers of its group are known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LengthReward {
    /// Nothing is taken up to `buffer` tokens before `max_completion_tokens`, then more in a straight line, at the end
    /// `weight` (soft overlong punishment; DAPO, arXiv 2503.14476, equation 13).
    Overlong {
        /// Tokens; at least 1, at most `max_completion_tokens`.
        buffer: usize,
        /// Above 0; 1 in DAPO.
        weight: f64,
    },
    /// A right answer loses `weight` of what it earns, times its share of the group's longest answer, times the share of the
    /// group's answers that are right: what is hard may be long, what is wrong is not made shorter.
    ByPassRate {
        /// Above 0, up to 1.
        weight: f64,
    },
    /// What `accuracy_weight` is times, in place of 1 for a right answer and 0 for a wrong one: two numbers each, without a
    /// token and at `max_completion_tokens`, with half a cosine between them (arXiv 2502.03373).
    Cosine {
        /// What a right answer is worth; above 0.
        right: [f64; 2],
        /// What a wrong answer is worth; 0 or less.
        wrong: [f64; 2],
    },
}

/// An answer whose length counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// What it earned so far.
    pub total: f64,
    /// 1 if it is right, else 0.
    pub accuracy: f64,
    /// Its length in tokens.
    pub num_tokens: usize,
}

impl LengthReward {
    /// Checks it for answers of at most `cap` tokens.
    ///
    /// # Errors
    /// Names the number that is outside its range.
    pub fn check(self, cap: usize) -> Result<()> {
        match self {
            LengthReward::Overlong { buffer, weight } => ensure!(
                (1..=cap).contains(&buffer) && weight > 0.0 && weight.is_finite(),
                hint!(
                    ("buffer = {buffer} and weight = {weight} punish no length of answers of at most {cap} tokens"),
                    "a buffer of at least 1 token within them, and a weight above 0"
                )
            ),
            LengthReward::ByPassRate { weight } => ensure!(
                weight > 0.0 && weight <= 1.0,
                "weight = {weight} is outside its range: above 0, up to 1"
            ),
            LengthReward::Cosine { right, wrong } => ensure!(
                right.iter().all(|x| *x > 0.0 && x.is_finite())
                    && wrong.iter().all(|x| *x <= 0.0 && x.is_finite()),
                hint!(
                    ("right = {right:?} and wrong = {wrong:?} do not pay a right answer more than a wrong one"),
                    "right = [1.0, 0.5], wrong = [-0.5, 0.0]"
                )
            ),
        }
        Ok(())
    }

    /// What each answer of a group earns by the rules of `spec`, if none may be longer than `cap` tokens.
    pub fn earned(self, spec: &RewardSpec, group: &[Measured], cap: usize) -> Vec<f64> {
        let longest = group.iter().map(|answer| answer.num_tokens).max().unwrap_or(0).max(1) as f64;
        let pass_rate =
            group.iter().map(|answer| answer.accuracy).sum::<f64>() / group.len().max(1) as f64;
        let of = |&Measured { total, accuracy, num_tokens }: &Measured| {
            let (length, cap) = (num_tokens as f64, cap as f64);
            match self {
                LengthReward::Overlong { buffer, weight } => {
                    let beyond = length - (cap - buffer as f64);
                    total - weight * (beyond / buffer as f64).clamp(0.0, 1.0)
                }
                LengthReward::ByPassRate { weight } => {
                    total * (1.0 - weight * accuracy * pass_rate * length / longest)
                }
                LengthReward::Cosine { right, wrong } => {
                    let [start, end] = if accuracy > 0.5 { right } else { wrong };
                    let fallen = (std::f64::consts::PI * length / cap).cos();
                    let value = end + (start - end) * 0.5 * (1.0 + fallen);
                    total + spec.accuracy_weight * (value - accuracy)
                }
            }
        };
        group.iter().map(of).collect()
    }
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
                let Reward { total, accuracy, .. } = reward(spec, grader, &text, sample, true);
                // The length of a trick is in its author's hand.
                let of_length = |num_tokens| {
                    let measured = [Measured { total, accuracy, num_tokens }];
                    let by = |length: LengthReward| length.earned(spec, &measured, CAP)[0];
                    spec.length.map_or(total, by)
                };
                let earned = [0, CAP / 2, CAP].map(of_length).into_iter().fold(0.0, f64::max);
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

/// Tokens that an answer of the audit may have.
const CAP: usize = 512;

/// Questions of each family that the audit asks.
const AUDITED: u64 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: RewardSpec = RewardSpec {
        accuracy_weight: 0.9,
        format_weight: 0.1,
        answer: AnswerRule::OnlyBox,
        length: None,
    };

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
    fn what_lengths_earn_is_that_of_the_reference() {
        #[derive(Deserialize)]
        struct Recorded {
            max_completion_tokens: usize,
            num_tokens: Vec<usize>,
            cases: Vec<Case>,
        }
        #[derive(Deserialize)]
        struct Case {
            length: LengthReward,
            accuracy: f64,
            adds: Vec<f64>,
        }
        let text = include_str!("../../golden/parity/fixtures/lengths.json");
        let recorded: Recorded = serde_json::from_str(text).unwrap();
        assert_eq!(recorded.cases.len(), 7);
        let spec = RewardSpec { accuracy_weight: 1.0, ..STUDY };
        for Case { length, accuracy, adds } in recorded.cases {
            assert_eq!(adds.len(), recorded.num_tokens.len());
            let group: Vec<Measured> = recorded
                .num_tokens
                .iter()
                .map(|&num_tokens| Measured { total: accuracy, accuracy, num_tokens })
                .collect();
            let earned = length.earned(&spec, &group, recorded.max_completion_tokens);
            for ((earned, adds), num_tokens) in earned.iter().zip(adds).zip(&recorded.num_tokens) {
                let apart = (earned - accuracy - adds).abs();
                assert!(apart < 1e-9, "{length:?}, {accuracy}, {num_tokens}: {earned} {adds}");
            }
        }
    }

    #[test]
    fn length_costs_right_answers_of_easy_questions_alone() {
        let length = LengthReward::ByPassRate { weight: 0.5 };
        let answer =
            |accuracy, num_tokens| Measured { total: 0.9 * accuracy + 0.1, accuracy, num_tokens };
        let earned = |group: &[Measured]| length.earned(&STUDY, group, 512);
        let apart = |found: &[f64], want: &[f64]| {
            found.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        // All are right: the longest loses half of what it earned.
        let easy = earned(&[answer(1.0, 100), answer(1.0, 50), answer(1.0, 10), answer(1.0, 10)]);
        assert!(apart(&easy, &[0.5, 0.75, 0.95, 0.95]) < 1e-12, "{easy:?}");
        // One of four: an eighth, and what is wrong is not pushed to be brief.
        let hard = earned(&[answer(1.0, 100), answer(0.0, 100), answer(0.0, 50), answer(0.0, 10)]);
        assert!(apart(&hard, &[0.875, 0.1, 0.1, 0.1]) < 1e-12, "{hard:?}");
        // A right answer stays above any wrong one, at any length.
        assert!(easy.iter().all(|right| *right > 0.1));
        let empty = [Measured { total: 0.0, accuracy: 0.0, num_tokens: 0 }; 2];
        assert!(apart(&earned(&empty), &[0.0, 0.0]) < 1e-12);
    }

    #[test]
    fn lengths_that_pay_a_wrong_answer_are_refused() {
        let with = |length| RewardSpec { length: Some(length), ..STUDY };
        let said = |length: LengthReward| synergy_hint::text(&length.check(512).unwrap_err());
        for length in [
            LengthReward::Overlong { buffer: 128, weight: 1.0 },
            LengthReward::ByPassRate { weight: 0.5 },
            LengthReward::Cosine { right: [1.0, 0.5], wrong: [-0.5, 0.0] },
        ] {
            length.check(512).unwrap();
            audit(&with(length), Grader::Synergy1).unwrap();
        }
        let pays = LengthReward::Cosine { right: [1.0, 0.5], wrong: [0.0, 0.4] };
        assert!(said(pays).contains("do not pay a right answer more than a wrong one\nhint: "));
        let error = synergy_hint::text(&audit(&with(pays), Grader::Synergy1).unwrap_err());
        assert!(error.starts_with("the reward pays"), "{error}");
        let beyond = LengthReward::Overlong { buffer: 513, weight: 1.0 };
        assert!(said(beyond).starts_with("buffer = 513 and weight = 1 punish no length"));
        let upside_down = LengthReward::ByPassRate { weight: -0.5 };
        assert!(said(upside_down).starts_with("weight = -0.5 is outside its range"));
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
