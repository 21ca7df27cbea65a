//! Query plans: with a long history behind them, the statements of every minute find their rows by an index.
//!
//! The statements are not repeated here, they are overheard: PostgreSQL is told to explain whatever it executes and to
//! send that along; on SQLite each text that sqlx logs is explained afterwards.

mod inventory;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use offpeak::clock::{Day, Timestamp};
use offpeak::domain::batch::BatchState;
use offpeak::domain::callback::Callback;
use offpeak::domain::deferral::Answer;
use offpeak::domain::delivery::DeliveryState;
use offpeak::domain::id::DeferralId;
use offpeak::store::{
    Accepted, DeliveryFilter, Departure, Filter, Leave, NewDeferral, Next, PageCursor, Repriced, Scope, Store, Tried,
};
use sqlx::{AssertSqlSafe, Row as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::fixture::{AMPLE, Fixture, LEASE, NOW, Raw, again, batch_id, call, id, lane, lane_id, succeeded};

on_both_engines! {
    every_statement_finds_its_rows_by_an_index,
}

/// 20,000 deferrals of another tenant and 2,000 batches, all of them done long ago; a second apart. And 10,000 closed
/// groups, each of which waits for its one member. Of the bodies only the answers are real.
///
/// On PostgreSQL their ids are further apart: they are of [`HISTORY_DAYS`]. And the day to which the ids of [`call`] belong,
/// the first of all, has 10,000 bodies and answers more, whose deferrals are gone.
const HISTORY_SQLITE: &str = "
    insert into deferral (id, tenant, state, model, body_hash, body_bytes, accepted_at, deadline_at, queued_at,
        batch_id, attempts, completed_at, served_by)
    with recursive number (n) as (select 1 union all select n + 1 from number where n < 20000)
    select randomblob(16), 'big', 'succeeded', 'm', randomblob(32), 2000, 1700000000000 + n * 1000,
        1800000000000, 1700000000000 + n * 1000, randomblob(16), 1, 1700000000000 + n * 1000, 'batch' from number;
    insert into payload (deferral_id, codec, body) select id, 1, randomblob(100) from deferral;
    insert into outcome (deferral_id, status, codec, body, received_at)
    select id, 200, 1, x'28b52ffd201081000061616161616161616161616161616161', completed_at from deferral;
    insert into attempt (deferral_id, number, result, ended_at) select id, 1, 'expired', completed_at from deferral;
    insert into entry (deferral_id, kind, tenant, model, served_by, settled_at, input_tokens, output_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens)
    select id, 'answer', tenant, model, 'batch', completed_at, 1, 1, 0, 0, 0 from deferral;
    insert into batch (id, lane_id, tenant, state, provider_id, item_count, item_bytes, built_at, sent_at, due_at, fence)
    with recursive number (n) as (select 1 union all select n + 1 from number where n < 2000)
    select randomblob(16), randomblob(16), 'big', 'ingested', 'msgbatch_old_' || n, 10, 20000, 1700000000000,
        1700000000000, 1700000000000, 1 from number;
    insert into feed (position, deferral_id, tenant, group_name, settled_at)
    select row_number() over (order by completed_at), id, tenant, 'old', completed_at from deferral;
    update counter set value = 20000;
    insert into delivery (id, tenant, event, receiver, deferral_id, state, attempts, due_at, fence, created_at, ended_at)
    select id, tenant, 'deferral.succeeded', 'old', id, 'delivered', 1, completed_at, 1, completed_at, completed_at
    from deferral;
    insert into delivery_attempt (delivery_id, number, status, started_at, duration_ms)
    select id, 1, 200, ended_at, 9 from delivery;
    insert into deferral (id, tenant, lane_id, state, model, body_hash, body_bytes, accepted_at, deadline_at, queued_at,
        attempts, rescue_due_at, group_name)
    with recursive number (n) as (select 1 union all select n + 1 from number where n < 10000)
    select randomblob(16), 'big', randomblob(16), 'rescuing', 'm', randomblob(32), 2000, 1700000000000,
        1900000000000, 1700000000000, 1, 1900000000000, 'waiting' || n from number;
    insert into deferral_group (tenant, name, state, members, opened_at, closed_at)
    select tenant, group_name, 'closed', 1, accepted_at, accepted_at from deferral where group_name is not null;
    insert into live_charge (hour, workload_id, model, pass_model, us_only, fast, prompt_above, calls, unread, unpriced,
        input_tokens, output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, web_searches,
        paid_nanousd, uncached_nanousd)
    with recursive number (n) as (select 1 union all select n + 1 from number where n < 5000)
    select 1600000000000 + n * 3600000, n % 7, 'm', '', 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1 from number";

const HISTORY_POSTGRES: &str = "
    insert into deferral (id, tenant, state, model, body_hash, body_bytes, accepted_at, deadline_at, queued_at,
        batch_id, attempts, completed_at, served_by)
    select (lpad(to_hex(1700000000000 + n::bigint * 172800), 12, '0') || left(md5(n::text), 20))::uuid, 'big', 'succeeded',
        'm', sha256(n::text::bytea), 2000, to_timestamp(1700000000 + n), to_timestamp(1800000000), to_timestamp(1700000000 + n), gen_random_uuid(), 1, to_timestamp(1700000000 + n),
        'batch' from generate_series(1, 20000) as n;
    insert into payload (deferral_id, codec, body) select id, 1, body_hash from deferral;
    insert into outcome (deferral_id, status, codec, body, received_at)
    select id, 200, 1, '\\x28b52ffd201081000061616161616161616161616161616161', completed_at from deferral;
    insert into payload (deferral_id, codec, body)
    select (lpad(to_hex(1000 * n), 12, '0') || repeat('0', 20))::uuid, 1, sha256(n::text::bytea)
    from generate_series(1, 10000) as n;
    insert into outcome (deferral_id, status, codec, body, received_at)
    select deferral_id, 200, 1, body, to_timestamp(1700000000) from payload
    where deferral_id < '01000000-0000-0000-0000-000000000000';
    insert into attempt (deferral_id, number, result, ended_at) select id, 1, 'expired', completed_at from deferral;
    insert into entry (deferral_id, kind, tenant, model, served_by, settled_at, input_tokens, output_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens)
    select id, 'answer', tenant, model, 'batch', completed_at, 1, 1, 0, 0, 0 from deferral;
    insert into batch (id, lane_id, tenant, state, provider_id, item_count, item_bytes, built_at, sent_at, due_at, fence)
    select gen_random_uuid(), gen_random_uuid(), 'big', 'ingested', 'msgbatch_old_' || n, 10, 20000,
        to_timestamp(1700000000), to_timestamp(1700000000), to_timestamp(1700000000), 1
    from generate_series(1, 2000) as n;
    insert into feed (position, deferral_id, tenant, group_name, settled_at)
    select row_number() over (order by completed_at), id, tenant, 'old', completed_at from deferral;
    update counter set value = 20000;
    insert into delivery (id, tenant, event, receiver, deferral_id, state, attempts, due_at, fence, created_at, ended_at)
    select id, tenant, 'deferral.succeeded', 'old', id, 'delivered', 1, completed_at, 1, completed_at, completed_at
    from deferral;
    insert into delivery_attempt (delivery_id, number, status, started_at, duration_ms)
    select id, 1, 200, ended_at, 9 from delivery;
    insert into deferral (id, tenant, lane_id, state, model, body_hash, body_bytes, accepted_at, deadline_at, queued_at,
        attempts, rescue_due_at, group_name)
    select gen_random_uuid(), 'big', gen_random_uuid(), 'rescuing', 'm', sha256(n::text::bytea), 2000,
        to_timestamp(1700000000), to_timestamp(1900000000), to_timestamp(1700000000), 1, to_timestamp(1900000000),
        'waiting' || n from generate_series(1, 10000) as n;
    insert into deferral_group (tenant, name, state, members, opened_at, closed_at)
    select tenant, group_name, 'closed', 1, accepted_at, accepted_at from deferral where group_name is not null;
    insert into live_charge (hour, workload_id, model, pass_model, us_only, fast, prompt_above, calls, unread, unpriced,
        input_tokens, output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, web_searches,
        paid_nanousd, uncached_nanousd)
    select to_timestamp(1600000000 + n * 3600), n % 7, 'm', '', false, false, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1
    from generate_series(1, 5000) as n;
    analyze";

/// Days of which there are bodies and answers on PostgreSQL, beside those of the calls that come later.
const HISTORY_DAYS: u64 = 40;

/// Partitions of one table that a statement about neighbours may open.
const PARTS_MAX: usize = 2;

/// Tables that grow with every call; the others stay small.
const LARGE: [&str; 13] = [
    "deferral",
    "batch",
    "payload",
    "outcome",
    "attempt",
    "entry",
    "feed",
    "deferral_group",
    "delivery",
    "delivery_attempt",
    "call_record",
    "call_hour",
    "live_charge",
];

/// Indexes that hold only what is open, so that reading one from end to end is fine.
const OF_OPEN_ROWS: [&str; 5] = ["deferral_queued", "deferral_batched", "deferral_open", "batch_lane", "delivery_due"];

async fn every_statement_finds_its_rows_by_an_index(db: Fixture) {
    if !is_alone() {
        return;
    }
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Ear)).expect("nobody else listens");
    let store = match &db.raw {
        Raw::Sqlite(_) => db.store.clone(),
        Raw::Postgres(_) => db.explaining().await,
    };
    db.store.make_room_ahead(id(1).made_at()).await.unwrap();
    // The last one stays without a call.
    for day in 0..=HISTORY_DAYS {
        let first = Timestamp::from_millis(1_700_000_000_000);
        db.store.make_room_ahead(first.plus(Duration::from_hours(24 * day))).await.unwrap();
    }
    let ear = Overhearing { db, store };
    ear.db.raw.run(if matches!(ear.db.raw, Raw::Sqlite(_)) { HISTORY_SQLITE } else { HISTORY_POSTGRES }).await;
    heard();
    queue_and_batches(&ear).await;
    results(&ear).await;
    feed_and_groups(&ear).await;
    callers_and_retention(&ear).await;
    deliveries(&ear).await;
    ledger(&ear).await;
    inventory::inventory(&ear).await;
}

