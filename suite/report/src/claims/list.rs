//! C1 to C13, as data: texts, conditions, comparisons, controls and the study's figures (arXiv 2507.07562).
//!
//! This module does not know how a comparison is made.

use synergy_benchmarks::difficulty::Level::{self, L1, L2, L3, L4, L5};

use super::Implied::{Also, Dilemma, Of};
use super::Needed::{Long, Shown};
use super::{Claim, Part, Question, Wanted};
use crate::evidence::Measure::{self, Accuracy, Length, Words};
use crate::evidence::Wanted::{Above, Below, NotAbove, NotBelow, Within};
use crate::score::BASE;

/// Points that count as nothing where a row should not be above or below another.
const MARGIN: f64 = 2.0;
/// Points that RL may lose on L1: the study's RL loses up to 4.5 there.
const MARGIN_EASY: f64 = 5.0;
/// Lengths that differ by less than this many percent count as equal.
const SAME_LENGTH: f64 = 20.0;
/// So few reasoning words per answer count as nothing.
const FEW_WORDS: f64 = 0.2;

const fn compare(
    row: &'static str,
    less: &'static str,
    part: Part,
    metric: Measure,
    (wanted, margin): (Wanted, f64),
) -> Question<'static> {
    Question { row, less, metric, part, wanted, margin }
}

/// Difference of average accuracy.
const fn average(
    row: &'static str,
    less: &'static str,
    wanted: (Wanted, f64),
) -> Question<'static> {
    compare(row, less, Part::All, Accuracy, wanted)
}

/// Difference of accuracy on one level.
const fn on(
    level: Level,
    row: &'static str,
    less: &'static str,
    wanted: (Wanted, f64),
) -> Question<'static> {
    compare(row, less, Part::Level(level), Accuracy, wanted)
}

/// Without this, what lies between SFT and RL, or above RL, says nothing.
const RL_ABOVE_SFT: super::Needed =
    Shown(average("rl", "sft", (Above, 0.0)), "RL is above SFT on average");

