//! Partitions: the bodies and answers of a day go together, once nothing needs them, and room is made for each day in time.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use offpeak::clock::Timestamp;
use offpeak::domain::deferral::{Answer, State};
use offpeak::domain::id::DeferralId;
use offpeak::secret::KeySource;
use offpeak::store::{Accepted, Filter, Location, NewDeferral, PageCursor, Position, Scope, Settings, Store};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::fixture::{AMPLE, Fixture, NOW, Raw, batch_id, call, id, key, lane, lane_id, vault};
use crate::it::postgres;

on_both_engines! {
    bodies_go_with_the_last_deferral_of_their_day,
    what_is_kept_is_read_across_days,
}

/// The test begins on this day.
const FIRST_DAY: &str = "20270115";

fn days(days: u64) -> Timestamp {
    NOW.plus(Duration::from_hours(24 * days))
}

/// A call whose id tells on which day it was accepted, as all ids do but those of other tests.
fn call_on(day: u64, number: u128) -> NewDeferral {
    let accepted_at = days(day);
    let first = DeferralId::first_at(accepted_at).0.as_u128();
    let deadline = accepted_at.plus(Duration::from_hours(24));
    NewDeferral { id: DeferralId(Uuid::from_u128(first + number)), accepted_at, deadline, ..call(number) }
}

async fn cancel(store: &Store, call: &NewDeferral, at: Timestamp) {
    let canceled = Answer::canceled(call.id);
    let deferral = store.cancel(call.id, &Scope::All, &canceled, at).await.unwrap().expect("a deferral");
    assert_eq!(deferral.state, State::Canceled);
}

/// The partitions of a table, by what follows its name.
async fn parts(db: &Fixture, table: &str) -> Vec<String> {
    let query = format!(
        "select substr(relname, length('{table}') + 2)::text from pg_inherits join pg_class on pg_class.oid = inhrelid
         where inhparent = '{table}'::regclass order by 1"
    );
    db.raw.texts(&query).await
}

/// Bodies and answers that take up space; on PostgreSQL, their partitions.
async fn kept(db: &Fixture) -> (Vec<i64>, Vec<String>) {
    let rows = vec![db.raw.count("payload").await, db.raw.count("outcome").await];
    match db.raw {
        Raw::Sqlite(_) => (rows, Vec::new()),
        Raw::Postgres(_) => {
            let of_payload = parts(db, "payload").await;
            assert_eq!(of_payload, parts(db, "outcome").await, "both have the same days");
            (rows, of_payload)
        }
    }
}

async fn bodies_go_with_the_last_deferral_of_their_day(db: Fixture) {
    let is_partitioned = matches!(db.raw, Raw::Postgres(_));
    let calls: Vec<NewDeferral> = (0..4).flat_map(|day| [call_on(day, 1), call_on(day, 2)]).collect();
    db.accept(calls.clone()).await;
    // All but the second of the second day.
    for call in calls.iter().filter(|call| call.id != calls[3].id) {
        cancel(&db.store, call, call.accepted_at).await;
    }
    let named = ["20270115", "20270116", "20270117", "20270118"];
    let expect = async |bodies: i64, answers: i64, names: &[&str]| {
        let names = if is_partitioned { names } else { &[] };
        assert_eq!(kept(&db).await, (vec![bodies, answers], names.iter().map(|name| (*name).to_owned()).collect()));
    };
    let forget = async |before| {
        let deferrals = db.store.forget_deferrals(before, 100).await.unwrap();
        (deferrals, db.store.forget_bodies(before).await.unwrap())
    };
    assert_eq!(forget(days(0)).await, (0, 0));
    expect(8, 7, &named).await;
    // It is later on the first day: its deferrals are gone, but the day may not be over.
    assert_eq!(forget(NOW.plus(Duration::from_hours(1))).await, (2, 0));
    if is_partitioned {
        expect(8, 7, &named).await;
    } else {
        expect(6, 5, &[]).await;
    }
    assert_eq!(db.store.deferral(calls[0].id, &Scope::All).await.unwrap().map(|gone| gone.id), None);

    let day = u64::from(is_partitioned);
    assert_eq!(forget(days(1)).await, (0, day), "the first day is over");
    expect(6, 5, &named[1..]).await;
    // The straggler keeps what belongs to its day; the days behind it go all the same.
    assert_eq!(forget(days(3)).await, (3, day));
    if is_partitioned {
        expect(4, 3, &["20270116", "20270118"]).await;
    } else {
        expect(3, 2, &[]).await;
    }
    let batch = db.store.build_batch(batch_id(1), lane_id(&lane()), AMPLE, days(3), Duration::ZERO).await.unwrap();
    let items = db.store.batch_items(batch.expect("a batch").claim.batch, None).await.unwrap();
    assert_eq!(
        items.into_iter().map(|item| (item.id, item.text)).collect::<Vec<_>>(),
        [(calls[3].id, calls[3].item.text.clone())]
    );
    for kept in &calls[6..] {
        assert!(db.store.deferral(kept.id, &Scope::All).await.unwrap().unwrap().answer.is_some());
    }

    cancel(&db.store, &calls[3], days(3)).await;
    assert_eq!(forget(days(3)).await, (0, 0));
    assert_eq!(forget(days(9)).await, (3, 2 * day));
    expect(0, 0, &[]).await;
    // A day that is gone is made anew for whoever comes for it.
    db.accept([call_on(0, 7)]).await;
    expect(1, 0, &[FIRST_DAY]).await;
}

