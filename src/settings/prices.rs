//! The prices: the built-in table, under a file of one's own where one is named.

use std::path::{Path, PathBuf};

use super::PriceSettings;
use super::reader::Reader;
use crate::domain::price::{PriceError, PriceTable};

/// Reads `prices.file`, and what it names.
pub(super) fn read(read: &mut Reader<'_>) -> PriceSettings {
    let file = read.string("prices.file", "a path, or \"\"", |_| true);
    let file = Some(PathBuf::from(file)).filter(|path| !path.as_os_str().is_empty());
    let table = match &file {
        Some(path) => own(read, path),
        None => told(read, None, PriceTable::built_in()),
    };
    PriceSettings { file, table }
}

fn own(read: &mut Reader<'_>, path: &Path) -> PriceTable {
    match std::fs::read_to_string(path) {
        Ok(text) => told(read, Some(path), PriceTable::with_own(&text)),
        Err(error) => {
            let problem = format!("{} cannot be read: {error}; check the path and who may read it", path.display());
            read.fault("prices.file", problem);
            PriceTable::default()
        }
    }
}

/// The table; where it has faults, these are told at their places in the file.
fn told(read: &mut Reader<'_>, path: Option<&Path>, table: Result<PriceTable, PriceError>) -> PriceTable {
    table.unwrap_or_else(|PriceError(faults)| {
        for fault in faults {
            match path {
                Some(path) => read.fault_in(path, fault.at, &fault.key, fault.problem),
                None => read.fault("prices.file", format!("the built-in table: {fault}")),
            }
        }
        PriceTable::default()
    })
}
