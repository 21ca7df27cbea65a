//! Places: how many webhooks are under way at a time, in all and to each receiver, so that none waits for another.
//!
//! A receiver begins with one place. Each webhook that it takes doubles them, and one that it does not takes them back to
//! one. So receivers that hang hold a place each, however much there is for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::WaitingReceiver;

/// Webhooks under way at a time in this process: each takes a connection, and its body in memory.
const TOTAL: u32 = 512;

/// While more than this many are under way, each receiver may have one place only.
const AMPLE: u32 = 256;

/// So many of them may be to receivers that have not taken their last webhook, or were never sent one: the others are
/// kept for those who do.
const UNPROVEN_MAX: u32 = 384;

/// Webhooks under way to one receiver: enough to keep it busy across a continent, too few to harm it.
const WIDTH_MAX: u32 = 8;

/// Receivers that are remembered to be well while nothing is under way to them.
const REMEMBERED_MAX: usize = 10_000;

/// The places of this process. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    taken: u32,
    unproven: u32,
    receivers: HashMap<String, Receiver>,
}

#[derive(Clone, Copy, Debug)]
struct Receiver {
    under_way: u32,
    /// How many may be.
    width: u32,
}

/// Places by receiver.
pub(super) type Shares = BTreeMap<String, Vec<Place>>;

/// What there is for a receiver.
#[derive(Debug)]
enum Free {
    /// These.
    These(Vec<Place>),
    /// It has all that it may have.
    Busy,
    /// It may have one, but others have them all.
    NoneLeft,
}

/// A place for one webhook; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    receiver: String,
    is_unproven: bool,
}

impl Places {
    /// Takes the places of those receivers that follow on `after` and for whom something is due. If there are too few, it
    /// says behind which of them to go on the next time.
    pub(super) fn share_out(&self, after: &str, waiting: &[WaitingReceiver]) -> (Shares, Option<String>) {
        let (mut shares, mut cut, mut before) = (Shares::new(), None, after);
        for WaitingReceiver { receiver, is_due } in waiting {
            match is_due.then(|| self.reserve(receiver)) {
                Some(Free::These(places)) => drop(shares.insert(receiver.clone(), places)),
                Some(Free::NoneLeft) => drop(cut.get_or_insert_with(|| before.to_owned())),
                Some(Free::Busy) | None => {}
            }
            before = receiver;
        }
        (shares, cut)
    }

    /// Takes all places that a receiver may have now.
    fn reserve(&self, receiver: &str) -> Free {
        let mut book = self.lock();
        let Receiver { under_way, width } = book.of(receiver);
        let is_unproven = width == 1;
        let own = if book.taken < AMPLE { width } else { 1 }.saturating_sub(under_way);
        if own == 0 {
            return Free::Busy;
        }
        let left = TOTAL.saturating_sub(book.taken);
        let left = if is_unproven { left.min(UNPROVEN_MAX.saturating_sub(book.unproven)) } else { left };
        let count = own.min(left);
        if count == 0 {
            return Free::NoneLeft;
        }
        book.taken += count;
        book.unproven += if is_unproven { count } else { 0 };
        book.receivers.insert(receiver.to_owned(), Receiver { under_way: under_way + count, width });
        let place = || Place { places: self.clone(), receiver: receiver.to_owned(), is_unproven };
        Free::These((0..count).map(|_| place()).collect())
    }

