//! An answer read from bytes as they arrive: pure, incremental, and as strict as a proxy must be.
//!
//! A [`Reader`] reads one answer. It is given whatever has arrived, wherever that was cut, and takes from its front what
//! it can make sense of. Whatever two readers might understand differently is a [`Fault`]: it is by such answers that one
//! caller is made to see what belongs to another.

mod chunked;
mod fault;
mod framing;
mod head;
mod known;
mod lines;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

use chunked::Chunks;
use lines::Lines;

pub use fault::Fault;
pub use framing::Framing;
pub use head::{HEAD_MAX, HEADERS_MAX, Head};
pub use known::Known;

/// The most interim answers before the real one: a server sends one or two, and each prolongs our reading.
pub const INTERIMS_MAX: usize = 16;

/// What has been read.
#[derive(Debug)]
pub enum Event {
    /// Status and headers; interim answers are left out.
    Head(Head),
    /// The next bytes of the body: all that have arrived, never none.
    Data(Bytes),
    /// What a chunked body ends with, if it ends with anything.
    Trailers(HeaderMap),
}

/// Reads one answer.
#[derive(Debug)]
pub struct Reader {
    asked: Method,
    state: State,
    interims: usize,
    stays_open: bool,
    known: Known,
}

#[derive(Debug)]
enum State {
    Head(Lines),
    Counted(u64),
    Chunked(Chunks),
    UntilClose,
    Trailers(HeaderMap),
    Complete,
    Faulty(Fault),
}

impl Reader {
    /// A reader of the answer to a request with this method.
    pub fn new(asked: Method) -> Self {
        Self::knowing(asked, Known::default())
    }

    /// The same for a connection on which these heads have been read.
    pub fn knowing(asked: Method, known: Known) -> Self {
        Self { asked, state: State::Head(Lines::default()), interims: 0, stays_open: false, known }
    }

    /// The heads that were read, for the next reader on this connection.
    pub fn into_known(self) -> Known {
        self.known
    }

    /// What can be read next; `None` if more has to arrive, or if the answer is complete.
    ///
    /// # Errors
    /// If this is no answer that can be passed on. Then nothing more can be read.
    pub fn next(&mut self, arrived: &mut BytesMut) -> Result<Option<Event>, Fault> {
        let next = self.step(arrived);
        if let Err(fault) = next {
            self.state = State::Faulty(fault);
        }
        next
    }

    /// The upstream has closed the connection, and everything that arrived was read: is this the answer's end?
    ///
    /// # Errors
    /// If it is not.
    pub fn close(&mut self) -> Result<(), Fault> {
        match self.state {
            State::UntilClose | State::Complete => {
                self.state = State::Complete;
                Ok(())
            }
            State::Faulty(fault) => Err(fault),
            _ => Err(Fault::Cut),
        }
    }

    /// Whether everything was read that belongs to the answer.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Whether the upstream means to take another request on this connection.
    pub fn stays_open(&self) -> bool {
        self.stays_open
    }

    fn step(&mut self, arrived: &mut BytesMut) -> Result<Option<Event>, Fault> {
        loop {
            match &mut self.state {
                State::Head(lines) => {
                    head::expect(arrived)?;
                    let Some(end) = lines.end(arrived, HEAD_MAX)? else { return Ok(None) };
                    let head = Head::parse(&arrived.split_to(end).freeze(), &mut self.known)?;
                    if !head.status.is_informational() {
                        return self.begin(head).map(|head| Some(Event::Head(head)));
                    }
                    self.pass_over(head.status)?;
                }
                State::Counted(left) => {
                    if arrived.is_empty() {
                        return Ok(None);
                    }
                    let data = take(arrived, *left);
                    self.state = counted(*left - data.len() as u64);
                    return Ok(Some(Event::Data(data)));
                }
                State::Chunked(chunks) => {
                    let data = chunks.decode(arrived)?;
                    if let Some(trailers) = chunks.trailers(arrived)? {
                        self.state = if trailers.is_empty() { State::Complete } else { State::Trailers(trailers) };
                    } else if data.is_empty() {
                        return Ok(None);
                    }
                    if !data.is_empty() {
                        return Ok(Some(Event::Data(data)));
                    }
                }
                State::UntilClose => {
                    return Ok((!arrived.is_empty()).then(|| Event::Data(arrived.split().freeze())));
                }
                State::Trailers(trailers) => {
                    let trailers = std::mem::take(trailers);
                    self.state = State::Complete;
                    return Ok(Some(Event::Trailers(trailers)));
                }
                State::Complete => return Ok(None),
                State::Faulty(fault) => return Err(*fault),
            }
        }
    }

    fn begin(&mut self, head: Head) -> Result<Head, Fault> {
        self.state = match head.framing(&self.asked)? {
            Framing::Counted(length) => counted(length),
            Framing::Chunked => State::Chunked(Chunks::default()),
            Framing::UntilClose => State::UntilClose,
        };
        self.stays_open = !matches!(self.state, State::UntilClose) && head.stays_open();
        Ok(head)
    }

    fn pass_over(&mut self, interim: StatusCode) -> Result<(), Fault> {
        self.interims += 1;
        if interim == StatusCode::SWITCHING_PROTOCOLS || self.interims > INTERIMS_MAX {
            return Err(Fault::Interim);
        }
        self.state = State::Head(Lines::default());
        Ok(())
    }
}

fn counted(left: u64) -> State {
    if left == 0 { State::Complete } else { State::Counted(left) }
}

/// Up to `most` bytes from the front, without copying them.
fn take(arrived: &mut BytesMut, most: u64) -> Bytes {
    match usize::try_from(most) {
        Ok(most) if most < arrived.remaining() => arrived.split_to(most).freeze(),
        _ => arrived.split().freeze(),
    }
}

#[cfg(test)]
mod tests;