async fn what_is_kept_is_read_across_days(db: Fixture) {
    let calls: Vec<NewDeferral> = (0..5).map(|day| call_on(day, 1)).collect();
    db.accept(calls.clone()).await;
    let batch = db.store.build_batch(batch_id(1), lane_id(&lane()), AMPLE, days(5), Duration::ZERO).await.unwrap();
    let items = db.store.batch_items(batch.expect("a batch").claim.batch, None).await.unwrap();
    let came: Vec<_> = calls.iter().map(|call| (call.id, call.item.text.clone())).collect();
    assert_eq!(items.into_iter().map(|item| (item.id, item.text)).collect::<Vec<_>>(), came);
    // From the last to the first.
    for call in calls.iter().rev() {
        cancel(&db.store, call, days(5)).await;
    }
    let answers = |all: Vec<offpeak::domain::deferral::Deferral>| -> Vec<_> {
        all.into_iter().map(|each| (each.id, each.answer.expect("an answer").body)).collect()
    };
    let expected: Vec<_> = calls.iter().map(|call| (call.id, Answer::canceled(call.id).body)).collect();
    let newest_first: Vec<_> = expected.iter().rev().cloned().collect();
    for (cursor, limit, has_more, expected) in [
        (PageCursor::Newest, 5, false, &newest_first[..]),
        (PageCursor::Newest, 2, true, &newest_first[..2]),
        (PageCursor::After(calls[3].id), 2, true, &newest_first[2..4]),
        (PageCursor::Before(calls[2].id), 9, false, &newest_first[..2]),
        (PageCursor::After(calls[0].id), 9, false, &[]),
    ] {
        for scope in [Scope::All, Scope::Tenant("tenant".to_owned())] {
            let page = db.store.page(&scope, &Filter::default(), cursor, limit).await.unwrap();
            assert_eq!((page.has_more, answers(page.deferrals)), (has_more, expected.to_vec()), "{cursor:?}");
        }
    }
    let ids: Vec<_> = calls.iter().map(|call| call.id).collect();
    let mut gathered = answers(db.store.deferrals(&ids).await.unwrap().into_values().collect());
    gathered.sort();
    assert_eq!(gathered, expected);
    let end = db.store.feed_end().await.unwrap();
    let page = db.store.feed_page(&Scope::All, Position::START, end).await.unwrap();
    assert_eq!(answers(page.lines.into_iter().map(|(_, deferral)| deferral).collect()), newest_first);
    let (_, reach, unrecorded) = db.store.unrecorded().await.unwrap();
    assert_eq!((reach, unrecorded.len()), (Some(end), 5));
    for (found, (call, (_, answer))) in unrecorded.iter().zip(calls.iter().zip(&expected).rev()) {
        assert_eq!((&found.text, &found.answer.body), (&call.item.text, answer));
    }
}