async fn queue_and_batches(ear: &Overhearing) {
    let (store, later) = (&ear.store, NOW.plus(LEASE));
    ear.db.accept((1..=300).map(call)).await;
    if matches!(ear.db.raw, Raw::Postgres(_)) {
        // As autovacuum does by itself; SQLite goes without.
        ear.db.raw.run("analyze").await;
    }
    heard();
    let retry = NewDeferral { id: id(301), retries: 1, ..call(1) };
    assert_eq!(store.accept(retry).await.unwrap(), Accepted::Existing(id(1)));
    ear.expect("looking for a twin", "deferral_body").await;
    let departures: Vec<_> = (1..=9).map(|number| Departure { id: id(number), since: later, at: later }).collect();
    store.callers_left(&departures).await.unwrap();
    ear.expect("noting who is gone", "deferral_pkey|sqlite_autoindex_deferral_1").await;
    let keyed = |number| NewDeferral { idempotency_key: Some("k".to_owned()), ..call(number) };
    assert_eq!(store.accept(keyed(302)).await.unwrap(), Accepted::Fresh);
    assert_eq!(store.accept(keyed(303)).await.unwrap(), Accepted::KeyTaken);
    ear.expect("looking for a key", "deferral_idempotency").await;

    assert_eq!(store.backlog(later, 100).await.unwrap()[0].count, 100);
    ear.expect("the head of the backlog", "deferral_queued").await;
    store.queue_depth().await.unwrap();
    // With few calls that wait either is as good: both hold these and no others.
    ear.expect("the depth of the queue", "deferral_queued|deferral_deadline").await;

    let limits = offpeak::store::Limits { requests: 10, ..AMPLE };
    for number in 1..=4 {
        let built = store.build_batch(batch_id(number), lane_id(&lane()), limits, later, Duration::ZERO).await.unwrap();
        assert_eq!(built.unwrap().item_count, 10);
    }
    ear.expect("building a batch", "deferral_queued").await;
    let claims: Vec<_> = store.claim_batches(BatchState::Building, later, LEASE, 9).await.unwrap();
    assert_eq!(claims.len(), 4);
    ear.expect("claiming batches", "batch_due").await;
    store.batch_items(claims[0].claim.batch, None).await.unwrap();
    ear.expect("the items of a batch", "deferral_batched").await;
    assert!(store.batch_void(claims[0].claim).await.unwrap());
    assert!(store.batch_split(claims[1].claim, [batch_id(50), batch_id(51)], later, later).await.unwrap());
    ear.expect("a batch that is not sent", "deferral_batched").await;
    assert!(store.batch_sending(claims[2].claim, later).await.unwrap().is_some());
    assert!(store.batch_submitted(claims[2].claim, "msgbatch_new", false, later, later).await.unwrap());
    ear.expect("a batch that is sent", "batch_provider_id_key|sqlite_autoindex_batch_2").await;
    assert!(store.batch_ended(claims[2].claim, later).await.unwrap());
    assert!(!store.batch_ingested(claims[2].claim, later).await.unwrap());
    ear.expect("a batch that has ended", "deferral_batched").await;
}

