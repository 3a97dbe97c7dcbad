//! Feeds the readers of tables, JSON lines and arrays, training data and Python literals with millions of made-up
//! inputs.
//!
//! ```console
//! $ cargo run -p synergy-benchmarks --example fuzz_readers -- 10000000 1
//! ```
//!
//! The numbers are how many inputs and the seed. Whatever the input, a reader returns; a panic ends this
//! with the number of the input, from which it can be made again.
//! Does not know what an input means. Half are grown from valid ones by a few changes, half are noise
//! over the characters that mean something to a reader.

#![expect(clippy::print_stdout, reason = "what it counts is what it is for")]

use std::panic::catch_unwind;

use anyhow::{Context as _, Result, bail};
use rand::{Rng as _, RngExt as _};
use synergy_benchmarks::datasets::fuzzing;
use synergy_benchmarks::seed::Seed;

const VALID: [&[u8]; 14] = [
    b"a\tb\n\"x\ty\"\t\"say \"\"hi\"\"\"\r\n1\tnan\n",
    b"\xef\xbb\xbfindex\timage\r\n1\t['abc', 'def']\r\n2\t1\r\n",
    b"{\"a\": \"x\\u00e9\\n\", \"b\": [1, 2.5e-3, null, true]}\n{\"a\": {\"bytes\": \"AAAA\"}}\n",
    b"['$6', \"it's\", '\\u00e9\\x41\\101\\q', None, True, -1.5e3]",
    b"{'split': 'testmini', 'source': None, 'list': [(1,), ('a')]}",
    b"[{\"a\": [[[[]]]]}, '\\U0001f600', 'caf\xc3\xa9']",
    b"[{\"a\": \"}],\\\"\"}, {\"b\": [1, {}]},\n {} ]\n",
    b"[{\"conversations\": [{\"from\": \"human\", \"value\": \"<image>q\"}, {\"from\": \"gpt\", \"value\": \"\\\\boxed{1}\"}], \"images\": [\"data:image/png;base64,iVBORw0KGgo=\"]}]",
    b"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}, {\"type\": \"text\", \"text\": \"q\"}]}, {\"role\": \"assistant\", \"content\": \"r\"}], \"image\": {\"bytes\": \"iVBORw0KGgo=\"}}\n",
    b"{\"prompt\": \"q\", \"completion\": \"r\"}\n{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"solution\": \"\\\\boxed{2}\"}\n",
    b"{\"problem\": \"<image>q\", \"answer\": 2, \"images\": [{\"bytes\": \"iVBORw0KGgo=\", \"path\": null}]}",
    b"{\"prompt\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"q\"}], \"reward_model\": {\"ground_truth\": \"1\"}}",
    b"{\"id\": 1, \"message\": \"[{\\\"role\\\": \\\"user\\\", \\\"content\\\": [{\\\"type\\\": \\\"image\\\", \\\"image\\\": \\\"data:,iVBORw0KGgo=\\\"}]}]\", \"answer\": \"1\"}",
    b"{\"image\": [], \"conversations\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"gpt\", \"value\": 3}]}",
];
const ALPHABET: &[u8] = b"\"\"''\t\n\r\\[](){}:,,aNTrue0123-+.eExuU \xc3\xa9\xff\0";
const LENGTH_MAX: usize = 80;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        |what: &str| -> Result<u64> { Ok(arguments.next().context(what.to_owned())?.parse()?) };
    let (num_inputs, seed) = (number("how many inputs?")?, number("which seed?")?);
    let mut accepted = [0_u64; 5];
    for index in 0..num_inputs {
        let bytes = input(seed, index);
        let counts = catch_unwind(|| {
            let literal = std::str::from_utf8(&bytes).is_ok_and(fuzzing::python_literal);
            let [tsv, jsonl] = [fuzzing::tsv(&bytes) > 0, fuzzing::jsonl(&bytes) > 0];
            [tsv, jsonl, literal, fuzzing::json_array(&bytes) > 0, fuzzing::training(&bytes) > 0]
        });
        let Ok(counts) = counts else { bail!("input {index} of seed {seed} panics: {bytes:?}") };
        for (sum, count) in accepted.iter_mut().zip(counts) {
            *sum += u64::from(count);
        }
    }
    let [tsv, jsonl, literal, array, training] = accepted;
    println!("{num_inputs} inputs, none panics");
    println!("a row of a table in {tsv}, a line of JSON in {jsonl}, a literal in {literal},");
    println!("an object of an array in {array}, a training example in {training}");
    Ok(())
}

fn input(seed: u64, index: u64) -> Vec<u8> {
    let mut rng = Seed::root(seed).at(index).rng();
    let noise = |rng: &mut rand_chacha::ChaCha8Rng| ALPHABET[rng.random_range(0..ALPHABET.len())];
    if index.is_multiple_of(2) {
        let length = rng.random_range(0..LENGTH_MAX);
        return (0..length).map(|_| noise(&mut rng)).collect();
    }
    let mut bytes = VALID[rng.random_range(0..VALID.len())].to_vec();
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..=bytes.len());
        match rng.next_u32() % 4 {
            0 => bytes.insert(at, noise(&mut rng)),
            1 => bytes.truncate(at),
            2 if at < bytes.len() => bytes[at] = noise(&mut rng),
            _ if at < bytes.len() => drop(bytes.remove(at)),
            _ => {}
        }
    }
    bytes
}