/// A claim without note, conditions and controls.
const CLAIM: Claim = Claim {
    id: "",
    text: "",
    published: "",
    note: "",
    conditions: &[],
    comparisons: &[],
    controls: &[],
};

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        id: "C1",
        text: "A few deep traces teach more than many self-distilled answers.",
        published: "1k traces of R1 52.5, 34k self-distilled 51.4 on average",
        note: "The study's deep traces are text alone; ours are about pictures.",
        comparisons: &[Of(average("sft_deep_few", "sft", (Above, 0.0)))],
        ..CLAIM
    },
    Claim {
        id: "C2",
        text: "Long output alone does not help: traces that lengthen without depth gain nothing.",
        published: "s1-Gemini2: 8 to 15 times as long, 48.7 against 50.3",
        conditions: &[Shown(
            compare("sft_shallow", BASE, Part::All, Length, (Above, 100.0)),
            "the traces make answers at least twice as long",
        )],
        comparisons: &[Of(average("sft_shallow", BASE, (NotAbove, MARGIN)))],
        ..CLAIM
    },
    Claim {
        id: "C3",
        text: "SFT loses on easy questions and gains more than RL on the hardest.",
        published: "L1 -7.6 to -15.0 on five of five benchmarks; L5 9.1 to 24.2 against RL's 3.6 to 15.9",
        conditions: &[Long("sft")],
        comparisons: &[
            Of(on(L1, "sft", BASE, (Below, 0.0))),
            Of(on(L5, "sft", BASE, (Above, 0.0))),
            Of(on(L5, "sft", "rl", (Above, 0.0))),
        ],
        controls: &[
            (
                on(L5, "sft", "sft/shuffled", (NotAbove, MARGIN)),
                "chance: on L5 it does no better than with another question's picture",
            ),
            (
                on(L5, "sft", "sft_own_brief", (NotAbove, MARGIN)),
                "having met the questions: SFT on brief answers to them gains as much on L5",
            ),
        ],
        ..CLAIM
    },
    Claim {
        id: "C4",
        text: "RL gains at every level above the easiest, where it loses little.",
        published: "L2 to L5 20 of 20 cells above zero; L1 -2.5, -1.0, +1.3, -3.6, -4.5",
        comparisons: &[
            Of(on(L1, "rl", BASE, (NotBelow, MARGIN_EASY))),
            Of(on(L2, "rl", BASE, (Above, 0.0))),
            Of(on(L3, "rl", BASE, (Above, 0.0))),
            Of(on(L4, "rl", BASE, (Above, 0.0))),
            Of(on(L5, "rl", BASE, (Above, 0.0))),
        ],
        controls: &[(
            average("rl", "greedy", (NotAbove, MARGIN)),
            "sharpening: the base gains as much on average by greedy decoding",
        )],
        ..CLAIM
    },
    Claim {
        id: "C5",
        text: "RL stays as brief as the base and reflects no more; SFT grows verbose.",
        published: "RL 337 tokens on average, SFT more than ten times base and RL; `wait` 0, 249 091, 0",
        note: "\"Verbose\" is twice the base's length here.",
        comparisons: &[
            Of(compare("rl", BASE, Part::All, Length, (Within, SAME_LENGTH))),
            Of(compare("rl", BASE, Part::All, Words, (NotAbove, FEW_WORDS))),
            Of(compare("sft", BASE, Part::All, Length, (Above, 100.0))),
            Of(compare("sft", BASE, Part::All, Words, (Above, FEW_WORDS))),
        ],
        ..CLAIM
    },
    Claim {
        id: "C6",
        text: "RL needs its KL term.",
        published: "55.1 with it, 52.9 without, collapse after some 300 steps",
        note: "A collapse later than our number of steps is not seen.",
        conditions: &[Shown(
            average("rl", BASE, (Above, 0.0)),
            "RL gains over the base on average",
        )],
        comparisons: &[Of(average("rl", "rl_kl0", (Above, 0.0)))],
        ..CLAIM
    },
    Claim {
        id: "C7",
        text: "RL needs the easiest questions, though they have no advantage.",
        published: "55.1 with them, 52.8 without",
        conditions: &[Shown(
            average("rl", BASE, (Above, 0.0)),
            "RL gains over the base on average",
        )],
        comparisons: &[Of(average("rl", "rl_no_easy", (Above, 0.0)))],
        ..CLAIM
    },
    Claim {
        id: "C8",
        text: "RL after long-CoT SFT adds nothing and stays below RL alone, from an early SFT too.",
        published: "51.4 after, 51.4 before; RL alone 55.1",
        conditions: &[RL_ABOVE_SFT, Long("sft")],
        comparisons: &[
            Of(average("two_stage", "sft", (NotAbove, MARGIN))),
            Of(average("two_stage", "rl", (Below, 0.0))),
            Of(average("two_stage_1", "rl", (Below, 0.0))),
            Also(average("two_stage_2", "rl", (Below, 0.0))),
            Also(average("two_stage_3", "rl", (Below, 0.0))),
        ],
        ..CLAIM
    },
    Claim {
        id: "C9",
        text: "Interleaved training lies between SFT and RL.",
        published: "53.6 between 51.4 and 55.1, and between them on five of five benchmarks",
        conditions: &[RL_ABOVE_SFT, Long("interleaved")],
        comparisons: &[
            Of(average("interleaved", "sft", (Above, 0.0))),
            Of(average("interleaved", "rl", (Below, 0.0))),
        ],
        ..CLAIM
    },
    Claim {
        id: "C10",
        text: "Progressive training is as good as any other hybrid and still not better than RL.",
        published: "54.9; interleaved 53.6, data mixing 54.0, merging 54.3, two-stage 51.4, RL 55.1",
        conditions: &[RL_ABOVE_SFT, Long("progressive")],
        comparisons: &[
            Of(average("progressive", "interleaved", (NotBelow, MARGIN))),
            Of(average("progressive", "data_mixing", (NotBelow, MARGIN))),
            Of(average("progressive", "merge_linear_25", (NotBelow, MARGIN))),
            Of(average("progressive", "two_stage", (NotBelow, MARGIN))),
            Of(average("progressive", "rl", (NotAbove, MARGIN))),
        ],
        ..CLAIM
    },
    Claim {
        id: "C11",
        text: "Data mixing does not teach when to think long: it is longer than RL, loses on easy questions and \
               gains nothing over RL.",
        published: "753 tokens against 337; L1 of MMStar -11.2; 54.0 against 55.1",
        conditions: &[Long("data_mixing")],
        comparisons: &[
            Of(compare("data_mixing", "rl", Part::All, Length, (Above, 0.0))),
            Of(on(L1, "data_mixing", "rl", (Below, 0.0))),
            Of(average("data_mixing", "rl", (NotAbove, MARGIN))),
        ],
        ..CLAIM
    },
    Claim {
        id: "C12",
        text: "Merging interpolates between SFT and RL, and TIES does worse than the mean.",
        published: "linear .25 54.3 between 51.4 and 55.1; \"compatibility issues\" with TIES",
        conditions: &[RL_ABOVE_SFT],
        comparisons: &[
            Of(average("merge_linear_25", "sft", (Above, 0.0))),
            Of(average("merge_linear_25", "rl", (NotAbove, MARGIN))),
            Of(average("merge_ties_25", "merge_linear_25", (Below, 0.0))),
        ],
        ..CLAIM
    },
    Claim {
        id: "C13",
        text: "The dilemma: every combination loses on the hard half or on the easy half against the better parent, \
               or is not above it on the whole.",
        published: "averages of at most 54.9 against 55.1; on L5 all but two-stage stay near RL",
        note: "All combinations that write long answers are looked at, each in three places of which one is enough.",
        conditions: &[Long("sft")],
        comparisons: &[Dilemma],
        ..CLAIM
    },
];
