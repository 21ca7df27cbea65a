//! Nobody reading: answers are not streamed, or taken from the stream as fast as they come.

use super::Findings;
use crate::inventory::assessment::SignalKind;
use crate::inventory::figures::{count, percent, share, span};
use crate::inventory::workload::Workload;

/// Points for answers none of which is streamed.
const WEIGHT: i32 = 20;
/// Points against it where nearly all are streamed: somebody wanted to see words appear.
const STREAMED_AGAINST: i32 = 5;
/// Points against it where readers keep answers waiting, which machines do not.
const READ_AGAINST: i32 = 20;

/// A stream that nobody reads slowly says less than none: buffers swallow short answers, and libraries stream by
/// default.
const SWALLOWED: f64 = 0.25;
/// From this part on calls count as streamed.
const MOSTLY: f64 = 0.8;
/// The part of slowly read answers from which on somebody reads.
const READ: f64 = 0.05;

pub(super) fn look(workload: &Workload, found: &mut Findings) {
    let sums = &workload.sums;
    if !workload.knows_streams() {
        return;
    }
    let streamed = share(sums.streamed, sums.calls);
    let slowly = share(sums.slowly_read, sums.streamed);
    if slowly >= READ {
        let mean = span(sums.reader_wait_ms as f64 / sums.slowly_read.max(1) as f64);
        let evidence = format!("read as it comes: {} % of streams wait for their reader, {mean} each", percent(slowly));
        found.against(READ_AGAINST, evidence);
        return;
    }
    if streamed >= MOSTLY {
        let calls = count(sums.calls);
        found.against(STREAMED_AGAINST, format!("streamed: {} % of {calls} calls ask for it", percent(streamed)));
    }
    let strength = (1.0 - streamed) + streamed * SWALLOWED;
    let evidence = match percent(streamed) {
        0 => format!("none of {} calls streams", count(sums.calls)),
        100 => "all calls stream, but their answers are taken as fast as they come".to_owned(),
        part => format!("{} % of calls do not stream, and streams are taken as fast as they come", 100 - part),
    };
    found.signal(SignalKind::Unread, WEIGHT, strength, evidence);
}
