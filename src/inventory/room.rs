//! Room: a bound on the bytes that are held for the inventory, however many calls are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes, of which parts are taken and given back. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    bytes: AtomicUsize,
    max: usize,
}

/// A part of a room; given back when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    room: Room,
    bytes: usize,
}

impl Room {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Taken { bytes: AtomicUsize::new(0), max }))
    }

    /// A part that is empty yet.
    pub(super) fn hold(&self) -> Hold {
        Hold { room: self.clone(), bytes: 0 }
    }

    #[cfg(test)]
    fn taken(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

impl Hold {
    /// Takes so much more; false if there is no room for it.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let Taken { bytes: taken, max } = &*self.room.0;
        if taken.fetch_add(bytes, Ordering::Relaxed) + bytes > *max {
            taken.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.room.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let room = Room::new(10);
        let (mut one, mut two) = (room.hold(), room.hold());
        assert!(one.grow(6) && !two.grow(5) && two.grow(4) && !one.grow(1));
        drop(one);
        assert!(two.grow(6));
        drop(two);
        assert_eq!(room.taken(), 0);
    }
}
