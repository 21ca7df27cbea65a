//! A provider that misbehaves, and clocks that are wrong: still each call is in one batch that was made, and has its
//! result.

use std::time::Duration;

use offpeak::clock::Clock;
use offpeak::simulator::{Effect, Endpoint, Fault};

use super::stage::{Stage, foreign_batch, submitted};
use crate::it::app::{Engine, Setup, Storage, TestApp, on_both_engines};

on_both_engines! {
    an_answer_that_is_lost_is_found_in_the_list,
    an_answer_that_is_cut_in_half_is_found_in_the_list,
    a_sender_that_dies_while_it_waits_leaves_nothing_behind,
    an_error_that_says_nothing_is_no_reason_to_send_again_at_once,
    a_list_that_is_late_is_waited_for,
    batches_of_one_size_are_told_apart_by_their_results,
    a_batch_of_somebody_else_is_let_go_of,
    strays_in_the_results_do_not_make_a_batch_somebody_elses,
    an_adopted_batch_whose_results_are_gone_is_looked_for_again,
    results_that_come_in_pieces_are_settled_once,
    a_clock_that_jumps_repeats_nothing,
    a_clock_ahead_of_the_providers_overlooks_nothing,
}

/// How often two batches of one size are made until one is taken for the other: about every second time.
const MISTAKES_TRIED: usize = 20;

const MINUTE: Duration = Duration::from_secs(60);

/// Calls that share a batch, unless a test says otherwise.
const CALLS: usize = 3;

fn creating(effect: Effect) -> Fault {
    Fault::at(Endpoint::BatchCreate, effect).times(1)
}

async fn deferred(app: &TestApp, calls: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for call in 0..calls {
        ids.push(app.defer(&format!("call {call}")).await);
    }
    ids
}

/// Each has its Message, out of the one batch that was made with it; so many batches were made in all.
async fn each_is_once_in(app: &TestApp, ids: &[String], batches: usize) {
    app.finish().await;
    for id in ids {
        let deferral = app.deferral(id).await;
        assert_eq!((&deferral["status"], &deferral["served_by"]), (&"succeeded".into(), &"batch".into()), "{deferral}");
    }
    let books = app.books();
    let submitted = submitted(&books);
    assert_eq!(submitted.len(), ids.len());
    assert!(submitted.values().all(|times| *times == 1), "{submitted:?}");
    assert_eq!(books.batches.len(), batches);
    assert_eq!(books.live_calls().count(), 0);
    let entries = app.storage().count("select count(*) from entry where kind = 'answer'").await;
    assert_eq!(entries, ids.len() as i64);
}

/// How often a batch was taken for ours and was not.
async fn mistakes(app: &TestApp) -> i64 {
    app.storage().count("select count(*) from mismatch").await
}

async fn an_answer_that_is_lost_is_found_in_the_list(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.inject(creating(Effect::CutAfter));
    let ids = deferred(&app, CALLS).await;
    each_is_once_in(&app, &ids, 1).await;
}

async fn an_answer_that_is_cut_in_half_is_found_in_the_list(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.inject(creating(Effect::CutMidway { pieces: 0 }));
    let ids = deferred(&app, CALLS).await;
    each_is_once_in(&app, &ids, 1).await;
}

async fn a_sender_that_dies_while_it_waits_leaves_nothing_behind(engine: Engine) {
    for worked in [false, true] {
        let app = TestApp::start(engine).await;
        app.inject(creating(Effect::Hang { worked }));
        let ids = deferred(&app, CALLS).await;
        tokio::select! {
            () = app.settle() => panic!("it hangs"),
            _ = app.simulator().until(|books| books.to(Endpoint::BatchCreate).count() == 1) => {}
        }
        each_is_once_in(&app, &ids, 1).await;
    }
}

async fn an_error_that_says_nothing_is_no_reason_to_send_again_at_once(engine: Engine) {
    let app = Setup::on(engine).set("batch.reconcile_wait", "10m").start().await;
    app.inject(creating(Effect::status(502)));
    let ids = deferred(&app, CALLS).await;
    app.settle().await;
    app.clock.advance(9 * MINUTE);
    app.settle().await;
    assert_eq!(app.books().to(Endpoint::BatchCreate).count(), 1);
    each_is_once_in(&app, &ids, 1).await;
}

async fn a_list_that_is_late_is_waited_for(engine: Engine) {
    let app = Setup::on(engine).set("batch.reconcile_wait", "2m").start().await;
    app.inject(creating(Effect::CutAfter));
    app.inject(creating(Effect::HideBatch { during: Duration::from_secs(110) }));
    let ids = deferred(&app, CALLS).await;
    each_is_once_in(&app, &ids, 1).await;
}

