//! What this build has no code for yet: refused, because a setting that does nothing misleads.

use super::reader::Reader;

/// Refuses what would be ignored.
pub(super) fn refuse(read: &mut Reader<'_>) {
    if !read.peek("telemetry.otlp").is_empty() {
        read.fault("telemetry.otlp", "this build does not have export of traces yet; leave it empty");
    }
}
