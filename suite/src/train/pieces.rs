//! Cuts a group's packed rollouts into several sequences, where one would be too long.
//!
//! Does not know losses. A piece is the question with some of the answers: each token sees the same tokens, so a piece's
//! predictions are those of the whole, and those of all pieces, one after the other, are all predictions in order.

use std::ops::Range;

use crate::train::sequence::Sequence;

impl Sequence {
    /// Cuts the sequence into pieces of at most `max_packed_tokens` tokens, or of one answer where that is longer. A
    /// sequence without segments is one piece.
    pub(super) fn pieces(&self, max_packed_tokens: usize) -> Vec<Sequence> {
        let answers = self.answers();
        if self.input_ids.len() <= max_packed_tokens || answers.len() < 2 {
            return vec![self.clone()];
        }
        let num_predictions = answers.iter().map(|answer| answer.predictions.len()).sum::<usize>();
        assert_eq!(num_predictions, self.predictions.len(), "every prediction is an answer's");
        let prompt = answers[0].tokens.start;
        let mut pieces = Vec::new();
        let mut rest = answers.as_slice();
        while let Some(first) = rest.first() {
            let fits = |answer: &&Answer| {
                prompt + answer.tokens.end - first.tokens.start <= max_packed_tokens
            };
            let num = rest.iter().take_while(fits).count().max(1);
            pieces.push(self.piece(prompt, &rest[..num]));
            rest = &rest[num..];
        }
        pieces
    }

    /// The prompt and `answers`, which follow each other in the sequence.
    fn piece(&self, prompt: usize, answers: &[Answer]) -> Sequence {
        let (start, end) = (answers[0].tokens.start, answers[answers.len() - 1].tokens.end);
        let moved = start - prompt;
        let of = answers[0].predictions.start..answers[answers.len() - 1].predictions.end;
        let place = |at: usize| if at < prompt { at } else { at - moved };
        Sequence {
            input_ids: [&self.input_ids[..prompt], &self.input_ids[start..end]].concat(),
            positions: [&self.positions[..prompt], &self.positions[start..end]].concat(),
            segments: [&self.segments[..prompt], &self.segments[start..end]].concat(),
            patches: self.patches.clone(),
            predictions: self.predictions[of].iter().map(|&(at, id)| (place(at), id)).collect(),
        }
    }

    /// The tokens and predictions of each answer, in order.
    fn answers(&self) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut end = 0;
        for run in self.segments.chunk_by(|a, b| a == b) {
            let tokens = end..end + run.len();
            end = tokens.end;
            if run[0] != 0 {
                answers.push(Answer { tokens, predictions: 0..0 });
            }
        }
        let mut taken = 0;
        for answer in &mut answers {
            let Range { start, end } = answer.tokens;
            let rest = &self.predictions[taken..];
            // Its first token may be predicted from the end of the prompt, where others' are too.
            let is_first = |&&(at, id): &&(usize, u32)| at < start && id == self.input_ids[start];
            let first = rest.iter().take(1).filter(is_first).count();
            let inside = rest[first..].iter().take_while(|(at, _)| (start..end).contains(at));
            let num = first + inside.count();
            answer.predictions = taken..taken + num;
            taken += num;
        }
        answers
    }
}

struct Answer {
    tokens: Range<usize>,
    predictions: Range<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A prompt of `prompt` tokens, and answers of so many, the first `given` of which nobody predicts.
    fn packed(prompt: usize, answers: &[(usize, usize)]) -> Sequence {
        let mut sequence = Sequence {
            input_ids: (0..prompt as u32).collect(),
            positions: (0..prompt as u32).map(|p| [p; 3]).collect(),
            segments: vec![0; prompt],
            patches: Vec::new(),
            predictions: Vec::new(),
        };
        for (k, &(len, given)) in answers.iter().enumerate() {
            for t in 0..len {
                let id = 100 * (k as u32 + 1) + t as u32;
                let at = if t == 0 { prompt - 1 } else { sequence.input_ids.len() - 1 };
                if t >= given {
                    sequence.predictions.push((at, id));
                }
                sequence.input_ids.push(id);
                sequence.positions.push([(prompt + t) as u32; 3]);
                sequence.segments.push(k as u32 + 1);
            }
        }
        sequence
    }

    proptest! {
        #[test]
        fn pieces_hold_every_answer_once_and_all_predictions_in_order(
            prompt in 1..6_usize,
            answers in prop::collection::vec((1..7_usize, 0..7_usize), 1..7),
            max_packed_tokens in 1..40_usize,
        ) {
            let answers: Vec<_> = answers.into_iter().map(|(len, given)| (len, given.min(len - 1))).collect();
            let whole = packed(prompt, &answers);
            let pieces = whole.pieces(max_packed_tokens);
            let mut predicted = Vec::new();
            let mut own = Vec::new();
            for piece in &pieces {
                prop_assert_eq!(&piece.input_ids[..prompt], &whole.input_ids[..prompt]);
                prop_assert_eq!(piece.positions.len(), piece.input_ids.len());
                prop_assert_eq!(piece.segments.len(), piece.input_ids.len());
                let num_answers = piece.segments.iter().filter(|s| **s > 0).collect::<std::collections::BTreeSet<_>>().len();
                prop_assert!(piece.input_ids.len() <= max_packed_tokens || num_answers == 1);
                for &(at, id) in &piece.predictions {
                    // What is predicted stands next in its segment, or first in one.
                    let next = piece.input_ids.iter().position(|other| *other == id).unwrap();
                    prop_assert!(at + 1 == next || at == prompt - 1);
                    predicted.push(id);
                }
                own.extend_from_slice(&piece.input_ids[prompt..]);
            }
            prop_assert_eq!(predicted, whole.predictions.iter().map(|p| p.1).collect::<Vec<_>>());
            prop_assert_eq!(&own[..], &whole.input_ids[prompt..]);
        }
    }
}
