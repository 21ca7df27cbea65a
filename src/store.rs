//! The store: what must survive, on SQLite or PostgreSQL. The only SQL of the house is in this room.
//!
//! One file per noun; `engine` holds what differs between the engines. A method does one intent in one
//! transaction, takes the time as an argument, and can run twice: changes of state are compare-and-set.

mod accept;
mod announce;
mod attach;
mod batches;
mod caching;
mod charges;
mod deferrals;
mod deliveries;
mod delivering;
mod departures;
mod engine;
mod feed;
mod finish;
mod gather;
mod groups;
mod inventory;
mod joining;
mod lanes;
mod ledger;
mod marking;
mod migrate;
mod noting;
mod outcomes;
mod packing;
mod partitions;
mod primes;
mod queue;
mod recording;
mod records;
mod rescue;
mod retain;
mod settings;
mod single;
mod transitions;
mod warming;
mod workloads;

use std::sync::Arc;

pub use accept::{Accepted, NewDeferral};
pub use attach::Departure;
pub use batches::{Claim, ClaimedBatch, Limits, QueuedItem};
pub use caching::CachingOff;
pub use charges::RepricedCharge;
pub use deferrals::{Filter, Page, PageCursor, Scope};
pub use deliveries::DeliveryFilter;
pub use delivering::{ClaimedDelivery, WaitingReceiver};
pub use departures::{Departures, Presence};
pub use feed::{FeedLine, FeedPage, Position};
pub use groups::Closed;
pub use inventory::{RecordCursor, RecordPage, WorkloadSum};
pub use lanes::{LaneId, PausedLane};
pub use ledger::{EntryPlace, Repriced, Spend};
pub use marking::Cacheable;
pub use migrate::MigrateError;
pub use noting::{Next, Tried};
pub use outcomes::{Member, Settlement, Verdict};
pub use primes::{KnownPrime, NewPrime, PrimeState};
pub use queue::{Backlog, QueueDepth};
pub use recording::Unrecorded;
pub use records::Bundle;
pub use rescue::{Leave, Rescue};
pub use settings::{Location, Settings};
pub use warming::OutPrime;
pub use workloads::{KnownWorkload, StoredWorkload, WorkloadFilter};

use crate::secret::Vault;
use engine::Engine;

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not take or answer the statement; nothing was changed.
    #[error("the store is not available")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// A sealed value does not open with this master key.
    #[error("a sealed value does not open: is this the master key that it was sealed with?")]
    Sealed,
    /// What is stored is not what was written.
    #[error("a stored value is damaged")]
    Damaged(#[source] Arc<std::io::Error>),
}

impl StoreError {
    /// Whether the database was there and did not take what it was given.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Unavailable(error) if error.as_database_error().is_some())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file's folder or lock could not be made.
    #[error("preparing {path}")]
    File {
        /// The file in question.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the file.
    #[error("{path} is in use by another offpeak process: stop it, or give this one another store.url")]
    InUse {
        /// The file in question.
        path: String,
    },
    /// The database did not open.
    #[error("opening the store")]
    Engine(#[from] StoreError),
}

/// An open store. Clones share it.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    vault: Vault,
    encrypt_bodies: bool,
    accepting: Arc<accept::Accepting>,
    gathering: Arc<gather::Gathering>,
    noting: Arc<noting::Noting>,
    partitions: Arc<partitions::Partitions>,
    /// Keeps other processes off an SQLite file for as long as any clone lives.
    _single: Option<Arc<single::SingleProcess>>,
}

impl Store {
    /// Opens the store that the settings name; a PostgreSQL that is down is met at first use.
    ///
    /// # Errors
    /// If an SQLite file cannot be made, opened, or is in use, or the URL of a PostgreSQL does not read.
    pub async fn open(settings: &Settings, vault: Vault) -> Result<Self, OpenError> {
        let (engine, single) = match &settings.url {
            Location::Sqlite(path) => {
                let single = single::SingleProcess::enter(path)?;
                (Engine::sqlite(path).await?, Some(Arc::new(single)))
            }
            Location::Postgres(url) => (Engine::postgres(url)?, None),
        };
        let encrypt_bodies = settings.encrypt_bodies;
        Ok(Self {
            engine,
            vault,
            encrypt_bodies,
            accepting: Arc::default(),
            gathering: Arc::default(),
            noting: Arc::default(),
            partitions: Arc::default(),
            _single: single,
        })
    }

    /// Whether the database answers and has the schema of this build.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        engine::read!(self, tx => {
            sqlx::query("select value from counter where name = 'feed'").fetch_one(tx).await?;
        });
        Ok(())
    }

    /// Ends all connections, after what is under way.
    pub async fn close(&self) {
        self.end_commits().await;
        self.engine.close().await;
    }
}
