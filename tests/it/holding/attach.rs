//! Attaching: whoever sends the same call again gets what is there, and nothing is queued twice.

use futures_util::future::join_all;
use serde_json::Value;

use super::*;

on_both_engines! {
    a_retry_attaches_to_a_hold_a_ticket_and_a_result,
    a_retry_takes_the_place_of_a_caller_who_has_gone,
    two_calls_that_are_the_same_and_a_retry_of_each,
    retries_part_between_twins_also_where_nobody_noted_that_their_callers_are_gone,
    a_key_attaches_and_its_other_body_is_refused,
    a_retry_finds_its_place_in_a_queue_that_is_full,
    whoever_leaves_late_does_not_give_away_a_place_that_was_taken,
}

const SECOND: Duration = Duration::from_secs(1);

/// Results come only when the clock goes on for long.
fn slow(engine: Engine) -> Setup {
    setup(engine).batch_time(Duration::from_mins(30))
}

fn retry(app: &TestApp, prompt: &str) -> Call {
    waiting(app, prompt, "deadline").header("x-stainless-retry-count", "1")
}

fn id(answer: &Answer) -> String {
    answer.header("x-defer-id").unwrap().to_owned()
}

/// The ids of all deferrals, oldest first.
async fn ids(app: &TestApp) -> Vec<String> {
    let page = app.get("/deferred").send().await.expect(200).json();
    let id = |one: &Value| one["id"].as_str().unwrap().to_owned();
    page["data"].as_array().unwrap().iter().rev().map(id).collect()
}

/// A caller whose answer has begun, and the id of what it waits for.
async fn held(app: &TestApp, prompt: &str, header: &str) -> (Wire, String) {
    // Ids of one millisecond have no order.
    app.clock.advance(SECOND);
    let mut caller = caller(app, prompt, &format!("x-defer-wait: deadline\r\n{header}")).await;
    let id = caller.head().await.get("x-defer-id").unwrap().to_owned();
    (caller, id)
}

const RETRY: &str = "x-stainless-retry-count: 1\r\nx-none: 1";
const FIRST: &str = "x-stainless-retry-count: 0";

async fn a_retry_attaches_to_a_hold_a_ticket_and_a_result(engine: Engine) {
    let app = slow(engine).start().await;
    let ticket = app.defer("ticket").await;
    let (_caller, hold) = held(&app, "hold", FIRST).await;
    let (of_ticket, of_hold, ()) = tokio::join!(retry(&app, "ticket").send(), retry(&app, "hold").send(), async {
        app.until_held(3).await;
        app.finish().await;
    });
    assert_eq!((id(&of_ticket), id(&of_hold)), (ticket.clone(), hold.clone()));
    for (answer, deferral) in [(of_ticket, ticket), (of_hold, hold.clone())] {
        assert_eq!(answer.expect(200).json(), app.message(&deferral).await.json());
    }
    let at_once = retry(&app, "hold").send().await.expect(200);
    assert_eq!(id(&at_once), hold);
    assert!(at_once.header("content-length").is_some());
    assert_eq!(ids(&app).await.len(), 2);
}

async fn a_retry_takes_the_place_of_a_caller_who_has_gone(engine: Engine) {
    let app = slow(engine).start().await;
    let (leaving, first) = held(&app, "Hi", FIRST).await;
    let (mut staying, second) = held(&app, "Hi", FIRST).await;
    drop(leaving);
    app.until_gone(1).await;
    let (mut back, attached) = held(&app, "Hi", RETRY).await;
    assert_eq!(attached, first);
    app.finish().await;
    for (caller, id) in [(&mut back, first), (&mut staying, second)] {
        let text = String::from_utf8(caller.chunks().await.0).unwrap();
        assert_eq!(text.trim_start(), app.message(&id).await.text());
    }
    assert_eq!(ids(&app).await.len(), 2);
    app.until_gone(0).await;
}

async fn two_calls_that_are_the_same_and_a_retry_of_each(engine: Engine) {
    let app = slow(engine).start().await;
    let (one, other) = (held(&app, "Hi", FIRST).await, held(&app, "Hi", FIRST).await);
    drop((one.0, other.0));
    app.until_gone(2).await;
    let retries = join_all([retry(&app, "Hi"), retry(&app, "Hi")].map(Call::send));
    let (answers, ()) = tokio::join!(retries, async {
        app.until_held(2).await;
        app.finish().await;
    });
    let mut attached: Vec<_> = answers.iter().map(id).collect();
    attached.sort();
    assert_eq!(attached, [one.1, other.1]);
    assert_eq!(ids(&app).await.len(), 2);
}

async fn retries_part_between_twins_also_where_nobody_noted_that_their_callers_are_gone(engine: Engine) {
    let app = slow(engine).start().await;
    let tickets = [app.defer("Hi").await, app.defer("Hi").await, app.defer("Hi").await];
    let mut attached = Vec::new();
    for _ in 0..2 {
        let mut round = Vec::new();
        for _ in &tickets {
            app.clock.advance(SECOND);
            let call = app.tagged(body("Hi")).header("x-stainless-retry-count", "1");
            round.push(call.send().await.id());
        }
        attached.push(round);
    }
    assert_eq!(attached[0], attached[1], "in turn");
    attached[0].sort();
    let mut tickets = tickets.to_vec();
    tickets.sort();
    assert_eq!(attached[0], tickets, "one each");
    app.finish().await;
}

async fn a_key_attaches_and_its_other_body_is_refused(engine: Engine) {
    let app = slow(engine).start().await;
    let (first, deferral) = held(&app, "Hi", "idempotency-key: row-17").await;
    let (mut second, attached) = held(&app, "Hi", "idempotency-key: row-17").await;
    assert_eq!(attached, deferral);
    let other = waiting(&app, "Ho", "deadline").header("idempotency-key", "row-17").send().await;
    other.refused(400, "invalid_request_error", "idempotency-mismatch");
    // The first goes, and is not missed.
    drop(first);
    app.until_held(1).await;
    app.until_gone(0).await;
    app.finish().await;
    let text = String::from_utf8(second.chunks().await.0).unwrap();
    assert_eq!(text.trim_start(), app.message(&deferral).await.text());
    assert_eq!(ids(&app).await, [deferral]);
}

async fn a_retry_finds_its_place_in_a_queue_that_is_full(engine: Engine) {
    let app = slow(engine).set("defer.max_queued", "1").start().await;
    let (caller, deferral) = held(&app, "Hi", FIRST).await;
    waiting(&app, "Ho", "deadline").send().await.refused(429, "rate_limit_error", "queue-full");
    retry(&app, "Ho").send().await.refused(429, "rate_limit_error", "queue-full");
    drop(caller);
    app.until_held(0).await;
    let (_back, attached) = held(&app, "Hi", RETRY).await;
    assert_eq!(attached, deferral);
    app.finish().await;
}

async fn whoever_leaves_late_does_not_give_away_a_place_that_was_taken(engine: Engine) {
    let app = slow(engine).start().await;
    let (late, older) = held(&app, "Hi", FIRST).await;
    // A retry that comes before its first connection is known to be gone takes the newest.
    let (_back, attached) = held(&app, "Hi", RETRY).await;
    assert_eq!(attached, older);
    let (_other, newer) = held(&app, "Hi", FIRST).await;
    drop(late);
    app.until_held(2).await;
    app.until_gone(0).await;
    let (_again, attached) = held(&app, "Hi", RETRY).await;
    assert_eq!(attached, newer, "the older one has a caller");
    app.finish().await;
}
