//! The inventory: which jobs call the model, whether they could wait, and what that would save.
//!
//! Its recording half watches calls beside their streams ([`Tap`]), reads what was seen within a small share of the time,
//! and writes it down in bundles ([`Inventory`]). Its thinking half is pure: whoever records or imports calls brings a
//! [`Workload`], and [`assess`] turns it into an [`Assessment`].

mod answer;
mod assess;
mod assessing;
mod assessment;
mod budget;
mod collect;
mod figures;
mod fingerprint;
mod gathering;
pub mod import;
mod keyed;
mod listing;
mod normal;
mod observe;
mod pieces;
mod placing;
mod reading;
mod recent;
mod recorder;
mod room;
mod sample;
mod sampling;
mod savings;
mod settings;
mod shape;
mod signals;
mod sketch;
mod suggest;
mod tap;
mod tray;
mod trial;
mod who;
mod words;
mod workload;

pub use assess::assess;
pub use assessing::Assessor;
pub use assessment::{Assessment, Ineligible, Part, Savings, Signal, SignalKind, Verdict, Veto, VetoKind};
pub use collect::{Collector, UsageSum};
pub use figures::{count, dollars};
pub use listing::Listed;
pub use observe::{Inventory, Parts};
pub use recorder::Recorder;
pub use sample::{Sample, Seen};
pub use settings::{Settings, TIME_PERMILLE};
pub use suggest::suggest;
pub use tap::{Answering, Asking, Tap};
pub use trial::{Limits, Times, Trial, Tried};
pub use who::{AskWho, Who};
pub use workload::{Blocked, Hour, ModelSums, Profile, Share, Sums, Window, Workload};
