//! A request as the upstream is to see it.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Uri};
use http_body::Body;

use super::headers::{self, write_header};
use super::upstream::Length;

/// More than a usual head needs, so that it is written without growing.
const USUAL_HEAD: usize = 2 * 1024;

/// Leaves of the caller's headers what the upstream is to see, and says where the body ends.
///
/// The body's framing stays as it was. Where both are known, it is the body itself that says how long it is.
pub(super) fn prepare(headers: &mut HeaderMap, body: &impl Body) -> Length {
    let exact = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
    headers::keep_end_to_end(headers, exact.is_none());
    headers::drop_own(headers);
    if exact == Some(0) {
        // Nobody waits for a body that is not there.
        headers.remove(EXPECT);
    }
    match exact.or_else(|| headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()) {
        Some(length) => {
            let is_due = length > 0 || headers.contains_key(CONTENT_LENGTH);
            if is_due && !says_plainly(headers, length) {
                headers.insert(CONTENT_LENGTH, length.into());
            }
            Length::Counted(length)
        }
        None => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            Length::Open(headers::announced_trailers(headers))
        }
    }
}

/// Whether a length stands there once, in the one way that no two readers understand differently.
fn says_plainly(headers: &HeaderMap, length: u64) -> bool {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let (first, second) = (values.next(), values.next());
    let is_plain = |text: &str| text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    let text = first.and_then(|value| value.to_str().ok()).filter(|text| is_plain(text));
    second.is_none() && text.and_then(|text| text.parse().ok()) == Some(length)
}

/// The head with its empty line. `before` stands in front of the path that was asked for, which is kept verbatim.
pub(super) fn head(
    method: &Method,
    before: [&str; 2],
    asked: &Uri,
    headers: &HeaderMap,
    authorization: Option<&HeaderValue>,
) -> Bytes {
    let mut head = Vec::with_capacity(USUAL_HEAD);
    let path = asked.path_and_query().map_or("/", |path| path.as_str());
    for part in [method.as_str(), " ", before[0], before[1], path, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        write_header(&mut head, name, value);
    }
    if let Some(authorization) = authorization {
        write_header(&mut head, &PROXY_AUTHORIZATION, authorization);
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full, StreamBody};

    use super::*;

    fn written(before: [&str; 2], asked: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        let head = head(&Method::PATCH, before, &asked.parse().unwrap(), &headers, None);
        String::from_utf8(head.to_vec()).unwrap()
    }

    #[test]
    fn paths_are_kept_verbatim_behind_what_comes_before() {
        for asked in ["/", "/v1/messages?beta=true", "/v1/messages?", "//v1//x", "/a%2Fb%20c?q=%3D&q", "/..;/x?a?b"] {
            let rest = "HTTP/1.1\r\nx-a: 1\r\nx-a: 2\r\n\r\n";
            assert_eq!(written(["", ""], asked), format!("PATCH {asked} {rest}"));
            assert_eq!(written(["", "/a/b"], asked), format!("PATCH /a/b{asked} {rest}"));
            assert_eq!(written(["http://up", "/a"], asked), format!("PATCH http://up/a{asked} {rest}"));
        }
    }

    #[test]
    fn a_proxy_is_shown_what_it_wants() {
        let secret = HeaderValue::from_static("Basic x");
        let head = head(&Method::GET, ["", ""], &"/".parse().unwrap(), &HeaderMap::new(), Some(&secret));
        assert_eq!(head, "GET / HTTP/1.1\r\nproxy-authorization: Basic x\r\n\r\n");
    }

    #[test]
    fn the_body_says_how_long_it_is() {
        let prepared = |given: &[(&'static str, &'static str)], body: &dyn Fn(&mut HeaderMap) -> Length| {
            let mut headers: HeaderMap =
                given.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
            let length = body(&mut headers);
            let mut names: Vec<_> =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            names.sort();
            (length, names.join(", "))
        };
        let empty = |headers: &mut HeaderMap| prepare(headers, &Empty::<Bytes>::new());
        let full = |headers: &mut HeaderMap| prepare(headers, &Full::new(Bytes::from_static(b"hello")));
        let open = |headers: &mut HeaderMap| {
            prepare(
                headers,
                &StreamBody::new(futures_util::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>()),
            )
        };
        let counted = |length, headers: &str| (Length::Counted(length), headers.to_owned());
        assert_eq!(prepared(&[], &empty), counted(0, ""));
        assert_eq!(
            prepared(&[("content-length", "0"), ("expect", "100-continue")], &empty),
            counted(0, "content-length: 0")
        );
        assert_eq!(prepared(&[("transfer-encoding", "chunked")], &empty), counted(0, ""));
        assert_eq!(prepared(&[], &full), counted(5, "content-length: 5"));
        assert_eq!(prepared(&[("content-length", "7")], &full), counted(5, "content-length: 5"));
        assert_eq!(prepared(&[("content-length", "5")], &full), counted(5, "content-length: 5"));
        assert_eq!(prepared(&[("content-length", "05")], &full), counted(5, "content-length: 5"));
        assert_eq!(prepared(&[("content-length", "+7")], &open), counted(7, "content-length: 7"));
        assert_eq!(prepared(&[("content-length", "7")], &open), counted(7, "content-length: 7"));
        let chunked =
            (Length::Open(vec!["x-sum".parse().unwrap()]), "trailer: x-sum, transfer-encoding: chunked".to_owned());
        assert_eq!(prepared(&[("trailer", "x-sum")], &open), chunked);
        assert_eq!(prepared(&[("trailer", "x-sum"), ("transfer-encoding", "chunked")], &open), chunked);
    }
}
