//! Offpeak: a gateway in front of the Claude Messages API. Live calls stream through; calls that nobody
//! waits for are queued durably, sent in Message Batches at half the price, and handed back by id.
//!
//! # The map
//!
//! A module imports only from floors below its own, and rooms of one floor do not import each other
//! (`tests/it/floor_plan.rs` holds everyone to it):
//!
//! ```text
//! roof      main  cli  app  settings
//! floor 4   http  workers  simulator              doors: they call rooms, rooms never call them
//! floor 3   live  intake  hold  flush  poll  ingest  announce  deliver  rescue  retain           what Offpeak does
//!           inventory  savings                                                               what it thinks of it
//! floor 2   store  provider                       the only two that talk to something outside
//! between   cache_plan                            pure, and asked by rooms of floor 3
//! floor 1   domain                                the words: no I/O, no async, no clock
//! ground    crash  egress  encoding  health  metrics  nudge  secret  telemetry, and below them the clock
//! ```
//!
//! A call comes in through [`http`]. [`intake`] decides what becomes of it, by its headers and else by the operator's
//! rules: [`live`] relays it byte for byte, or it is admitted durably into the [`store`] and answered with a ticket;
//! [`hold`] keeps whoever would rather wait on the connection. From there the workers take it, each looking into the
//! store for what is due: [`flush`] cuts queued calls into batches and submits them through the [`provider`] (marked for
//! the prompt cache where [`cache_plan`] finds that it pays), [`poll`] asks how they are, [`ingest`] brings the answers
//! home, [`announce`] sees which groups are complete by that, and [`deliver`] sends the webhooks that follow, where
//! [`egress`] lets them go. What all of it cost stands in the store's ledger, which [`savings`] reports from. Beside all
//! that the [`inventory`] watches calls, and thinks about which of them could wait.
//! Rooms meet only in the database, so a restart is normal work and replicas need no messages.

pub mod announce;
pub mod app;
pub mod cache_plan;
pub mod cli;
pub mod clock;
pub mod crash;
pub mod deliver;
pub mod domain;
pub mod egress;
pub mod encoding;
pub mod flush;
pub mod health;
pub mod hold;
pub mod http;
pub mod ingest;
pub mod intake;
pub mod inventory;
pub mod live;
pub mod metrics;
pub mod nudge;
pub mod poll;
pub mod provider;
pub mod rescue;
pub mod retain;
pub mod savings;
pub mod secret;
pub mod settings;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod workers;
