//! Callers whose calls a rule chose to hold: they know nothing of tickets, and need no change.

use super::*;

on_both_engines! {
    a_caller_who_knows_nothing_gets_the_message_on_its_connection,
    a_stream_that_a_rule_defers_is_replayed,
    a_rule_gives_a_ticket_if_it_says_so_even_to_a_stream,
    who_names_a_wait_himself_may_end_with_a_ticket,
    a_caller_who_knows_nothing_never_gets_a_ticket,
}

const HOLD: &str = "[[rule]]\nname = \"all\"\nwhen = \"true\"\naction = \"defer\"\n";

fn tickets() -> String {
    format!("{HOLD}reply = \"ticket\"\n")
}

async fn a_caller_who_knows_nothing_gets_the_message_on_its_connection(engine: Engine) {
    let patient = Periods { silent_first: Duration::from_secs(20), ..brisk() };
    let app = setup(engine).periods(patient).file(HOLD).start().await;
    let held = held_until_done(&app, app.call(body("Hi"))).await.expect(200);
    let id = held.header("x-defer-id").unwrap();
    assert_eq!(held.header("x-defer-decision"), Some(format!("deferred; rule=\"all\"; id={id}").as_str()));
    assert_eq!(held.body, app.message(id).await.expect(200).body);
    // A retry attaches, and is not paid twice.
    let again = app.call(body("Hi")).header("x-stainless-retry-count", "1").send().await.expect(200);
    assert_eq!(again.header("x-defer-id"), Some(id));
    assert_eq!(app.storage().count("select count(*) from deferral").await, 1);
}

async fn a_stream_that_a_rule_defers_is_replayed(engine: Engine) {
    let app = setup(engine).file(HOLD).start().await;
    let answer = held_until_done(&app, app.call(streamed("Hi"))).await.expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    assert!(answer.text().contains("event: message_start") && answer.text().contains("event: message_stop"));
}

async fn a_rule_gives_a_ticket_if_it_says_so_even_to_a_stream(engine: Engine) {
    let app = setup(engine).file(&tickets()).start().await;
    app.call(body("Hi")).send().await.id();
    app.call(streamed("Ho")).send().await.id();
    // Who wants to wait does.
    let held = held_until_done(&app, app.call(body("Ha")).header("x-defer-wait", SHORT)).await;
    held.expect(200);
    app.finish().await;
}

async fn who_names_a_wait_himself_may_end_with_a_ticket(engine: Engine) {
    let app = setup(engine).file(HOLD).start().await;
    app.call(body("Hi")).header("x-defer-wait", "0").send().await.id();
    app.call(body("Ho")).header("x-defer-wait", "30ms").send().await.id();
    app.finish().await;
}

async fn a_caller_who_knows_nothing_never_gets_a_ticket(engine: Engine) {
    let patient = Periods { silent_first: Duration::from_secs(20), ..brisk() };
    let mut app = setup(engine).periods(patient).file(HOLD).start().await;
    let call = app.call(body("Hi"));
    let (answer, ()) = tokio::join!(call.send(), async {
        app.until_held(1).await;
        app.restart().await;
    });
    assert_eq!(answer.header("retry-after"), Some("1"));
    let id = answer.header("x-defer-id").unwrap().to_owned();
    answer.refused(503, "api_error", "ending");
    // Its client asks again, and another gateway goes on with the same call.
    let again = app.call(body("Hi")).header("x-stainless-retry-count", "1");
    let (again, ()) = tokio::join!(again.send(), app.finish());
    assert_eq!(again.expect(200).header("x-defer-id"), Some(id.as_str()));
    assert_eq!(app.storage().count("select count(*) from deferral").await, 1);

    // One that is waited for in vain ends as an upstream that does not answer.
    let brief = Periods { deadline_grace: Duration::ZERO, ..patient };
    let rules = format!("{HOLD}deadline = \"100ms\"\n");
    let app = setup(engine).periods(brief).set("defer.min_deadline", "0").file(&rules).start().await;
    let late = app.call(body("Hi")).send().await;
    late.refused(504, "timeout_error", "upstream-timeout");
    app.finish().await;
}
