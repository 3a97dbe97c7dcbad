//! Grades generated texts: how many, how fast, and the slowest.
//!
//! ```console
//! $ cargo run --release -p synergy-grade --example fuzz_grade -- 10000000
//! $ cargo run --release -p synergy-grade --example fuzz_grade -- speed
//! ```
//!
//! This module does not know what is right: a panic or a slow text is what it looks for. Input `i` is drawn from
//! seed and `i` alone, so that the slowest one can be had again.

#![expect(clippy::print_stdout, reason = "an example reports to its terminal")]

use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use synergy_grade::answer::Outcome;
use synergy_grade::{Benchmark, Grader, Target, grade};

use crate::pieces::{BENCHMARKS, PIECES};

mod pieces;

const SEED: u64 = 20_260_814;
/// What is measured by `speed`: some 400 characters, and the answer in a box.
const RESPONSE: &str = "Let the side of the square be $s$. The diagonal has length $s\\sqrt{2}$, and since \
    the circle passes through all four vertices, its diameter equals the diagonal. We know that the area \
    of the circle is $18\\pi$, so $r^2 = 18$ and $r = 3\\sqrt{2}$. Hence the diagonal is $6\\sqrt{2}$, which \
    gives $s = 6$. Therefore the perimeter of the square is four times six. The final result is \
    $\\boxed{@}$.";

fn main() {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "speed" {
        speed();
    } else {
        fuzz(argument.parse().unwrap_or(100_000));
    }
}

fn text(random: &mut ChaCha8Rng, most: usize) -> String {
    // One text in ten nests one piece deeply.
    if random.random_range(0..10) == 0 {
        let piece = PIECES[random.random_range(0..PIECES.len())];
        let times = random.random_range(0..most * 4);
        let inner = PIECES[random.random_range(0..PIECES.len())];
        let close = ["}", ")", "", "]"][random.random_range(0..4)];
        return piece.repeat(times) + inner + &close.repeat(times);
    }
    let count = random.random_range(0..most);
    (0..count).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect()
}

fn fuzz(count: u64) {
    let started = Instant::now();
    let mut slowest = (Duration::ZERO, 0, Grader::Synergy1);
    let mut outcomes = [0u64; 4];
    for index in 0..count {
        let mut random =
            ChaCha8Rng::seed_from_u64(SEED ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (gold, response) = (text(&mut random, 12), text(&mut random, 60));
        let options = if random.next_u32() % 2 == 0 { random.random_range(1..6) } else { 0 };
        let choices: Vec<String> = (0..options).map(|_| text(&mut random, 4)).collect();
        let gold = if options > 0 && random.next_u32() % 2 == 0 { "B" } else { &gold };
        let precision = (random.next_u32() % 4 == 0).then(|| random.random_range(0..4));
        let benchmark = Benchmark::from(BENCHMARKS[random.random_range(0..BENCHMARKS.len())]);
        let target = Target { gold, choices: &choices, precision, benchmark };
        // Ours for every input, the others in turn.
        let other = Grader::ALL[1 + (index % 5) as usize];
        for grader in [Grader::Synergy1, other] {
            let time = || {
                let one = Instant::now();
                let judgement = grade(grader, &target, &response, true);
                (one.elapsed(), judgement.outcome)
            };
            let (mut taken, outcome) = time();
            outcomes[outcome as usize] += 1;
            // What was slow only because the machine was busy is fast the next time.
            for _ in 0..4 {
                if taken > slowest.0 {
                    taken = taken.min(time().0);
                }
            }
            if taken > slowest.0 {
                slowest = (taken, index, grader);
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} inputs, two gradings each, {seconds:.0} s, no panic");
    println!("correct, wrong, truncated, unparsed: {outcomes:?}");
    println!("slowest: {:?}, input {}, {}", slowest.0, slowest.1, slowest.2.name());
}

/// Returns the time that this thread has had a processor, where the system tells, and else the time that passed.
fn busy() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|text| text.split(' ').next()?.parse().ok());
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    nanoseconds.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

fn speed() {
    let none: [String; 0] = [];
    let letters = ["12", "18", "24", "36"].map(str::to_owned);
    for (what, gold, answer, choices) in [
        ("an integer", "24", "24", &none[..]),
        ("another integer", "24", "25", &none[..]),
        ("a fraction", "1/2", "\\frac{1}{2}", &none[..]),
        ("a root with a unit", "2\\sqrt{3}", "\\sqrt{12}\\text{ cm}", &none[..]),
        ("a polynomial", "x^2+2x+1", "(x+1)^2", &none[..]),
        ("a letter", "C", "C", &letters[..]),
        ("the text of an option", "C", "24", &letters[..]),
    ] {
        let response = RESPONSE.replace('@', answer);
        let benchmark = Benchmark::MathVision;
        let target = Target { gold, choices, precision: None, benchmark };
        let started = busy();
        let count = 200_000;
        let mut right = 0u32;
        for _ in 0..count {
            let judgement = grade(
                Grader::Synergy1,
                std::hint::black_box(&target),
                std::hint::black_box(&response),
                true,
            );
            right += u32::from(judgement.outcome == Outcome::Correct);
        }
        let rate = f64::from(count) / (busy() - started).as_secs_f64();
        println!(
            "{what}: {:.0} gradings per second of processor time, {} characters ({right} right)",
            rate,
            response.len()
        );
    }
}
