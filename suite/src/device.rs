//! The only file that names a backend.
//!
//! Default is burn-flex: pure Rust, nothing to install. Work is cut into shards by the recipe, never
//! by the machine, and threads only take shards from a list: one thread and many give the same bits.
//! With the feature `libtorch` PyTorch's library computes, on the CPU (`libtorch`) with one thread a shard, for the
//! same reason, or on a card (`cuda`, `cuda:N`), where shards come one after the other.
//! Everything that burn-tch does differently from other backends belongs here.

use std::process::Command;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Result, bail, ensure};
use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use synergy_hint::{Explain as _, hint};
use synergy_models::weights::ComputeDtype;

use crate::limits::{CARD_PARTS, ROLLOUT_BYTES};
use crate::ranks::Ranks;

/// Where a model computes, which memory and time depend on: whose memory, and which form of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The host's, in the native form.
    Slices,
    /// The host's, in the plain form.
    Host,
    /// A card's, in the plain form.
    Card,
}

/// A device, and how many shards it computes at once.
#[derive(Debug, Clone)]
pub struct Compute {
    /// The device in burn's terms.
    pub device: Device,
    /// `flex`, `libtorch` or `cuda`, as written into provenance.
    pub name: String,
    /// Names the device and says why it was chosen, for people.
    pub description: String,
    /// Whose memory it is, and which form of the model computes.
    pub place: Place,
    /// Shards that are computed at once, at least 1.
    pub num_threads: usize,
    /// Bytes that the rollouts of one shard may take at once.
    pub memory_bytes: usize,
    /// The processes that train stages together with this one.
    pub ranks: Ranks,
    /// Threads that outlive a call, and with them the memory that the allocator holds for each: that saves a tenth of a
    /// training step and a sixth of decoding. `None` if there is only one.
    pool: Option<Arc<ThreadPool>>,
}

/// A device as `--device` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeviceName {
    Auto,
    Flex,
    LibTorch,
    /// The card of this number.
    Cuda(usize),
}

impl FromStr for DeviceName {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<DeviceName> {
        let card = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match (name, card) {
            ("auto", _) => Ok(DeviceName::Auto),
            ("flex", _) => Ok(DeviceName::Flex),
            ("libtorch", _) => Ok(DeviceName::LibTorch),
            ("cuda", _) => Ok(DeviceName::Cuda(0)),
            (_, Some(card)) => Ok(DeviceName::Cuda(card)),
            _ => bail!(hint!("unknown device `{name}`", "auto, flex, libtorch, cuda or cuda:N")),
        }
    }
}

