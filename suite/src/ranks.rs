//! Processes that train a stage together: each samples and scores a part of the questions and computes the gradients of a
//! part of the micro-batches.
//!
//! Knows bytes and their order, neither models nor files. A launcher of the field starts the processes, and they talk by
//! its MPI. What is added up is added in the order of items, whoever has computed them, so that any number of
//! processes gives the bits of one.

#[cfg(feature = "mpi")]
mod mpi;
#[cfg(test)]
mod threads;

use std::fmt::Debug;
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use synergy_hint::hint;

#[cfg(test)]
pub(crate) use threads::together;

/// What ranks send each other. Every call returns when all ranks have made the same one; a rank that is lost ends all.
trait Peers: Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many there are, at least 1.
    fn size(&self) -> usize;

    /// The bytes of every rank, in the order of ranks.
    fn gather(&self, bytes: Vec<u8>) -> Vec<Vec<u8>>;

    /// Sends `parts[r]` to rank r; gives what each rank has sent to this one, in the order of ranks.
    fn exchange(&self, parts: Vec<Vec<u8>>) -> Vec<Vec<u8>>;

    /// Ends all ranks at once, with this exit code.
    fn abort(&self, code: i32);
}

/// The processes of a run, of which this is one.
#[derive(Debug, Clone, Default)]
pub struct Ranks(Option<Arc<dyn Peers>>);

impl Ranks {
    /// The processes that a launcher has started together; this one alone if none has.
    ///
    /// # Errors
    /// If the launcher's variables contradict each other or this build has no MPI.
    pub fn open() -> Result<Ranks> {
        let read = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let Some(size) = launched(&read)? else { return Ok(Ranks::default()) };
        of_size(size)
    }

    /// The number of this process, from 0, which has the store and talks to people.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |peers| peers.rank())
    }

    /// How many processes there are, at least 1.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |peers| peers.size())
    }

    /// Tells whether this process has the store and talks to people.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The items that this process computes of those that all have, each with its place.
    pub fn own<'a, T>(&self, items: &'a [T]) -> Vec<(usize, &'a T)> {
        let places = items.iter().enumerate();
        places.filter(|(place, _)| place % self.size() == self.rank()).collect()
    }

    /// Gives to all what each process has made of its own of `num` items ([`Ranks::own`]), in the order of items.
    pub fn deal<R: Serialize + DeserializeOwned>(&self, own: Vec<R>, num: usize) -> Vec<R> {
        if self.size() == 1 {
            return own;
        }
        let mut parts: Vec<_> = self.gather(&own).into_iter().map(Vec::into_iter).collect();
        let size = parts.len();
        (0..num).map(|place| parts[place % size].next().expect("one for each item")).collect()
    }

    /// What every process has, in the order of ranks.
    pub fn gather<R: Serialize + DeserializeOwned>(&self, own: &R) -> Vec<R> {
        let parts = self.gather_bytes(|| encode(own)).unwrap_or_else(|| vec![encode(own)]);
        parts.iter().map(|part| decode(part)).collect()
    }

    /// The bytes of every process, in the order of ranks; `None` where this one is alone, which makes none.
    pub fn gather_bytes(&self, own: impl FnOnce() -> Vec<u8>) -> Option<Vec<Vec<u8>>> {
        self.0.as_ref().map(|peers| peers.gather(own()))
    }

    /// Sends `parts[r]` to rank r; gives what each rank has sent to this one, in the order of ranks.
    pub fn exchange(&self, parts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        match &self.0 {
            Some(peers) => peers.exchange(parts),
            None => parts,
        }
    }

    /// What the first process has, in all of them.
    pub fn from_first<R: Serialize + DeserializeOwned>(&self, own: Option<R>) -> Option<R> {
        if self.size() == 1 {
            return own;
        }
        self.gather(&own).swap_remove(0)
    }

    /// Tells whether any process says so.
    pub fn any(&self, own: bool) -> bool {
        if self.size() == 1 { own } else { self.gather(&own).contains(&true) }
    }

    /// Ends all processes at once, with this exit code; returns if this one is alone.
    pub fn abort(&self, code: u8) {
        if let Some(peers) = &self.0 {
            peers.abort(i32::from(code));
        }
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("plain data");
    bytes
}

fn decode<R: DeserializeOwned>(bytes: &[u8]) -> R {
    ciborium::from_reader(bytes).expect("another process of the same program has written it")
}

/// Variables in which launchers say how many processes they have started: Open MPI; MPICH, Intel MPI and Slurm's PMI.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
/// That in which Slurm says how many tasks a step has.
const TASKS: &str = "SLURM_STEP_NUM_TASKS";
/// That in which PMIx, by whatever launcher, says which process this is.
const PMIX: &str = "PMIX_RANK";
/// Variables in which launchers say the number of a process on its machine.
const LOCAL: [&str; 3] = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];

