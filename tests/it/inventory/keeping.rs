//! What is kept, where, for how long, and what never is.

use std::time::Duration;

use super::{record, records};
use crate::it::app::{Engine, Setup, TestApp, body, on_both_engines};
use crate::it::wire::soon;

on_both_engines! {
    nothing_is_kept_of_what_was_said,
    where_it_is_off_nothing_is_recorded,
    an_end_in_good_order_loses_nothing,
    records_go_and_sums_stay,
    a_store_that_does_not_answer_keeps_records_waiting,
}

/// Words that stand in no other test.
const SECRETS: [&str; 4] = ["xylophone", "quagmire", "zeppelin", "sk-ant-red-1"];

async fn nothing_is_kept_of_what_was_said(engine: Engine) {
    let app = Setup::on(engine).set("inventory.prompt_preview", "10").start().await;
    let [system, prompt, tool, _] = SECRETS;
    let call = body(&format!("say {prompt}")).replacen(
        '{',
        &format!(
            r#"{{"system":"You play a {system} for whoever asks.","tools":[{{"name":"t","description":"{tool}","input_schema":{{"type":"object"}}}}],"#
        ),
        1,
    );
    app.call(call).send().await.expect(200);
    record(&app).await;
    let kept = app.storage().dump().await;
    assert!(kept.contains("You play a") && kept.contains("claude-haiku-4-5"));
    for secret in SECRETS {
        assert!(!kept.contains(secret), "{secret} is kept");
    }
}

async fn where_it_is_off_nothing_is_recorded(engine: Engine) {
    let app = Setup::on(engine).set("inventory.enabled", "false").start().await;
    app.call(body("Hi")).send().await.expect(200);
    app.defer("Ho").await;
    app.finish().await;
    app.settle().await;
    for statement in
        ["select count(*) from call_record", "select count(*) from call_hour", "select count(*) from workload"]
    {
        assert_eq!(app.storage().count(statement).await, 0, "{statement}");
    }
}

async fn an_end_in_good_order_loses_nothing(engine: Engine) {
    let mut app = TestApp::start(engine).await;
    app.call(body("Hi")).send().await.expect(200);
    // No worker has looked yet.
    app.restart().await;
    record(&app).await;
}

async fn records_go_and_sums_stay(engine: Engine) {
    let app = Setup::on(engine).set("defer.retention", "2d").start().await;
    app.call(body("Hi")).send().await.expect(200);
    record(&app).await;
    app.clock.advance(Duration::from_hours(47));
    app.call(body("Ho")).send().await.expect(200);
    records(&app, 2).await;
    // On PostgreSQL a day goes as a whole.
    app.clock.advance(Duration::from_hours(25));
    app.settle().await;
    let left = record(&app).await;
    assert!(app.clock.now().since(left.at) < Duration::from_hours(48));
    assert_eq!(app.storage().count("select cast(sum(calls) as bigint) from call_hour").await, 2);
    // What comes late, for a day that is gone, finds a place all the same.
    app.clock.set_back(Duration::from_hours(72));
    app.call(body("He")).send().await.expect(200);
    let look = async {
        while app.storage().count("select cast(sum(calls) as bigint) from call_hour").await < 3 {
            app.settle().await;
        }
    };
    soon(look).await;
}

async fn a_store_that_does_not_answer_keeps_records_waiting(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.call(body("Hi")).send().await.expect(200);
    record(&app).await;
    app.storage().change("alter table call_hour rename to gone").await;
    app.call(body("Ho")).send().await.expect(200);
    let look = async { while app.try_settle().await.is_ok() {} };
    soon(look).await;
    app.storage().change("alter table gone rename to call_hour").await;
    records(&app, 2).await;
    assert_eq!(app.storage().count("select cast(sum(calls) as bigint) from call_hour").await, 2);
}
