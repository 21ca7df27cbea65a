//! The webhook itself: one POST to a receiver, and what came of it.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Response};
use tokio::time::timeout;
use url::Url;

use super::addresses::Target;
use super::backoff;
use super::signature::{self, SigningKey};
use super::verdict::Outcome;
use crate::clock::Timestamp;
use crate::domain::id::DeliveryId;
use crate::egress::{Egress, ResolveError};
use crate::provider::is_local;

/// How long a receiver may take to answer, connecting included.
pub(super) const SEND_LIMIT: Duration = Duration::from_secs(15);

/// How much of an answer's body is read, and for how long, so that its connection can be used again: what it says is
/// of no interest, and one that has no end must not hold anything up.
const BODY_MAX: usize = 16_000;
const BODY_LIMIT: Duration = Duration::from_secs(1);

/// How long an idle connection is kept: load balancers commonly close theirs after 60 s.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Idle connections kept for each receiver: as many as it is sent at a time.
const IDLE_CONNECTIONS: usize = 8;

/// One webhook, ready to be sent.
pub(super) struct Webhook<'a> {
    /// The same in each attempt.
    pub(super) id: DeliveryId,
    /// When this attempt is made.
    pub(super) at: Timestamp,
    /// What it is signed with.
    pub(super) keys: &'a [SigningKey],
    /// The text of the event.
    pub(super) body: Bytes,
}

/// The client could not be set up (no certificates to trust, say).
#[derive(Debug, thiserror::Error)]
#[error("setting up the client of the webhooks")]
pub struct SetUpError(#[from] reqwest::Error);

/// Connections to receivers.
pub(super) struct Connections {
    egress: Egress,
    /// To URLs that callers have named.
    guarded: Client,
    /// To receivers that the operator has named, through a proxy where the machine has one for the world outside.
    open: Client,
    /// To those of them that are on this machine.
    local: Client,
}

impl Connections {
    pub(super) fn new(egress: &Egress) -> Result<Self, SetUpError> {
        // The first one stays, which can only be this one: installing it twice changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = Arc::new(Guard(egress.clone()));
        // A proxy would do the connecting, where nothing can be judged.
        let guarded = builder().no_proxy().dns_resolver(guard).build()?;
        let (open, local) = (builder().build()?, builder().no_proxy().build()?);
        Ok(Self { egress: egress.clone(), guarded, open, local })
    }

    /// Sends a webhook; to a callback only if it may be reached at this moment.
    pub(super) async fn send(&self, target: Target<'_>, webhook: Webhook<'_>) -> Outcome {
        match target {
            Target::Receiver(url) => {
                let is_local = url.as_str().parse().is_ok_and(|url| is_local(&url));
                send(if is_local { &self.local } else { &self.open }, url, webhook).await
            }
            Target::Callback(url) => match Url::parse(url) {
                // An address in the place of a name is not resolved, so it is judged here.
                Ok(url) if self.egress.check(&url).is_ok() => send(&self.guarded, &url, webhook).await,
                Ok(_) => Outcome::Failed("forbidden"),
                Err(_) => Outcome::Failed("unreadable"),
            },
        }
    }
}

fn builder() -> ClientBuilder {
    Client::builder()
        // Where a receiver points to has been judged by nobody.
        .redirect(reqwest::redirect::Policy::none())
        // Repeating is for the schedule.
        .retry(reqwest::retry::never())
        // What is not read need not be decoded.
        .no_gzip()
        .pool_idle_timeout(IDLE_LIMIT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .tcp_nodelay(true)
        .user_agent(concat!("offpeak/", env!("CARGO_PKG_VERSION")))
}

async fn send(client: &Client, url: &Url, webhook: Webhook<'_>) -> Outcome {
    let Webhook { id, at, keys, body } = webhook;
    let request = client
        .post(url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id.to_string())
        .header("webhook-timestamp", signature::timestamp(at))
        .header("webhook-signature", signature::signatures(keys, id, at, &body))
        .body(body);
    match timeout(SEND_LIMIT, request.send()).await {
        Ok(Ok(response)) => answered(response, at).await,
        Ok(Err(error)) => Outcome::Failed(word_for(&error)),
        Err(_) => Outcome::Failed("timeout"),
    }
}

async fn answered(response: Response, now: Timestamp) -> Outcome {
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = asked.and_then(|text| backoff::retry_after(text, now));
    let outcome = Outcome::Answered { status: response.status().as_u16(), retry_after };
    // The status is the answer, whatever becomes of the rest.
    let _ = timeout(BODY_LIMIT, read_away(response)).await;
    outcome
}

/// Reads a body to its end; a connection whose body is longer is closed when the response is dropped.
async fn read_away(mut response: Response) {
    let mut left = BODY_MAX;
    while let Ok(Some(chunk)) = response.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Why there was no answer, in a word that gives nothing away.
fn word_for(error: &reqwest::Error) -> &'static str {
    let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
    match causes().find_map(|cause| cause.downcast_ref::<ResolveError>()) {
        Some(ResolveError::Forbidden(_)) => return "forbidden",
        Some(ResolveError::Unresolved(_)) => return "unresolved",
        None => {}
    }
    let is_tls = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref().and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<rustls::Error>())
    };
    match error {
        _ if error.is_timeout() => "timeout",
        _ if causes().any(is_tls) => "tls",
        _ if error.is_dns() => "unresolved",
        _ if error.is_connect() => "unreachable",
        _ => "broken-off",
    }
}

