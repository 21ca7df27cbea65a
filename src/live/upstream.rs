//! The connections to the upstream, and the requests that go over them.
//!
//! Everything here is polled by the task of the caller's own connection: no byte changes threads on its way, and whoever
//! drops a request, or the body of its answer, closes the connection, which is how the upstream learns of it.
//!
//! They speak HTTP/1.1, also where the upstream offers HTTP/2: that takes a quarter more of a core for each call, as the
//! benchmark's row `upstream over TLS` shows.

mod connect;
mod dial;
mod exchange;
mod idle;
mod leftover;
mod names;
mod outbox;
mod proxy;
mod sending;
mod stream;
mod tls;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::request;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::answer::Head;
use super::request::head;
use super::{BoxError, Error};
use dial::Dialer;
use idle::{Connection, Idle};

use exchange::Failed;

pub(super) use exchange::Exchange;
pub(super) use sending::{Length, Sending};

/// The way to the upstream, and the connections that rest between two requests. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    dialer: Arc<Dialer>,
    idle: Arc<Idle>,
    leftovers: TaskTracker,
}

impl Upstream {
    /// Connects to nothing yet.
    pub(super) fn new(address: &Address) -> io::Result<Self> {
        Ok(Self { dialer: Arc::new(Dialer::new(address)?), idle: Arc::default(), leftovers: TaskTracker::new() })
    }

    /// The same way with connections of its own, for another thread.
    pub(super) fn apart(&self) -> Self {
        Self { idle: Arc::default(), ..self.clone() }
    }

    /// The head of a request as it finds its way; `prefix` is what the upstream's paths begin with.
    pub(super) fn write_head(&self, asked: &request::Parts, prefix: &str) -> Bytes {
        let before = [self.dialer.target_prefix(), prefix];
        head(&asked.method, before, &asked.uri, &asked.headers, self.dialer.proxy_authorization())
    }

    /// Sends a request, and gives the answer's head with what is to read its body.
    ///
    /// A connection that had rested may turn out to be closed. Then the request goes out once more, over a new one, if
    /// nothing of it can have been acted on.
    pub(super) async fn send(&self, sending: Sending) -> Result<(Head, Exchange), Error> {
        let sending = match self.idle.take() {
            Some(connection) => match self.exchange(connection, sending).head().await {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed.again()?,
            },
            None => sending,
        };
        match self.dialer.dial().await {
            Ok(stream) => Ok(self.exchange(Connection::new(stream), sending).head().await?),
            Err(error) => Err(Failed::unsent(error, sending, self.leftovers.clone()).into()),
        }
    }

    fn exchange(&self, connection: Connection, sending: Sending) -> Exchange {
        Exchange::new(connection, sending, self.idle.clone(), self.leftovers.clone())
    }
}

/// An error of a kind of which only the text is of use.
fn other(error: impl Into<BoxError>) -> io::Error {
    io::Error::other(error)
}
