//! Answers scored once more, under the model that wrote them and under the base: entropy and KL by level and at pivotal
//! tokens.
//!
//! Does not know how two models are compared, nor how tokens are averaged. A row's figures are an artifact of their own,
//! keyed by the row, the base and the answers that were chosen: a run with more of them scores, and asks nothing again.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::json;
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_models::weights::ComputeDtype;
use synergy_report::completion::Completion;
use synergy_report::score::spread::{Spread, TokenSpread, begins_pivotal_word, spread};
use synergy_report::score::{Results, RowKind};

use crate::device::Compute;
use crate::key::Key;
use crate::run::artifact;
use crate::run::base::Base;
use crate::run::evaluation::Evaluated;
use crate::run::event::Events;
use crate::run::once::once;
use crate::run::store::Store;
use crate::train::prompt::plain;
use crate::train::sequence::{Prompter, Sequence};
use crate::train::spread::along;

/// The file of a row's figures.
const FILE: &str = "spread.json";

/// An answer that is scored, with the level of its question.
type Chosen<'a> = (Level, &'a Completion, &'a Sample);

/// Scores up to `num_answers` answers of every level, for the base and every regime of every seed.
///
/// # Errors
/// If a model or a picture cannot be read, or the disk fails.
pub(super) fn all(
    num_answers: usize,
    evaluated: &[Evaluated],
    samples: &[Sample],
    results: &Results,
    base: &Base,
    (compute, store): (&Compute, &Store),
    events: &mut Events,
) -> Result<Vec<Spread>> {
    let mut spreads = Vec::new();
    if num_answers == 0 {
        return Ok(spreads);
    }
    for row in evaluated.iter().filter(|row| row.planned.kind != RowKind::Control) {
        let chosen = chosen(results, row, samples, num_answers);
        let ids: Vec<&str> = chosen.iter().map(|(_, c, _)| c.sample_id.as_str()).collect();
        let levels: Vec<Level> = chosen.iter().map(|(level, ..)| *level).collect();
        let depends_on = json!({
            "kind": "spread", "row": row.planned.key, "base": base.key, "answers": ids, "levels": levels,
        });
        let key = Key::of(&depends_on);
        let what = format!("scores of row `{}` (seed {})", row.planned.name, row.planned.seed);
        let find = |_: &mut Events| stored(store, &key);
        let found = once(store, &key, &what, events, find, |events| {
            events.say(&format!("  {what}: {} answers", chosen.len()));
            let found = scored(row, &chosen, base, compute, store)?;
            let bytes = serde_json::to_vec(&found).context("figures are plain data")?;
            store.put(&key, &depends_on, &BTreeMap::from([(FILE.to_owned(), bytes)]))?;
            Ok(found)
        })?;
        spreads.extend(found);
    }
    Ok(spreads)
}

/// The figures under `key`, if they are in the store: none where no answer of the row could be scored.
fn stored(store: &Store, key: &Key) -> Result<Option<Option<Spread>>> {
    let Some(files) = store.get(key)? else { return Ok(None) };
    let bytes = artifact::file(&files, FILE)?;
    serde_json::from_slice(bytes).context("figures of a row").map(Some)
}

/// The first answers to questions of each level, at even distances among those in the order of their ids.
fn chosen<'a>(
    results: &Results,
    row: &'a Evaluated,
    samples: &'a [Sample],
    num_answers: usize,
) -> Vec<Chosen<'a>> {
    let samples: BTreeMap<&str, &Sample> = samples.iter().map(|s| (s.id.as_str(), s)).collect();
    // What cannot be read as it was written is left out: a token of the template in an answer would end it.
    let can_be_read = |c: &&Completion| c.unanswered.is_none() && plain(&c.text).is_ok();
    let first: BTreeMap<&str, &Completion> = row
        .completions
        .iter()
        .filter(|c| c.sample == 0)
        .filter(can_be_read)
        .map(|c| (c.sample_id.as_str(), c))
        .collect();
    let mut chosen = Vec::new();
    for level in Level::ALL {
        let own = results.questions.iter().filter(|q| q.level == Some(level));
        let own = own.filter_map(|q| {
            Some((level, *first.get(q.id.as_str())?, *samples.get(q.id.as_str())?))
        });
        let all: Vec<Chosen<'_>> = own.collect();
        let num = num_answers.min(all.len());
        chosen.extend((0..num).map(|i| all[i * all.len() / num]));
    }
    chosen
}

