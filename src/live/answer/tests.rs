//! Answers in one piece, in many, and such as must not be believed.

use proptest::prelude::*;
use proptest::sample::select;

use super::chunked::EXTENSION_MAX;
use super::*;

/// What a reader makes of an answer: its head as lines, its body, its trailers, and whether another may follow it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    head: Vec<String>,
    body: Vec<u8>,
    trailers: Vec<String>,
    stays_open: bool,
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii())).collect()
}

/// Reads an answer that arrives in these pieces, after which the upstream closes.
fn read_from<'a>(asked: &Method, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Seen, Fault> {
    let (mut reader, mut arrived, mut seen) = (Reader::new(asked.clone()), BytesMut::new(), Seen::default());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        while let Some(event) = reader.next(&mut arrived)? {
            match event {
                Event::Head(head) => {
                    let reason = head.reason.map(|reason| format!(" {}", reason.as_bytes().escape_ascii()));
                    seen.head = vec![format!("{}{}", head.status.as_str(), reason.unwrap_or_default())];
                    seen.head.extend(lines(&head.headers));
                }
                Event::Data(data) => {
                    assert!(!data.is_empty());
                    seen.body.extend_from_slice(&data);
                }
                Event::Trailers(trailers) => seen.trailers = lines(&trailers),
            }
        }
    }
    reader.close()?;
    assert!(reader.is_complete());
    seen.stays_open = reader.stays_open() && arrived.is_empty();
    Ok(seen)
}

fn read(answer: impl AsRef<[u8]>) -> Result<Seen, Fault> {
    read_from(&Method::GET, [answer.as_ref()])
}

