//! Prints what every family's questions are worth without their pictures, and the answers to mazes, as the tables in
//! `src/text_only.rs` hold them.

use synergy_benchmarks::families::{Family, MAX_HOPS};
use synergy_benchmarks::text_only::{maze_answers, measure};

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn main() {
    for family in Family::ALL {
        let shares: Vec<String> =
            (1..=MAX_HOPS).map(|hops| measure(family, hops).to_string()).collect();
        println!("    (Family::{family:?}, [{}]),", shares.join(", "));
    }
    for hops in 1..=MAX_HOPS {
        println!("    {:?},", maze_answers(hops));
    }
}
