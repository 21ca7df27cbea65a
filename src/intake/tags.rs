//! Tags: the headers by which a caller asks to defer a call, and their grammar.

use std::time::Duration;

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::domain::group::is_name;
use crate::domain::units::{self, DURATION_FORM};
use crate::domain::wait::Wait;
use crate::intake::Refusal;

const REFERENCE_MAX: usize = 256;
const IDEMPOTENCY_KEY_MAX: usize = 255;
const CALLBACK_MAX: usize = 2_048;

/// What each of them begins with.
const OWN: &str = "x-defer";

/// Every header that a caller may send us.
const KNOWN: [&str; 6] =
    ["x-defer", "x-defer-wait", "x-defer-callback", "x-defer-workload", "x-defer-ref", "x-defer-group"];

/// What a caller asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Whether to defer, and until when.
    pub defer: Option<Defer>,
    /// The workload's name.
    pub workload: Option<String>,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// How long to hold the connection for the result; unsaid, that depends on whether a stream is wanted.
    pub wait: Option<Wait>,
    /// Where a webhook is wanted: a URL, or the name of a receiver.
    pub callback: Option<String>,
    /// The same key from the same tenant gives the same deferral.
    pub idempotency_key: Option<String>,
}

/// What `x-defer` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defer {
    /// Serve live.
    Live,
    /// Defer, with the default deadline.
    Batch,
    /// Defer; the result is wanted within this time.
    Within(Duration),
    /// Defer; the result is wanted by then.
    By(Timestamp),
}

impl Tags {
    /// Reads the tags of a call.
    ///
    /// # Errors
    /// If one does not parse, or stands twice. A header of our family that we do not know is refused where the call
    /// asks to be deferred, since it would promise something that we do not do.
    pub fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        // Nearly all calls carry none, and looking for each by its name is most of what deciding takes.
        if !headers.keys().any(|name| name.as_str().starts_with(OWN)) {
            return Ok(Self::default());
        }
        let defer = one(headers, "x-defer")?.map(parse_defer).transpose()?;
        let asks = matches!(defer, Some(Defer::Batch | Defer::Within(_) | Defer::By(_)));
        if asks {
            refuse_unknown(headers)?;
        }
        Ok(Self {
            defer,
            wait: one(headers, "x-defer-wait")?.map(parse_wait).transpose()?,
            callback: visible(headers, "x-defer-callback", CALLBACK_MAX)?,
            workload: name(headers, "x-defer-workload")?,
            reference: visible(headers, "x-defer-ref", REFERENCE_MAX)?,
            group: name(headers, "x-defer-group")?,
            // Live calls may carry an idempotency key that is none of our business.
            idempotency_key: if asks { idempotency_key(headers)? } else { None },
        })
    }
}

/// The idempotency key of a call that is to be deferred.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    visible(headers, "idempotency-key", IDEMPOTENCY_KEY_MAX)
}

fn parse_defer(text: &str) -> Result<Defer, Refusal> {
    match text {
        "batch" | "true" => Ok(Defer::Batch),
        "live" | "false" => Ok(Defer::Live),
        other => units::parse_duration(other)
            .map(Defer::Within)
            .or_else(|| Timestamp::parse_rfc3339(other).map(Defer::By))
            .ok_or_else(|| {
                let allowed = format!("batch, true, live, false, a duration ({DURATION_FORM}), or an RFC 3339 time");
                invalid("x-defer", &allowed)
            }),
    }
}

fn parse_wait(text: &str) -> Result<Wait, Refusal> {
    match text {
        "deadline" => Ok(Wait::UntilDeadline),
        other => units::parse_duration(other)
            .map(Wait::For)
            .ok_or_else(|| invalid("x-defer-wait", &format!("0, deadline, or a duration ({DURATION_FORM})"))),
    }
}

fn refuse_unknown(headers: &HeaderMap) -> Result<(), Refusal> {
    let ours = |name: &&str| name.starts_with(OWN);
    match headers.keys().map(http::HeaderName::as_str).filter(ours).find(|name| !KNOWN.contains(name)) {
        Some(unknown) => Err(invalid(unknown, &format!("no such header; there are {}", KNOWN.join(", ")))),
        None => Ok(()),
    }
}

fn name(headers: &HeaderMap, header: &'static str) -> Result<Option<String>, Refusal> {
    match one(headers, header)? {
        None => Ok(None),
        Some(text) => match Some(text).filter(|text| is_name(text)) {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(invalid(header, "1 to 64 of A-Z a-z 0-9 . _ -")),
        },
    }
}