async fn results(ear: &Overhearing) {
    let (store, later) = (&ear.store, NOW.plus(LEASE));
    let ended = store.claim_batches(BatchState::Ended, later, LEASE, 9).await.unwrap()[0].claim.batch;
    ear.expect("claiming batches", "batch_due").await;
    let members = store.open_members(ended, None, 100).await.unwrap();
    ear.expect("open members", "deferral_batched").await;
    let two = [members[0].id, members[1].id];
    assert_eq!(store.open_members_among(ended, &two).await.unwrap().len(), 2);
    ear.expect("open members among some", "deferral_batched|deferral_pkey|sqlite_autoindex_deferral_1").await;
    let mut chunk: Vec<_> = members.iter().map(|member| succeeded(member.id)).collect();
    chunk.push(again(members[9].id, later));
    chunk.swap_remove(9);
    assert_eq!(store.settle(ended, &chunk, later).await.unwrap().len(), 9);
    ear.expect("settling", "deferral_pkey|sqlite_autoindex_deferral_1").await;
}

async fn feed_and_groups(ear: &Overhearing) {
    let (store, later) = (&ear.store, NOW.plus(LEASE));
    let grouped = |number| NewDeferral { group: Some(format!("g{}", number % 3)), ..call(number) };
    for number in 400..409 {
        assert_eq!(store.accept(grouped(number)).await.unwrap(), Accepted::Fresh);
    }
    // SQLite says nothing of how it finds a conflict.
    ear.expect("joining a group", "deferral_group_pkey|on conflict (name, tenant)").await;
    let close = async |expect| store.close_group("tenant", "g0", expect, None, later).await.unwrap();
    close(Some(9)).await;
    ear.expect("closing a group", "deferral_group_pkey|sqlite_autoindex_deferral_group_1").await;
    for number in 400..408 {
        let answer = Answer::canceled(id(number));
        store.cancel(id(number), &Scope::All, &answer, later).await.unwrap().expect("a deferral");
    }
    ear.expect("completing", "deferral_pkey|sqlite_autoindex_deferral_1").await;
    close(Some(3)).await;
    ear.expect("closing a group whose members are final", "deferral_open_members").await;
    close(None).await;
    assert_eq!(store.announce_groups(later).await.unwrap(), (0, false));
    ear.expect("searching for groups", "feed_grouped").await;
    store.cancel(id(408), &Scope::All, &Answer::canceled(id(408)), later).await.unwrap();
    heard();
    assert_eq!(store.announce_groups(later).await.unwrap(), (1, false));
    ear.expect("announcing groups", "deferral_group_pkey|sqlite_autoindex_deferral_group_1").await;

    let position = offpeak::store::Position;
    for scope in [Scope::Tenant("tenant".to_owned()), Scope::All] {
        store.groups("g0", &scope).await.unwrap();
        ear.expect("a group", "deferral_members").await;
        store.feed(&scope, position(19_990), 100).await.unwrap();
        ear.expect("lines of the feed", "feed_tenant|feed_pkey|feed USING INTEGER PRIMARY KEY").await;
        let last = store.feed_reach(&scope, position(0), 30_000).await.unwrap().expect("lines");
        ear.expect("the reach of lines", "feed_tenant|feed_pkey|feed USING INTEGER PRIMARY KEY").await;
        // What is older is not real enough to be shown.
        assert_eq!(store.feed_page(&scope, position(20_000), last).await.unwrap().lines.len(), 18);
        ear.expect("a page of the feed", "feed_tenant|feed_pkey|feed USING INTEGER PRIMARY KEY").await;
    }
}

