//! C1 to C13, as data: texts, comparisons, controls and the study's figures (arXiv 2507.07562).
//!
//! This module does not know how a comparison is made.

use synergy_benchmarks::difficulty::Level::{self, L1, L2, L3, L4, L5};

use super::Metric::{Accuracy, Length, Words};
use super::Wanted::{Above, Below, Within};
use super::{BASE, Claim, Comparison, Control, Metric, Wanted};

/// Averages that differ by less than this many points count as equal.
const SAME: f64 = 2.0;
/// Lengths that differ by less than this many percent count as equal.
const SAME_LENGTH: f64 = 20.0;

const fn compare(
    row: &'static str,
    less: &'static str,
    level: Option<Level>,
    metric: Metric,
    wanted: Wanted,
) -> Comparison {
    Comparison { metric, row, less, level, wanted }
}

/// Difference of average accuracy.
const fn average(row: &'static str, less: &'static str, wanted: Wanted) -> Comparison {
    compare(row, less, None, Accuracy, wanted)
}

/// Difference of accuracy on one level.
const fn on(level: Level, row: &'static str, less: &'static str, wanted: Wanted) -> Comparison {
    compare(row, less, Some(level), Accuracy, wanted)
}

/// A claim without note and controls.
const CLAIM: Claim =
    Claim { id: "", text: "", published: "", note: "", comparisons: &[], controls: &[] };

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        id: "C1",
        text: "A few deep traces teach more than many self-distilled answers.",
        published: "1k traces of R1 52.5, 34k self-distilled 51.4 on average",
        note: "The study's deep traces are text alone; ours are about pictures.",
        comparisons: &[average("sft_deep_few", "sft", Above(0.0))],
        ..CLAIM
    },
    Claim {
        id: "C2",
        text: "Long output alone does not help: traces that lengthen without depth lose accuracy.",
        published: "s1-Gemini2: 8 to 15 times as long, 48.7 against 50.3",
        comparisons: &[
            compare("sft_verbose_shallow", BASE, None, Length, Above(100.0)),
            average("sft_verbose_shallow", BASE, Below(0.0)),
        ],
        ..CLAIM
    },
    Claim {
        id: "C3",
        text: "SFT loses on easy questions and gains more than RL on the hardest.",
        published: "L1 -7.6 to -15.0 on five of five benchmarks; L5 9.1 to 24.2 against RL's 3.6 to 15.9",
        comparisons: &[
            on(L1, "sft", BASE, Below(0.0)),
            on(L5, "sft", BASE, Above(0.0)),
            on(L5, "sft", "rl", Above(0.0)),
        ],
        controls: &[
            Control {
                comparison: on(L5, "sft", "sft/shuffled", Above(0.0)),
                explanation: "chance: on L5 it does no worse with another question's picture",
            },
            Control {
                comparison: on(L5, "sft", "sft_terse", Above(0.0)),
                explanation: "having met long questions: SFT on terse traces of the same questions gains as much on L5",
            },
        ],
        ..CLAIM
    },
    Claim {
        id: "C4",
        text: "RL gains at every level.",
        published: "L2 to L5 20 of 20 cells above zero; L1 -2.5, -1.0, +1.3, -3.6, -4.5",
        comparisons: &[
            on(L1, "rl", BASE, Above(0.0)),
            on(L2, "rl", BASE, Above(0.0)),
            on(L3, "rl", BASE, Above(0.0)),
            on(L4, "rl", BASE, Above(0.0)),
            on(L5, "rl", BASE, Above(0.0)),
        ],
        controls: &[Control {
            comparison: average("rl", "greedy", Above(0.0)),
            explanation: "sharpening: the base gains as much on average by greedy decoding",
        }],
        ..CLAIM
    },
    Claim {
        id: "C5",
        text: "RL stays as brief as the base and reflects no more; SFT grows verbose.",
        published: "RL 337 tokens on average, SFT more than ten times base and RL; `wait` 0, 249 091, 0",
        note: "\"Verbose\" is twice the base's length here: the base's own verbose register is four times its terse one.",
        comparisons: &[
            compare("rl", BASE, None, Length, Within(SAME_LENGTH)),
            compare("rl", BASE, None, Words, Below(0.2)),
            compare("sft", BASE, None, Length, Above(100.0)),
            compare("sft", BASE, None, Words, Above(0.2)),
        ],
        ..CLAIM
    },
    Claim {
        id: "C6",
        text: "RL needs its KL term.",
        published: "55.1 with it, 52.9 without, collapse after some 300 steps",
        note: "100 steps here: a collapse later than that is not seen.",
        comparisons: &[average("rl", "rl_kl0", Above(0.0))],
        ..CLAIM
    },
    Claim {
        id: "C7",
        text: "RL needs the easiest questions, though they have no advantage.",
        published: "55.1 with them, 52.8 without",
        comparisons: &[average("rl", "rl_no_easy", Above(0.0))],
        ..CLAIM
    },
    Claim {
        id: "C8",
        text: "RL after long-CoT SFT adds nothing, and neither does starting from an early SFT.",
        published: "51.4 after, 51.4 before; RL alone 55.1",
        comparisons: &[
            average("two_stage", "sft", Within(SAME)),
            average("two_stage", "rl", Below(0.0)),
            average("two_stage_early", "rl", Below(0.0)),
        ],
        ..CLAIM
    },
    Claim {
        id: "C9",
        text: "Interleaved training lies between SFT and RL.",
        published: "53.6 between 51.4 and 55.1, and between them on five of five benchmarks",
        comparisons: &[
            average("interleaved", "sft", Above(0.0)),
            average("interleaved", "rl", Below(0.0)),
        ],
        ..CLAIM
    },
    Claim {
        id: "C10",
        text: "Progressive training is the best hybrid and still not better than RL.",
        published: "54.9; interleaved 53.6, data mixing 54.0, merging 54.3, two-stage 51.4, RL 55.1",
        comparisons: &[
            average("progressive", "interleaved", Above(0.0)),
            average("progressive", "data_mixing", Above(0.0)),
            average("progressive", "merge_linear_25", Above(0.0)),
            average("progressive", "two_stage", Above(0.0)),
            average("progressive", "rl", Below(0.0)),
        ],
        ..CLAIM
    },
    Claim {
        id: "C11",
        text: "Data mixing does not teach when to think long: it is longer than RL and loses on easy questions.",
        published: "753 tokens against 337; L1 of MMStar -11.2; 54.0 against 55.1",
        comparisons: &[
            compare("data_mixing", "rl", None, Length, Above(0.0)),
            on(L1, "data_mixing", "rl", Below(0.0)),
            average("data_mixing", "rl", Below(0.0)),
        ],
        ..CLAIM
    },
    Claim {
        id: "C12",
        text: "Merging interpolates between SFT and RL, and TIES fails.",
        published: "linear .25 54.3 between 51.4 and 55.1; \"compatibility issues\" with TIES",
        comparisons: &[
            average("merge_linear_25", "sft", Above(0.0)),
            average("merge_linear_25", "rl", Below(0.0)),
            average("merge_ties_25", "merge_linear_25", Below(0.0)),
        ],
        ..CLAIM
    },
    Claim {
        id: "C13",
        text: "The dilemma: no combination beats RL on average.",
        published: "at most 54.9 against 55.1; on L5 all but two-stage stay near RL",
        note: "A combination that beats RL beyond its interval refutes it; several are looked at, so one in twenty would by chance.",
        comparisons: &[
            average("two_stage", "rl", Below(0.0)),
            average("interleaved", "rl", Below(0.0)),
            average("progressive", "rl", Below(0.0)),
            average("data_mixing", "rl", Below(0.0)),
            average("merge_linear_25", "rl", Below(0.0)),
            average("merge_linear_50", "rl", Below(0.0)),
            average("merge_slerp_50", "rl", Below(0.0)),
        ],
        ..CLAIM
    },
];
