//! Taking up what taps have seen, within a small share of the time. What is not taken up stays where it is. When that is half
//! full the taps keep no bodies, and when it is full they see no more: so a gateway at full speed loses records, not speed.

use std::time::Duration;

use tokio::time::Instant;

use super::Inventory;
use crate::inventory::reading::Callers;
use crate::inventory::tray::Thing;
use crate::store::StoreError;

/// Calls that wait to be written while the store does not take them; then they are dropped.
const PENDING_MAX: usize = 20_000;

/// Things that are taken up at a time, and read before others have a turn on the thread: about a millisecond of them.
const STRETCH: usize = 32;

/// What it costs to write a record down, as near as is known: it is spent with the reading of each of its two things.
const WRITING_COST: Duration = Duration::from_micros(4);

impl Inventory {
    /// One look: reads what was seen, within its share of the time. Never says that there is more, since that has time.
    ///
    /// # Errors
    /// None.
    pub async fn read(&self) -> Result<bool, StoreError> {
        self.take_up(false).await;
        Ok(false)
    }

    /// Reads what was seen: all of it, or as much as there is time for.
    pub(super) async fn take_up(&self, all: bool) {
        let mut reading = self.0.reading.lock().await;
        reading.time.grow(Instant::now());
        for tray in self.0.desk.trays() {
            while all || reading.time.is_left() {
                let things = tray.take(STRETCH);
                if things.is_empty() {
                    break;
                }
                let begin = Instant::now();
                for thing in things {
                    self.read_thing(&mut reading.callers, thing).await;
                    reading.time.spend(WRITING_COST);
                }
                reading.time.spend(begin.elapsed());
                tokio::task::yield_now().await;
            }
        }
    }

    async fn read_thing(&self, callers: &mut Callers, thing: Thing) {
        let seen = match thing {
            Thing::Asked(asked) => return self.0.reader.read_body(callers, asked).await,
            Thing::Ended(seen) => seen,
        };
        let pending = self.0.reader.read_sighting(callers, &self.0.prices.table(), *seen).await;
        if pending.recorded.is_unread {
            self.0.metrics.record_unread();
        }
        let mut waiting = self.0.waiting();
        if waiting.len() < PENDING_MAX {
            waiting.push_back(pending);
        } else {
            self.0.metrics.record_dropped();
        }
    }
}
