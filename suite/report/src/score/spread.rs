//! How far a row's model is from the base, token by token along its own answers: entropy and KL by level and at pivotal
//! tokens, after the study's Figure 7. Pure.
//!
//! This module does not know models: it is given numbers for each token and averages them. The study shows its tokens as a
//! picture and lists the words at which SFT departs from the base; it gives no rule by which a token is pivotal. Two rules
//! stand here side by side: [`PIVOTAL_WORDS`] of its list, and the tokens at which the base is least sure, the tenth of
//! all tokens with the highest entropy (Wang et al. 2025, "Beyond the 80/20 Rule", arXiv 2506.01939, there a fifth).

use serde::{Deserialize, Serialize};
use synergy_benchmarks::difficulty::Level;

/// Words at which the study's long answers depart from the base: structure, connectors, actions and second thoughts
/// (section 4, Figure 7).
pub const PIVOTAL_WORDS: [&str; 12] = [
    "first",
    "second",
    "next",
    "then",
    "alternative",
    "because",
    "let",
    "consider",
    "verify",
    "wait",
    "hmm",
    "maybe",
];

/// Share of all tokens that count as those at which the base is least sure.
const UNSURE_SHARE: f64 = 0.1;

/// One row of one seed against the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Name of the row.
    pub row: String,
    /// Its seed.
    pub seed: u64,
    /// All answers first (`level` is null), then each level that has any.
    pub parts: Vec<SpreadPart>,
}

/// The scored answers of one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpreadPart {
    /// The level; `None` for all of them.
    pub level: Option<Level>,
    /// Answers that were scored.
    pub num_answers: usize,
    /// All their tokens.
    pub all: TokenMeans,
    /// Tokens in which one of [`PIVOTAL_WORDS`] begins, if there are any.
    pub words: Option<TokenMeans>,
    /// The tenth of the row's tokens at which the base is least sure, those of this level, if there are any.
    pub unsure: Option<TokenMeans>,
}

/// Means over tokens, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenMeans {
    /// Tokens; at least 1.
    pub num_tokens: usize,
    /// Entropy of the row's model.
    pub entropy_nats: f64,
    /// Entropy of the base.
    pub base_entropy_nats: f64,
    /// KL divergence of the row's model from the base, the whole distributions compared.
    pub kl_nats: f64,
}

/// One token of an answer: what the two models expect where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenSpread {
    /// Entropy of the row's model in nats.
    pub entropy: f32,
    /// Entropy of the base in nats.
    pub base_entropy: f32,
    /// KL divergence of the row's model from the base in nats.
    pub kl: f32,
    /// True if one of [`PIVOTAL_WORDS`] begins in it.
    pub begins_pivotal_word: bool,
}

/// Averages the tokens of `answers`, each with the level of its question; `None` without any token.
pub fn spread(row: &str, seed: u64, answers: &[(Level, Vec<TokenSpread>)]) -> Option<Spread> {
    let mut entropies: Vec<f32> =
        answers.iter().flat_map(|(_, tokens)| tokens.iter().map(|t| t.base_entropy)).collect();
    entropies.sort_by(f32::total_cmp);
    let num_unsure = (entropies.len() as f64 * UNSURE_SHARE).ceil() as usize;
    // Of equal tokens all are taken.
    let limit = *entropies.get(entropies.len().checked_sub(num_unsure.max(1))?)?;
    let part = |level: Option<Level>| {
        let own = || answers.iter().filter(move |(of, _)| level.is_none_or(|level| level == *of));
        let tokens = || own().flat_map(|(_, tokens)| tokens);
        Some(SpreadPart {
            level,
            num_answers: own().count(),
            all: TokenMeans::of(tokens())?,
            words: TokenMeans::of(tokens().filter(|token| token.begins_pivotal_word)),
            unsure: TokenMeans::of(tokens().filter(|token| token.base_entropy >= limit)),
        })
    };
    let parts: Vec<SpreadPart> = super::all_and_levels().filter_map(part).collect();
    Some(Spread { row: row.to_owned(), seed, parts })
}

impl TokenMeans {
    fn of<'a>(tokens: impl Iterator<Item = &'a TokenSpread>) -> Option<TokenMeans> {
        let mut sums = [0.0; 3];
        let mut num_tokens = 0;
        for token in tokens {
            num_tokens += 1;
            for (sum, value) in sums.iter_mut().zip([token.entropy, token.base_entropy, token.kl]) {
                *sum += f64::from(value);
            }
        }
        // Six digits, as in every published figure: the bits of a mean are not its meaning.
        let mean = |sum: f64| (sum / num_tokens as f64 * 1e6).round() / 1e6;
        let [entropy_nats, base_entropy_nats, kl_nats] = sums.map(mean);
        (num_tokens > 0).then_some(TokenMeans {
            num_tokens,
            entropy_nats,
            base_entropy_nats,
            kl_nats,
        })
    }
}

