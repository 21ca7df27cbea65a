//! JSON: one object a line, objects over several lines, or one list of them.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::row::Row;
use super::{ImportError, Importing};

/// The longest line, or value: a request and its answer, each as large as the provider takes them.
pub(super) const LINE_MAX: usize = 70_000_000;

/// The byte that the content begins with, behind blanks and a byte order mark.
pub(super) fn first_byte(input: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let is_content = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, 0xef | 0xbb | 0xbf);
        let (blanks, first) = match buffer.iter().position(is_content) {
            Some(place) => (place, buffer.get(place).copied()),
            None => (buffer.len(), None),
        };
        input.consume(blanks);
        if first.is_some() {
            return Ok(first);
        }
    }
}

/// Objects: each on a line of its own, unless the first is not whole at its end.
pub(super) fn objects(mut input: impl BufRead, importing: &mut Importing<'_, '_>) -> Result<(), ImportError> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let whole = match read_line(&mut input, &mut line).map_err(ImportError::Read)? {
            None => break,
            Some(whole) => whole,
        };
        let text = line.trim_ascii();
        if number == 1 && matches!(text.last(), Some(b'{' | b'[' | b',')) {
            return values(io::Cursor::new(line).chain(input), importing);
        }
        if !whole {
            importing.fault(number, "it is longer than a request and its answer can be".to_owned());
        } else if !text.is_empty() {
            object(number, std::str::from_utf8(text), importing);
        }
    }
    Ok(())
}

fn object(number: u64, text: Result<&str, std::str::Utf8Error>, importing: &mut Importing<'_, '_>) {
    match text.map(Row::object) {
        Ok(Some(row)) => importing.row(number, &row),
        Ok(None) => importing.fault(number, "it is no JSON object".to_owned()),
        Err(_) => importing.fault(number, "it is not UTF-8".to_owned()),
    }
}

/// Reads a line; says whether all of it, and nothing at the end. Of what is too long, the rest is passed over.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let mut bounded = input.by_ref().take(LINE_MAX as u64);
    if bounded.read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') || line.len() < LINE_MAX {
        return Ok(Some(true));
    }
    input.skip_until(b'\n')?;
    Ok(Some(false))
}

/// Objects that are written over several lines.
fn values(input: impl Read, importing: &mut Importing<'_, '_>) -> Result<(), ImportError> {
    let (input, room) = Bounded::new(input);
    let stream = serde_json::Deserializer::from_reader(io::BufReader::new(input)).into_iter::<Box<RawValue>>();
    for (number, value) in (1..).zip(stream) {
        match value {
            Ok(value) => object(number, Ok(value.get()), importing),
            // Behind what is no JSON, nothing can be found any more.
            Err(error) => {
                importing.fault(number, format!("from line {} on it is no JSON", error.line()));
                break;
            }
        }
        room.set(LINE_MAX);
    }
    Ok(())
}

/// One list of objects, which is not held in memory as a whole.
pub(super) fn array(input: impl BufRead, importing: &mut Importing<'_, '_>) -> Result<(), ImportError> {
    let (input, room) = Bounded::new(input);
    let mut deserializer = serde_json::Deserializer::from_reader(io::BufReader::new(input));
    let mut elements = Elements { importing, room, number: 0 };
    let read = deserializer.deserialize_seq(&mut elements);
    if let Err(error) = read {
        let number = elements.number + 1;
        elements.importing.fault(number, format!("from line {} on it is no JSON", error.line()));
    }
    Ok(())
}

struct Elements<'i, 'a, 'p> {
    importing: &'i mut Importing<'a, 'p>,
    room: Rc<Cell<usize>>,
    number: u64,
}

impl<'de> Visitor<'de> for &mut Elements<'_, '_, '_> {
    type Value = IgnoredAny;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<IgnoredAny, A::Error> {
        while let Some(value) = list.next_element::<Box<RawValue>>()? {
            self.number += 1;
            self.room.set(LINE_MAX);
            object(self.number, Ok(value.get()), self.importing);
        }
        Ok(IgnoredAny)
    }
}

/// Input that ends with an error where one value is too long, so that a missing quote does not fill the memory.
pub(super) struct Bounded<R> {
    input: R,
    room: Rc<Cell<usize>>,
}

impl<R: Read> Bounded<R> {
    /// The input, and the room that is left for a value: whoever has one sets it anew.
    pub(super) fn new(input: R) -> (Self, Rc<Cell<usize>>) {
        let room = Rc::new(Cell::new(LINE_MAX));
        (Self { input, room: room.clone() }, room)
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        match self.room.get().checked_sub(read) {
            Some(left) => self.room.set(left),
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, "a value is too long")),
        }
        Ok(read)
    }
}
