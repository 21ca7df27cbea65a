//! The envelope of a batch: what is checked at once when one is created, without reading any `params`.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::books::Item;
use super::call::{Fields, text};
use super::error::ApiError;

/// The most items of one batch.
pub(super) const ITEMS_MAX: usize = 100_000;
/// The longest `custom_id`.
const CUSTOM_ID_MAX: usize = 64;

/// The items of a batch; their `params` are parts of `body`, which is not copied.
pub(super) fn items(body: &Bytes) -> Result<Vec<Item>, ApiError> {
    // One pass suffices for what is right; only what is wrong is read again, to say what is wrong with it.
    let requests = serde_json::from_slice::<Envelope<'_>>(body).map_err(|_| fault_of(body))?.requests;
    if requests.is_empty() {
        return Err(ApiError::invalid("requests: List should have at least 1 item after validation, not 0"));
    }
    if requests.len() > ITEMS_MAX {
        return Err(ApiError::invalid(format!(
            "requests: List should have at most {ITEMS_MAX} items after validation, not {}",
            requests.len()
        )));
    }
    let mut seen = HashSet::with_capacity(requests.len());
    for (index, request) in requests.iter().enumerate() {
        check(request).map_err(|fault| ApiError::invalid(format!("requests.{index}.{fault}")))?;
        if !seen.insert(request.custom_id.as_ref()) {
            return Err(ApiError::invalid(format!("requests.{index}.custom_id: must be unique within the batch")));
        }
    }
    Ok(requests
        .iter()
        .map(|request| Item {
            custom_id: request.custom_id.as_ref().into(),
            params: body.slice_ref(request.params.get().as_bytes()),
        })
        .collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    requests: Vec<Request<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    params: &'a RawValue,
}

fn check(request: &Request<'_>) -> Result<(), String> {
    let id = &request.custom_id;
    if id.len() > CUSTOM_ID_MAX {
        return Err(format!("custom_id: String should have at most {CUSTOM_ID_MAX} characters"));
    }
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Err("custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'".into());
    }
    if !request.params.get().starts_with('{') {
        return Err("params: Input should be a valid dictionary".into());
    }
    Ok(())
}

/// What is wrong with an envelope that does not read.
fn fault_of(body: &Bytes) -> ApiError {
    let fault = || -> Result<(), ApiError> {
        let envelope = Fields::parse(body)?;
        only(&envelope, &["requests"], "")?;
        let requests = envelope.get("requests").ok_or_else(|| ApiError::invalid("requests: Field required"))?;
        let requests: Vec<&RawValue> = serde_json::from_str(requests.get())
            .map_err(|_| ApiError::invalid("requests: Input should be a valid list"))?;
        requests.iter().enumerate().try_for_each(|(index, request)| {
            let place = format!("requests.{index}.");
            let request = serde_json::from_str::<Fields<'_>>(request.get())
                .map_err(|_| ApiError::invalid(format!("requests.{index}: Input should be a valid dictionary")))?;
            only(&request, &["custom_id", "params"], &place)?;
            let missing = ["custom_id", "params"].into_iter().find(|name| request.get(name).is_none());
            if let Some(name) = missing {
                return Err(ApiError::invalid(format!("{place}{name}: Field required")));
            }
            match request.get("custom_id").and_then(text) {
                Some(_) => Ok(()),
                None => Err(ApiError::invalid(format!("{place}custom_id: Input should be a valid string"))),
            }
        })
    };
    fault().err().unwrap_or_else(|| ApiError::invalid("requests: a member is given twice"))
}

fn only(fields: &Fields<'_>, allowed: &[&str], place: &str) -> Result<(), ApiError> {
    match fields.names().find(|name| !allowed.contains(name)) {
        Some(name) => Err(ApiError::invalid(format!("{place}{name}: Extra inputs are not permitted"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &str) -> String {
        items(&Bytes::copy_from_slice(body.as_bytes())).err().unwrap().message
    }

    #[test]
    fn keeps_params_byte_for_byte() {
        let params = r#"{ "model" : "x", "big": 12345678901234567890123, "e":1.0E5, "s":"\u00e9" }"#;
        let body = Bytes::from(format!(r#"{{"requests":[{{"params": {params} ,"custom_id":"a-1"}}]}}"#));
        let items = items(&body).unwrap();
        assert_eq!((&*items[0].custom_id, &items[0].params[..]), ("a-1", params.as_bytes()));
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let one = |request: &str| fault(&format!(r#"{{"requests":[{request}]}}"#));
        assert_eq!(fault("nonsense"), "The request body is not valid JSON");
        assert_eq!(fault("{}"), "requests: Field required");
        assert_eq!(fault(r#"{"requests":1}"#), "requests: Input should be a valid list");
        assert_eq!(fault(r#"{"requests":[],"name":1}"#), "name: Extra inputs are not permitted");
        assert_eq!(fault(r#"{"requests":[]}"#), "requests: List should have at least 1 item after validation, not 0");
        assert_eq!(one("1"), "requests.0: Input should be a valid dictionary");
        assert_eq!(one(r#"{"params":{}}"#), "requests.0.custom_id: Field required");
        assert_eq!(one(r#"{"custom_id":"a"}"#), "requests.0.params: Field required");
        assert_eq!(one(r#"{"custom_id":1,"params":{}}"#), "requests.0.custom_id: Input should be a valid string");
        assert_eq!(one(r#"{"custom_id":"a","params":[]}"#), "requests.0.params: Input should be a valid dictionary");
        assert_eq!(
            one(r#"{"custom_id":"a","params":{},"priority":1}"#),
            "requests.0.priority: Extra inputs are not permitted"
        );
        let pattern = "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'";
        assert_eq!(one(r#"{"custom_id":"a b","params":{}}"#), pattern);
        assert_eq!(one(r#"{"custom_id":"","params":{}}"#), pattern);
        let long = format!(r#"{{"custom_id":"{}","params":{{}}}}"#, "a".repeat(65));
        assert_eq!(one(&long), "requests.0.custom_id: String should have at most 64 characters");
        assert_eq!(
            one(r#"{"custom_id":"a","params":{}},{"custom_id":"a","params":{}}"#),
            "requests.1.custom_id: must be unique within the batch"
        );
    }

    #[test]
    fn takes_a_hundred_thousand_items_and_not_one_more() {
        let body = |count: usize| {
            let requests = (0..count).map(|n| format!(r#"{{"custom_id":"{n}","params":{{}}}}"#));
            Bytes::from(format!(r#"{{"requests":[{}]}}"#, requests.collect::<Vec<_>>().join(",")))
        };
        assert_eq!(items(&body(ITEMS_MAX)).unwrap().len(), ITEMS_MAX);
        assert!(items(&body(ITEMS_MAX + 1)).is_err());
    }
}