impl Compute {
    /// Opens the device called `name`; `auto` takes CUDA if this build and the machine have it, else flex.
    ///
    /// # Errors
    /// If there is no such device, this build lacks it, or the machine has no such card.
    pub fn open(name: &str, num_threads: Option<usize>) -> Result<Compute> {
        let asked: DeviceName = name.parse()?;
        let (device, description) = match asked {
            DeviceName::Auto => match libtorch::cards() {
                Ok(0) => (None, "flex: no CUDA device".to_owned()),
                Ok(count) => (Some(libtorch::cuda(0)?), format!("cuda:0, the first of {count}")),
                Err(_) => (None, "flex: this build has no libtorch".to_owned()),
            },
            DeviceName::Flex => (None, "flex".to_owned()),
            DeviceName::LibTorch => (Some(libtorch::cpu()?), "libtorch on the CPU".to_owned()),
            DeviceName::Cuda(card) => (Some(libtorch::cuda(card)?), format!("cuda:{card}")),
        };
        let (name, place) = match (&device, asked) {
            (None, _) => ("flex", Place::Slices),
            (Some(_), DeviceName::LibTorch) => ("libtorch", Place::Host),
            (Some(_), _) => ("cuda", Place::Card),
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let num_threads =
            if place == Place::Card { 1 } else { num_threads.unwrap_or(cores).max(1) };
        let start = || ThreadPoolBuilder::new().num_threads(num_threads).build().map(Arc::new);
        let pool = (num_threads > 1).then(start).transpose();
        let pool = pool.explain(|| {
            hint!("failed to start {num_threads} threads", "ask for fewer with --threads")
        })?;
        let device = device.unwrap_or_else(Device::flex);
        let card_bytes = (place == Place::Card).then(card_bytes).flatten();
        let memory_bytes = card_bytes.map_or(ROLLOUT_BYTES, |bytes| bytes / CARD_PARTS);
        Ok(Compute {
            device,
            name: name.to_owned(),
            description,
            place,
            num_threads,
            memory_bytes,
            ranks: Ranks::default(),
            pool,
        })
    }

    /// The same device, as that of one of `ranks`.
    #[must_use]
    pub fn with_ranks(self, ranks: &Ranks) -> Compute {
        Compute { ranks: ranks.clone(), ..self }
    }

    /// Name of what computes, with the version of libtorch where that is used, for keys.
    pub fn backend(&self) -> String {
        match self.place {
            Place::Slices => self.name.clone(),
            Place::Host | Place::Card => format!("{} by {}", self.name, env!("SYNERGY_LIBTORCH")),
        }
    }

    /// Checks that this device computes in `dtype`.
    ///
    /// # Errors
    /// On flex, if it is not f32: its native form is written for that.
    pub fn takes(&self, dtype: ComputeDtype) -> Result<()> {
        ensure!(
            dtype == ComputeDtype::F32 || self.name != "flex",
            hint!(
                "the device flex does not compute in bf16",
                "bf16 needs --device libtorch or cuda"
            )
        );
        Ok(())
    }

    /// The device of numbers that nothing computes with.
    pub fn host() -> Device {
        Device::flex()
    }

    /// Number of items of [`Compute::map`] whose results are in memory together where they are summed: enough that no
    /// thread waits long for another.
    pub fn at_once(&self) -> usize {
        if self.num_threads == 1 { 1 } else { 8 * self.num_threads }
    }

    /// [`Compute::map`], each item by one of `ranks`, which all make this call; all get all results.
    pub fn map_among<T: Sync, R: Send + Serialize + DeserializeOwned>(
        &self,
        ranks: &Ranks,
        items: &[T],
        f: impl Fn(usize, &T) -> R + Sync,
    ) -> Vec<R> {
        if ranks.size() == 1 {
            return self.map(items, f);
        }
        let done = self.map(&ranks.own(items), |_, &(place, item)| f(place, item));
        ranks.deal(done, items.len())
    }

    /// Applies `f` to every item, several at once; gives the results in order.
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

/// Memory of the smallest card in bytes, as the driver reports it: libtorch does not report it, and CUDA numbers cards
/// in an order of its own.
fn card_bytes() -> Option<usize> {
    let asked = ["--query-gpu=memory.total", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(asked).output().ok()?;
    least_bytes(&String::from_utf8_lossy(&output.stdout))
}

/// The smallest of sizes in MiB, one a line, in bytes.
fn least_bytes(lines: &str) -> Option<usize> {
    lines.lines().filter_map(|mib| mib.trim().parse::<usize>().ok()).min().map(|mib| mib << 20)
}

/// PyTorch's library, where this build has it.
#[cfg(feature = "libtorch")]
mod libtorch {
    use anyhow::{Result, ensure};
    use burn::tensor::Device;
    use synergy_hint::hint;

    /// How many cards there are.
    pub(super) fn cards() -> Result<usize> {
        Ok(usize::try_from(tch::Cuda::device_count()).unwrap_or(0))
    }

    #[expect(
        deprecated,
        reason = "burn-tch goes with burn 0.23; ARCHITECTURE.md says what comes then"
    )]
    pub(super) fn cpu() -> Result<Device> {
        // Shards have a thread each; more in an operation would make its sums depend on their number.
        tch::set_num_threads(1);
        Ok(Device::libtorch())
    }

    #[expect(deprecated, reason = "as above")]
    pub(super) fn cuda(card: usize) -> Result<Device> {
        let count = cards()?;
        ensure!(
            count > 0,
            hint!(
                "there is no CUDA device",
                "`cargo xtask doctor` says whether driver and libtorch fit; --device libtorch computes on the CPU"
            )
        );
        ensure!(
            card < count,
            hint!(
                "there is no device cuda:{card}",
                (
                    "cuda:0{}",
                    if count > 1 { format!(" to cuda:{}", count - 1) } else { String::new() }
                )
            )
        );
        Ok(Device::libtorch_cuda(card))
    }
}

/// Stands in for the library where this build lacks it.
#[cfg(not(feature = "libtorch"))]
mod libtorch {
    use anyhow::{Result, bail};
    use burn::tensor::Device;
    use synergy_hint::hint;