/// The fault of an answer, whether it comes at once or byte by byte.
fn fault(answer: impl AsRef<[u8]>) -> Fault {
    let answer = answer.as_ref();
    let fault = read(answer).expect_err(&answer.escape_ascii().to_string());
    assert_eq!(read_from(&Method::GET, answer.chunks(1)), Err(fault));
    fault
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunks(rest: &str) -> String {
    format!("{CHUNKED}{rest}")
}

fn head(line: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{line}\r\ncontent-length: 0\r\n\r\n")
}

#[test]
fn an_answer_is_read_as_it_was_written() {
    let answer =
        b"HTTP/1.1 529 Far \xff Busy\r\nX-Twice: 1\r\nx-empty:\r\nX-twice:\t2, 3 \r\nContent-Length: 5\r\n\r\nhello";
    let expected = Seen {
        head: ["529 Far \\xff Busy", "x-twice: 1", "x-twice: 2, 3", "x-empty: ", "content-length: 5"]
            .map(str::to_owned)
            .to_vec(),
        body: b"hello".to_vec(),
        trailers: vec![],
        stays_open: true,
    };
    assert_eq!(read(answer), Ok(expected));
}

#[test]
fn chunks_that_arrive_together_are_one_piece_of_data() {
    let mut arrived =
        BytesMut::from(chunks("5\r\nhello\r\n1;x=\"y\"\r\n,\r\n00006 \t;\r\n world\r\n4\r\nnext").as_bytes());
    let mut reader = Reader::new(Method::GET);
    assert!(matches!(reader.next(&mut arrived), Ok(Some(Event::Head(_)))));
    let mut next = |more: &str| {
        arrived.extend_from_slice(more.as_bytes());
        match reader.next(&mut arrived).unwrap() {
            Some(Event::Data(data)) => (String::from_utf8(data.to_vec()).unwrap(), reader.is_complete()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(next(""), ("hello, worldnext".to_owned(), false));
    assert_eq!(next("\r\nA\r\n0123456789\r\n0\r\n\r\n"), ("0123456789".to_owned(), true));
}

#[test]
fn trailers_come_last() {
    let seen = read(chunks("1\r\na\r\n0;last\r\nX-Sum: 1\r\nx-more:\r\n\r\n")).unwrap();
    assert_eq!((seen.body.as_slice(), seen.stays_open), (&b"a"[..], true));
    assert_eq!(seen.trailers, ["x-sum: 1", "x-more: "]);
}

#[test]
fn what_cannot_have_a_body_has_none() {
    for (asked, answer) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\n\r\n"),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let seen = read_from(&asked, [answer.as_bytes()]).unwrap();
        assert!(seen.body.is_empty() && seen.stays_open, "{asked} {answer}");
        let with_more = [answer.as_bytes(), b"x"].concat();
        assert!(!read_from(&asked, [&with_more[..]]).unwrap().stays_open, "{asked} {answer}");
    }
}

#[test]
fn a_connection_is_kept_only_if_both_ends_mean_it() {
    for (head, stays_open) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x\r\nconnection: close", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive, closed", true),
        ("HTTP/1.1 200 OK", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: Keep-Alive", true),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: Keep-Alive, close", false),
    ] {
        assert_eq!(read(format!("{head}\r\n\r\n")).map(|seen| seen.stays_open), Ok(stays_open), "{head}");
    }
}

#[test]
fn bytes_after_an_answer_are_left_and_spoil_the_connection() {
    let seen = read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n").unwrap();
    assert_eq!((seen.body.as_slice(), seen.stays_open), (&b"ok"[..], false));
    assert!(!read(chunks("0\r\n\r\n\r\n")).unwrap().stays_open);
}

#[test]
fn interim_answers_are_passed_over_up_to_a_limit() {
    let answer = |interims| {
        format!("{}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 103 Early\r\nx: y\r\n\r\n".repeat(interims))
    };
    assert_eq!(read(answer(INTERIMS_MAX)).unwrap().head, ["200", "content-length: 0"]);
    assert_eq!(fault(answer(INTERIMS_MAX + 1)), Fault::Interim);
    assert_eq!(fault("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), Fault::Interim);
}

#[test]
fn what_is_no_answer_is_refused_at_its_first_byte() {
    for (noise, expected) in [
        ("SSH-2.0", Fault::NotHttp),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Fault::NotHttp),
        (" HTTP/1.1 200 OK\r\n\r\n", Fault::NotHttp),
        ("xHTTP/1.1 200 OK\r\n\r\n", Fault::NotHttp),
        ("http/1.1 200 OK\r\n\r\n", Fault::NotHttp),
        ("HTTP/2.0 200 OK\r\n\r\n", Fault::NotHttp),
        ("HTTP/1.2 200 OK\r\n\r\n", Fault::NotHttp),
        ("HTTP/1.1\t200 OK\r\n\r\n", Fault::NotHttp),
        ("\0", Fault::NotHttp),
    ] {
        assert_eq!(fault(noise), expected, "{noise:?}");
    }
}

#[test]
fn status_lines_are_taken_by_the_letter() {
    for wrong in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 099 Odd",
        "HTTP/1.1 200\0",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 -20 OK",
        "HTTP/1.1 ",
    ] {
        assert_eq!(fault(format!("{wrong}\r\n\r\n")), Fault::Head, "{wrong:?}");
    }
    for (right, seen) in [
        ("HTTP/1.1 200", "200 "),
        ("HTTP/1.1 200 ", "200 "),
        ("HTTP/1.1 200 OK", "200"),
        ("HTTP/1.1 999 \t", "999 \\t"),
    ] {
        assert_eq!(read(format!("{right}\r\n\r\n")).unwrap().head, [seen], "{right:?}");
    }
}

#[test]
fn headers_are_taken_by_the_letter() {
    for wrong in [
        "x: a\r\n b",
        "x: a\r\n\tb",
        " x: a",
        "x : a",
        "x: a\0b",
        "x: a\x07",
        "x: a\x7f",
        "x: a\rb",
        "x: a\r\r\nb: c",
        "x",
        ": a",
        "x y: a",
        "x\0: a",
        "\u{e9}: a",
        "x: a\nb: c",
    ] {
        assert_eq!(fault(head(wrong)), Fault::Head, "{wrong:?}");
    }
    assert_eq!(fault("HTTP/1.1 200 OK\nx: a\n\n"), Fault::Head);
    assert_eq!(fault("HTTP/1.1 200 OK\r\nx: a\r\n\n"), Fault::Head);
}

#[test]
fn heads_have_limits() {
    let long = |length| head(&format!("x: {}", "y".repeat(length)));
    let rest = long(0).len();
    assert!(read(long(HEAD_MAX - rest)).is_ok());
    assert_eq!(fault(long(HEAD_MAX - rest + 1)), Fault::HeadTooLong);
    assert_eq!(read(&long(HEAD_MAX)[..=HEAD_MAX]), Err(Fault::HeadTooLong), "its end has not arrived");
    assert!(read(head(&["x: y"; HEADERS_MAX - 1].join("\r\n"))).is_ok());
    assert_eq!(fault(head(&["x: y"; HEADERS_MAX].join("\r\n"))), Fault::HeadTooLong);
}

#[test]
fn a_body_has_one_length() {
    for (wrong, expected) in [
        ("content-length: 1\r\ncontent-length: 1", Fault::Length),
        ("content-length: 1\r\ncontent-length: 2", Fault::Length),
        ("content-length: 1, 1", Fault::Length),
        ("content-length: +1", Fault::Length),
        ("content-length: -1", Fault::Length),
        ("content-length: 0x1", Fault::Length),
        ("content-length: 1 1", Fault::Length),
        ("content-length:", Fault::Length),
        ("content-length: 18446744073709551616", Fault::Length),
        ("content-length: 1\r\ntransfer-encoding: chunked", Fault::Ambiguous),
        ("transfer-encoding: chunked\r\ncontent-length: 0", Fault::Ambiguous),
        ("transfer-encoding: gzip", Fault::Coding),
        ("transfer-encoding: gzip, chunked", Fault::Coding),
        ("transfer-encoding: chunked, chunked", Fault::Coding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", Fault::Coding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity", Fault::Coding),
        ("transfer-encoding: xchunked", Fault::Coding),
        ("transfer-encoding:", Fault::Coding),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{wrong}\r\n\r\n");
        assert_eq!(fault(&answer), expected, "{wrong}");
        assert_eq!(read_from(&Method::HEAD, [answer.as_bytes()]), Err(expected), "{wrong}");
    }
    assert_eq!(fault("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), Fault::Coding);
    assert!(read(chunks("0\r\n\r\n").replace("chunked", "Chunked")).is_ok());
}

#[test]
fn chunks_are_taken_by_the_letter() {
    let long = |length| chunks(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(length)));
    for wrong in [
        "\r\n",
        ";x\r\n",
        " 1\r\n",
        "-1\r\n",
        "0x1\r\n",
        "g\r\n",
        "1 2\r\n",
        "1\n",
        "1\r\r\n",
        "1\rx",
        "1;x\n",
        "1;\0\r\n",
        "1;a\rb\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na\rb",
        "1\r\na0\r\n\r\n",
        "00000000000000001\r\na\r\n",
        "10000000000000000\r\n",
        "1\r\na\r\n\r\n",
    ] {
        assert_eq!(fault(chunks(wrong)), Fault::Chunk, "{wrong:?}");
    }
    assert!(read(long(usize::from(EXTENSION_MAX) - 1)).is_ok());
    assert_eq!(fault(long(EXTENSION_MAX.into())), Fault::Chunk);
    assert_eq!(fault(chunks(&format!("1{}\r\n", " ".repeat(usize::from(EXTENSION_MAX) + 1)))), Fault::Chunk);
}

#[test]
fn trailers_are_taken_by_the_letter() {
    for wrong in
        ["x\r\n\r\n", " x: y\r\n\r\n", "x: y\r\n z\r\n\r\n", "x: y\n\n", "x: \0\r\n\r\n", "x : y\r\n\r\n", "x: y\r\n\n"]
    {
        assert_eq!(fault(chunks(&format!("0\r\n{wrong}"))), Fault::Trailers, "{wrong:?}");
    }
    let many = "x: y\r\n".repeat(HEADERS_MAX + 1);
    assert_eq!(fault(chunks(&format!("0\r\n{many}\r\n"))), Fault::Trailers);
    let long = "y".repeat(HEAD_MAX);
    assert_eq!(fault(chunks(&format!("0\r\nx: {long}"))), Fault::Trailers);
}

#[test]
fn no_part_of_an_answer_looks_like_all_of_it() {
    let counted = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned();
    for answer in [counted, chunks("5\r\nhello\r\n3;x\r\nyou\r\n0\r\nx: y\r\n\r\n")] {
        assert!(read(&answer).is_ok());
        for end in 0..answer.len() {
            assert_eq!(read(&answer[..end]), Err(Fault::Cut), "{:?}", &answer[..end]);
        }
    }
    assert_eq!(fault("HTTP/1.1 200 OK\r\nx: y\r\n"), Fault::Cut);
    assert_eq!(read("HTTP/1.0 200 OK\r\n\r\nall that").unwrap().body, b"all that");
}

/// A body of some bytes, in a framing, as it is written.
fn body() -> impl Strategy<Value = (Vec<u8>, String, Vec<u8>)> {
    let parts = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6);
    let style = select(vec!["", "0", "00"])
        .prop_flat_map(|zeros| select(vec!["", ";x=y", " ; \"\t\"", " "]).prop_map(move |end| (zeros, end)));
    (parts, style, 0..3_u8, prop::option::of("[a-z]{1,5}: [ -~]{0,5}")).prop_map(
        |(parts, (zeros, extension), framing, trailer)| {
            let whole = parts.concat();
            match framing {
                0 => (whole.clone(), format!("content-length: {}\r\n", whole.len()), whole),
                1 => (whole.clone(), String::new(), whole),
                _ => {
                    let mut written = Vec::new();
                    for part in parts {
                        written.extend(format!("{zeros}{:X}{extension}\r\n", part.len()).into_bytes());
                        written.extend(part);
                        written.extend(b"\r\n");
                    }
                    let trailer = trailer.map(|line| format!("{line}\r\n")).unwrap_or_default();
                    written.extend(format!("0{zeros}{extension}\r\n{trailer}\r\n").into_bytes());
                    (whole, "transfer-encoding: chunked\r\n".to_owned(), written)
                }
            }
        },
    )
}

proptest! {
    #[test]
    fn where_an_answer_is_cut_makes_no_difference(
        (expected, framing, written) in body(),
        interims in 0..3_usize,
        pieces in 1..40_usize,
    ) {
        let interims = "HTTP/1.1 100 Continue\r\n\r\n".repeat(interims);
        let answer = [format!("{interims}HTTP/1.1 200 Fine\r\nx-y: z\r\n{framing}\r\n").as_bytes(), &written].concat();
        let whole = read(&answer).unwrap();
        prop_assert_eq!(&whole.body, &expected);
        prop_assert_eq!(whole.stays_open, !framing.is_empty());
        for cut in 0..=answer.len() {
            let (before, after) = answer.split_at(cut);
            let cut_there = read_from(&Method::GET, [before, after]);
            prop_assert_eq!(cut_there.as_ref(), Ok(&whole), "cut at {}", cut);
        }
        prop_assert_eq!(read_from(&Method::GET, answer.chunks(pieces)), Ok(whole));
    }

    #[test]
    fn nothing_makes_it_panic_or_see_two_things(
        start in select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", CHUNKED]),
        noise in r"([0-9a-fA-F]{0,3}|[ -~]{0,3}|(\r\n){0,2}|[\r\n\x00 \t;:]{0,2}|transfer-encoding: chunked|content-length: 1){0,8}",
    ) {
        let answer = format!("{start}{noise}");
        let whole = read(&answer);
        prop_assert_eq!(read_from(&Method::GET, answer.as_bytes().chunks(1)), whole);
    }
}
