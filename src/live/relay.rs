//! One call and its answer, there and back.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri, request};
use http_body::Body;
use tokio::time::{Instant, timeout_at};

use super::address::Address;
use super::answer::Head;
use super::request::prepare;
use super::upload::{Progress, Upload};
use super::upstream::{Exchange, Sending, Upstream};
use super::{BoxError, Error, LiveBody, batch_answer, headers, results_url};
use crate::provider::Settings;

static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What the upstream is shown instead of the caller's own credential, under the header that the caller used.
pub type Credential = (HeaderName, HeaderValue);

/// The way to the upstream.
#[derive(Clone, Debug)]
pub struct Live {
    upstream: Upstream,
    address: Arc<Address>,
    timeout: Duration,
    public_url: Option<Arc<str>>,
}

impl Live {
    /// Connects to nothing yet. `public_url` is where callers find the gateway; without it, where each says it did.
    ///
    /// # Errors
    /// If the URL is not `http` or `https` with a host, if this machine has no certificates to trust an upstream by, or
    /// if the environment names a proxy that we cannot speak to.
    pub fn new(upstream: &Settings, public_url: Option<&Uri>) -> io::Result<Self> {
        let address = Address::new(&upstream.url)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the upstream is not an http or https URL"))?;
        Ok(Self {
            upstream: Upstream::new(&address)?,
            address: Arc::new(address),
            timeout: upstream.timeout,
            public_url: public_url.map(|url| url.to_string().trim_end_matches('/').into()),
        })
    }

    /// The same way with connections of its own: for a thread that is to share none with others.
    pub fn apart(&self) -> Self {
        Self { upstream: self.upstream.apart(), ..self.clone() }
    }

    /// Sends a request on and gives the answer back, as it came, as soon as its head is there.
    ///
    /// A `credential` takes the place of whatever the caller showed.
    ///
    /// # Errors
    /// If there is no answer to pass on; an answer that is itself an error is not one.
    pub async fn forward<B>(
        &self,
        request: Request<B>,
        credential: Option<Credential>,
    ) -> Result<Response<LiveBody>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = request.into_parts();
        if head.method == Method::CONNECT {
            return Err(Error::Unreachable("we are no way to anywhere else".into()));
        }
        let origin = results_url::concerns(&head.method, head.uri.path()).then(|| self.origin(&head)).flatten();
        let progress = Arc::new(Progress::begin());
        let length = prepare(&mut head.headers, &body);
        head.headers.insert(HOST, self.address.host());
        if let Some(credential) = credential {
            show_only(&mut head.headers, credential);
        }
        let written = self.upstream.write_head(&head, self.address.prefix());
        let asked = head.method.clone();
        let sending = Sending::new(head.method, written, Upload::new(body, Arc::clone(&progress)), length);

        let (head, exchange) = first_byte(self.upstream.send(sending), &progress, self.timeout).await?;
        let answer = pass_on(&asked, head, exchange)?;
        match origin {
            Some(origin) => batch_answer::lead_back(answer, &self.address, &origin).await,
            None => Ok(answer),
        }
    }

    /// Where this caller finds the gateway, without a slash at the end.
    fn origin(&self, head: &request::Parts) -> Option<Arc<str>> {
        if let Some(public_url) = &self.public_url {
            return Some(Arc::clone(public_url));
        }
        let authority = match head.uri.authority() {
            Some(authority) => authority.as_str(),
            None => head.headers.get(HOST)?.to_str().ok()?,
        };
        Some(format!("{}://{authority}", head.uri.scheme_str().unwrap_or("http")).into())
    }
}

fn show_only(headers: &mut HeaderMap, (name, mut value): Credential) {
    headers.remove(&X_API_KEY);
    headers.remove(AUTHORIZATION);
    value.set_sensitive(true);
    headers.insert(name, value);
}

/// The answer as the caller is to see it; its caller's connection has a version of its own.
fn pass_on(asked: &Method, head: Head, exchange: Exchange) -> Result<Response<LiveBody>, Error> {
    let body = LiveBody::begun(exchange, head.framing(asked)?)?;
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    if let Some(reason) = head.reason {
        answer.extensions_mut().insert(reason);
    }
    let open_ended = answer.body().left().is_none();
    headers::keep_end_to_end(answer.headers_mut(), open_ended);
    Ok(answer)
}

/// Waits for the answer's head as long as something moves: the time counts from the last progress of the upload.
async fn first_byte<T>(
    answer: impl Future<Output = Result<T, Error>>,
    progress: &Progress,
    timeout: Duration,
) -> Result<T, Error> {
    let mut answer = pin!(answer);
    loop {
        match timeout_at(progress.last() + timeout, &mut answer).await {
            Ok(answered) => return answered,
            Err(_) if Instant::now() < progress.last() + timeout => {}
            Err(_) => return Err(Error::Timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep_until;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn silence_ends_the_wait() {
        let waited = first_byte(pending::<Result<(), _>>(), &Progress::begin(), TIMEOUT).await;
        assert!(matches!(waited, Err(Error::Timeout)));
    }

    #[tokio::test]
    async fn progress_prolongs_the_wait() {
        let progress = Progress::begin();
        let began = progress.last();
        let moves_and_fails_late = async {
            progress.moved(began + TIMEOUT * 1000);
            sleep_until(began + TIMEOUT * 3).await;
            Err::<(), _>(Error::Unreachable("late".into()))
        };
        let waited = first_byte(moves_and_fails_late, &progress, TIMEOUT).await;
        assert!(matches!(waited, Err(Error::Unreachable(_))));
    }

    #[test]
    fn the_upstream_sees_one_credential_and_logs_none() {
        let mut seen = HeaderMap::new();
        seen.insert("x-api-key", HeaderValue::from_static("ours"));
        seen.insert("authorization", HeaderValue::from_static("Bearer ours"));
        show_only(&mut seen, (AUTHORIZATION, HeaderValue::from_static("Bearer theirs")));
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[AUTHORIZATION], "Bearer theirs");
        assert!(!format!("{seen:?}").contains("theirs"));
    }
}