async fn callers_and_retention(ear: &Overhearing) {
    let (store, scope) = (&ear.store, Scope::Tenant("tenant".to_owned()));
    let grouped = Filter { group: Some("none".to_owned()), ..Filter::default() };
    for (cursor, filter) in [
        (PageCursor::Newest, Filter::default()),
        (PageCursor::After(id(100)), Filter::default()),
        (PageCursor::Before(id(100)), Filter::default()),
        (PageCursor::Newest, grouped),
    ] {
        store.page(&scope, &filter, cursor, 20).await.unwrap();
        ear.expect("a tenant's page", "deferral_tenant|deferral_members").await;
    }
    let old = Scope::Tenant("big".to_owned());
    let edge = match ear.db.raw {
        Raw::Sqlite(_) => PageCursor::Newest,
        Raw::Postgres(_) => PageCursor::After(DeferralId::first_at(Timestamp::from_millis(1_703_000_000_000))),
    };
    let page = store.page(&old, &Filter::default(), edge, 20).await.unwrap();
    assert_eq!(page.deferrals.len(), 20);
    ear.expect("a page of long ago", "deferral_tenant").await;
    let ids: Vec<_> = page.deferrals.iter().map(|deferral| deferral.id).collect();
    assert!(store.deferral(ids[0], &old).await.unwrap().is_some());
    ear.expect("one deferral", "deferral_pkey|deferral_tenant|sqlite_autoindex_deferral_1").await;
    // Few, so that reading all batches is not as good.
    assert_eq!(store.deferrals(&ids[..4]).await.unwrap().len(), 4);
    ear.expect("deferrals that many ask for", "deferral_pkey|sqlite_autoindex_deferral_1").await;
    assert!(store.leave(id(201), &Scope::All, &Leave::ForRescue, NOW).await.unwrap());
    heard();
    assert_eq!(store.claim_rescues(NOW, LEASE, 9).await.unwrap().len(), 1);
    ear.expect("claiming what is sent live", "deferral_rescuing").await;
    store.cancel(id(200), &scope, &Answer::canceled(id(200)), NOW).await.unwrap().expect("a deferral");
    ear.expect("canceling", "deferral_pkey|deferral_tenant|sqlite_autoindex_deferral_1").await;
    let before = Timestamp::from_millis(1_700_000_011_000);
    assert_eq!(store.forget_deferrals(before, 100).await.unwrap(), 10);
    ear.expect("forgetting deferrals", "deferral_completed").await;
    if matches!(ear.db.raw, Raw::Postgres(_)) {
        // Of all others there is a deferral left: both days were made ahead, and then nothing came.
        assert_eq!(store.forget_bodies(Timestamp::from_millis(1_750_000_000_000)).await.unwrap(), 2);
        ear.expect("looking for deferrals of a day", "deferral_pkey").await;
    }
    // Ten lines are old enough, and as many deliveries with their attempts; the groups wait, and so stay.
    assert_eq!(store.forget_handed_over(before, 100).await.unwrap(), 30);
    ear.expect("forgetting what was handed over", "feed_pkey|feed USING INTEGER PRIMARY KEY").await;
    assert_eq!(store.forget_lanes(NOW.plus(Duration::from_secs(86_400))).await.unwrap(), 0);
    ear.expect("forgetting lanes", "deferral_open").await;
}

