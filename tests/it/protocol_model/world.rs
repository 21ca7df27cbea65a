//! The world of the model: batches in the store, workers, the provider and the network.
//!
//! Time goes in ticks. A worker may stand still for any number of them, but for what [`Lack`] says.

mod steps;

/// A lease lasts so many ticks after each renewal.
const LEASE: u8 = 1;

/// A create arrives so many ticks after its last bytes left, or never.
const FLIGHT: u8 = 1;

/// The list shows a batch so many ticks after it was made.
const LISTING: u8 = 1;

/// The reconcile wait: longer than both, since what ends in the same tick may end in any order.
const WAIT: u8 = FLIGHT + LISTING + 1;

/// What assumptions become when they do not hold: longer than any wait.
const TOO_LONG: u8 = WAIT + LEASE + 3;

/// A rule of the protocol, or something that is assumed of the world, that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Only the last who claimed a batch may change it.
    Fence,
    /// The lease is renewed before the last bytes of a create leave.
    CheckBeforeLastBytes,
    /// A batch is known to be uncertain before anything is sent.
    UncertainFirst,
    /// Absence from the list is believed only after the wait.
    Wait,
    /// After a lost answer the list is consulted.
    WaitAfterLostAnswer,
    /// An adopted batch is confirmed by its results.
    Confirmation,
    /// What turned out to be somebody else's is not adopted again.
    MemoryOfMistakes,
    /// Whoever has renewed the lease for the last bytes sends them before it lapses, or never.
    LastBytesLeaveInTime,
    /// A create arrives in time, or never.
    ArrivesInTime,
    /// The list shows a batch in time.
    ListedInTime,
}

/// Who owns a batch at the provider that is none of ours.
const FOREIGN: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    Building,
    Uncertain,
    Submitted,
    Ingested,
}

/// A row of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Batch {
    phase: Phase,
    /// The worker whose claim is the latest: the fence.
    holder: Option<u8>,
    /// Ticks until it may be claimed.
    lease: u8,
    /// Ticks since nobody waits for the answer any more.
    doubt: Option<u8>,
    /// What it is at the provider, as a place in `made`; whether that is out of the list.
    taken_for: Option<u8>,
    adopted: bool,
    /// What it is not, a bit each.
    mistakes: u8,
}

/// What a worker is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Worker {
    Idle,
    Mark(u8),
    Check(u8),
    SendLastBytes(u8),
    Await(u8),
    Submit(u8, u8),
    NotSent(u8),
    Doubt(u8),
    List(u8, bool),
    Judge(u8, bool, u8),
}

impl Worker {
    /// The batch that it is at.
    fn batch(mut self) -> Option<u8> {
        self.index().copied()
    }

    /// As if the two batches had each other's names.
    fn swap(&mut self) {
        if let Some(index) = self.index() {
            *index = 1 - *index;
        }
    }

    fn index(&mut self) -> Option<&mut u8> {
        match self {
            Self::Idle => None,
            Self::Mark(index)
            | Self::Check(index)
            | Self::SendLastBytes(index)
            | Self::Await(index)
            | Self::Submit(index, _)
            | Self::NotSent(index)
            | Self::Doubt(index)
            | Self::List(index, _)
            | Self::Judge(index, ..) => Some(index),
        }
    }
}

/// A batch at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Made {
    owner: u8,
    /// Ticks until the list must show it; then none.
    hidden: Option<u8>,
}

/// A create on its way: whose, and in how many ticks it must have arrived.
type Flight = Option<(u8, u8)>;

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct World {
    batches: [Option<Batch>; 2],
    workers: [Worker; 2],
    flying: [Flight; 2],
    made: [Option<Made>; 4],
}

