//! One listener: accepts connections, serves them over HTTP/1.1 or cleartext HTTP/2, and drains them.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::protocols::Protocols;
use crate::http::socket::{Interim, Socket};
use crate::telemetry::chain;

/// How long a request's head may take, and how long a connection may idle before one: longer than clients keep idle
/// connections, so that it is they who close first, yet a stalled one holds its socket no longer.
const HEAD_READ_LIMIT: Duration = Duration::from_secs(120);

/// The pause after a failed accept: mostly there are no free file descriptors, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type BoxError = Box<dyn Error + Send + Sync>;

/// Serves `listener` until `drain` is cancelled, then stops accepting and gives what runs up to `grace` to finish.
///
/// `service_for` makes the service of one connection, and learns who is at its other end. The future of a request is
/// dropped when its client leaves. Dropping the future of `serve` cuts all connections.
pub async fn serve<M, S, B>(listener: TcpListener, service_for: M, drain: CancellationToken, grace: Duration)
where
    M: Fn(SocketAddr) -> S,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let protocols = Arc::new(Protocols::new(HEAD_READ_LIMIT));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();

    while let Some(accepted) = drain.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        // Small writes, such as the events of a stream, must not wait for each other. A failure means that the client has gone.
        let _ = stream.set_nodelay(true);
        let ends = Ends { drain: drain.clone(), cut: cut.clone(), first_request: HEAD_READ_LIMIT };
        let conversation = converse(Arc::clone(&protocols), stream, service_for(peer), ends);
        // Boxed, since each layer around it takes its size again, and thousands of them may wait.
        connections.spawn(Box::pin(conversation));
    }

    drop(listener);
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        cut.cancel();
        connections.wait().await;
    }
}

/// What ends a connection beside itself.
struct Ends {
    drain: CancellationToken,
    cut: CancellationToken,
    /// How long it may take until it is asked something.
    first_request: Duration,
}

/// One of them, when it is there.
enum End {
    Drain,
    Cut,
    NothingAsked,
}

impl Ends {
    /// Each as it comes. A connection takes many steps, and an end that has not come must cost none of them anything: here
    /// only what has happened is looked at.
    fn watch(self) -> FuturesUnordered<BoxFuture<'static, End>> {
        [
            self.drain.cancelled_owned().map(|()| End::Drain).boxed(),
            self.cut.cancelled_owned().map(|()| End::Cut).boxed(),
            sleep(self.first_request).map(|()| End::NothingAsked).boxed(),
        ]
        .into_iter()
        .collect()
    }
}

/// One connection from its first byte to its last.
async fn converse<S, B>(protocols: Arc<Protocols>, stream: TcpStream, service: S, ends: Ends)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut socket = Socket::new(stream);
    // Until the protocol is known, nothing in it bounds how long a client may take to show which it speaks.
    let told = ends.drain.run_until_cancelled(timeout(ends.first_request, socket.speaks_http2()));
    let Some(Ok(Ok(speaks_http2))) = told.await else { return };
    let asked = Arc::new(AtomicBool::new(false));
    let service = Asked { service, asked: Arc::clone(&asked), interim: socket.interim() };
    let socket = TokioIo::new(socket);
    // Boxed, because what was moved still counts in the size of a task, of which there may be thousands.
    if speaks_http2 {
        let connection = Box::pin(protocols.http2.serve_connection(socket, service));
        attend(connection, &asked, ends).await;
    } else {
        let connection = Box::pin(protocols.http1.serve_connection(socket, service));
        attend(connection, &asked, ends).await;
    }
}

/// Lets a connection go on until it ends, is drained or cut, or has shown that nothing will be asked on it.
async fn attend<C>(mut connection: Pin<Box<C>>, asked: &AtomicBool, ends: Ends)
where
    C: GracefulConnection<Error: Error + 'static>,
{
    let mut ends = ends.watch();
    loop {
        tokio::select! {
            // The drain first: an answer that comes with it is to say that the connection ends.
            biased;
            Some(end) = ends.next() => match end {
                End::Drain => connection.as_mut().graceful_shutdown(),
                End::NothingAsked if asked.load(Ordering::Relaxed) => {}
                End::Cut | End::NothingAsked => return,
            },
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = %chain(&error), "a connection broke off");
                }
                return;
            }
        }
    }
}

/// A service that notes that it has been asked something, and gives each request its way to interim answers.
struct Asked<S> {
    service: S,
    asked: Arc<AtomicBool>,
    interim: Interim,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Asked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        self.asked.store(true, Ordering::Relaxed);
        self.interim.accompany(&mut request);
        self.service.call(request)
    }
}

/// A client that left before it was accepted is no reason to pause.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "accepting connections fails, trying on");
        sleep(ACCEPT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Empty;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    /// All that a client hears that says `words` and then waits; an answer takes `LIMIT` three times over.
    async fn heard_after(words: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(async |_| {
            sleep(LIMIT * 3).await;
            Ok::<_, Infallible>(Response::new(Empty::<bytes::Bytes>::new()))
        });
        let client = async {
            client.write_all(words).await.unwrap();
            let mut heard = Vec::new();
            timeout(Duration::from_secs(30), client.read_to_end(&mut heard)).await.unwrap().unwrap();
            String::from_utf8(heard).unwrap()
        };
        let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
        let ends = Ends { drain, cut, first_request: LIMIT };
        tokio::join!(client, converse(Arc::new(Protocols::new(LIMIT)), stream, service, ends)).0
    }

    #[tokio::test]
    async fn a_client_that_stalls_before_its_request_is_let_go() {
        for words in ["", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nhost"] {
            let heard = heard_after(words.as_bytes()).await;
            assert!(!heard.contains("200"), "{words}");
        }
    }

    #[tokio::test]
    async fn an_answer_may_take_longer_than_its_request_and_an_idle_connection_is_closed() {
        let heard = heard_after(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n").await;
        assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
        assert_eq!(heard.matches("HTTP/1.1").count(), 1);
    }
}
