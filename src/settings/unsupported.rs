//! What this build has no code for yet: refused, because a setting that does nothing misleads.

use super::reader::Reader;

/// Refuses what would be ignored.
pub(super) fn refuse(read: &mut Reader<'_>) {
    for (key, what) in [("telemetry.otlp", "export of traces"), ("prices.file", "prices of one's own")] {
        if !read.peek(key).is_empty() {
            read.fault(key, format!("this build does not have {what} yet; leave it empty"));
        }
    }
}