impl World {
    /// So many batches are built, and nobody is at work.
    pub(super) fn begin(batches: usize, with_foreign: bool) -> Self {
        let built = Batch {
            phase: Phase::Building,
            holder: None,
            lease: 0,
            doubt: None,
            taken_for: None,
            adopted: false,
            mistakes: 0,
        };
        let mut world = Self { batches: [None; 2], workers: [Worker::Idle; 2], flying: [None; 2], made: [None; 4] };
        world.batches[..batches].fill(Some(built));
        world.made[0] = with_foreign.then_some(Made { owner: FOREIGN, hidden: None });
        world
    }

    pub(super) fn is_the_end(&self) -> bool {
        self.batches.iter().flatten().all(|batch| batch.phase == Phase::Ingested)
    }

    pub(super) fn is_made_twice(&self) -> bool {
        let of = |owner| self.made.iter().flatten().filter(|made| made.owner == owner).count();
        of(0) > 1 || of(1) > 1
    }

    pub(super) fn is_taken_for_another(&self) -> bool {
        (0u8..).zip(&self.batches).any(|(index, batch)| {
            batch.is_some_and(|batch| {
                batch.phase == Phase::Ingested && batch.taken_for.is_some_and(|place| self.owner(place) != Some(index))
            })
        })
    }

    /// One state for all that differ in nothing that matters: in which worker or batch is which, in the order of
    /// creates on their way, or in what nobody looks at any more.
    pub(super) fn canonical(&self) -> Self {
        let mut here = *self;
        here.flying.sort_unstable();
        for (index, batch) in (0u8..).zip(here.batches.iter_mut().flatten()) {
            let is_at_it = |holder: &u8| self.workers[usize::from(*holder)].batch() == Some(index);
            batch.holder = batch.holder.filter(is_at_it);
            if matches!(batch.phase, Phase::Submitted | Phase::Ingested) {
                batch.lease = 0;
            }
            if batch.phase == Phase::Building || !batch.adopted && batch.phase == Phase::Submitted {
                batch.doubt = None;
            }
        }
        let swapped = here.with_workers_swapped();
        let best = here.min(swapped);
        if self.batches[1].is_none() {
            return best;
        }
        best.min(here.with_batches_swapped()).min(swapped.with_batches_swapped())
    }

    fn with_workers_swapped(mut self) -> Self {
        self.workers.swap(0, 1);
        self.batches.iter_mut().flatten().for_each(|batch| batch.holder = batch.holder.map(|holder| 1 - holder));
        self
    }

    fn with_batches_swapped(mut self) -> Self {
        self.batches.swap(0, 1);
        self.workers.iter_mut().for_each(Worker::swap);
        self.flying.iter_mut().flatten().for_each(|flight| flight.0 = 1 - flight.0);
        self.flying.sort_unstable();
        self.made
            .iter_mut()
            .flatten()
            .filter(|made| made.owner != FOREIGN)
            .for_each(|made| made.owner = 1 - made.owner);
        self
    }

    /// All that may be next.
    pub(super) fn followers(&self, lack: Option<Lack>) -> Vec<Self> {
        let mut next = Vec::with_capacity(24);
        for worker in 0..2 {
            self.work(worker, lack, &mut next);
            if self.workers[usize::from(worker)] != Worker::Idle {
                // It dies, and what it knew dies with it.
                next.push(self.with(worker, Worker::Idle));
            }
        }
        self.come_home(lack, &mut next);
        self.provide(lack, &mut next);
        next.extend(self.tick(lack));
        next
    }

    fn with(&self, worker: u8, work: Worker) -> Self {
        let mut world = *self;
        world.workers[usize::from(worker)] = work;
        world
    }

    fn batch(&self, index: u8) -> Batch {
        self.batches[usize::from(index)].expect("a worker's batch is there")
    }

    fn owner(&self, place: u8) -> Option<u8> {
        self.made[usize::from(place)].map(|made| made.owner)
    }

    fn places_of(&self, owner: u8) -> impl Iterator<Item = u8> {
        (0u8..)
            .zip(self.made)
            .filter(move |(_, made)| made.is_some_and(|made| made.owner == owner))
            .map(|(place, _)| place)
    }
}
