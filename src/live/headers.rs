//! Which headers go further than the gateway.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST,
    HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

/// What every header of ours begins with.
const OWN: &str = "x-defer";

/// Headers about one connection, not about the message that travels over it.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes away what concerns one connection only, and what its `connection` header names.
///
/// `trailer` goes too, except where the body's end is open: only there can trailers follow, and without the
/// announcement they would be dropped on the way.
pub(super) fn keep_end_to_end(headers: &mut HeaderMap, open_ended: bool) {
    // One look at what is there costs less than to ask for each that could be.
    let mut gone: Vec<HeaderName> = headers.keys().filter(|name| HOP_BY_HOP.contains(name)).cloned().collect();
    if gone.contains(&CONNECTION) {
        gone.extend(names_in(headers, CONNECTION));
    }
    for name in gone {
        headers.remove(name);
    }
    if !open_ended || headers.contains_key(CONTENT_LENGTH) {
        headers.remove(TRAILER);
    }
}

/// Takes away the caller's words to the gateway.
pub(super) fn drop_own(headers: &mut HeaderMap) {
    let own: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(OWN)).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

/// The trailers that are announced.
pub(super) fn announced_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    names_in(headers, TRAILER)
}

/// Whether a header can stand after the body that it describes, frames or unlocks, as RFC 9110 has it; and the caller's
/// words to the gateway cannot either.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    static BEFORE_THE_BODY: [HeaderName; 11] = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        HOST,
        MAX_FORWARDS,
        SET_COOKIE,
        TRAILER,
        HeaderName::from_static("x-api-key"),
    ];
    !HOP_BY_HOP.contains(name) && !BEFORE_THE_BODY.contains(name) && !name.as_str().starts_with(OWN)
}

/// A header as it is written.
pub(super) fn write_header(into: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    into.extend_from_slice(name.as_str().as_bytes());
    into.extend_from_slice(b": ");
    into.extend_from_slice(value.as_bytes());
    into.extend_from_slice(b"\r\n");
}

fn names_in(headers: &HeaderMap, list: HeaderName) -> Vec<HeaderName> {
    headers
        .get_all(list)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_concerns_one_connection_stays_behind() {
        let mut seen = headers(&[
            ("connection", "Keep-Alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-end", "2"),
            ("content-type", "application/json"),
        ]);
        seen.append(CONNECTION, HeaderValue::from_static(" x-second ,, close"));
        seen.append("x-second", HeaderValue::from_static("1"));
        keep_end_to_end(&mut seen, false);
        assert_eq!(seen, headers(&[("x-end", "2"), ("content-type", "application/json")]));
    }

    #[test]
    fn trailers_are_announced_only_where_they_can_follow() {
        let announced = [("trailer", "x-sum")];
        let counted = [("trailer", "x-sum"), ("content-length", "3")];
        for (given, open_ended, kept) in
            [(&announced[..], true, true), (&announced, false, false), (&counted, true, false)]
        {
            let mut seen = headers(given);
            keep_end_to_end(&mut seen, open_ended);
            assert_eq!(seen.contains_key(TRAILER), kept, "{given:?} {open_ended}");
        }
    }

    #[test]
    fn the_callers_words_to_the_gateway_stay_there() {
        let mut seen = headers(&[("x-defer", "live"), ("x-defer-ref", "7"), ("x-deferential", "?"), ("x-def", "kept")]);
        seen.append("x-defer", HeaderValue::from_static("batch"));
        drop_own(&mut seen);
        assert_eq!(seen, headers(&[("x-def", "kept")]));
    }
}
