//! What may happen next: the steps of the workers, in the order of `submit.rs` and `reconcile.rs`, and the world's.

use super::{Batch, FLIGHT, LEASE, LISTING, Lack, Made, Phase, TOO_LONG, WAIT, Worker, World};

impl World {
    /// What a worker may do.
    pub(super) fn work(&self, worker: u8, lack: Option<Lack>, next: &mut Vec<Self>) {
        let idle = self.with(worker, Worker::Idle);
        match self.workers[usize::from(worker)] {
            Worker::Idle => self.claim(worker, next),
            Worker::Mark(index) => {
                let marked = |batch: &mut Batch| {
                    batch.phase = if lack == Some(Lack::UncertainFirst) { batch.phase } else { Phase::Uncertain };
                    batch.doubt = None;
                };
                let sender =
                    if lack == Some(Lack::CheckBeforeLastBytes) { Worker::SendLastBytes } else { Worker::Check };
                let marked = self.with(worker, sender(index)).set(worker, index, Phase::Building, lack, marked);
                next.push(marked.unwrap_or(idle));
            }
            Worker::Check(index) => {
                let phase = self.batch(index).phase;
                let renewed = |batch: &mut Batch| batch.lease = LEASE;
                let checked = self.with(worker, Worker::SendLastBytes(index)).set(worker, index, phase, lack, renewed);
                next.push(checked.unwrap_or(idle));
            }
            Worker::SendLastBytes(index) => {
                let limit = if lack == Some(Lack::ArrivesInTime) { TOO_LONG } else { FLIGHT };
                if let Some(free) = self.flying.iter().position(Option::is_none) {
                    let mut sent = self.with(worker, Worker::Await(index));
                    sent.flying[free] = Some((index, limit));
                    next.push(sent);
                }
                // The connection breaks.
                next.push(self.with(worker, Worker::Doubt(index)));
            }
            Worker::Await(index) => {
                for place in self.places_of(index) {
                    next.push(self.with(worker, Worker::Submit(index, place)));
                }
                if let Some(flight) = self.flying.iter().position(|flight| flight.is_some_and(|(of, _)| of == index)) {
                    let mut refused = self.with(worker, Worker::NotSent(index));
                    refused.flying[flight] = None;
                    next.push(refused);
                }
                next.push(self.with(worker, Worker::Doubt(index)));
                let phase = self.batch(index).phase;
                next.extend(self.set(worker, index, phase, lack, |batch| batch.lease = LEASE));
            }
            Worker::Submit(index, place) => {
                let is_free = !self.batches.iter().flatten().any(|batch| batch.taken_for == Some(place));
                let submitted = idle.set(worker, index, self.uncertain(lack), lack, |batch| {
                    (batch.phase, batch.taken_for, batch.adopted) = (Phase::Submitted, Some(place), false);
                });
                next.push(submitted.filter(|_| is_free).unwrap_or(idle));
            }
            Worker::NotSent(index) => next.push(idle.rebuild(worker, index, lack).unwrap_or(idle)),
            Worker::Doubt(index) if lack == Some(Lack::WaitAfterLostAnswer) => {
                next.push(idle.rebuild(worker, index, lack).unwrap_or(idle));
            }
            Worker::Doubt(index) => next.push(idle.doubted(worker, index, lack).unwrap_or(idle)),
            Worker::List(index, has_waited) => {
                let shown = |(place, made): (usize, &Option<Made>)| match made {
                    Some(Made { hidden: None, .. }) => 1 << place,
                    _ => 0,
                };
                let seen = self.made.iter().enumerate().map(shown).sum();
                next.push(self.with(worker, Worker::Judge(index, has_waited, seen)));
            }
            Worker::Judge(index, has_waited, seen) => idle.judge(worker, (index, has_waited, seen), lack, next),
        }
    }

    fn claim(&self, worker: u8, next: &mut Vec<Self>) {
        for index in 0..2 {
            let Some(batch) = self.batches[usize::from(index)].filter(|batch| batch.lease == 0) else { continue };
            let work = match batch.phase {
                Phase::Building => Worker::Mark(index),
                Phase::Uncertain => Worker::List(index, batch.doubt.is_some_and(|doubt| doubt >= WAIT)),
                Phase::Submitted | Phase::Ingested => continue,
            };
            let mut claimed = self.with(worker, work);
            claimed.batches[usize::from(index)] = Some(Batch { holder: Some(worker), lease: LEASE, ..batch });
            next.push(claimed);
        }
    }

    /// What reconciling makes of the list; which of several candidates comes first is open.
    fn judge(&self, worker: u8, (index, has_waited, seen): (u8, bool, u8), lack: Option<Lack>, next: &mut Vec<Self>) {
        let has_waited = has_waited || lack == Some(Lack::Wait);
        let candidates = (0..4u8).filter(|place| seen & (1 << place) != 0 && !self.is_certainly_other(index, *place));
        let mut may_be_elsewhere = false;
        let mut is_adopted = false;
        for place in candidates {
            if self.batches.iter().flatten().any(|batch| batch.taken_for == Some(place)) {
                may_be_elsewhere = true;
                continue;
            }
            let adopted = self.set(worker, index, Phase::Uncertain, lack, |batch| {
                (batch.phase, batch.taken_for, batch.adopted) = (Phase::Submitted, Some(place), true);
            });
            is_adopted |= adopted.is_some();
            next.extend(adopted);
        }
        if !is_adopted {
            let absent = has_waited && !may_be_elsewhere;
            let judged = if absent { self.rebuild(worker, index, lack) } else { self.doubted(worker, index, lack) };
            next.push(judged.unwrap_or(*self));
        }
    }

