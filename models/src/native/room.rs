//! Memory for intermediate results, used again by the thread that used it before: fresh memory would be cleared by the
//! kernel and once more by us, a tenth of a training step.
//!
//! Does not know what it holds.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Pieces of memory that a thread keeps for later.
const KEPT_MAX: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Some numbers, whose memory goes back to its thread.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// At least `len` numbers, all that it was made for.
    memory: Vec<f32>,
    len: usize,
}

impl Room {
    /// Room for `len` numbers, which are whatever was there before.
    pub(crate) fn of(len: usize) -> Room {
        let fitting = FREE.with_borrow_mut(|free| {
            let fits = free.iter().enumerate().filter(|(_, memory)| memory.len() >= len);
            let place = fits.min_by_key(|(_, memory)| memory.len()).map(|(place, _)| place);
            place.map(|place| free.swap_remove(place))
        });
        // A little more, so that the next batch fits as well.
        let memory = fitting.unwrap_or_else(|| vec![0.0; len + len / 8]);
        Room { memory, len }
    }

    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Room {
        let mut room = Room::of(len);
        room.fill(0.0);
        room
    }

    /// A copy of `numbers`.
    pub(crate) fn copy(numbers: &[f32]) -> Room {
        let mut room = Room::of(numbers.len());
        room.copy_from_slice(numbers);
        room
    }
}

impl Deref for Room {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if memory.is_empty() {
            return;
        }
        // At a thread's end there is nobody left to keep it for.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            free.push(memory);
            if free.len() > KEPT_MAX {
                let smallest = free.iter().enumerate().min_by_key(|(_, memory)| memory.len());
                let place = smallest.map_or(0, |(place, _)| place);
                free.swap_remove(place);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_zeros_are_zeros() {
        let mut first = Room::of(1000);
        first.fill(7.0);
        let at = first.as_ptr();
        drop(first);
        let again = Room::zeros(900);
        assert_eq!((again.as_ptr(), again.len()), (at, 900));
        assert!(again.iter().all(|x| x.abs() < 1e-9));
        // What is in use is not given away.
        let other = Room::copy(&[1.0; 900]);
        assert_ne!(other.as_ptr(), at);
        assert!(again.iter().all(|x| x.abs() < 1e-9));
    }

    #[test]
    fn a_thread_keeps_so_many_pieces_and_the_largest() {
        let rooms: Vec<Room> = (0..KEPT_MAX + 10).map(|i| Room::of(100 + i)).collect();
        drop(rooms);
        let lens: Vec<usize> = FREE.with_borrow(|free| free.iter().map(Vec::len).collect());
        assert_eq!(lens.len(), KEPT_MAX);
        assert!(lens.iter().all(|len| *len > 100 + 100 / 8));
    }
}
