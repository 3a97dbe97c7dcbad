//! Randomness by derivation: every stream is a keyed hash of (root seed, labels, indices).
//!
//! This module does not know what the streams are used for.
//! Seeds are never added to or shared: `seed + 1` would make neighbouring runs overlap.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A node in the tree of random streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Returns the root of a run.
    pub fn root(seed: u64) -> Seed {
        Seed(*blake3::hash(&seed.to_le_bytes()).as_bytes())
    }

    /// Returns the stream for `label` below this one.
    pub fn fold_in(self, label: &str) -> Seed {
        Seed(*blake3::keyed_hash(&self.0, label.as_bytes()).as_bytes())
    }

    /// Returns the stream at `index` below this one.
    pub fn at(self, index: u64) -> Seed {
        Seed(*blake3::keyed_hash(&self.0, &index.to_le_bytes()).as_bytes())
    }

    /// Returns a generator that starts at this node.
    pub fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn labels_and_indices_give_unrelated_streams() {
        let root = Seed::root(1);
        let draws = [
            root.rng().next_u64(),
            Seed::root(2).rng().next_u64(),
            root.fold_in("a").rng().next_u64(),
            root.fold_in("b").rng().next_u64(),
            root.at(0).rng().next_u64(),
            root.at(1).rng().next_u64(),
        ];
        for (i, a) in draws.iter().enumerate() {
            assert!(!draws[..i].contains(a));
        }
        assert_eq!(root.fold_in("a").rng().next_u64(), draws[2]);
    }
}
