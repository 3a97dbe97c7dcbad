//! Measures how a completion is written: the study's reasoning words, markers of kinds of reasoning, repetition.
//!
//! This module does not know whether the completion is right; length is counted where tokens are known.
//! The study counts five words (arXiv 2507.07562, Table 5), and [`count_words`] counts them as it does; the kinds of
//! [`Marker`] are wider lists of ours, in `style/markers.json`, and say nothing about any published figure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::words::small;

/// The words whose frequency marks the long reflective style in the study.
pub const REASONING_WORDS: [&str; 5] = ["wait", "check", "mistake", "alternative", "however"];

/// Counts how often each of [`REASONING_WORDS`] stands in `text`, in that order.
///
/// Whole words are counted, whatever their case; `alternatively` counts as `alternative`.
/// A word is a run of letters, digits and underscores, as `\b` in a regular expression has it.
pub fn count_words(text: &str) -> [u32; 5] {
    let mut counts = [0; 5];
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
        let word = if word.eq_ignore_ascii_case("alternatively") { "alternative" } else { word };
        if let Some(i) = REASONING_WORDS.iter().position(|known| word.eq_ignore_ascii_case(known)) {
            counts[i] += 1;
        }
    }
    counts
}

/// A kind of phrase that shows how somebody reasons.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumCount,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Marker {
    /// Thinks about its own thinking: `wait`, `let me think`.
    Reflection,
    /// Looks again: `check`, `verify`.
    Verification,
    /// Takes something back: `mistake`, `actually`.
    Backtracking,
    /// Tries something out: `suppose`, `alternatively`.
    Hypothesis,
    /// Orders what it says: `first`, `next`.
    Structure,
    /// Draws together: `so`, `therefore`.
    Summary,
}

impl Marker {
    /// Every kind.
    pub const ALL: [Marker; Marker::COUNT] =
        *Marker::VARIANTS.first_chunk().expect("a variant for each of the count");

    /// Returns the kind's name, as in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Style {
    /// Phrases of each [`Marker`], in the order of [`Marker::ALL`].
    pub markers: [u32; Marker::COUNT],
    /// Share of the text's runs of four words that stood in it before; 0 where it has fewer than four words.
    pub repetition: f64,
}

/// Words of a run whose coming back is repetition.
const RUN: usize = 4;

/// Phrases by their first word, the longest first: the words after it, and the kind's place.
type Phrases = HashMap<String, Vec<(Vec<String>, usize)>>;

static PHRASES: LazyLock<Phrases> = LazyLock::new(|| {
    let lists: BTreeMap<Marker, Vec<String>> =
        serde_json::from_str(include_str!("style/markers.json"))
            .expect("the lists are well formed");
    let mut phrases = Phrases::new();
    for (place, marker) in Marker::ALL.iter().enumerate() {
        for phrase in &lists[marker] {
            let mut words = words(phrase).into_iter();
            let first = words.next().expect("a phrase has a word");
            phrases.entry(first).or_default().push((words.collect(), place));
        }
    }
    phrases
        .values_mut()
        .for_each(|list| list.sort_by_key(|(rest, _)| std::cmp::Reverse(rest.len())));
    phrases
});

/// Measures `text`. Linear in its length: a phrase has at most five words.
pub fn measure(text: &str) -> Style {
    let words = words(text);
    let mut markers = [0; 6];
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let rest = &words[at + 1..];
        let found =
            PHRASES.get(word).and_then(|list| list.iter().find(|(p, _)| rest.starts_with(p)));
        // A phrase is counted once, not its parts again.
        at += match found {
            Some((phrase, place)) => {
                markers[*place] += 1;
                1 + phrase.len()
            }
            None => 1,
        };
    }
    let mut seen = HashSet::new();
    let num_runs = words.windows(RUN).len();
    let num_new = words.windows(RUN).filter(|run| seen.insert(*run)).count();
    let repetition =
        if num_runs == 0 { 0.0 } else { (num_runs - num_new) as f64 / num_runs as f64 };
    Style { markers, repetition }
}

/// Runs of letters, digits, underscores, apostrophes and hyphens within a word, in lower case.
fn words(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '\'' | '-');
    let runs = text.split(|c: char| !is_part(c) && c != '’');
    let trimmed = runs.map(|run| run.trim_matches(['\'', '-', '’']));
    trimmed.filter(|run| !run.is_empty()).map(small).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_whole_words_count_whatever_their_case() {
        assert_eq!(count_words("Wait, wait! WAIT waiting await wait_"), [3, 0, 0, 0, 0]);
        assert_eq!(count_words("check. a mistake; however, checks"), [0, 1, 1, 0, 1]);
        assert_eq!(count_words("Alternatively, an alternative; alternatives"), [0, 0, 0, 2, 0]);
        assert_eq!(count_words(""), [0; 5]);
    }

    fn count(text: &str, marker: Marker) -> u32 {
        measure(text).markers[Marker::ALL.iter().position(|other| *other == marker).unwrap()]
    }

    #[test]
    fn phrases_count_once_and_only_as_whole_words() {
        assert_eq!(count("Let me check. Check!", Marker::Verification), 2);
        assert_eq!(count("checked, checkers", Marker::Verification), 0);
        assert_eq!(count("Wait — hold on, let me think", Marker::Reflection), 3);
        assert_eq!(count("That’s wrong; I made a mistake.", Marker::Backtracking), 2);
        assert_eq!(count("double-check it, double check it", Marker::Verification), 2);
        assert_eq!(count("First, then, finally: step by step", Marker::Structure), 4);
        assert_eq!(count("so the answer is 3", Marker::Summary), 2);
        assert_eq!(measure("").markers, [0; 6]);
    }

    #[test]
    fn the_lists_part_what_they_count() {
        let lists: BTreeMap<Marker, Vec<String>> =
            serde_json::from_str(include_str!("style/markers.json")).unwrap();
        assert_eq!(lists.len(), Marker::ALL.len());
        let all: Vec<&String> = lists.values().flatten().collect();
        let unique: HashSet<&String> = all.iter().copied().collect();
        assert_eq!(all.len(), unique.len(), "a phrase stands in two lists");
        assert!(all.iter().all(|phrase| (1..=5).contains(&words(phrase).len())));
    }

    #[test]
    fn what_comes_back_is_repetition() {
        let of = |text: &str| measure(text).repetition;
        assert_eq!(of("a b c").to_bits(), 0.0_f64.to_bits());
        assert_eq!(of("a b c d e f g h").to_bits(), 0.0_f64.to_bits());
        assert!((of("a b c d a b c d") - 0.2).abs() < 1e-12);
        assert!(of(&"and so on ".repeat(100)) > 0.95);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_measure(text in ".{0,80}") {
            let style = measure(&text);
            prop_assert!((0.0..=1.0).contains(&style.repetition));
        }

        #[test]
        fn counts_of_two_texts_add_up(a in ".{0,60}", b in "(wait|check|x| |,|é){0,20}") {
            let joined = count_words(&format!("{a} {b}"));
            let (left, right) = (count_words(&a), count_words(&b));
            for i in 0..5 {
                prop_assert_eq!(joined[i], left[i] + right[i]);
            }
        }
    }
}
