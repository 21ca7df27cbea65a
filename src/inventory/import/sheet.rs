//! Tables: comma-separated values under a head, or with tabs or semicolons.

use std::collections::HashMap;
use std::io::BufRead;

use super::lines::{Bounded, LINE_MAX};
use super::row::Row;
use super::{ImportError, Importing};

/// The longest head that is looked at for what separates its columns.
const HEAD_MAX: usize = 8_192;

/// Reads the lines under the head.
pub(super) fn rows(mut input: impl BufRead, importing: &mut Importing<'_, '_>) -> Result<(), ImportError> {
    let delimiter = delimiter(input.fill_buf().map_err(ImportError::Read)?);
    let (input, room) = Bounded::new(input);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(input);
    let unknown = |_| ImportError::Unknown("it is neither JSON nor a table with a head");
    let names = reader.headers().map_err(unknown)?;
    let head: HashMap<_, _> = names.iter().enumerate().map(|(at, name)| (name.trim().to_owned(), at)).collect();
    let mut record = csv::StringRecord::new();
    loop {
        room.set(LINE_MAX);
        let read = reader.read_record(&mut record);
        let line = record.position().map_or(0, csv::Position::line);
        match read {
            Ok(false) => return Ok(()),
            Ok(true) => importing.row(line, &Row::Line(&head, &record)),
            Err(error) => {
                let line = error.position().map_or(line, csv::Position::line);
                let is_text = matches!(error.kind(), csv::ErrorKind::Utf8 { .. });
                let reason = if is_text { "it is not UTF-8" } else { "it does not end, or cannot be read" };
                importing.fault(line, reason.to_owned());
                if !is_text {
                    return Ok(());
                }
            }
        }
    }
}

/// What separates columns: whatever the head has most of.
fn delimiter(buffer: &[u8]) -> u8 {
    let head = buffer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let head = &head[..head.len().min(HEAD_MAX)];
    let times = |delimiter: &u8| head.iter().filter(|byte| *byte == delimiter).count();
    [b';', b'\t', b','].into_iter().max_by_key(times).unwrap_or(b',')
}