    pub(super) fn cards() -> Result<usize> {
        bail!(hint!(
            "this build has no libtorch",
            "`cargo xtask libtorch` provides it; any `cargo xtask …` with --device libtorch builds with it"
        ))
    }

    pub(super) fn cpu() -> Result<Device> {
        cards().map(|_| Device::flex())
    }

    pub(super) fn cuda(_card: usize) -> Result<Device> {
        cpu()
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
    fn a_device_that_is_not_there_is_refused_with_a_hint() {
        for name in ["abacus", "cuda:", "cuda:-1", "flex:0"] {
            let error = synergy_hint::text(&Compute::open(name, None).unwrap_err());
            assert!(error.starts_with(&format!("unknown device `{name}`\nhint: ")), "{error}");
        }
        // No machine has so many cards, with libtorch or without.
        let error = synergy_hint::text(&Compute::open("cuda:99", None).unwrap_err());
        assert!(error.contains("\nhint: "), "{error}");
    }

    #[test]
    fn auto_says_what_it_took_and_why() {
        let compute = Compute::open("auto", Some(1)).unwrap();
        assert!(compute.description.starts_with(&compute.name), "{}", compute.description);
    }

    #[test]
    fn the_smallest_card_is_the_measure_and_one_that_tells_nothing_is_none() {
        assert_eq!(least_bytes("81559\n24576\n"), Some(24_576 << 20));
        assert_eq!(least_bytes("[N/A]\n81559\n"), Some(81_559 << 20));
        assert_eq!(least_bytes("NVIDIA-SMI has failed\n"), None);
        assert_eq!(Compute::open("flex", Some(2)).unwrap().memory_bytes, ROLLOUT_BYTES);
    }

    #[test]
    fn flex_refuses_bf16_with_a_hint() {
        let flex = Compute::open("flex", Some(1)).unwrap();
        flex.takes(ComputeDtype::F32).unwrap();
        let error = synergy_hint::text(&flex.takes(ComputeDtype::Bf16).unwrap_err());
        assert!(error.ends_with("\nhint: bf16 needs --device libtorch or cuda"), "{error}");
    }

    #[cfg(feature = "libtorch")]
    #[test]
    fn libtorch_computes_in_shards_as_flex_does() {
        use burn::tensor::Tensor;
        let compute = Compute::open("libtorch", Some(2)).unwrap();
        assert_eq!(compute.name, "libtorch");
        compute.takes(ComputeDtype::Bf16).unwrap();
        let items: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let sums = compute.map(&items, |_, x| {
            let x = Tensor::<2>::from_floats([[*x, 1.0], [2.0, 3.0]], &compute.device);
            x.clone().matmul(x).sum().into_scalar::<f32>()
        });
        // The sum of the product is x^2 + 3 x + 22.
        assert!((sums[0] - 22.0).abs() < 1e-6 && (sums[1] - 26.0).abs() < 1e-6, "{sums:?}");
    }
}