async fn batches_of_one_size_are_told_apart_by_their_results(engine: Engine) {
    let mut mistaken = 0;
    // Which of the two is asked after first is left to chance, and with it whether the other is taken for it.
    for hidden in [0, 1].into_iter().cycle().take(MISTAKES_TRIED) {
        let app = Setup::on(engine).set("batch.max_requests", "2").set("batch.linger", "1h").start().await;
        app.inject(creating(Effect::HideBatch { during: MINUTE }).after(hidden));
        app.inject(Fault::at(Endpoint::BatchCreate, Effect::CutAfter).times(2));
        let ids = deferred(&app, 4).await;
        each_is_once_in(&app, &ids, 2).await;
        mistaken += mistakes(&app).await;
        if mistaken > 0 {
            break;
        }
    }
    assert!(mistaken > 0);
}

async fn a_batch_of_somebody_else_is_let_go_of(engine: Engine) {
    for (lost, age) in [(Effect::CutBefore, 0), (Effect::CutAfter, 0), (Effect::CutAfter, 30)] {
        let app = TestApp::start(engine).await;
        app.post("/v1/messages/batches")
            .header("content-type", "application/json")
            .body(foreign_batch(CALLS))
            .send()
            .await
            .expect(200);
        app.clock.advance(age * MINUTE);
        let may_be_mistaken = matches!(lost, Effect::CutBefore);
        app.inject(creating(lost));
        let ids = deferred(&app, CALLS).await;
        each_is_once_in(&app, &ids, 2).await;
        assert!(!may_be_mistaken || mistakes(&app).await == 1);
    }
}

async fn strays_in_the_results_do_not_make_a_batch_somebody_elses(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.inject(creating(Effect::CutAfter));
    app.inject(Fault::at(Endpoint::BatchResults, Effect::ForeignResults { lines: 2 }));
    let ids = deferred(&app, CALLS).await;
    each_is_once_in(&app, &ids, 1).await;
}

async fn an_adopted_batch_whose_results_are_gone_is_looked_for_again(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.post("/v1/messages/batches")
        .header("content-type", "application/json")
        .body(foreign_batch(CALLS))
        .send()
        .await
        .expect(200);
    app.inject(creating(Effect::CutAfter));
    // Ours shows late, and what is taken for it has no results any more.
    app.inject(creating(Effect::HideBatch { during: MINUTE }));
    app.inject(Fault::at(Endpoint::BatchResults, Effect::ArchiveBatch).times(1));
    let ids = deferred(&app, CALLS).await;
    each_is_once_in(&app, &ids, 2).await;
    assert_eq!(mistakes(&app).await, 1);
}

async fn results_that_come_in_pieces_are_settled_once(engine: Engine) {
    let app = TestApp::start(engine).await;
    for effect in [
        Effect::TruncateResults { lines: 1, clean: false },
        Effect::TruncateResults { lines: 2, clean: true },
        Effect::OmitResults { lines: 1 },
        Effect::CutBefore,
        Effect::CutMidway { pieces: 0 },
        Effect::status(529),
    ] {
        app.inject(Fault::at(Endpoint::BatchResults, effect).times(1));
    }
    app.inject(Fault::at(Endpoint::BatchResults, Effect::RepeatResults { lines: 3 }));
    app.inject(Fault::at(Endpoint::BatchResults, Effect::ForeignResults { lines: 3 }));
    let ids = deferred(&app, CALLS).await;
    each_is_once_in(&app, &ids, 1).await;
}

async fn a_clock_that_jumps_repeats_nothing(engine: Engine) {
    let app = Setup::on(engine).batch_time(20 * MINUTE).start().await;
    let mut ids = Vec::new();
    for (round, jump) in [60i32, -45, 5, -90, 200, -100, 1, -1, 30].into_iter().enumerate() {
        if round % 2 == 0 {
            app.inject(creating(Effect::CutAfter));
        }
        ids.push(app.defer(&format!("round {round}")).await);
        app.settle().await;
        let by = MINUTE * jump.unsigned_abs();
        if jump > 0 {
            app.clock.advance(by)
        } else {
            app.clock.set_back(by)
        }
        app.settle().await;
    }
    let rounds = ids.len();
    app.finish().await;
    let submitted = submitted(&app.books());
    assert_eq!((submitted.len(), submitted.values().max()), (rounds, Some(&1)));
}

async fn a_clock_ahead_of_the_providers_overlooks_nothing(engine: Engine) {
    let behind = Clock::manual(Clock::system().now().minus(30 * MINUTE));
    let stage = Stage::at(Storage::new(engine).await, behind, &[]).await;
    stage.simulator.inject(creating(Effect::CutAfter));
    let _replica = stage.start().await;
    let tickets = stage.tickets(0..CALLS, "batch").await;
    assert_eq!(stage.reckon(&tickets).await, Vec::<String>::new());
    assert_eq!(stage.submitted().len(), CALLS);
}