fn visible(headers: &HeaderMap, header: &'static str, max: usize) -> Result<Option<String>, Refusal> {
    match one(headers, header)? {
        None => Ok(None),
        Some(text) if (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(text.to_owned()))
        }
        Some(_) => Err(invalid(header, &format!("1 to {max} visible ASCII characters"))),
    }
}

/// The value of a header that may stand once.
fn one<'a>(headers: &'a HeaderMap, header: &'static str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(header, "it may stand only once"));
    }
    // What is no text is passed on as what no grammar takes, so that the caller hears what is allowed.
    Ok(Some(value.to_str().unwrap_or("\u{0}")))
}

fn invalid(name: &str, allowed: &str) -> Refusal {
    Refusal::InvalidHeader { name: name.to_owned(), allowed: allowed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<Tags, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Tags::read(&headers).map_err(|refusal| match refusal {
            Refusal::InvalidHeader { name, .. } => name,
            other => panic!("{other:?}"),
        })
    }

    fn defer(value: &str) -> Option<Defer> {
        read(&[("x-defer", value)]).ok().and_then(|tags| tags.defer)
    }

    #[test]
    fn x_defer_takes_words_durations_and_times() {
        for (value, expected) in [
            ("batch", Defer::Batch),
            ("true", Defer::Batch),
            ("live", Defer::Live),
            ("false", Defer::Live),
            ("6h", Defer::Within(Duration::from_secs(21_600))),
            ("4m30s", Defer::Within(Duration::from_secs(270))),
            ("0", Defer::Within(Duration::ZERO)),
            ("1970-01-01T00:00:01Z", Defer::By(Timestamp::from_millis(1_000))),
            ("1970-01-01T01:00:01+01:00", Defer::By(Timestamp::from_millis(1_000))),
        ] {
            assert_eq!(defer(value), Some(expected), "{value}");
        }
        for wrong in ["", "yes", "Batch", "1", "-1h", "6 h", "4000d", "tomorrow", "2026-11-22", "batch,batch", "é"] {
            assert_eq!(read(&[("x-defer", wrong)]), Err("x-defer".into()), "{wrong}");
        }
        assert_eq!(read(&[("x-defer", "batch"), ("x-defer", "batch")]), Err("x-defer".into()));
    }

    #[test]
    fn names_references_and_keys_have_their_form() {
        let (name_64, reference_256, key_255) = ("a".repeat(64), "~".repeat(256), "!".repeat(255));
        let tags = read(&[
            ("x-defer", "1d"),
            ("x-defer-workload", &name_64),
            ("x-defer-ref", &reference_256),
            ("x-defer-group", "Nightly_2.run-1"),
            ("idempotency-key", &key_255),
        ])
        .unwrap();
        assert_eq!((tags.workload, tags.reference), (Some(name_64.clone()), Some(reference_256.clone())));
        assert_eq!((tags.group, tags.idempotency_key), (Some("Nightly_2.run-1".into()), Some(key_255.clone())));

        let too_long = |text: &str| format!("{text}a");
        for (header, values) in [
            ("x-defer-workload", vec![String::new(), too_long(&name_64), "a b".into(), "a/b".into(), "ä".into()]),
            ("x-defer-group", vec![String::new(), too_long(&name_64), "a,b".into()]),
            ("x-defer-ref", vec![String::new(), too_long(&reference_256), "a b".into(), "ü".into()]),
            ("idempotency-key", vec![String::new(), too_long(&key_255), "a\tb".into()]),
            ("x-defer-wait", vec!["soon".into(), "5".into(), String::new()]),
            ("x-defer-colour", vec!["red".into()]),
        ] {
            for value in values {
                assert_eq!(read(&[("x-defer", "batch"), (header, &value)]), Err(header.into()), "{value}");
            }
        }
    }

    #[test]
    fn a_live_call_may_carry_names_but_not_wrong_ones() {
        assert_eq!(read(&[("x-defer-workload", "w")]).unwrap().workload.as_deref(), Some("w"));
        assert_eq!(read(&[("x-defer-workload", "w w")]), Err("x-defer-workload".into()));
        assert_eq!(read(&[("idempotency-key", "a b"), ("x-defer-colour", "red")]), Ok(Tags::default()));
    }
}
