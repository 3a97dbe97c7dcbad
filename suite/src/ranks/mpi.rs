//! Ranks that talk by the MPI of the machine.
//!
//! One thread makes all calls, since not every MPI allows more. Numbers of bytes are counted in 32 bits there, so what is
//! longer goes in rounds.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use mpi::Threading;
use mpi::datatype::{Partition, PartitionMut};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _};
use synergy_hint::{Explain as _, hint};

use super::Peers;

/// Bytes of one round that all ranks send to one, at most.
const ROUND: usize = 1 << 30;

/// What the thread is asked to do.
#[derive(Debug)]
enum Call {
    Gather(Vec<u8>),
    Exchange(Vec<Vec<u8>>),
    Abort(i32),
}

/// A call, and where its result goes.
type Asked = (Call, Sender<Vec<Vec<u8>>>);

/// The communicator of all processes that were started together.
#[derive(Debug)]
pub(super) struct Mpi {
    rank: usize,
    size: usize,
    calls: Option<Mutex<Sender<Asked>>>,
    thread: Option<JoinHandle<()>>,
}

impl Mpi {
    /// Joins the processes that were started together.
    pub(super) fn open() -> Result<Mpi> {
        let (calls, asked) = channel::<Asked>();
        let (opened, found) = channel();
        let thread = std::thread::Builder::new().name("mpi".into()).spawn(move || {
            let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else {
                return;
            };
            let world = universe.world();
            if opened.send((world.rank() as usize, world.size() as usize)).is_err() {
                return;
            }
            for (call, result) in asked {
                let done = match call {
                    Call::Gather(bytes) => gather(&world, &bytes),
                    Call::Exchange(parts) => exchange(&world, &parts),
                    Call::Abort(code) => world.abort(code),
                };
                if result.send(done).is_err() {
                    return;
                }
            }
        });
        let thread = thread.context("a thread for MPI")?;
        let (rank, size) = found.recv().explain(|| {
            hint!("MPI cannot be initialized", "start with `mpirun` or `srun` of the same MPI")
        })?;
        Ok(Mpi { rank, size, calls: Some(Mutex::new(calls)), thread: Some(thread) })
    }

    fn ask(&self, call: Call) -> Vec<Vec<u8>> {
        let (result, done) = channel();
        let calls = self.calls.as_ref().expect("open until it is dropped");
        calls.lock().expect("no call panics").send((call, result)).expect("the thread waits");
        done.recv().expect("MPI ends the process where it fails")
    }
}

impl Drop for Mpi {
    /// Lets the thread leave MPI before the process ends.
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // What it had to say it has said.
            let _ = thread.join();
        }
    }
}

impl Peers for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        self.ask(Call::Gather(bytes))
    }

    fn exchange(&self, parts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        self.ask(Call::Exchange(parts))
    }

    fn abort(&self, code: i32) {
        self.ask(Call::Abort(code));
    }
}

fn gather(world: &SimpleCommunicator, bytes: &[u8]) -> Vec<Vec<u8>> {
    let size = world.size() as usize;
    let mut lengths = vec![0u64; size];
    world.all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
    let mut all: Vec<Vec<u8>> = lengths.iter().map(|&n| Vec::with_capacity(n as usize)).collect();
    for from in rounds(&lengths, size) {
        let (counts, places) = layout(&lengths, from, size);
        let mut round = room(&counts);
        let own = held(cut(bytes, from, size));
        world.all_gather_varcount_into(
            &own[..],
            &mut PartitionMut::new(&mut round[..], &counts[..], &places[..]),
        );
        deal(&round, &counts, &mut all);
    }
    all
}

fn exchange(world: &SimpleCommunicator, parts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let size = world.size() as usize;
    let sent: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
    let mut lengths = vec![0u64; size];
    world.all_to_all_into(&sent[..], &mut lengths[..]);
    let mut all: Vec<Vec<u8>> = lengths.iter().map(|&n| Vec::with_capacity(n as usize)).collect();
    // All make as many rounds as the longest part of any of them asks for.
    let mut longest = 0u64;
    let own = sent.iter().max().copied().unwrap_or(0);
    world.all_reduce_into(&own, &mut longest, mpi::collective::SystemOperation::max());
    for from in rounds(&[longest], size) {
        let (to, to_places) = layout(&sent, from, size);
        let (counts, places) = layout(&lengths, from, size);
        let sending: Vec<&[u8]> = parts.iter().map(|part| cut(part, from, size)).collect();
        let sending = held(&sending.concat());
        let mut round = room(&counts);
        world.all_to_all_varcount_into(
            &Partition::new(&sending[..], &to[..], &to_places[..]),
            &mut PartitionMut::new(&mut round[..], &counts[..], &places[..]),
        );
        deal(&round, &counts, &mut all);
    }
    all
}

/// `bytes` in memory of their own, also where there are none: the address that Rust gives an empty list is 1, by which Open
/// MPI means that the receiving buffer holds what is sent (`MPI_IN_PLACE`).
fn held(bytes: &[u8]) -> Vec<u8> {
    let mut own = Vec::with_capacity(bytes.len() + 1);
    own.extend_from_slice(bytes);
    own
}

/// Room for parts of these lengths, as [`held`].
fn room(counts: &[i32]) -> Vec<u8> {
    held(&vec![0; counts.iter().map(|&count| count as usize).sum()])
}

/// Bytes of each part that go in a round between `size` ranks.
fn width(size: usize) -> usize {
    ROUND / size
}

/// Where the rounds begin that parts of these lengths take.
fn rounds(lengths: &[u64], size: usize) -> impl Iterator<Item = usize> + use<> {
    let longest = lengths.iter().max().map_or(0, |&n| n as usize);
    (0..longest).step_by(width(size))
}

/// The bytes of `part` in the round that begins at `from`.
fn cut(part: &[u8], from: usize, size: usize) -> &[u8] {
    let from = from.min(part.len());
    &part[from..part.len().min(from + width(size))]
}

/// Bytes of each of these parts in the round that begins at `from`, and where they begin in it.
fn layout(lengths: &[u64], from: usize, size: usize) -> (Vec<i32>, Vec<i32>) {
    let count = |&length: &u64| (length as usize).saturating_sub(from).min(width(size)) as i32;
    let counts: Vec<i32> = lengths.iter().map(count).collect();
    let mut next = 0;
    let places = counts.iter().map(|count| {
        next += count;
        next - count
    });
    let places = places.collect();
    (counts, places)
}

/// Adds a round to what has come from each rank.
fn deal(round: &[u8], counts: &[i32], all: &mut [Vec<u8>]) {
    let mut rest = round;
    for (all, &count) in all.iter_mut().zip(counts) {
        let (own, others) = rest.split_at(count as usize);
        all.extend_from_slice(own);
        rest = others;
    }
}
