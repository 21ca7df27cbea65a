//! Callbacks as callers write them: the name of a receiver, or a URL that may be reached.

use url::Url;

use crate::domain::callback::Callback;
use crate::egress::Egress;
use crate::intake::Refusal;

/// The header that names a callback.
const HEADER: &str = "x-defer-callback";

/// Reads a callback; a URL is judged, for which its name may be looked up.
pub(super) async fn read(text: &str, receivers: &[String], egress: &Egress) -> Result<Callback, Refusal> {
    if receivers.iter().any(|name| name == text) {
        return Ok(Callback::receiver(text));
    }
    // Without the slashes it is a name, though the grammar of URLs would let more pass as one.
    let url = Some(text).filter(|text| text.contains("://")).and_then(|text| Url::parse(text).ok());
    let url = url.ok_or_else(|| Refusal::InvalidHeader { name: HEADER.to_owned(), allowed: allowed(receivers) })?;
    egress.admit(&url).await.map_err(|forbidden| Refusal::CallbackForbidden(forbidden.to_string()))?;
    Ok(Callback::url(url.origin().ascii_serialization(), url))
}

fn allowed(receivers: &[String]) -> String {
    match receivers {
        [] => "an https URL (no receivers are configured)".to_owned(),
        names => format!("an https URL, or the name of a receiver: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::egress::Settings;

    async fn read(text: &str) -> Result<Callback, Refusal> {
        let egress = Egress::new(Settings::default(), Clock::manual(Timestamp::from_millis(0)));
        super::read(text, &["warehouse".to_owned(), "a.b".to_owned()], &egress).await
    }

    #[tokio::test]
    async fn a_callback_is_a_receiver_or_a_url_by_its_origin() {
        assert_eq!(read("warehouse").await, Ok(Callback::receiver("warehouse")));
        for (text, origin, url) in [
            ("https://8.8.8.8/hook?token=x", "https://8.8.8.8", "https://8.8.8.8/hook?token=x"),
            ("HTTPS://8.8.8.8:443", "https://8.8.8.8", "https://8.8.8.8/"),
            ("https://8.8.8.8:8443/a b", "https://8.8.8.8:8443", "https://8.8.8.8:8443/a%20b"),
            ("https://[2606:4700::1111]:1/", "https://[2606:4700::1111]:1", "https://[2606:4700::1111]:1/"),
        ] {
            assert_eq!(read(text).await, Ok(Callback::url(origin, url)), "{text}");
        }
    }

    #[tokio::test]
    async fn nonsense_is_told_from_what_is_forbidden() {
        for text in [
            "nobody",
            "Warehouse",
            "a",
            "8.8.8.8",
            "https:8.8.8.8",
            "https:/8.8.8.8",
            "https://",
            "https://a b/",
            "//a/",
        ] {
            let Err(Refusal::InvalidHeader { name, allowed }) = read(text).await else { panic!("{text}") };
            assert_eq!(name, "x-defer-callback");
            assert_eq!(allowed, "an https URL, or the name of a receiver: warehouse, a.b");
        }
        for text in
            ["http://8.8.8.8/", "ftp://8.8.8.8/", "file:///etc/passwd", "https://127.0.0.1/", "https://u@8.8.8.8/"]
        {
            assert!(matches!(read(text).await, Err(Refusal::CallbackForbidden(_))), "{text}");
        }
    }
}