#[tokio::test]
async fn a_full_page_of_the_feed_is_followed_by_the_next() {
    let db = Fixture::postgres().await;
    let calls: Vec<NewDeferral> = (0..205).map(|number| call_on(number as u64 % 3, number)).collect();
    db.accept(calls.clone()).await;
    for call in &calls {
        cancel(&db.store, call, days(3)).await;
    }
    // What is gone takes up no place on a page.
    db.raw
        .run("delete from deferral where id in (select deferral_id from feed where position in (1, 50, 100, 102))")
        .await;
    let (end, mut at, mut seen) = (db.store.feed_end().await.unwrap(), Position::START, Vec::new());
    let mut pages = Vec::new();
    while at < end {
        let page = db.store.feed_page(&Scope::All, at, end).await.unwrap();
        pages.push(page.lines.len());
        seen.extend(page.lines.iter().map(|(position, _)| position.0));
        at = page.end;
    }
    let expected: Vec<i64> = (1..=205).filter(|position| ![1, 50, 100, 102].contains(position)).collect();
    assert_eq!((pages, seen), (vec![100, 100, 1], expected));
}

#[tokio::test]
async fn room_is_made_ahead_for_today_and_tomorrow() {
    let db = Fixture::postgres().await;
    for _ in 0..2 {
        db.store.make_room_ahead(NOW).await.unwrap();
        assert_eq!(kept(&db).await.1, ["20270115", "20270116"]);
    }
    db.store.make_room_ahead(days(1)).await.unwrap();
    assert_eq!(kept(&db).await.1, ["20270115", "20270116", "20270117"]);
    // Empty as they are, they stay until they are old enough.
    assert_eq!(db.store.forget_bodies(days(1)).await.unwrap(), 1);
    assert_eq!(kept(&db).await.1, ["20270116", "20270117"]);
}

#[tokio::test]
async fn replicas_that_make_the_same_room_at_once_all_find_it() {
    let db = Fixture::postgres().await;
    let replicas = join_all((0..6).map(|_| db.replica())).await;
    for day in 0..4 {
        let accepts = replicas.iter().zip(1..).map(|(replica, number)| replica.accept(call_on(day, number)));
        for outcome in join_all(accepts).await {
            assert_eq!(outcome.unwrap(), Accepted::Fresh);
        }
        for outcome in join_all(replicas.iter().map(|replica| replica.make_room_ahead(days(day + 1)))).await {
            outcome.unwrap();
        }
    }
    let names = ["20270115", "20270116", "20270117", "20270118", "20270119", "20270120"].map(str::to_owned);
    assert_eq!(kept(&db).await, (vec![24, 0], names.to_vec()));
}

#[tokio::test]
async fn accepting_goes_on_where_its_room_was_dropped_by_another_replica() {
    let db = Fixture::postgres().await;
    let first = call_on(0, 1);
    db.accept([first.clone()]).await;
    cancel(&db.store, &first, NOW).await;
    let replica = db.replica().await;
    assert_eq!(replica.forget_deferrals(days(2), 9).await.unwrap(), 1);
    assert_eq!(replica.forget_bodies(days(2)).await.unwrap(), 1);
    assert_eq!(kept(&db).await.1, [""; 0]);
    // This one still takes it for there, alone and together with others.
    let outcomes = join_all((2..50).map(|number| db.store.accept(call_on(0, number)))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Accepted::Fresh))), "{outcomes:?}");
    assert_eq!(kept(&db).await, (vec![48, 0], vec![FIRST_DAY.to_owned()]));
}

