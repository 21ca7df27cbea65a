//! Any bytes as an answer: nothing panics, nothing is made up, and how the bytes were cut makes no difference.

#![no_main]

use bytes::BytesMut;
use http::Method;
use libfuzzer_sys::fuzz_target;
use offpeak::live::answer::{Event, Fault, Known, Reader};

/// Status, headers and trailers as text, the body, whether the connection is kept, and what is left over.
type Seen = (String, Vec<u8>, bool, usize);

fn read<'a>(asked: &Method, pieces: impl Iterator<Item = &'a [u8]>) -> Result<Seen, Fault> {
    read_knowing(asked, pieces, &mut Known::default())
}

/// The same for a reader that has read these heads.
fn read_knowing<'a>(
    asked: &Method,
    pieces: impl Iterator<Item = &'a [u8]>,
    known: &mut Known,
) -> Result<Seen, Fault> {
    let (mut reader, mut arrived) = (Reader::knowing(asked.clone(), std::mem::take(known)), BytesMut::new());
    let (mut text, mut body) = (String::new(), Vec::new());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        while let Some(event) = reader.next(&mut arrived)? {
            match event {
                Event::Head(head) => text += &format!("{head:?}"),
                Event::Data(data) => {
                    assert!(!data.is_empty(), "a piece of nothing");
                    body.extend_from_slice(&data);
                }
                Event::Trailers(trailers) => text += &format!("{trailers:?}"),
            }
        }
    }
    reader.close()?;
    assert!(reader.is_complete());
    let stays_open = reader.stays_open();
    *known = reader.into_known();
    Ok((text, body, stays_open, arrived.len()))
}

fuzz_target!(|input: (bool, u8, Vec<u8>)| {
    let (is_head, piece, bytes) = input;
    let asked = if is_head { Method::HEAD } else { Method::GET };
    let whole = read(&asked, std::iter::once(bytes.as_slice()));
    assert_eq!(read(&asked, bytes.chunks(usize::from(piece).max(1))), whole);
    let mut known = Known::default();
    for _ in 0..3 {
        assert_eq!(read_knowing(&asked, std::iter::once(bytes.as_slice()), &mut known), whole);
    }
    assert!(whole.is_ok() || read(&asked, bytes.chunks(1)).is_err());
    if let Ok((_, body, _, left)) = &whole {
        assert!(body.len() + left <= bytes.len(), "more came out than went in");
    }
});