/// Resolves names for connections to URLs of callers, and lets only those addresses pass that may be reached.
struct Guard(Egress);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0.clone();
        Box::pin(async move {
            let addresses = egress.resolve(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::net::TcpListener;

    use super::*;
    use crate::egress::Settings;

    const PUBLIC: &str = "8.8.8.8";

    fn webhook() -> Webhook<'static> {
        let id = DeliveryId(uuid::Uuid::nil());
        Webhook { id, at: Timestamp::from_millis(0), keys: &[], body: Bytes::from_static(b"{}") }
    }

    /// What comes of a webhook to a name that was public when it was judged, and leads to this machine when it is connected
    /// to; and whether anybody has connected.
    async fn rebound(rules: Settings) -> (Outcome, bool) {
        static IS_JUDGED: AtomicBool = AtomicBool::new(false);
        IS_JUDGED.store(false, Ordering::SeqCst);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://rebound.example:{}/", listener.local_addr().unwrap().port());
        let egress = Egress::resolving(rules, |_| {
            let address = if IS_JUDGED.swap(true, Ordering::SeqCst) { "127.0.0.1" } else { PUBLIC };
            Ok(vec![address.parse::<IpAddr>().unwrap()])
        });
        let connections = Connections::new(&egress).unwrap();
        if egress.admit(&Url::parse(&url).unwrap()).await.is_err() {
            return (Outcome::Failed("refused at once"), false);
        }
        IS_JUDGED.store(true, Ordering::SeqCst);
        tokio::select! {
            outcome = connections.send(Target::Callback(&url), webhook()) => (outcome, false),
            _ = listener.accept() => (Outcome::Failed("connected"), true),
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_by_now_is_not_connected_to() {
        assert_eq!(rebound(Settings::default()).await, (Outcome::Failed("forbidden"), false));
        // Where the rule is lifted, it is.
        let lifted = Settings { allow_private: true, ..Settings::default() };
        assert_eq!(rebound(lifted).await, (Outcome::Failed("connected"), true));
    }

    #[tokio::test]
    async fn what_goes_wrong_on_the_way_is_told_in_a_word() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let allow_hosts = vec![crate::egress::HostPattern::parse("127.0.0.1").unwrap()];
        let rules = Settings { allow_hosts, ..Settings::default() };
        let egress = Egress::resolving(rules, |_| Err(io::ErrorKind::NotFound.into()));
        let connections = Connections::new(&egress).unwrap();
        let closing = async {
            loop {
                drop(listener.accept().await.unwrap());
            }
        };
        let sending = async {
            for (url, word) in [
                (format!("http://127.0.0.1:{port}/"), "broken-off"),
                ("http://127.0.0.1:1/".to_owned(), "unreachable"),
                ("https://nowhere.example/".to_owned(), "unresolved"),
                ("https://10.0.0.1/".to_owned(), "forbidden"),
                (format!("http://me@127.0.0.1:{port}/"), "forbidden"),
                ("nonsense".to_owned(), "unreadable"),
            ] {
                let outcome = connections.send(Target::Callback(&url), webhook()).await;
                assert_eq!(outcome, Outcome::Failed(word), "{url}");
            }
        };
        tokio::select! {
            () = closing => {}
            () = sending => {}
        }
    }
}