/// 300 webhooks are due at three receivers, behind a long history of those that were taken.
async fn deliveries(ear: &Overhearing) {
    let (store, later) = (&ear.store, NOW.plus(LEASE));
    for number in 1_001..=1_300 {
        let receiver = Callback::receiver(["a", "b", "c"][number as usize % 3]);
        ear.db.accept([NewDeferral { callback: Some(receiver), ..call(number) }]).await;
        let canceled = Answer::canceled(id(number));
        store.cancel(id(number), &Scope::All, &canceled, later).await.unwrap().expect("a deferral");
    }
    if matches!(ear.db.raw, Raw::Postgres(_)) {
        ear.db.raw.run("analyze").await;
    }
    heard();
    let receivers = store.waiting_receivers("", later, 500).await.unwrap();
    assert_eq!(receivers.len(), 3);
    ear.expect("who waits", "delivery_due").await;
    let wanted: Vec<_> = receivers.into_iter().map(|waiting| (waiting.receiver, 2)).collect();
    let claimed = store.claim_deliveries(&wanted, later, LEASE).await.unwrap();
    assert_eq!(claimed.len(), 6);
    ear.expect("claiming deliveries", "delivery_due").await;
    let tried = Tried { status: Some(200), failure: None, started_at: later, duration: LEASE };
    for one in &claimed {
        assert!(store.delivery_tried(one, tried, Next::Delivered, later).await.unwrap());
    }
    ear.expect("noting an attempt", "delivery_attempt_pkey|sqlite_autoindex_delivery_attempt_1").await;
    store.delivery_counts().await.unwrap();
    ear.expect("counting deliveries", "delivery_due|delivery_state").await;

    let (state, receiver) = (Some(DeliveryState::Due), Some("a".to_owned()));
    for (filter, index) in [
        (DeliveryFilter::default(), "delivery_pkey|sqlite_autoindex_delivery_1"),
        (DeliveryFilter { state, ..DeliveryFilter::default() }, "delivery_state"),
        (DeliveryFilter { receiver: receiver.clone(), ..DeliveryFilter::default() }, "delivery_receiver"),
        (
            DeliveryFilter { state, receiver, ..DeliveryFilter::default() },
            "delivery_receiver|delivery_state|delivery_due",
        ),
    ] {
        assert_eq!(store.deliveries(&filter, 20).await.unwrap().len(), 20, "{filter:?}");
        ear.expect("a page of deliveries", index).await;
    }
    store.delivery_history(claimed[0].id).await.unwrap();
    store.replay_delivery(claimed[0].id, later).await.unwrap().expect("a delivery");
    ear.expect("one delivery", "delivery_pkey|sqlite_autoindex_delivery_1").await;
    let before = Timestamp::from_millis(1_700_000_021_000);
    assert!(store.forget_handed_over(before, 100).await.unwrap() > 0);
    ear.expect("forgetting deliveries", "delivery_ended").await;
}

