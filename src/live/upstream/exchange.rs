//! One request and its answer, on one connection.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio_util::io::poll_read_buf;
use tokio_util::task::TaskTracker;

use super::idle::{Connection, Idle};
use super::leftover::discard;
use super::sending::{Sending, Stopped};
use crate::live::Error;
use crate::live::answer::{Event, Fault, Head, Reader};

/// How much is read at once: an event of a stream, or a small answer, with room to spare. It doubles up to the larger one
/// while reads fill it, for the sake of long bodies.
const READ_MIN: usize = 8 * 1024;
const READ_MAX: usize = 64 * 1024;

/// Sends a request, and reads its answer, which may come before all was sent.
pub(in crate::live) struct Exchange {
    connection: Connection,
    sending: Sending,
    reader: Reader,
    read_size: usize,
    has_answered: bool,
    /// Why the upstream took no more of the request. It may have said more by then.
    refused: Option<io::Error>,
    idle: Arc<Idle>,
    leftovers: TaskTracker,
}

impl Exchange {
    pub(super) fn new(mut connection: Connection, sending: Sending, idle: Arc<Idle>, leftovers: TaskTracker) -> Self {
        let reader = Reader::knowing(sending.method().clone(), mem::take(&mut connection.known));
        Self { connection, sending, reader, read_size: READ_MIN, has_answered: false, refused: None, idle, leftovers }
    }

    /// Sends as far as it goes, and waits for the answer's head.
    pub(super) async fn head(mut self) -> Result<(Head, Self), Failed> {
        match poll_fn(|cx| self.poll_event(cx)).await {
            Ok(Some(Event::Head(head))) => Ok((head, self)),
            Ok(_) => Err(self.failed(Fault::Cut.into())),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The next piece of the answer that has arrived already, if there is any.
    pub(in crate::live) fn arrived(&mut self) -> Result<Option<Event>, Fault> {
        self.reader.next(&mut self.connection.arrived)
    }

    /// The next piece of the answer, all that has arrived of it; `None` at its end. Sends on meanwhile.
    pub(in crate::live) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Error>> {
        self.send(cx)?;
        loop {
            if let Some(event) = self.arrived()? {
                return Poll::Ready(Ok(Some(event)));
            }
            if self.reader.is_complete() {
                return Poll::Ready(Ok(None));
            }
            if ready!(self.poll_read(cx))? == 0 {
                self.reader.close()?;
            }
        }
    }

    /// Whether the answer was read to its end.
    pub(in crate::live) fn is_complete(&self) -> bool {
        self.reader.is_complete()
    }

    /// Lets the connection go after the answer: to rest, if it can carry another request.
    pub(in crate::live) fn finish(mut self) {
        let is_reusable = self.reader.is_complete()
            && self.reader.stays_open()
            && self.sending.is_done()
            && self.refused.is_none()
            && self.connection.arrived.is_empty();
        if is_reusable {
            if self.read_size > READ_MIN {
                self.connection.arrived = BytesMut::new();
            }
            self.connection.known = self.reader.into_known();
            self.idle.keep(self.connection);
        } else if let Some(rest) = self.sending.take_rest() {
            self.leftovers.spawn(discard(rest));
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.refused.is_some() {
            return Ok(());
        }
        match self.sending.poll_send(&mut self.connection.stream, cx) {
            Poll::Ready(Err(Stopped::Caller(error))) => Err(Error::Upload(error)),
            Poll::Ready(Err(Stopped::Upstream(error))) => {
                self.refused = Some(error);
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Connection { stream, arrived, .. } = &mut self.connection;
        if arrived.capacity() - arrived.len() < self.read_size / 2 {
            arrived.reserve(self.read_size);
        }
        let room = arrived.capacity() - arrived.len();
        let read = ready!(poll_read_buf(Pin::new(stream), cx, arrived))?;
        if read == room {
            self.read_size = (self.read_size * 2).min(READ_MAX);
        }
        self.has_answered |= read > 0;
        Poll::Ready(Ok(read))
    }

    fn failed(self, error: Error) -> Failed {
        // A connection that had rested and is closed without a word may have been closed before it heard us.
        let is_stale = self.connection.is_used && !self.has_answered && matches!(error, Error::Unreachable(_));
        let error = match self.refused {
            Some(refused) if !self.has_answered => Error::Unreachable(refused.into()),
            _ => error,
        };
        Failed { error, sending: self.sending, is_stale, leftovers: self.leftovers }
    }
}

/// A request without an answer.
pub(super) struct Failed {
    error: Error,
    sending: Sending,
    is_stale: bool,
    leftovers: TaskTracker,
}

impl Failed {
    /// One for which there was no connection.
    pub(super) fn unsent(error: io::Error, sending: Sending, leftovers: TaskTracker) -> Self {
        Self { error: error.into(), sending, is_stale: false, leftovers }
    }

    /// The request once more, if its connection is to blame and it can have done nothing.
    pub(super) fn again(self) -> Result<Sending, Error> {
        if self.is_stale && self.sending.may_go_again() { Ok(self.sending.again()) } else { Err(self.into()) }
    }
}

impl From<Failed> for Error {
    fn from(mut failed: Failed) -> Self {
        if let Some(rest) = failed.sending.take_rest() {
            failed.leftovers.spawn(discard(rest));
        }
        failed.error
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Unreachable(fault.into())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.into())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use http_body_util::Full;
    use socket2::SockRef;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::live::upload::{Progress, Upload};
    use crate::live::upstream::Length;
    use crate::live::upstream::stream::Stream;

    #[tokio::test]
    async fn an_upstream_that_takes_no_more_may_have_said_why() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        other.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!").await.unwrap();
        // Its end is a reset, so that writing fails before anything was read.
        SockRef::from(&other).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(other);

        let body = Upload::new(Full::new(Bytes::from_static(b"hello")), Arc::new(Progress::begin()));
        let sending = Sending::new(Method::POST, Bytes::from_static(b"POST"), body, Length::Counted(5));
        let connection = Connection::new(Stream::Plain(ours));
        let (head, mut exchange) =
            Exchange::new(connection, sending, Arc::default(), TaskTracker::new()).head().await.ok().unwrap();
        assert_eq!(head.status, 413);
        assert!(exchange.refused.is_some(), "writing did not fail");
        assert!(matches!(exchange.arrived(), Ok(Some(Event::Data(data))) if data == "no!"));
        let idle = exchange.idle.clone();
        exchange.finish();
        assert!(idle.take().is_none());
    }
}
