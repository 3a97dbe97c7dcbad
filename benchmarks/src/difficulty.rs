//! Turns pass rates into difficulty levels, L1 (easy) to L5 (hard), by the study's cuts.
//!
//! This module does not know which model was sampled nor how an answer was judged.
//! The cuts are compared as integers, so no level depends on the rounding of a division.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumCount, VariantArray};

/// A difficulty level by the baseline's pass rate.
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
    Display,
    EnumCount,
    VariantArray,
)]
pub enum Level {
    L1,
    L2,
    L3,
    L4,
    L5,
}

impl Level {
    /// Every level, easy to hard.
    pub const ALL: [Level; Level::COUNT] =
        *Level::VARIANTS.first_chunk().expect("a variant for each of the count");
}

/// The lowest pass rate of L1 to L4 in sixteenths; what is below the last is L5.
const CUTS: [(u64, Level); 4] = [(12, Level::L1), (8, Level::L2), (5, Level::L3), (2, Level::L4)];

/// Returns the level of a question that was answered right `num_correct` times in `num_samples` samples.
///
/// With pass rate `P`: L1 if `P >= 12/16`, L2 if `8/16 <= P < 12/16`, L3 if `5/16 <= P < 8/16`,
/// L4 if `2/16 <= P < 5/16`, else L5.
///
/// # Panics
/// If `num_samples` is zero or less than `num_correct`.
pub fn level(num_correct: u32, num_samples: u32) -> Level {
    assert!(
        num_samples > 0 && num_correct <= num_samples,
        "{num_correct} correct of {num_samples} samples is not a pass rate"
    );
    CUTS.into_iter()
        .find(|(sixteenths, _)| u64::from(num_correct) * 16 >= sixteenths * u64::from(num_samples))
        .map_or(Level::L5, |(_, level)| level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sixteen_samples_are_cut_as_in_the_study() {
        use Level::{L1, L2, L3, L4, L5};
        let expected = [L5, L5, L4, L4, L4, L3, L3, L3, L2, L2, L2, L2, L1, L1, L1, L1, L1];
        for (num_correct, level_expected) in (0..).zip(expected) {
            assert_eq!(level(num_correct, 16), level_expected, "{num_correct} of 16");
        }
    }

    #[test]
    fn other_sample_counts_are_cut_at_the_same_rates() {
        // 3/4 = 12/16 is L1; 1/2 is L2; 1/3 > 5/16 is L3; 1/4 is L4; 1/8 is L4, 1/9 is L5.
        let cases = [
            ((3, 4), Level::L1),
            ((1, 2), Level::L2),
            ((1, 3), Level::L3),
            ((1, 4), Level::L4),
            ((1, 8), Level::L4),
            ((1, 9), Level::L5),
            ((u32::MAX, u32::MAX), Level::L1),
        ];
        for ((num_correct, num_samples), expected) in cases {
            assert_eq!(level(num_correct, num_samples), expected, "{num_correct}/{num_samples}");
        }
    }

    #[test]
    fn a_level_is_written_as_its_name() {
        assert_eq!(serde_json::to_string(&Level::L3).unwrap(), "\"L3\"");
        assert_eq!(Level::L3.to_string(), "L3");
    }

    proptest! {
        #[test]
        fn more_correct_answers_never_make_a_question_harder(
            num_samples in 1u32..500,
            a in 0u32..500,
            b in 0u32..500,
        ) {
            let (a, b) = (a % (num_samples + 1), b % (num_samples + 1));
            prop_assert!(level(a.max(b), num_samples) <= level(a.min(b), num_samples));
        }
    }
}
