//! Ranks that are threads of one process, for tests: the laws of many processes hold without a launcher.

use std::sync::{Arc, Barrier, Mutex};

use super::{Peers, Ranks};

/// What all threads share: a place for each rank's parts, and where they wait for each other.
#[derive(Debug)]
struct Board {
    parts: Mutex<Vec<Vec<Vec<u8>>>>,
    barrier: Barrier,
}

#[derive(Debug)]
struct Thread {
    rank: usize,
    size: usize,
    board: Arc<Board>,
}

impl Peers for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        self.exchange(vec![bytes; self.size])
    }

    fn exchange(&self, parts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        assert_eq!(parts.len(), self.size, "a part for each rank");
        self.board.parts.lock().unwrap()[self.rank] = parts;
        self.board.barrier.wait();
        let own =
            self.board.parts.lock().unwrap().iter().map(|all| all[self.rank].clone()).collect();
        // Nobody writes anew before all have read.
        self.board.barrier.wait();
        own
    }

    fn abort(&self, code: i32) {
        panic!("rank {} ends all with {code}", self.rank);
    }
}

/// What `work` gives in each of `size` ranks.
pub(crate) fn together<R: Send>(size: usize, work: impl Fn(&Ranks) -> R + Sync) -> Vec<R> {
    let board = Board { parts: Mutex::new(vec![Vec::new(); size]), barrier: Barrier::new(size) };
    let (board, work) = (Arc::new(board), &work);
    std::thread::scope(|scope| {
        let start = |rank| {
            let board = Arc::clone(&board);
            scope.spawn(move || work(&Ranks(Some(Arc::new(Thread { rank, size, board })))))
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
