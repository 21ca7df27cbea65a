//! Looking into a body before it is sent on: it is read as far as somebody must see it, kept in the pieces that it came
//! in, and then goes on as if nobody had looked.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::domain::glance::{BodyFacts, Glance};
use crate::encoding;

/// A body that is being looked into.
pub(super) struct Peek<B> {
    rest: B,
    /// What was read of it.
    pieces: VecDeque<Bytes>,
    length: u64,
    trailers: Option<HeaderMap>,
    has_ended: bool,
    /// No more than this is read.
    limit: u64,
    /// How it is encoded; facts are of what it means.
    encoding: String,
    glance: Glance,
}

/// The body broke off.
pub(super) struct BrokenOff;

impl<B: Body<Data = Bytes> + Unpin> Peek<B> {
    /// Nothing of it is read yet.
    pub(super) fn new(body: B, headers: &HeaderMap, limit: u64) -> Self {
        let mut glance = Glance::default();
        if let Some(length) = body.size_hint().exact() {
            glance.set_bytes(length);
        }
        let has_ended = body.is_end_stream();
        if has_ended {
            glance.set_bytes(0);
            glance.end();
        }
        let (pieces, trailers) = (VecDeque::new(), None);
        Self { rest: body, pieces, length: 0, trailers, has_ended, limit, encoding: encoding_of(headers), glance }
    }

    /// What is known of it by now.
    pub(super) fn facts(&self) -> &BodyFacts {
        self.glance.facts()
    }

    /// Whether it was read up to the limit, and goes on.
    pub(super) fn is_cut_short(&self) -> bool {
        !self.has_ended && self.length >= self.limit
    }

    /// Reads on until more is known of it, or there is no more to know.
    pub(super) async fn look_on(&mut self) -> Result<(), BrokenOff> {
        loop {
            if !self.read_on(self.limit).await? {
                self.end_of_looking().await;
                return Ok(());
            }
            let is_plain = self.encoding.is_empty();
            if is_plain && self.pieces.back().is_some_and(|piece| self.glance.read(piece)) {
                return Ok(());
            }
        }
    }

    /// The whole of it in one piece; nothing if it is longer than the limit, of which then as much was read.
    pub(super) async fn whole(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        if self.rest.size_hint().lower() > self.limit.saturating_sub(self.length) {
            return Ok(None);
        }
        // One byte more than allowed is enough to know.
        while self.read_on(self.limit.saturating_add(1)).await? {}
        if !self.has_ended || self.length > self.limit {
            return Ok(None);
        }
        Ok(Some(self.joined()))
    }

    /// What it means, as far as that is known: what was read, without its encoding.
    pub(super) async fn meaning(&mut self) -> Bytes {
        let read = self.joined();
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        encoding::begin(&self.encoding, &read, limit).await
    }

    /// The body as it came.
    pub(super) fn into_body(self) -> Replayed<B> {
        Replayed { pieces: self.pieces, trailers: self.trailers, is_read: self.has_ended, rest: self.rest }
    }

    /// Reads the next piece, unless so much was read; says whether there was one.
    async fn read_on(&mut self, most: u64) -> Result<bool, BrokenOff> {
        while !self.has_ended && self.length < most {
            let Some(frame) = self.rest.frame().await else {
                self.has_ended = true;
                return Ok(false);
            };
            match frame.map_err(|_| BrokenOff)?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    self.length += data.len() as u64;
                    self.pieces.push_back(data);
                    self.has_ended = self.rest.is_end_stream();
                    return Ok(true);
                }
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    self.has_ended = true;
                }
            }
        }
        Ok(false)
    }

    async fn end_of_looking(&mut self) {
        if !self.encoding.is_empty() {
            let meaning = self.meaning().await;
            self.glance.read(&meaning);
        }
        if self.glance.facts().bytes().is_none() {
            self.glance.set_bytes(self.length);
        }
        self.glance.end();
    }

    /// All that was read, in one piece from now on.
    fn joined(&mut self) -> Bytes {
        if self.pieces.len() > 1 {
            let mut whole = BytesMut::with_capacity(usize::try_from(self.length).unwrap_or(0));
            self.pieces.drain(..).for_each(|piece| whole.extend_from_slice(&piece));
            self.pieces.push_back(whole.freeze());
        }
        self.pieces.front().cloned().unwrap_or_default()
    }
}

fn encoding_of(headers: &HeaderMap) -> String {
    let named = |value: &HeaderValue| value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
    let encodings: Vec<String> = headers.get_all(CONTENT_ENCODING).iter().map(named).collect();
    match encodings.join(",") {
        plain if plain == "identity" => String::new(),
        encodings => encodings,
    }
}

/// A body of which the beginning was read already.
pub(super) struct Replayed<B> {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// Whether nothing is left of it but what was read.
    is_read: bool,
    rest: B,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Replayed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if self.is_read {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none() && self.rest.is_end_stream()
    }

    /// As long as it was said to be when it came, and open where nobody said so: that is how it goes on.
    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.pieces.iter().map(|piece| piece.len() as u64).sum();
        let rest = self.rest.size_hint();
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(read + rest),
            None => {
                let mut size = SizeHint::new();
                size.set_lower(read + rest.lower());
                size
            }
        }
    }
}
