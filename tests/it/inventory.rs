//! The inventory: what is recorded of calls beside their streams, what is not, and what is concluded from traffic whose
//! truth is known.

mod conclusions;
mod deferred;
mod imports;
mod keeping;
mod kills;
mod live;
mod month;
mod outside;
mod overview;
mod precision;
mod thought;
mod workloads;

use offpeak::clock::Timestamp;
use offpeak::domain::record::CallRecord;
use offpeak::store::RecordCursor;

use super::app::TestApp;
use super::wire::soon;

/// All records, in the order of their arrival, as soon as there are so many.
pub(super) async fn records(app: &TestApp, count: usize) -> Vec<CallRecord> {
    let look = async {
        loop {
            app.settle().await;
            let start = RecordCursor::before(Timestamp::from_millis(0));
            let page = app.store().records(None, start, 1_000).await.unwrap();
            if page.records.len() >= count {
                return page.records;
            }
            tokio::task::yield_now().await;
        }
    };
    let records = soon(look).await;
    assert_eq!(records.len(), count);
    records
}

/// The one record there is.
async fn record(app: &TestApp) -> CallRecord {
    records(app, 1).await.remove(0)
}
