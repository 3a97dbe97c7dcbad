//! A server's reply to a question: token ids with their log-probabilities, checked before they are believed.
//!
//! Does not know how it came here.

use synergy_models::generate::Generated;

/// What a reply must be about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The question's tokens, with all of each picture's.
    pub(super) input_ids: &'a [u32],
    pub(super) num_samples: usize,
    /// The name of the weights that must have answered.
    pub(super) version: &'a str,
}

/// Why a reply is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Another attempt may be better: it is cut, or was given up.
    Again(String),
    /// It will not get better: the engine is not what it should be.
    Wrong(String),
}

/// What an engine replied, before anything of it is believed.
#[derive(Debug)]
pub(super) struct Reply {
    /// The tokens of the question that it read, if it says so.
    pub(super) input_ids: Option<Vec<u32>>,
    pub(super) answers: Vec<Answer>,
}

/// One answer of a reply.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its number.
    pub(super) index: usize,
    /// Why it ends: `stop` with an end token, `length` without.
    pub(super) ended: Option<String>,
    pub(super) ids: Vec<u32>,
    /// The log-probability of each token in nats, and the token that it is of, if that is said.
    pub(super) log_probs: Vec<(Option<u32>, f32)>,
    /// The names of the weights that gave it.
    pub(super) versions: Vec<String>,
}

/// Finds the answers in a `reply`, in the order of their numbers.
///
/// # Errors
/// If it is no whole reply, or not one to what is `wanted`.
pub(super) fn check(
    reply: serde_json::Result<Reply>,
    wanted: Wanted<'_>,
) -> Result<Vec<Generated>, Fault> {
    let reply =
        reply.map_err(|error| Fault::Again(format!("the reply cannot be read: {error}")))?;
    let Some(input_ids) = reply.input_ids else {
        return Err(Fault::Wrong("it does not say the tokens of the question".to_owned()));
    };
    if input_ids != wanted.input_ids {
        let at = input_ids.iter().zip(wanted.input_ids).position(|(a, b)| a != b);
        return Err(Fault::Wrong(format!(
            "it reads another question: {} tokens instead of {}, which differ first at {}",
            input_ids.len(),
            wanted.input_ids.len(),
            at.unwrap_or(input_ids.len().min(wanted.input_ids.len()))
        )));
    }
    let mut answers: Vec<Option<Generated>> = vec![None; wanted.num_samples];
    for answer in reply.answers {
        if let Some(place) = answers.get_mut(answer.index) {
            *place = Some(answer.check(wanted.version)?);
        }
    }
    let num_there = answers.iter().flatten().count();
    let whole: Option<Vec<Generated>> = answers.into_iter().collect();
    whole.ok_or_else(|| {
        Fault::Again(format!("it gave {num_there} of {} answers", wanted.num_samples))
    })
}

