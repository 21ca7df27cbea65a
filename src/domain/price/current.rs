//! The prices in force: one table for everybody, replaced as a whole when the settings are read again.

use std::sync::{Arc, PoisonError, RwLock};

use super::PriceTable;

/// The table in force. Clones share it.
#[derive(Clone, Debug)]
pub struct Prices(Arc<RwLock<Arc<PriceTable>>>);

impl Prices {
    /// Puts a table in force.
    pub fn new(table: PriceTable) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(table))))
    }

    /// The table, for as long as one piece of work takes.
    pub fn table(&self) -> Arc<PriceTable> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this table holds.
    pub fn replace(&self, table: PriceTable) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }
}
