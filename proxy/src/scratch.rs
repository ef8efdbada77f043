//! The memory that bytes pass through. Each data thread has one scratch buffer that every read of every connection
//! goes into, and one gather buffer for small writes. A connection owns memory only while bytes are stuck: that is a
//! [`Spill`], taken from and given back to the thread's [`Pool`]. Nothing here knows sockets or Kafka.

use std::cell::{Cell, RefCell};

/// Bytes that one read may bring.
pub(crate) const SCRATCH: usize = 256 * 1024;

/// Pieces up to this size are gathered, so that several small answers leave in one write.
pub(crate) const GATHER_PIECE: usize = 8 * 1024;

/// Buffers that the pool keeps for the next spill; more are given back to the allocator.
const POOLED: usize = 16;

/// Below this a spill has memory of its own exact size: a held request of 500 bytes must not cost a pooled buffer.
const SMALL: usize = 16 * 1024;

/// The buffers of one data thread. They are moved out while a connection is polled and put back after, so no borrow
/// can outlive the poll.
#[derive(Default)]
pub(crate) struct Scratch {
    read: Cell<Option<Box<[u8]>>>,
    gather: Cell<Vec<u8>>,
    /// Memory for spills.
    pub(crate) pool: Pool,
}

/// What a poll works with.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// Where reads go.
    pub(crate) read: Box<[u8]>,
    /// Small pieces on their way to one socket.
    pub(crate) gather: Vec<u8>,
}

impl Scratch {
    /// Moves the buffers out. (A connection that panicked took them along: then they are made anew.)
    pub(crate) fn take(&self) -> Buffers {
        Buffers {
            read: self.read.take().unwrap_or_else(|| vec![0; SCRATCH].into_boxed_slice()),
            gather: self.gather.take(),
        }
    }

    /// Puts them back.
    pub(crate) fn put(&self, mut buffers: Buffers) {
        buffers.gather.clear();
        if buffers.gather.capacity() > SCRATCH {
            buffers.gather = Vec::new();
        }
        self.read.set(Some(buffers.read));
        self.gather.set(buffers.gather);
    }
}

/// Spare memory of one data thread.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Pool {
    fn take(&self, bytes: usize) -> Vec<u8> {
        if bytes <= SMALL {
            return Vec::with_capacity(bytes);
        }
        if bytes > SCRATCH {
            return Vec::with_capacity(bytes);
        }
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SCRATCH))
    }

    fn give(&self, mut memory: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if memory.capacity() == SCRATCH && spare.len() < POOLED {
            memory.clear();
            spare.push(memory);
        }
    }
}

/// Bytes that could not go on yet, in order. Empty costs no memory.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    bytes: Vec<u8>,
    start: usize,
}

impl Spill {
    /// Nothing is stuck.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// How many bytes are stuck.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Adds bytes behind those that are stuck already.
    pub(crate) fn push(&mut self, pool: &Pool, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take(bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The bytes, to be patched in place.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// The first `n` bytes have gone; the memory goes back when none is left.
    pub(crate) fn advance(&mut self, pool: &Pool, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
        if self.is_empty() {
            self.clear(pool);
        }
    }

    /// Drops all bytes and gives the memory back.
    pub(crate) fn clear(&mut self, pool: &Pool) {
        self.start = 0;
        pool.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spill_keeps_order_and_gives_its_memory_back() {
        let pool = Pool::default();
        let mut spill = Spill::default();
        spill.push(&pool, &vec![1; 20_000]);
        spill.push(&pool, &[2; 3]);
        assert_eq!(spill.len(), 20_003);
        spill.advance(&pool, 20_000);
        assert_eq!(spill.bytes(), [2, 2, 2]);
        spill.advance(&pool, 3);
        assert!(spill.is_empty());
        assert_eq!(spill.bytes.capacity(), 0);
        assert_eq!(pool.spare.borrow().len(), 1);
    }

    #[test]
    fn a_small_spill_costs_what_it_holds() {
        let pool = Pool::default();
        let mut spill = Spill::default();
        spill.push(&pool, &[7; 500]);
        assert!(spill.bytes.capacity() < 1024);
        spill.clear(&pool);
        assert!(pool.spare.borrow().is_empty());
    }

    #[test]
    fn buffers_lost_to_a_panic_are_made_anew() {
        let scratch = Scratch::default();
        drop(scratch.take());
        let buffers = scratch.take();
        assert_eq!(buffers.read.len(), SCRATCH);
        scratch.put(buffers);
    }
}