impl Answer {
    fn check(self, version: &str) -> Result<Generated, Fault> {
        let other = self.versions.iter().find(|by| *by != version);
        if let Some(other) = other {
            return Err(Fault::Again(format!(
                "weights `{other}` answered, and `{version}` were asked"
            )));
        }
        let log_probs = &self.log_probs;
        let is_aligned = log_probs.len() == self.ids.len()
            && log_probs.iter().zip(&self.ids).all(|((of, _), id)| of.is_none_or(|of| of == *id));
        if !is_aligned {
            return Err(Fault::Wrong(format!(
                "it gives {} log-probabilities for {} tokens, or those of others",
                log_probs.len(),
                self.ids.len()
            )));
        }
        let finished = match self.ended.as_deref() {
            Some("stop") => true,
            Some("length") => false,
            reason => {
                return Err(Fault::Again(format!(
                    "the server gave the answer up ({})",
                    reason.unwrap_or("nobody says why")
                )));
            }
        };
        if self.ids.is_empty() {
            return Err(Fault::Wrong("it gives an answer without a token".to_owned()));
        }
        let log_probs = self.log_probs.iter().map(|(_, log_prob)| *log_prob).collect();
        Ok(Generated { ids: self.ids, log_probs, finished })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::served::interface::Interface as _;
    use crate::served::vllm::Vllm;
    use serde_json::{Value, json};

    const WANTED: Wanted<'_> = Wanted { input_ids: &[3, 5, 5, 4], num_samples: 2, version: "7" };

    fn choice(index: usize, reason: &str, ids: &[u32]) -> Value {
        let content: Vec<Value> =
            ids.iter().map(|id| json!({"token_id": id, "logprob": -0.5, "rank": 1})).collect();
        json!({
            "index": index, "finish_reason": reason, "token_ids": ids, "logprobs": {"content": content},
            "weight_versions": [{"version": "7", "start": 0, "end": ids.len()}],
        })
    }

    fn read(text: &str, wanted: Wanted<'_>) -> Result<Vec<Generated>, Fault> {
        check(Vllm.read(text), wanted)
    }

    fn reply(choices: &[Value]) -> Value {
        json!({"prompt_token_ids": [3, 5, 5, 4], "choices": choices, "usage": {"prompt_tokens": 4}})
    }

    #[test]
    fn answers_are_read_in_the_order_of_their_numbers() {
        let both = [choice(1, "length", &[8]), choice(0, "stop", &[9, 2])];
        let found = read(&reply(&both).to_string(), WANTED).unwrap();
        assert_eq!((found[0].ids.as_slice(), found[0].finished), ([9, 2].as_slice(), true));
        assert_eq!((found[1].ids.as_slice(), found[1].finished), ([8].as_slice(), false));
        assert_eq!(found[0].log_probs, [-0.5, -0.5]);
    }

    #[test]
    fn a_reply_that_is_cut_or_given_up_may_be_asked_for_again() {
        let both = [choice(0, "stop", &[9, 2]), choice(1, "stop", &[8, 2])];
        let whole = reply(&both).to_string();
        let again = |text: &str, words: &str| match read(text, WANTED) {
            Err(Fault::Again(cause)) => assert!(cause.contains(words), "{cause}"),
            other => panic!("{other:?}"),
        };
        again(&whole[..whole.len() - 9], "cannot be read");
        again(&reply(&both[..1]).to_string(), "1 of 2 answers");
        again(
            &reply(&[both[0].clone(), choice(1, "abort", &[8])]).to_string(),
            "gave the answer up (abort)",
        );
        let mut mixed = both.clone();
        mixed[1]["weight_versions"] = json!([{"version": "7"}, {"version": "8"}]);
        again(&reply(&mixed).to_string(), "weights `8` answered, and `7` were asked");
    }

    #[test]
    fn an_engine_that_is_not_what_it_should_be_is_told() {
        let both = [choice(0, "stop", &[9, 2]), choice(1, "stop", &[8, 2])];
        let wrong = |reply: &Value, words: &str| match read(&reply.to_string(), WANTED) {
            Err(Fault::Wrong(cause)) => assert!(cause.contains(words), "{cause}"),
            other => panic!("{other:?}"),
        };
        let mut other = reply(&both);
        other["prompt_token_ids"] = json!([3, 5, 5, 5, 4]);
        wrong(&other, "5 tokens instead of 4, which differ first at 3");
        other["prompt_token_ids"] = Value::Null;
        wrong(&other, "does not say the tokens");
        let mut without = both.clone();
        without[0]["logprobs"] = Value::Null;
        wrong(&reply(&without), "0 log-probabilities for 2 tokens");
        let mut of_others = both.clone();
        of_others[0]["logprobs"]["content"][1]["token_id"] = json!(77);
        wrong(&reply(&of_others), "or those of others");
        wrong(&reply(&[both[0].clone(), choice(1, "stop", &[])]), "without a token");
    }
}
