//! Retention: what is kept, how long, and in which form.

use std::time::Duration;

use super::app::{Engine, KEY, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    no_body_outlasts_the_last_deferral_of_its_day,
    what_was_final_for_long_enough_is_gone_but_for_its_entry,
    a_credential_is_kept_as_long_as_it_is_needed,
    a_restart_changes_nothing,
}

/// What every packed text begins with, unless it is sealed.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

const HOUR: Duration = Duration::from_hours(1);

async fn what_was_final_for_long_enough_is_gone_but_for_its_entry(engine: Engine) {
    let app = Setup::on(engine).set("defer.retention", "2d").start().await;
    let id = app.defer("Hi").await;
    let canceled = app.defer("Ho").await;
    app.post(&format!("/deferred/{canceled}/cancel")).send().await.expect(200);
    app.finish().await;
    app.clock.advance(47 * HOUR);
    app.settle().await;
    assert_eq!((app.message(&id).await.status, app.message(&canceled).await.status), (200, 410));

    app.clock.advance(2 * HOUR);
    // Queued for long is not final for long.
    let open = app.defer("Ha").await;
    app.settle().await;
    for gone in [&id, &canceled] {
        app.message(gone).await.refused(404, "not_found_error", "not-found");
    }
    app.get(&format!("/deferred/{open}")).send().await.expect(200);
    app.finish().await;
    let count = async |statement| app.storage().count(statement).await;
    assert_eq!(count("select count(*) from entry").await, 2);
    for (left, statement) in [
        (1, "select count(*) from deferral"),
        (1, "select count(*) from payload join deferral on id = deferral_id"),
        (1, "select count(*) from outcome join deferral on id = deferral_id"),
        (0, "select count(*) from attempt"),
        (1, "select count(*) from batch"),
    ] {
        assert_eq!(count(statement).await, left, "{statement}");
    }
}

async fn no_body_outlasts_the_last_deferral_of_its_day(engine: Engine) {
    let app = Setup::on(engine).set("defer.retention", "2d").start().await;
    for day in 0..4 {
        app.defer(&format!("day {day}")).await;
        app.finish().await;
        app.clock.advance(24 * HOUR);
    }
    app.settle().await;
    let count = async |statement| app.storage().count(statement).await;
    let deferrals = count("select count(*) from deferral").await;
    assert!(deferrals == 1 || deferrals == 2, "{deferrals}");
    for statement in ["select count(*) from payload", "select count(*) from outcome"] {
        let behind = count(statement).await - deferrals;
        // On PostgreSQL one of the last day that goes may still be there: the day has begun before, and ends after it.
        assert!(behind == 0 || (behind == 1 && engine == Engine::Postgres), "{statement}: {behind} more");
    }
    app.clock.advance(96 * HOUR);
    app.settle().await;
    for statement in ["select count(*) from deferral", "select count(*) from payload", "select count(*) from outcome"] {
        assert_eq!(count(statement).await, 0, "{statement}");
    }
    if engine == Engine::Postgres {
        let parts = "select count(*) from pg_inherits
            where inhparent in ('payload'::regclass, 'outcome'::regclass)";
        assert_eq!(count(parts).await, 4, "today and tomorrow of both");
    }
    let id = app.defer("Hi").await;
    app.finish().await;
    app.message(&id).await.expect(200);
}

async fn a_credential_is_kept_as_long_as_it_is_needed(engine: Engine) {
    let app = Setup::on(engine).set("batch.linger", "1d").start().await;
    app.tagged(body("Hi")).header("x-defer", "10d").send().await.id();
    let lanes = async || app.storage().count("select count(*) from lane").await;
    app.clock.advance(23 * HOUR);
    app.settle().await;
    assert_eq!(lanes().await, 1);
    app.clock.advance(HOUR);
    app.finish().await;
    app.clock.advance(2 * HOUR);
    app.settle().await;
    assert_eq!(lanes().await, 0);
}

async fn a_restart_changes_nothing(engine: Engine) {
    let mut app = TestApp::start(engine).await;
    let queued = app.defer("1").await;
    app.restart().await;
    assert_eq!(app.deferral(&queued).await["status"], "queued");
    app.settle().await;
    app.restart().await;
    assert_eq!(app.deferral(&queued).await["status"], "batched");
    app.finish().await;
    let message = app.message(&queued).await.expect(200).body;
    app.restart().await;
    assert_eq!(app.message(&queued).await.expect(200).body, message);
}

#[tokio::test]
async fn no_file_of_the_store_shows_a_key_and_a_sealed_one_no_body_either() {
    for (sealed, is_readable) in [("true", false), ("false", true)] {
        let app = Setup::on(Engine::Sqlite).set("store.encrypt_bodies", sealed).start().await;
        app.defer("Hi").await;
        app.finish().await;
        let mut files = Vec::new();
        for file in std::fs::read_dir(app.storage().folder()).unwrap() {
            files.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        let holds = |bytes: &[u8]| files.windows(bytes.len()).any(|window| window == bytes);
        // The model is in a column of its own, so these are the files.
        assert!(holds(b"claude-haiku-4-5") && !holds(KEY.as_bytes()));
        assert_eq!(holds(&ZSTD_MAGIC), is_readable);
    }
}