    /// Whether nobody can have one now.
    pub(super) fn are_all_taken(&self) -> bool {
        self.lock().taken >= TOTAL
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Gives it back: the receiver has taken its webhook, or has not.
    pub(super) fn ended(self, is_well: bool) {
        let mut book = self.places.lock();
        if let Some(receiver) = book.receivers.get_mut(&self.receiver) {
            receiver.width = if is_well { (2 * receiver.width).min(WIDTH_MAX) } else { 1 };
        }
        drop(book);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.places.lock();
        book.taken = book.taken.saturating_sub(1);
        book.unproven = book.unproven.saturating_sub(u32::from(self.is_unproven));
        let Receiver { under_way, width } = book.of(&self.receiver);
        let under_way = under_way.saturating_sub(1);
        // What is not remembered begins with one place.
        if under_way == 0 && (width == 1 || book.receivers.len() > REMEMBERED_MAX) {
            book.receivers.remove(&self.receiver);
        } else {
            book.receivers.insert(std::mem::take(&mut self.receiver), Receiver { under_way, width });
        }
    }
}

impl Book {
    fn of(&self, receiver: &str) -> Receiver {
        self.receivers.get(receiver).copied().unwrap_or(Receiver { under_way: 0, width: 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(free: &Free) -> Option<usize> {
        match free {
            Free::These(places) => Some(places.len()),
            Free::Busy => None,
            Free::NoneLeft => Some(0),
        }
    }

    fn these(free: Free) -> Vec<Place> {
        match free {
            Free::These(places) => places,
            other => panic!("{other:?}"),
        }
    }

    /// One place after the other, each ending like this.
    fn end(places: &Places, receiver: &str, endings: &[bool]) {
        for is_well in endings {
            these(places.reserve(receiver)).pop().unwrap().ended(*is_well);
        }
    }

    #[test]
    fn a_receiver_that_takes_its_webhooks_gets_more_and_one_that_does_not_gets_one() {
        let places = Places::default();
        for expected in [1, 2, 4, 8, 8] {
            let mut taken = these(places.reserve("a"));
            assert_eq!(taken.len(), expected);
            assert_eq!(count(&places.reserve("a")), None, "it has all that it may have");
            taken.pop().unwrap().ended(true);
        }
        let mut taken = these(places.reserve("a"));
        taken.pop().unwrap().ended(false);
        assert_eq!(count(&places.reserve("a")), None, "seven are under way");
        drop(taken);
        assert_eq!(count(&places.reserve("a")), Some(1));
        assert_eq!(count(&places.reserve("b")), Some(1));
    }

    #[test]
    fn receivers_that_hang_leave_places_for_those_that_are_well() {
        let places = Places::default();
        end(&places, "well", &[true, true, true]);
        let hanging: Vec<_> = (0..10_000).map(|number| places.reserve(&format!("hanging-{number}"))).collect();
        let held: usize = hanging.iter().filter_map(count).sum();
        assert_eq!(held, UNPROVEN_MAX as usize);
        assert!(matches!(places.reserve("new"), Free::NoneLeft) && !places.are_all_taken());
        assert_eq!(count(&places.reserve("well")), Some(1));
    }

    #[test]
    fn those_that_were_well_and_hang_now_do_not_use_up_all() {
        let places = Places::default();
        let names: Vec<_> = (0..200).map(|number| format!("was-well-{number}")).collect();
        names.iter().for_each(|name| end(&places, name, &[true, true, true]));
        let hanging: Vec<_> = names.iter().map(|name| these(places.reserve(name))).collect();
        let held: usize = hanging.iter().map(Vec::len).sum();
        assert!(held < TOTAL as usize && !places.are_all_taken(), "{held}");
        assert_eq!(count(&places.reserve("new")), Some(1));
    }

    #[test]
    fn whoever_found_no_place_left_comes_first_the_next_time() {
        let places = Places::default();
        let all: Vec<_> = (0..1_000)
            .map(|number| WaitingReceiver { receiver: format!("{number:03}"), is_due: number % 2 == 0 })
            .collect();
        let (first, cut) = places.share_out("", &all);
        assert_eq!(first.len(), UNPROVEN_MAX as usize);
        // Half of them have nothing due.
        assert_eq!(cut.as_deref(), Some("767"));
        assert_eq!(places.share_out("767", &all[768..]).1.as_deref(), Some("767"), "none of them has ended yet");
        drop(first);
        let (second, cut) = places.share_out("767", &all[768..]);
        assert_eq!((second.len(), cut), (116, None));
        assert_eq!(second.first_key_value().map(|(name, places)| (name.as_str(), places.len())), Some(("768", 1)));
        // Who is busy with what it has is not passed over.
        assert_eq!(places.share_out("767", &all[768..]).1, None);
    }

    #[test]
    fn all_places_come_back_and_nothing_is_kept_of_who_is_not_well() {
        let places = Places::default();
        let all: Vec<_> = (0..1_000).map(|number| places.reserve(&number.to_string())).collect();
        drop(all);
        end(&places, "well", &[true]);
        end(&places, "not", &[true, false]);
        let book = places.lock();
        assert_eq!((book.taken, book.unproven), (0, 0));
        assert_eq!(book.receivers.keys().collect::<Vec<_>>(), ["well"]);
    }

    #[test]
    fn what_is_remembered_has_its_limit() {
        let places = Places::default();
        for number in 0..REMEMBERED_MAX + 100 {
            end(&places, &number.to_string(), &[true]);
        }
        assert!(places.lock().receivers.len() <= REMEMBERED_MAX + 1);
    }
}
