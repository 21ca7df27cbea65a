//! The inventory, its thinking half: what a workload's recorded calls say about whether it could wait, and what that
//! would save. Pure: whoever records or imports calls brings a [`Workload`], and [`assess`] turns it into an [`Assessment`].

mod assess;
mod assessment;
mod collect;
mod figures;
pub mod import;
mod sample;
mod sampling;
mod savings;
mod signals;
mod suggest;
mod workload;

pub use assess::assess;
pub use assessment::{Assessment, Ineligible, Part, Savings, Signal, SignalKind, Verdict, Veto, VetoKind};
pub use collect::{Collector, UsageSum};
pub use figures::dollars;
pub use sample::{Sample, Seen};
pub use suggest::suggest;
pub use workload::{Blocked, Hour, ModelSums, Profile, Share, Sums, Window, Workload};
