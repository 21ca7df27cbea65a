//! Events of a held stream that are no part of the Message.

use bytes::Bytes;

use crate::domain::error_type;
use crate::domain::id::DeferralId;

/// Keeps a stream alive; clients skip it.
pub(super) const PING: Bytes = Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");

/// The event that ends a stream with an error, out of the error's envelope.
pub(super) fn error(envelope: &str) -> Bytes {
    // A line's end would end the event's data; in JSON it can only stand where a blank can.
    format!("event: error\ndata: {}\n\n", envelope.replace(['\n', '\r'], " ")).into()
}

/// The event that ends a stream whose wait has ended without a result.
pub(super) fn time_over(id: DeferralId) -> Bytes {
    let message = format!(
        "no result came within the wait, but the deferral {id} goes on: get it from /deferred/{id}/message later"
    );
    error(&error_type::envelope("timeout_error", &message, &id.to_string()))
}

/// The event that ends a stream whose deferral is gone, or whose result cannot be told.
pub(super) fn no_result(id: DeferralId) -> Bytes {
    error(&error_type::envelope("api_error", &format!("the result of {id} cannot be given"), &id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_events_of_one_line() {
        let told = error("{\"type\":\"error\",\r\n \"error\":{}}");
        assert_eq!(told, "event: error\ndata: {\"type\":\"error\",   \"error\":{}}\n\n");
        let told = String::from_utf8(time_over(DeferralId(uuid::Uuid::nil())).to_vec()).unwrap();
        insta::assert_snapshot!(told, @"");
    }
}
