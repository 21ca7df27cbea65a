//! What the inventory keeps of calls that a rule decided over, and what rules would have done with what it keeps.

use serde_json::json;

use super::*;
use crate::it::inventory::records;

on_both_engines! {
    a_live_call_is_recorded_with_its_rule,
    a_deferred_call_is_recorded_with_its_rule,
    rules_are_tried_on_what_was_recorded,
}

async fn a_live_call_is_recorded_with_its_rule(engine: Engine) {
    let rules = [
        rule(
            "named",
            "when = 'request.messages == 1 && headers[\"x-from\"] == \"a\"'\naction = \"observe\"\nworkload = \"digests\"",
        ),
        rule("all", "when = \"true\"\naction = \"defer\"\nworkload = \"rest\""),
    ];
    let app = with_rules(engine, &rules.concat()).await;
    app.leave_books_unchecked();
    app.call(body("Hi")).header("x-from", "a").send().await.expect(200);
    app.call(body("Hi")).header("x-from", "a").header("x-defer-workload", "mine").send().await.expect(200);
    app.call(body("Hi").replacen('{', "{\"thread\":{\"type\":\"create\"},", 1)).send().await;
    let records = records(&app, 3).await;
    let mut kept: Vec<_> = records
        .iter()
        .map(|record| {
            (record.rule.as_deref().unwrap_or_default(), record.workload.as_str(), record.blocked_by.as_deref())
        })
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, [("all", "rest", Some("thread")), ("named", "digests", None), ("named", "mine", None)]);
    // Its body was watched although the gateway had read it before.
    assert!(records.iter().all(|record| record.messages == 1 && record.request_bytes > 50 && record.status > 0));
}

async fn a_deferred_call_is_recorded_with_its_rule(engine: Engine) {
    let app = with_rules(engine, &nightly("workload = \"digests\"")).await;
    app.call(body("Hi")).header("x-from", "airflow").send().await.expect(202);
    app.tagged(body("Ho")).header("x-from", "airflow").send().await.expect(202);
    app.finish().await;
    let records = records(&app, 2).await;
    let mut kept: Vec<_> = records.iter().map(|record| (record.rule.as_deref(), record.workload.as_str())).collect();
    kept.sort_unstable();
    // Who asks himself is deferred by no rule, although one names his workload.
    assert_eq!(kept, [(None, "digests"), (Some("nightly"), "digests")]);
}

async fn rules_are_tried_on_what_was_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.leave_books_unchecked();
    for client in ["airflow/1", "airflow/1", "chat/2"] {
        app.call(body("Hi")).header("user-agent", client).send().await.expect(200);
    }
    app.call(body("Hi").replacen('{', "{\"thread\":{\"type\":\"create\"},", 1))
        .header("user-agent", "airflow/1")
        .send()
        .await;
    records(&app, 4).await;
    let ask = async |rules: Value| {
        app.operator(Method::POST, "/api/rules/try?since=1d").body(json!({"rules": rules}).to_string()).send().await
    };
    let when = "headers[\"user-agent\"].startsWith(\"airflow\") && request.model.startsWith(\"claude-haiku\")";
    let told = ask(json!([
        {"name": "batch", "when": when, "rollout": 50, "deadline": "12h"},
        {"name": "team", "when": "headers[\"x-team\"] == \"a\""},
    ]));
    let told = told.await.expect(200).json();
    assert_eq!((&told["calls"], &told["complete"]), (&json!(4), &json!(true)));
    let batch = &told["data"][0];
    assert_eq!((&batch["rule"], &batch["matched"], &batch["eligible"]), (&json!("batch"), &json!(3), &json!(2)));
    assert_eq!((&batch["ineligible"], &batch["unknown"]), (&json!({"thread": 1}), &json!(0)));
    let amount = |name: &str| (batch[name].as_f64().unwrap() * 1e9).round();
    assert!(amount("live_price") > 0.0);
    assert_eq!(
        (amount("saving") * 2.0, amount("saving_at_rollout") * 4.0),
        (amount("live_price"), amount("live_price"))
    );
    assert!(batch["live_ms"]["p50"].is_u64() && batch["batch_ms"]["p50"].is_null());
    assert_eq!((&told["data"][1]["unknown"], &told["data"][1]["matched"]), (&json!(1), &json!(0)));

    app.clock.advance(std::time::Duration::from_hours(25));
    assert_eq!(ask(json!([{"name": "all", "when": "true"}])).await.expect(200).json()["calls"], 0);
    for wrong in [json!([]), json!([{"name": "a", "when": "foo"}]), json!([{"name": "a"}]), json!("x")] {
        ask(wrong).await.refused(400, "invalid_request_error", "invalid-body");
    }
    let query = app.operator(Method::POST, "/api/rules/try?since=soon").body("{}").send().await;
    query.refused(400, "invalid_request_error", "invalid-query");
}