/// Scores the chosen answers of a row.
fn scored(
    row: &Evaluated,
    chosen: &[Chosen<'_>],
    base: &Base,
    compute: &Compute,
    store: &Store,
) -> Result<Option<Spread>> {
    let (config, planned) = (&base.prompter.config, &row.planned);
    let own = artifact::checkpoint(
        store,
        &planned.checkpoint,
        base,
        &compute.device,
        Some(ComputeDtype::F32),
    )?;
    let (own, start) =
        (Vlm::new(config, &own), Vlm::new(config, &base.parameters.cast(ComputeDtype::F32)));
    let answer = |_: usize, (level, completion, sample): &Chosen<'_>| {
        let sequence = sequence(&base.prompter, sample, completion, planned.asking.template)?;
        let mut tokens = along(&own, &start, &sequence);
        mark_words(&base.prompter, completion, &mut tokens);
        Ok((*level, tokens))
    };
    let answers = compute.map(chosen, answer).into_iter().collect::<Result<Vec<_>>>()?;
    Ok(spread(&planned.name, planned.seed, &answers))
}

/// A question with its answer, every token of which is predicted, and its end where the model ended it.
fn sequence(
    prompter: &Prompter,
    sample: &Sample,
    completion: &Completion,
    template: bool,
) -> Result<Sequence> {
    let turn = [(prompter.text(sample, template), completion.text.clone())];
    // Without gaps between positions nothing is drawn that shows.
    let rng = &mut Seed::root(0).rng();
    let mut sequence = prompter.conversation(&turn, prompter.patches(sample)?, 0, rng)?;
    if !completion.finished {
        sequence.predictions.pop();
    }
    Ok(sequence)
}

/// Marks the tokens of an answer in which a pivotal word begins.
fn mark_words(prompter: &Prompter, completion: &Completion, tokens: &mut [TokenSpread]) {
    let mut decoder = prompter.tokenizer.stream();
    let mut end = 0;
    let ids = prompter.tokenizer.encode(&completion.text);
    let ends: Vec<usize> = ids
        .into_iter()
        .map(|id| {
            end += decoder.push(id).len();
            end
        })
        .collect();
    for (token, begins) in tokens.iter_mut().zip(begins_pivotal_word(&completion.text, &ends)) {
        token.begins_pivotal_word = begins;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fixture::BASE;
    use crate::train::pool::drawn;
    use synergy_benchmarks::families::Split;

    #[test]
    fn every_token_of_an_answer_is_predicted_and_words_are_found_where_they_stand() {
        let sample = drawn(1, 3, Split::Train, [2, 4]);
        let text = "<think> b2 3 . wait check b2 3 yes . then c1</think>\\boxed{3}";
        let whole = Completion::new(&sample, 0, text.to_owned(), 20, true);
        let prompter = &BASE.prompter;
        let ids = prompter.tokenizer.encode(text);
        let of = |completion: &Completion| sequence(prompter, &sample, completion, true).unwrap();
        let found = of(&whole);
        let predicted: Vec<u32> = found.predictions.iter().map(|(_, id)| *id).collect();
        assert_eq!(predicted, [ids.as_slice(), &[prompter.tokenizer.ids.eos]].concat());
        let cut = of(&Completion { finished: false, ..whole.clone() });
        assert_eq!(cut.predictions.len(), ids.len());

        let blank =
            TokenSpread { entropy: 0.0, base_entropy: 0.0, kl: 0.0, begins_pivotal_word: false };
        let mut tokens = vec![blank; predicted.len()];
        mark_words(prompter, &whole, &mut tokens);
        let marked: String = (0..ids.len())
            .filter(|i| tokens[*i].begins_pivotal_word)
            .map(|i| {
                prompter
                    .tokenizer
                    .decode(&ids[i..])
                    .trim_start()
                    .chars()
                    .take(4)
                    .collect::<String>()
            })
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(marked, "wait,then");
    }
}
