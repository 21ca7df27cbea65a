//! Importing calls that other programs have recorded: the format is recognised by its content, line after line goes
//! into a [`Collector`], and a line that does not read is counted and told, never more.

mod claude_code;
mod format;
mod helicone;
mod lines;
mod litellm;
mod own;
mod provider;
mod row;
mod shape;
mod sheet;
mod values;

use std::io::{self, BufRead};

use serde::Serialize;

use crate::domain::money::NanoUsd;
use crate::domain::record::CallRecord;
use crate::inventory::collect::{Collector, UsageSum};

pub use format::Format;
pub use own::line;

/// So many faults are told with their lines; of more, only their number.
const FAULTS_MAX: usize = 10;

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The format, which the first line showed.
    pub format: Option<Format>,
    /// Calls that were taken.
    pub calls: u64,
    /// Sums of calls that were taken.
    pub sums: u64,
    /// What is in the file and no call: other events, answers from a cache.
    pub passed_over: u64,
    /// Lines that do not read.
    pub faulty: u64,
    /// The first of them.
    pub faults: Vec<ImportFault>,
}

/// A line that does not read, and why. What stands in it is not repeated: it may be a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportFault {
    /// The line, or the value where values have no line of their own; from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// A file that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("reading the file")]
    Read(#[source] io::Error),
    /// It is none of the formats.
    #[error(
        "the file is in none of the formats that can be imported ({0}). These can: {names}",
        names = Format::ALL.map(Format::recognised_by).join("; ")
    )]
    Unknown(&'static str),
}

/// One thing in a file.
enum Item {
    /// A call, and what the file says that it cost.
    Call(Box<CallRecord>, Option<NanoUsd>),
    /// A call of our own recording, and how its system prompt begins.
    Recorded(Box<CallRecord>, Option<String>),
    /// A sum of calls.
    Sum(UsageSum),
    /// Something else, which is no fault.
    Other,
}

/// Reads all of `input` into `collector`.
///
/// # Errors
/// If it cannot be read, or is in no format that is known.
pub fn import(mut input: impl BufRead, collector: &mut Collector<'_>) -> Result<Imported, ImportError> {
    let mut importing = Importing { collector, reader: None, imported: Imported::default() };
    match lines::first_byte(&mut input).map_err(ImportError::Read)? {
        None => return Err(ImportError::Unknown("it is empty")),
        Some(b'{') => lines::objects(input, &mut importing)?,
        Some(b'[') => lines::array(input, &mut importing)?,
        Some(_) => sheet::rows(input, &mut importing)?,
    }
    if importing.imported.format.is_none() {
        return Err(ImportError::Unknown("no line has the members of one"));
    }
    Ok(importing.imported)
}

/// An import under way.
struct Importing<'a, 'p> {
    collector: &'a mut Collector<'p>,
    reader: Option<format::Reader>,
    imported: Imported,
}

impl Importing<'_, '_> {
    /// Takes a row; the first that is of a known format decides for all.
    fn row(&mut self, line: u64, row: &row::Row<'_>) {
        if self.reader.is_none() {
            self.reader = Format::of(row).map(format::Reader::new);
            self.imported.format = self.reader.as_ref().map(|reader| reader.format);
        }
        let Some(reader) = &mut self.reader else {
            return self.fault(line, "it has the members of no known format".to_owned());
        };
        let (collector, imported) = (&mut *self.collector, &mut self.imported);
        let taken = reader.read(row, &mut |item| match item {
            Item::Call(call, stated) => {
                imported.calls += 1;
                collector.add_imported(&call, stated);
            }
            Item::Recorded(call, prefix) => {
                imported.calls += 1;
                collector.add(&call);
                if let Some(prefix) = prefix {
                    collector.add_system_prefix(&call.workload, &prefix);
                }
            }
            Item::Sum(sum) => {
                imported.sums += 1;
                collector.add_sum(&sum);
            }
            Item::Other => imported.passed_over += 1,
        });
        if let Err(reason) = taken {
            self.fault(line, reason);
        }
    }

    /// Counts a line that does not read.
    fn fault(&mut self, line: u64, reason: String) {
        self.imported.faulty += 1;
        if self.imported.faults.len() < FAULTS_MAX {
            self.imported.faults.push(ImportFault { line, reason });
        }
    }
}
