//! How a completion is written: counts of the study's reasoning words.
//!
//! Does not know whether the completion is right; length is counted where tokens are known.

/// The words whose frequency marks the long reflective style in the study.
pub const REASONING_WORDS: [&str; 5] = ["wait", "check", "mistake", "alternative", "however"];

/// How often each of [`REASONING_WORDS`] stands in `text`, in that order.
///
/// Whole words, whatever their case; `alternatively` counts as `alternative`.
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

    proptest! {
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
