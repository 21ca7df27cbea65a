//! Events as receivers get them: what happened, when, and to what.

use bytes::Bytes;
use serde::Serialize;

use crate::clock::Timestamp;

/// An event.
#[derive(Serialize)]
struct Event<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Timestamp,
    data: &'a T,
}

/// The text of an event, in which other people's JSON stands in its own text. It is the same in each attempt, since all
/// that it says was so when the event came about.
pub(super) fn body<T: Serialize>(kind: &str, timestamp: Timestamp, data: &T) -> serde_json::Result<Bytes> {
    Ok(serde_json::to_vec(&Event { kind, timestamp, data })?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    #[test]
    fn what_is_somebody_elses_stays_as_it_is() {
        let raw: &RawValue = serde_json::from_str(r#"{ "b": 1.0, "a": 1e5, "b": [ ] }"#).unwrap();
        let text = body("deferral.succeeded", Timestamp::from_millis(1), &raw).unwrap();
        insta::assert_snapshot!(std::str::from_utf8(&text).unwrap(), @r#"{"type":"deferral.succeeded","timestamp":"1970-01-01T00:00:00.001Z","data":{ "b": 1.0, "a": 1e5, "b": [ ] }}"#);
    }
}
