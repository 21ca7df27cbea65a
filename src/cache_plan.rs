//! Planning how batches use the prompt cache: which beginnings queued calls share, which of them pay, and the mark that
//! goes into their items. Pure: nothing here looks anything up, so that several rooms may ask.

mod mark;
mod plan;
mod prefixes;
mod prompt;
mod warmth;

pub use mark::{marked, padded};
pub use plan::{Candidate, Plan, Prime, Standing, Worth, plan};
pub use prefixes::prefixes;
pub use warmth::{COLD_FOR, PRIME_LIMIT, warm_until};