    fn is_certainly_other(&self, index: u8, place: u8) -> bool {
        let others = (0u8..).zip(&self.batches).filter(|(other, _)| *other != index);
        let is_known = others
            .filter_map(|(_, batch)| batch.as_ref())
            .any(|batch| batch.taken_for == Some(place) && !batch.adopted);
        is_known || self.batch(index).mistakes & (1 << place) != 0
    }

    /// Results come home: those of an adopted batch confirm it, or show the mistake.
    pub(super) fn come_home(&self, lack: Option<Lack>, next: &mut Vec<Self>) {
        for index in 0..2 {
            let Some(batch) = self.batches[usize::from(index)] else { continue };
            let (Phase::Submitted, Some(place)) = (batch.phase, batch.taken_for) else { continue };
            let mut home = *self;
            let is_mistake = batch.adopted && self.owner(place) != Some(index) && lack != Some(Lack::Confirmation);
            home.batches[usize::from(index)] = Some(if is_mistake {
                let mistakes = if lack == Some(Lack::MemoryOfMistakes) { 0 } else { batch.mistakes | 1 << place };
                let (phase, taken_for) = (Phase::Uncertain, None);
                Batch { phase, taken_for, adopted: false, mistakes, lease: 0, holder: None, ..batch }
            } else {
                Batch { phase: Phase::Ingested, adopted: false, lease: 0, holder: None, doubt: None, ..batch }
            });
            next.push(home);
        }
    }

    /// What provider and network may do.
    pub(super) fn provide(&self, lack: Option<Lack>, next: &mut Vec<Self>) {
        let listing = if lack == Some(Lack::ListedInTime) { TOO_LONG } else { LISTING };
        for (flight, flying) in self.flying.iter().enumerate() {
            let Some((owner, _)) = *flying else { continue };
            let mut lost = *self;
            lost.flying[flight] = None;
            next.push(lost);
            if let Some(free) = self.made.iter().position(Option::is_none) {
                lost.made[free] = Some(Made { owner, hidden: Some(listing) });
                next.push(lost);
            }
        }
        for place in 0..self.made.len() {
            if let Some(Made { owner, hidden: Some(_) }) = self.made[place] {
                let mut shown = *self;
                shown.made[place] = Some(Made { owner, hidden: None });
                next.push(shown);
            }
        }
    }

    /// Time goes on, unless something must have happened by now.
    pub(super) fn tick(&self, lack: Option<Lack>) -> Option<Self> {
        let mut later = *self;
        for flight in later.flying.iter_mut().flatten() {
            flight.1 = flight.1.checked_sub(1)?;
        }
        for made in later.made.iter_mut().flatten() {
            made.hidden = made.hidden.map(|ticks| ticks.checked_sub(1).ok_or(())).transpose().ok()?;
        }
        for (worker, work) in (0u8..).zip(&self.workers) {
            let is_pressed = |index: u8| self.batch(index).holder == Some(worker) && self.batch(index).lease == 1;
            if let Worker::SendLastBytes(index) = work
                && is_pressed(*index)
                && !matches!(lack, Some(Lack::LastBytesLeaveInTime | Lack::CheckBeforeLastBytes))
            {
                return None;
            }
        }
        for batch in later.batches.iter_mut().flatten() {
            batch.lease = batch.lease.saturating_sub(1);
            batch.doubt = batch.doubt.map(|doubt| (doubt + 1).min(WAIT));
        }
        Some(later)
    }

    /// Compare and set: `None` if another has the claim, or the batch is in another state.
    fn set(
        &self,
        worker: u8,
        index: u8,
        from: Phase,
        lack: Option<Lack>,
        change: impl FnOnce(&mut Batch),
    ) -> Option<Self> {
        let mut batch = self.batch(index);
        let may = batch.phase == from && (batch.holder == Some(worker) || lack == Some(Lack::Fence));
        may.then(|| {
            change(&mut batch);
            let mut world = *self;
            world.batches[usize::from(index)] = Some(batch);
            world
        })
    }

    fn rebuild(&self, worker: u8, index: u8, lack: Option<Lack>) -> Option<Self> {
        self.set(worker, index, self.uncertain(lack), lack, |batch| {
            (batch.phase, batch.lease) = (Phase::Building, 0);
        })
    }

    fn doubted(&self, worker: u8, index: u8, lack: Option<Lack>) -> Option<Self> {
        self.set(worker, index, Phase::Uncertain, lack, |batch| {
            (batch.doubt, batch.lease) = (batch.doubt.or(Some(0)), 0);
        })
    }

    /// The phase in which a batch waits for its answer.
    fn uncertain(&self, lack: Option<Lack>) -> Phase {
        if lack == Some(Lack::UncertainFirst) { Phase::Building } else { Phase::Uncertain }
    }
}