/// The means over several seeds of one row, weighted by their tokens.
pub fn over_seeds(spreads: &[Spread], row: &str) -> Vec<SpreadPart> {
    let joined = |means: Vec<TokenMeans>| -> Option<TokenMeans> {
        let num_tokens: usize = means.iter().map(|m| m.num_tokens).sum();
        let mean = |value: fn(&TokenMeans) -> f64| {
            means.iter().map(|m| value(m) * m.num_tokens as f64).sum::<f64>() / num_tokens as f64
        };
        (num_tokens > 0).then(|| TokenMeans {
            num_tokens,
            entropy_nats: mean(|m| m.entropy_nats),
            base_entropy_nats: mean(|m| m.base_entropy_nats),
            kl_nats: mean(|m| m.kl_nats),
        })
    };
    let of_level = |level: Option<Level>| {
        let own = spreads.iter().filter(|spread| spread.row == row);
        let parts: Vec<&SpreadPart> =
            own.flat_map(|s| s.parts.iter().filter(|part| part.level == level)).collect();
        Some(SpreadPart {
            level,
            num_answers: parts.iter().map(|part| part.num_answers).sum(),
            all: joined(parts.iter().map(|part| part.all).collect())?,
            words: joined(parts.iter().filter_map(|part| part.words).collect()),
            unsure: joined(parts.iter().filter_map(|part| part.unsure).collect()),
        })
    };
    super::all_and_levels().filter_map(of_level).collect()
}

/// Tells of each token of a text, given as where it ends in the text, whether one of [`PIVOTAL_WORDS`] begins in it.
pub fn begins_pivotal_word(text: &str, ends: &[usize]) -> Vec<bool> {
    let is_letter = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_alphabetic);
    let lower = text.to_ascii_lowercase();
    let begins = |at: &usize| {
        let end = (*at..).find(|end| !is_letter(*end)).unwrap_or(text.len());
        PIVOTAL_WORDS.contains(&&lower[*at..end])
    };
    let starts: Vec<usize> = (0..text.len())
        .filter(|at| is_letter(*at) && !(*at > 0 && is_letter(at - 1)))
        .filter(begins)
        .collect();
    let mut from = 0;
    let of_token = |end: &usize| {
        let own = from..*end;
        from = *end;
        starts.iter().any(|start| own.contains(start))
    };
    ends.iter().map(of_token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(entropy: f32, base_entropy: f32, kl: f32) -> TokenSpread {
        TokenSpread { entropy, base_entropy, kl, begins_pivotal_word: entropy > 1.0 }
    }

    #[test]
    fn means_are_over_tokens_of_a_level_and_the_unsure_tenth_is_of_the_whole_row() {
        let sure = vec![token(0.1, 0.2, 0.0); 18];
        let torn = vec![token(2.0, 1.0, 0.5), token(0.0, 3.0, 1.5)];
        let spread =
            spread("sft", 2, &[(Level::L1, sure.clone()), (Level::L5, torn.clone())]).unwrap();
        let levels: Vec<Option<Level>> = spread.parts.iter().map(|part| part.level).collect();
        assert_eq!(levels, [None, Some(Level::L1), Some(Level::L5)]);
        let (all, easy, hard) = (&spread.parts[0], &spread.parts[1], &spread.parts[2]);
        assert_eq!((all.num_answers, all.all.num_tokens), (2, 20));
        assert!((all.all.kl_nats - 0.1).abs() < 1e-6, "{all:?}");
        // Two of twenty tokens, both of the hard question.
        assert_eq!((all.unsure, easy.unsure), (hard.unsure, None));
        assert_eq!(hard.unsure.unwrap().num_tokens, 2);
        assert!((hard.unsure.unwrap().base_entropy_nats - 2.0).abs() < 1e-6);
        assert_eq!((hard.words.unwrap().num_tokens, easy.words), (1, None));
        assert_eq!(super::spread("sft", 2, &[]), None);
        assert_eq!(super::spread("sft", 2, &[(Level::L1, Vec::new())]), None);

        // Two seeds weigh by their tokens.
        let other = super::spread("sft", 3, &[(Level::L5, torn)]).unwrap();
        let joined = over_seeds(&[spread.clone(), other], "sft");
        assert_eq!((joined[0].num_answers, joined[0].all.num_tokens), (3, 22));
        assert!((joined[0].all.kl_nats - 4.0 / 22.0).abs() < 1e-6, "{joined:?}");
        let twice = TokenMeans { num_tokens: 2 * hard.all.num_tokens, ..hard.all };
        assert_eq!(joined[2].all, twice);
        assert_eq!(over_seeds(&[spread], "rl"), []);
    }

    #[test]
    fn a_pivotal_word_is_a_whole_word_in_the_token_where_it_begins() {
        let text = "b2 3 . Wait check athens then";
        let ends = |tokens: &[&str]| {
            let mut end = 0;
            let ends = tokens.iter().map(|token| {
                end += token.len();
                end
            });
            ends.collect::<Vec<_>>()
        };
        let tokens = ["b2 ", "3 .", " Wa", "it", " check", " athens", " then"];
        let found = begins_pivotal_word(text, &ends(&tokens));
        assert_eq!(found, [false, false, true, false, false, false, true]);
        assert_eq!(begins_pivotal_word("é wait", &[2, 7]), [false, true]);
        assert_eq!(begins_pivotal_word("", &[0]), [false]);
    }
}
