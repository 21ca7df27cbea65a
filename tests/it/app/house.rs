//! The house: what must be in order whenever a test is over.

use std::collections::HashMap;

use offpeak::simulator::Books;

use super::storage::{Engine, Storage};

/// How much is not done yet.
pub(super) const UNDER_WAY: &str = "select (select count(*) from deferral where completed_at is null)
    + (select count(*) from batch where state in ('building', 'uncertain', 'submitted', 'ended'))
    + (select count(*) from deferral_group where state = 'closed' and (expect is null or expect <= members)
       and not exists (select 1 from deferral where tenant = deferral_group.tenant
                       and group_name = deferral_group.name and completed_at is null))";

/// What there must be none of.
const NONE_OF: [(&str, &str); 15] = [
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
        "select count(*) from outcome where deferral_id in (select id from deferral where completed_at is null)",
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
    (
        "final deferrals that are not in the feed, or more than once",
        "select count(*) from (
             select deferral.id from deferral left join feed on feed.deferral_id = deferral.id
             where deferral.completed_at is not null group by deferral.id having count(feed.position) <> 1) as odd",
    ),
    (
        "lines of the feed, or deliveries, of what is not final",
        "select (select count(*) from feed where deferral_id in (select id from deferral where completed_at is null))
             + (select count(*) from delivery where deferral_id in (select id from deferral where completed_at is null))",
    ),
    (
        "closed groups whose members are final, and that are not announced",
        "select count(*) from deferral_group where state = 'closed' and (expect is null or expect <= members)
             and not exists (select 1 from deferral where tenant = deferral_group.tenant
                             and group_name = deferral_group.name and completed_at is null)",
    ),
    (
        "groups that are announced and have open members, or were told of and are not announced",
        "select (select count(*) from deferral_group where state = 'announced'
                and exists (select 1 from deferral where tenant = deferral_group.tenant
                            and group_name = deferral_group.name and completed_at is null))
             + (select count(*) from deferral_group where state <> 'announced'
                and exists (select 1 from delivery where tenant = deferral_group.tenant
                            and group_name = deferral_group.name))",
    ),
    (
        "groups with more members than they count, or than are expected",
        "select count(*) from deferral_group where members > expect
             or members < (select count(*) from deferral where tenant = deferral_group.tenant
                           and group_name = deferral_group.name)",
    ),
    (
        "final deferrals whose webhook nobody sends",
        "select count(*) from deferral where completed_at is not null and receiver is not null
             and id not in (select deferral_id from delivery where deferral_id is not null)",
    ),
    (
        "deferrals that were recorded more than once",
        "select case when recorded > final then recorded - final else 0 end from (
             select (select cast(coalesce(sum(calls), 0) as bigint) from call_hour where way <> 'live') as recorded,
                    (select value from counter where name = 'feed') as final) as both_of_them",
    ),
    ("deferrals without a body", "select count(*) from deferral where id not in (select deferral_id from payload)"),
];

/// And on SQLite none of this either; on PostgreSQL they go with all of their day.
const LEFT_BEHIND: (&str, &str) = (
    "bodies and answers whose deferral is gone",
    "select (select count(*) from payload where deferral_id not in (select id from deferral))
         + (select count(*) from outcome where deferral_id not in (select id from deferral))",
);

/// How often each call belongs in a batch.
const IN_BATCHES: &str = "select id, cast(case when served_by = 'batch' then 1
    when served_by = 'live' then attempts - 1 else attempts end as bigint) from deferral";

/// How much is under way in a store.
pub(crate) async fn under_way(storage: &Storage) -> i64 {
    storage.count(UNDER_WAY).await
}

/// What is not in order in a store.
pub(crate) async fn wrong(storage: &Storage) -> Vec<String> {
    let mut faults = Vec::new();
    let left_behind = (storage.engine() == Engine::Sqlite).then_some(LEFT_BEHIND);
    for (what, statement) in NONE_OF.into_iter().chain(left_behind) {
        match storage.count(statement).await {
            0 => {}
            count => faults.push(format!("{count} {what}")),
        }
    }
    faults
}

/// What is not in order; `books` are those of a provider that did as it should.
pub(super) async fn faults(storage: &Storage, books: Option<&Books>) -> Vec<String> {
    let mut faults = wrong(storage).await;
    let Some(books) = books else { return faults };
    let mut submitted: HashMap<&str, i64> = HashMap::new();
    for item in books.items() {
        *submitted.entry(&item.custom_id).or_default() += 1;
    }
    // Without faults a second submission is a call paid twice; what is sent live is an attempt, but in no batch.
    for (id, batched) in storage.numbers(IN_BATCHES).await {
        let id = format!("dfr_{}", id.simple());
        let times = submitted.get(id.as_str()).copied().unwrap_or(0);
        if times != batched {
            faults.push(format!("{id} was submitted {times} times, and {batched} is right"));
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

#[tokio::test]
#[should_panic(expected = "1 deferrals that are not final")]
async fn what_is_left_open_is_told() {
    let app = super::TestApp::start(super::Engine::Sqlite).await;
    app.defer("Hi").await;
}

#[tokio::test]
#[should_panic(expected = "2 final deferrals that are not in the feed, or more than once")]
async fn what_is_not_once_in_the_feed_is_told() {
    let app = super::TestApp::start(super::Engine::Sqlite).await;
    for prompt in ["1", "2", "3"] {
        app.defer(prompt).await;
    }
    app.finish().await;
    // One line names another's deferral.
    app.storage()
        .change("update feed set deferral_id = (select deferral_id from feed where position = 1) where position = 2")
        .await;
}

#[tokio::test]
#[should_panic(expected = "1 closed groups whose members are final, and that are not announced")]
async fn a_group_that_nobody_announced_is_told() {
    let app = super::TestApp::start(super::Engine::Sqlite).await;
    let id = app.tagged(super::body("Hi")).header("x-defer-group", "g").send().await.id();
    app.post("/deferred/groups/g/close").send().await.expect(200);
    app.post(&format!("/deferred/{id}/cancel")).send().await.expect(200);
}

#[tokio::test]
#[should_panic(expected = "was submitted 2 times, and 1 is right")]
async fn what_was_submitted_twice_is_told() {
    let app = super::TestApp::start(super::Engine::Sqlite).await;
    let id = app.defer("Hi").await;
    app.finish().await;
    let batch = format!(r#"{{"requests":[{{"custom_id":"{id}","params":{}}}]}}"#, super::body("Hi"));
    app.post("/v1/messages/batches").body(batch).send().await.expect(200);
}

#[tokio::test]
#[should_panic(expected = "could not be made durable")]
async fn an_error_in_the_log_is_told() {
    let app = super::TestApp::start(super::Engine::Sqlite).await;
    app.storage().change("alter table payload rename to gone").await;
    app.tagged(super::body("Hi")).send().await.expect(503);
    app.storage().change("alter table gone rename to payload").await;
}