#[tokio::test]
async fn a_long_reader_holds_up_no_call_and_only_delays_what_is_dropped() {
    let db = Fixture::postgres().await;
    let first = call_on(0, 1);
    db.accept([first.clone()]).await;
    cancel(&db.store, &first, NOW).await;
    assert_eq!(db.store.forget_deferrals(days(2), 9).await.unwrap(), 1);
    let reader = db.raw.hold("select count(*) from payload, outcome").await;
    // Also on a day for which there is no room yet.
    let accepts = join_all((2..20).map(|number| db.store.accept(call_on(number as u64 % 2, number))));
    let (dropped, outcomes) = tokio::join!(db.store.forget_bodies(days(2)), accepts);
    assert_eq!(dropped.unwrap(), 0);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Accepted::Fresh))), "{outcomes:?}");
    reader.rollback().await.unwrap();
    assert_eq!(kept(&db).await, (vec![19, 1], vec![FIRST_DAY.to_owned(), "20270116".to_owned()]));
}

#[tokio::test]
async fn what_nothing_needs_goes_once_nobody_reads_it_any_more() {
    let db = Fixture::postgres().await;
    db.store.make_room_ahead(NOW).await.unwrap();
    let reader = db.raw.hold("select count(*) from payload").await;
    assert_eq!(db.store.forget_bodies(days(2)).await.unwrap(), 0);
    reader.rollback().await.unwrap();
    assert_eq!(db.store.forget_bodies(days(2)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_call_that_is_just_being_accepted_keeps_its_day() {
    let db = Fixture::postgres().await;
    db.store.make_room_ahead(NOW).await.unwrap();
    // A transaction that accepts, seen from within: its deferral and its body are written, and its commit is to come.
    const ACCEPTING: &str = "
        with new as (
            insert into deferral (id, tenant, lane_id, state, model, body_hash, body_bytes, accepted_at, deadline_at,
                queued_at)
            values ('01a3185c-5000-7000-8000-000000000001', 'tenant', gen_random_uuid(), 'queued', 'm', '', 9,
                '2027-01-15', '2027-01-16', '2027-01-15')
            returning id)
        insert into payload (deferral_id, codec, body) select id, 1, '' from new";
    let accepting = db.raw.hold(ACCEPTING).await;
    assert_eq!(parts(&db, "payload").await[0], FIRST_DAY);
    let mut forgetting = std::pin::pin!(db.store.forget_bodies(days(1)));
    // Either it commits in time to be seen, or it was in the way for too long.
    tokio::select! {
        dropped = &mut forgetting => {
            accepting.commit().await.unwrap();
            assert_eq!(dropped.unwrap(), 0);
        }
        () = db.raw.until_blocked() => {
            accepting.commit().await.unwrap();
            assert_eq!(forgetting.await.unwrap(), 0);
        }
    }
    assert_eq!(db.store.forget_bodies(days(1)).await.unwrap(), 0);
    assert_eq!(db.raw.count("payload join deferral on id = deferral_id").await, 1);
}

/// A database as the build before the partitions left it, with these rows.
async fn before_partitions(rows: &str) -> (Store, PgPool, postgres::TestDatabase) {
    let database = postgres::database().await;
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let all = Migrator::new(folder).await.unwrap();
    let earlier = all.migrations.iter().filter(|migration| migration.version < 6).cloned().collect();
    Migrator::with_migrations(earlier).run(&pool).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(rows.to_owned())).execute(&pool).await.unwrap();
    let settings = Settings {
        url: Location::Postgres(database.url()),
        master_key: KeySource::Given(key()),
        encrypt_bodies: false,
    };
    let store = Store::open(&settings, vault()).await.unwrap();
    store.migrate().await.unwrap();
    (store, pool, database)
}

#[tokio::test]
async fn what_was_there_before_becomes_one_part_and_goes_like_the_others() {
    // On one day, far off so that the database's own clock is behind it, and one of no day at all.
    const ROWS: &str = "
        insert into deferral (id, tenant, state, model, body_hash, body_bytes, accepted_at, deadline_at, queued_at,
            completed_at, served_by)
        select id::uuid, 'tenant', 'succeeded', 'm', '', 9, '2096-10-02', '2096-10-03', '2096-10-02', '2026-10-02', 'batch'
        from unnest(array['03a35294-4000-7000-8000-000000000001', '03a352cb-2e80-7000-8000-000000000002',
            '00000000-0000-0000-0000-000000000003']) as id;
        insert into payload (deferral_id, codec, body) select id, 1, '' from deferral;
        insert into outcome (deferral_id, status, codec, body, received_at) select id, 200, 1, '', completed_at
        from deferral";
    let then = |hours| Timestamp::from_millis(4_000_000_000_000).plus(Duration::from_hours(hours));
    let (store, pool, _database) = before_partitions(ROWS).await;
    let count = async |from: &str| -> i64 {
        let query = AssertSqlSafe(format!("select count(*) from {from}"));
        sqlx::query_scalar(query).fetch_one(&pool).await.unwrap()
    };
    assert_eq!((count("payload").await, count("outcome").await), (3, 3));
    assert_eq!(count("payload_until_20961003").await, 3, "it is all in the old table, which was not copied");
    // On the day that it holds as well as after it.
    let [early, late] = [3, 30].map(|hours| DeferralId::first_at(then(hours)));
    for (number, id) in [(1, early), (2, late)] {
        assert_eq!(store.accept(NewDeferral { id, ..call(number) }).await.unwrap(), Accepted::Fresh);
    }
    assert_eq!((count("payload_until_20961003").await, count("payload_20961003").await), (4, 1));

    assert_eq!(store.forget_deferrals(NOW, 9).await.unwrap(), 3);
    assert_eq!(store.forget_bodies(then(99)).await.unwrap(), 0, "of each there is one deferral");
    for id in [early, late] {
        store.cancel(id, &Scope::All, &Answer::canceled(id), NOW).await.unwrap().expect("a deferral");
    }
    assert_eq!(store.forget_deferrals(days(1), 9).await.unwrap(), 2);
    assert_eq!(store.forget_bodies(then(9)).await.unwrap(), 0, "not before its last day is over");
    assert_eq!(store.forget_bodies(then(18)).await.unwrap(), 1);
    assert_eq!((count("payload").await, count("outcome").await), (1, 1));
    assert_eq!(store.forget_bodies(then(99)).await.unwrap(), 1);
    assert_eq!((count("payload").await, count("outcome").await), (0, 0));
}

#[tokio::test]
async fn where_nothing_was_before_no_part_is_left_of_it() {
    let (_store, pool, _database) = before_partitions("").await;
    let parts: i64 = sqlx::query_scalar("select count(*) from pg_class where relname like '%until%'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(parts, 0);
}

#[tokio::test]
async fn a_body_without_its_deferral_is_not_there() {
    let db = Fixture::postgres().await;
    db.accept([call(1), call(2)]).await;
    for number in [1, 2] {
        cancel(&db.store, &call(number), NOW).await;
    }
    db.raw
        .run("update deferral set completed_at = '2027-01-01' where id = '00000000-0000-0000-0000-000000000001'")
        .await;
    assert_eq!(db.store.forget_deferrals(NOW.minus(Duration::from_hours(1)), 9).await.unwrap(), 1);
    assert_eq!((db.raw.count("payload").await, db.raw.count("outcome").await), (2, 2));
    assert_eq!(db.store.deferral(id(1), &Scope::All).await.unwrap().map(|gone| gone.id), None);
    assert_eq!(db.store.deferrals(&[id(1), id(2)]).await.unwrap().into_keys().collect::<Vec<_>>(), [id(2)]);
    let page = db.store.page(&Scope::All, &Filter::default(), PageCursor::Newest, 9).await.unwrap();
    assert_eq!(page.deferrals.iter().map(|deferral| deferral.id).collect::<Vec<_>>(), [id(2)]);
    let feed = db.store.feed_page(&Scope::All, Position::START, Position(2)).await.unwrap();
    assert_eq!(feed.lines.iter().map(|(_, deferral)| deferral.id).collect::<Vec<_>>(), [id(2)]);
    let (_, reach, unrecorded) = db.store.unrecorded().await.unwrap();
    assert_eq!((reach, unrecorded.len()), (Some(Position(2)), 1));
}
