//! The only file that names a backend.
//!
//! Default is burn-flex: pure Rust, nothing to install. Work is cut into shards by the recipe, never
//! by the machine, and threads only take shards from a list: one thread and many give the same bits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};
use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A device by its name on the command line, and how many shards it computes at once.
#[derive(Debug, Clone)]
pub struct Compute {
    pub device: Device,
    /// `flex`, as written into provenance.
    pub name: String,
    pub num_threads: usize,
    /// Threads that stay, and with them the memory that the allocator keeps for each: a tenth of a training
    /// step, a sixth of decoding. None if there is only one.
    pool: Option<Arc<ThreadPool>>,
}

impl Compute {
    /// The device called `name`; `auto` takes the best that this build has.
    ///
    /// # Errors
    /// If this build does not know it.
    pub fn open(name: &str, num_threads: Option<usize>) -> Result<Compute> {
        if name != "auto" && name != "flex" {
            bail!(
                "unknown device `{name}`\nhint: this build has `flex` (and `auto`, which takes it)"
            );
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let num_threads = num_threads.unwrap_or(cores).max(1);
        let start = || ThreadPoolBuilder::new().num_threads(num_threads).build().map(Arc::new);
        let pool = (num_threads > 1).then(start).transpose();
        let pool = pool.with_context(|| {
            format!("failed to start {num_threads} threads\nhint: ask for fewer with --threads")
        })?;
        Ok(Compute { device: Device::flex(), name: "flex".into(), num_threads, pool })
    }

    /// `f` of every item, in order, several at once.
    pub fn map<T: Sync, R: Send>(&self, items: &[T], f: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
        let Some(pool) = self.pool.as_ref().filter(|_| items.len() > 1) else {
            return items.iter().enumerate().map(|(i, item)| f(i, item)).collect();
        };
        let next = AtomicUsize::new(0);
        let slots: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
        pool.broadcast(|_| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(i) else { break };
                *slots[i].lock().expect("a slot is written once") = Some(f(i, item));
            }
        });
        slots
            .into_iter()
            .map(|s| s.into_inner().expect("written once").expect("every item was taken"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        let items: Vec<usize> = (0..100).collect();
        let square = |num_threads| {
            Compute::open("flex", Some(num_threads)).unwrap().map(&items, |i, x| i * x)
        };
        assert_eq!(square(1), square(3));
    }

    #[test]
    fn a_device_this_build_lacks_is_refused_with_a_hint() {
        let error = Compute::open("abacus", None).unwrap_err().to_string();
        assert!(error.starts_with("unknown device `abacus`\nhint: "), "{error}");
    }
}