/// How many processes a launcher has started, by its variables; `None` if no launcher has. 0 stands for a number that only
/// MPI knows.
fn launched(read: &dyn Fn(&str) -> Option<usize>) -> Result<Option<usize>> {
    let said: Vec<(&str, usize)> =
        SIZES.iter().filter_map(|name| Some((*name, read(name)?))).collect();
    let size = match said.as_slice() {
        [] if read(PMIX).is_some() => Some(0),
        [] => None,
        [(name, size), rest @ ..] => {
            if let Some((other, number)) = rest.iter().find(|(_, number)| number != size) {
                anyhow::bail!(hint!(
                    "`{name}` says that {size} processes were started, `{other}` says {number}",
                    "start with one launcher: `mpirun` inside of a job, or `srun`, not one within the other"
                ));
            }
            Some(*size)
        }
    };
    if let Some(tasks) = read(TASKS) {
        let alone = tasks > 1 && size.is_none();
        ensure!(
            !alone,
            hint!(
                "srun has started {tasks} tasks that do not know of each other",
                "start with `srun --mpi=pmix` or `--mpi=pmi2`, whichever `srun --mpi=list` has, or with `mpirun`"
            )
        );
    }
    Ok(size.filter(|size| *size != 1))
}

/// The number of this process among those on its machine, by the launcher's variables: that of its card.
pub fn local_rank() -> usize {
    let read = |name: &&str| std::env::var(name).ok()?.parse().ok();
    LOCAL.iter().find_map(read).unwrap_or(0)
}

#[cfg(feature = "mpi")]
fn of_size(size: usize) -> Result<Ranks> {
    let peers = mpi::Mpi::open()?;
    let found = peers.size();
    ensure!(
        size == 0 || size == found,
        hint!(
            "the launcher has started {size} processes, of which MPI sees {found}",
            "the program was built for another MPI than the launcher's: `mpicc --version` where it was built, `mpirun \
             --version` here"
        )
    );
    Ok(Ranks((found > 1).then(|| Arc::new(peers) as Arc<dyn Peers>)))
}

#[cfg(not(feature = "mpi"))]
fn of_size(_: usize) -> Result<Ranks> {
    anyhow::bail!(hint!(
        "a launcher has started several processes, and this build has no MPI",
        "build with `cargo build --bin synergy --features mpi`, which needs an MPI with its headers and libclang"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by(variables: &[(&str, usize)]) -> Result<Option<usize>> {
        launched(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| *value))
    }

    #[test]
    fn launchers_say_how_many_there_are_and_contradictions_are_refused() {
        assert_eq!(by(&[]).unwrap(), None);
        assert_eq!(by(&[("OMPI_COMM_WORLD_SIZE", 4)]).unwrap(), Some(4));
        assert_eq!(by(&[("PMI_SIZE", 1)]).unwrap(), None);
        assert_eq!(by(&[("PMIX_RANK", 3), (TASKS, 4)]).unwrap(), Some(0));
        // A job of one task, or a shell within a job.
        assert_eq!(by(&[(TASKS, 1)]).unwrap(), None);
        let refusal = |variables: &[(&str, usize)]| synergy_hint::text(&by(variables).unwrap_err());
        let apart = refusal(&[("OMPI_COMM_WORLD_SIZE", 4), ("PMI_SIZE", 2)]);
        assert!(
            apart.contains("4 processes were started") && apart.contains("\nhint: "),
            "{apart}"
        );
        let alone = refusal(&[(TASKS, 4)]);
        assert!(alone.contains("4 tasks that do not know of each other\nhint: "), "{alone}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

        #[test]
        fn results_come_to_all_in_the_order_of_items(num in 0usize..20, size in 1usize..5) {
            let items: Vec<u64> = (0..num as u64).map(|i| 3 * i + 1).collect();
            let want: Vec<(u64, f32)> = items.iter().map(|&i| (i, i as f32 / 7.0)).collect();
            let found = together(size, |ranks| {
                let own = ranks.own(&items).into_iter().map(|(place, &item)| {
                    assert_eq!(item, 3 * place as u64 + 1);
                    (item, item as f32 / 7.0)
                });
                ranks.deal(own.collect(), items.len())
            });
            prop_assert!(found.iter().all(|got| *got == want));
        }
    }

    #[test]
    fn parts_reach_whom_they_are_for() {
        let found = together(3, |ranks| {
            let rank = ranks.rank() as u8;
            let parts = (0..3).map(|to| vec![rank, to, 7]).collect();
            (
                ranks.exchange(parts),
                ranks.any(rank == 2),
                ranks.from_first((rank == 0).then_some(5)),
            )
        });
        for (rank, (parts, any, first)) in found.into_iter().enumerate() {
            let want: Vec<Vec<u8>> = (0..3).map(|from| vec![from, rank as u8, 7]).collect();
            assert_eq!((parts, any, first), (want, true, Some(5)));
        }
    }
}