/// What was answered of late, behind a long history.
async fn ledger(ear: &Overhearing) {
    let today = Day::of(NOW);
    ear.store.ledger_lines(today, today.plus(1)).await.unwrap();
    ear.expect("the ledger of a day", "entry_settled").await;
    let (first, last) = (Timestamp::from_millis(1_700_000_000_000), Timestamp::from_millis(1_800_000_000_000));
    let some = ear.store.entries(first, last, None, 100).await.unwrap();
    assert_eq!(some.len(), 100);
    ear.expect("the first entries", "entry_settled").await;
    let place = (some[99].at, some[99].deferral, some[99].kind);
    assert_eq!(ear.store.entries(first, last, Some(place), 100).await.unwrap().len(), 100);
    ear.expect("the next entries", "entry_settled").await;
    ear.store.charge_lines(today, today.plus(1)).await.unwrap();
    ear.expect("the live ledger of a day", "live_charge_pkey|live_charge USING PRIMARY KEY").await;
    ear.store.charges(first, last, None, 100).await.unwrap();
    ear.expect("the first live charges", "live_charge_pkey|live_charge USING PRIMARY KEY").await;
    let change = Repriced { deferral: some[0].deferral, kind: some[0].kind, price: None };
    ear.store.reprice(&[change]).await.unwrap();
    ear.expect("pricing again", "entry_pkey|sqlite_autoindex_entry_1").await;
}

