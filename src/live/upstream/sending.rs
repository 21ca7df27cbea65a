//! A request on its way to the upstream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use http_body::{Body as _, Frame};

use super::outbox::Outbox;
use super::stream::Stream;
use crate::live::headers::{self, write_header};
use crate::live::upload::Upload;
use crate::live::{BoxError, Error};

/// How much of a body is taken from its caller before the upstream has taken it from us: enough for one large write.
const AHEAD_MAX: usize = 64 * 1024;

/// The end of a chunk's data.
const CHUNK_END: Bytes = Bytes::from_static(b"\r\n");

/// How the upstream is told where the body ends.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::live) enum Length {
    /// So many bytes are still to come.
    Counted(u64),
    /// By chunks, and perhaps these trailers after the last.
    Open(Vec<HeaderName>),
}

/// What is still to be sent of a request. It holds secrets, and is not to be shown.
pub(in crate::live) struct Sending {
    asked: Method,
    /// The head, as often as it may have to be sent.
    head: Bytes,
    outbox: Outbox,
    /// The rest of the body; `None` once all of it was taken.
    body: Option<Upload>,
    left: Length,
    may_repeat: bool,
    is_begun: bool,
}

impl Sending {
    /// A request with this head, complete with its empty line.
    pub(in crate::live) fn new(asked: Method, head: Bytes, body: Upload, left: Length) -> Self {
        let mut outbox = Outbox::default();
        outbox.push(head.clone());
        let is_empty = left == Length::Counted(0);
        let may_repeat = asked.is_safe() && is_empty;
        Self { asked, head, outbox, body: (!is_empty).then_some(body), left, may_repeat, is_begun: false }
    }

    /// The method.
    pub(super) fn method(&self) -> &Method {
        &self.asked
    }

    /// Sends what can be sent now; ready once everything is sent.
    pub(super) fn poll_send(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            let is_waiting = self.fill(cx).map_err(Stopped::Caller)?;
            while self.outbox.len() > 0 {
                match self.outbox.poll_write(stream, cx) {
                    Poll::Ready(written) => written.map_err(Stopped::Upstream)?,
                    Poll::Pending => return Poll::Pending,
                };
                self.is_begun = true;
            }
            match self.outbox.poll_flush(stream, cx) {
                Poll::Ready(flushed) => flushed.map_err(Stopped::Upstream)?,
                Poll::Pending => return Poll::Pending,
            }
            match self.body {
                None => return Poll::Ready(Ok(())),
                Some(_) if is_waiting => return Poll::Pending,
                Some(_) => {}
            }
        }
    }

    /// Whether everything was sent.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_none() && self.outbox.len() == 0
    }

    /// Whether it can go out once more, over another connection, since nothing of it can have been acted on: not a byte has
    /// been taken from us, or it asks for nothing to be done.
    pub(super) fn may_go_again(&self) -> bool {
        !self.is_begun || self.may_repeat
    }

    /// The same from its beginning; for one that may go again.
    pub(super) fn again(self) -> Self {
        if !self.is_begun {
            return self;
        }
        let mut outbox = Outbox::default();
        outbox.push(self.head.clone());
        Self { outbox, is_begun: false, ..self }
    }

    /// What of the body nobody wants any more.
    pub(super) fn take_rest(&mut self) -> Option<Upload> {
        self.body.take()
    }

    /// Takes of the body what is there; says whether there was too little, so that `cx` is woken when more is.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, BoxError> {
        while self.outbox.len() < AHEAD_MAX
            && let Some(body) = &mut self.body
        {
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(frame)) => self.pack(frame?)?,
                Poll::Ready(None) => self.end(None)?,
                Poll::Pending => return Ok(true),
            }
        }
        Ok(false)
    }

    fn pack(&mut self, frame: Frame<Bytes>) -> Result<(), BoxError> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok()),
        };
        match &mut self.left {
            Length::Counted(left) => {
                // More than was announced would be the beginning of another request.
                *left = left.checked_sub(data.len() as u64).ok_or("the body is longer than its content-length")?;
                self.outbox.push(data);
            }
            Length::Open(_) if data.is_empty() => {}
            Length::Open(_) => {
                self.outbox.push(format!("{:x}\r\n", data.len()).into());
                self.outbox.push(data);
                self.outbox.push(CHUNK_END);
            }
        }
        let is_last = self.left == Length::Counted(0) || self.body.as_ref().is_some_and(Upload::is_end_stream);
        if is_last { self.end(None) } else { Ok(()) }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), BoxError> {
        self.body = None;
        match &self.left {
            Length::Counted(0) => {}
            Length::Counted(_) => return Err("the body is shorter than its content-length".into()),
            Length::Open(announced) => self.outbox.push(last_chunk(announced, trailers)),
        }
        Ok(())
    }
}

/// The end of a chunked body. Of the trailers only those are passed on that were announced and may be trailers at all.
fn last_chunk(announced: &[HeaderName], trailers: Option<HeaderMap>) -> Bytes {
    let Some(trailers) = trailers else { return Bytes::from_static(b"0\r\n\r\n") };
    let mut chunk = b"0\r\n".to_vec();
    for (name, value) in trailers.iter().filter(|(name, _)| announced.contains(name) && headers::may_trail(name)) {
        write_header(&mut chunk, name, value);
    }
    chunk.extend_from_slice(b"\r\n");
    chunk.into()
}

/// Why no more is sent.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The caller's body broke off.
    Caller(BoxError),
    /// The upstream takes no more.
    Upstream(io::Error),
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Caller(error) => Self::Upload(error),
            Stopped::Upstream(error) => Self::Unreachable(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_announced_trailers_follow_and_none_that_changes_the_message() {
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "x-other", "content-length", "transfer-encoding", "x-defer"] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        let announced = ["x-sum", "content-length", "transfer-encoding", "x-defer"].map(HeaderName::from_static);
        assert_eq!(last_chunk(&announced, Some(trailers)), "0\r\nx-sum: 1\r\n\r\n");
        assert_eq!(last_chunk(&[], None), "0\r\n\r\n");
    }
}
