//! The house: what must be in order whenever a test is over.

use std::collections::HashMap;

use offpeak::simulator::Books;

use super::storage::Storage;

/// How much is not done yet.
pub(super) const UNDER_WAY: &str = "select (select count(*) from deferral where completed_at is null)
    + (select count(*) from batch where state in ('building', 'uncertain', 'submitted', 'ended'))";

/// What there must be none of.
const NONE_OF: [(&str, &str); 8] = [
    (
        "batches that are not done",
        "select count(*) from batch where state in ('building', 'uncertain', 'submitted', 'ended')",
    ),
    ("deferrals that are not final", "select count(*) from deferral where completed_at is null"),
    (
        "final deferrals without an outcome",
        "select count(*) from deferral where completed_at is not null and id not in (select deferral_id from outcome)",
    ),
    (
        "outcomes of what is not final",
        "select count(*) from outcome where deferral_id not in (select id from deferral where completed_at is not null)",
    ),
    (
        "final deferrals that hold on to a credential",
        "select count(*) from deferral where completed_at is not null and lane_id is not null",
    ),
    (
        "Messages that are not in the ledger",
        "select count(*) from deferral where state = 'succeeded' and id not in (select deferral_id from entry)",
    ),
    // The ledger outlives what it counts.
    (
        "entries of what was not billed",
        "select count(*) from entry where deferral_id in (select id from deferral where state <> 'succeeded')",
    ),
    ("deferrals without a body", "select count(*) from deferral where id not in (select deferral_id from payload)"),
];

/// What is not in order; `books` are those of a provider that did as it should.
pub(super) async fn faults(storage: &Storage, books: Option<&Books>) -> Vec<String> {
    let mut faults = Vec::new();
    for (what, statement) in NONE_OF {
        match storage.count(statement).await {
            0 => {}
            count => faults.push(format!("{count} {what}")),
        }
    }
    let Some(books) = books else { return faults };
    let mut submitted: HashMap<&str, i64> = HashMap::new();
    for item in books.items() {
        *submitted.entry(&item.custom_id).or_default() += 1;
    }
    // What was submitted at all was submitted once: without faults a second attempt is a call paid twice.
    for (id, attempts) in storage.numbers("select id, cast(attempts as bigint) from deferral").await {
        let id = format!("dfr_{}", id.simple());
        let times = submitted.get(id.as_str()).copied().unwrap_or(0);
        if times != attempts || times > 1 {
            faults.push(format!("{id} counts {attempts} attempts and was submitted {times} times"));
        }
    }
    faults
}

/// The same, from where nothing can be awaited.
pub(super) fn faults_blocking(storage: &Storage, books: Option<&Books>) -> Vec<String> {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            // A runtime of its own, since the test's must not block on itself.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(faults(storage, books))
        });
        asking.join().unwrap()
    })
}