/// A store whose statements are overheard.
struct Overhearing {
    db: Fixture,
    store: Store,
}

impl Overhearing {
    /// Whatever was done since the last time has read no large table from end to end, and has used this index, or one of these.
    async fn expect(&self, what: &str, indexes: &str) {
        let mut plans = Vec::new();
        for text in heard() {
            match &self.db.raw {
                Raw::Sqlite(pool) if is_statement(&text) => {
                    let explain = AssertSqlSafe(format!("explain query plan {text}"));
                    let steps = sqlx::raw_sql(explain).fetch_all(pool).await.unwrap();
                    let steps: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
                    plans.push(format!("{text}\n{}", steps.join("\n")));
                }
                Raw::Postgres(_) if text.contains("plan:") => plans.push(text),
                _ => {}
            }
        }
        for plan in &plans {
            for table in ["payload", "outcome"] {
                let parts = parts_in(plan, table);
                assert!(parts.len() <= PARTS_MAX, "{what} opens {} parts of {table}:\n{plan}", parts.len());
            }
            let fault = plan.lines().find(|line| LARGE.iter().any(|table| reads_all(line, table)));
            assert_eq!(fault, None, "{what}:\n{plan}");
        }
        let is_used = indexes.split('|').any(|index| plans.iter().any(|plan| plan.contains(index)));
        assert!(is_used, "{what} does not use {indexes}:\n{}", plans.join("\n"));
    }
}

/// Whether a line of a plan reads the table, or an index of all its rows, from end to end.
fn reads_all(line: &str, table: &str) -> bool {
    let words: Vec<&str> = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
    // A part of the table counts as well.
    let words: Vec<&str> = words.iter().map(|word| if is_part(word, table) { table } else { word }).collect();
    let scanned = |phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
    let by_open_rows = OF_OPEN_ROWS.iter().any(|index| words.contains(index));
    (scanned(&["Seq", "Scan", "on", table]) || scanned(&["SCAN", table])) && !by_open_rows
}

/// Whether a word is the name of a day's partition.
fn is_part(word: &str, table: &str) -> bool {
    let date = word.strip_prefix(table).and_then(|rest| rest.strip_prefix('_'));
    date.is_some_and(|date| date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The partitions of a table that a plan names.
fn parts_in<'a>(plan: &'a str, table: &str) -> BTreeSet<&'a str> {
    let words = plan.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.filter(|word| is_part(word, table)).collect()
}

fn is_statement(text: &str) -> bool {
    ["select", "insert", "update", "delete", "with"].iter().any(|verb| text.trim_start().starts_with(verb))
}

/// What sqlx has told since it was last asked.
static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// All of it, which is then forgotten.
fn heard() -> Vec<String> {
    std::mem::take(&mut *HEARD.lock().unwrap_or_else(PoisonError::into_inner))
}

struct Ear;

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if matches!(event.metadata().target(), "sqlx::query" | "sqlx::postgres::notice") {
            let mut text = Text(String::new());
            event.record(&mut text);
            HEARD.lock().unwrap_or_else(PoisonError::into_inner).push(text.0);
        }
    }
}

/// The statement of an event, or its message; a short statement stands in its summary.
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if matches!(field.name(), "message" | "db.statement") || (field.name() == "summary" && self.0.is_empty()) {
            self.0 = if value.is_empty() { std::mem::take(&mut self.0) } else { value.to_owned() };
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Whether this process runs this test alone, as under nextest; if not, a process of its own has run it by now.
fn is_alone() -> bool {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    if std::env::var_os("NEXTEST").is_some() || !name.contains("::") {
        return true;
    }
    let itself = std::env::current_exe().unwrap();
    let status = Command::new(itself).args([name, "--exact"]).env("NEXTEST", "1").status().unwrap();
    assert!(status.success(), "in a process of its own");
    false
}
