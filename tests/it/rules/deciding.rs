//! Which rule decides, what becomes of a call by it, and what its caller's own headers change.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::it::webhooks::Receiver;

on_both_engines! {
    a_rule_defers_with_all_that_it_says,
    the_callers_headers_win_each_by_itself,
    a_caller_who_asks_himself_gets_what_he_left_open,
    calls_that_a_rule_defers_repeat_as_others_do,
    a_rollout_takes_its_share_and_stays_with_it,
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() {
    let rules = [
        rule("fails", "when = 'int(headers[\"x-from\"]) > 5'\naction = \"defer\"\nreply = \"ticket\""),
        rule("live", "when = 'headers[\"x-from\"] == \"chat\"'\naction = \"live\"\nworkload = \"chat\""),
        nightly(""),
        rule("never", "when = 'headers[\"x-from\"] == \"airflow\"'\naction = \"live\""),
        rule("watched", "when = 'headers[\"x-from\"] == \"cron\"'\naction = \"observe\""),
        rule("checked", "when = 'headers[\"x-from\"] == \"ci\"'\naction = \"verify\""),
    ];
    let app = with_rules(Engine::Sqlite, &rules.concat()).await;
    for (from, status, said) in [
        ("chat", 200, "live; rule=\"live\"; reason=rule"),
        ("airflow", 202, "deferred; rule=\"nightly\"; id=dfr_"),
        ("cron", 200, "live; rule=\"watched\"; reason=rule"),
        ("ci", 200, "live; rule=\"checked\"; reason=rule"),
        ("nobody", 200, "live; reason=no-rule"),
    ] {
        let answer = app.call(body(from)).header("x-from", from).send().await.expect(status);
        assert!(decision(&answer).starts_with(said), "{from}: {}", decision(&answer));
    }
    assert_eq!(app.books().live_calls().count(), 4);
    app.finish().await;

    let fails = shown(&app, "fails").await;
    assert_eq!((&fails["matched"], &fails["errors"]), (&json!(0), &json!(5)));
    assert_eq!(fails["last_error"], "int() fails on what it is given");
    let nightly = shown(&app, "nightly").await;
    assert_eq!((&nightly["matched"], &nightly["decided"]), (&json!(1), &json!({"deferred": {"rule": 1}})));
    let expected = json!({
        "type": "rule", "name": "watched", "when": "headers[\"x-from\"] == \"cron\"", "action": "observe",
        "rollout": 100, "deadline": null, "reply": "hold", "workload": null, "callback": null, "cache": "off",
        "needs_body": false, "matched": 1, "decided": {"live": {"rule": 1}}, "blocked": {}, "errors": 0,
        "last_error": null,
    });
    assert_eq!(shown(&app, "watched").await, expected);
    assert_eq!(shown(&app, "never").await["matched"], 0);
    let metrics = app.operator(Method::GET, "/metrics").send().await.expect(200);
    for line in [
        "offpeak_rule_matches_total{rule=\"nightly\"} 1",
        "offpeak_rule_errors_total{rule=\"fails\"} 5",
        "offpeak_rule_decisions_total{rule=\"watched\",decision=\"live\",reason=\"rule\"} 1",
        "offpeak_calls_total{decision=\"deferred\",reason=\"rule\"} 1",
        "offpeak_calls_total{decision=\"live\",reason=\"no-rule\"} 1",
        "offpeak_settings_faulty 0",
    ] {
        assert!(metrics.text().contains(&format!("{line}\n")), "{line}:\n{}", metrics.text());
    }
}

async fn a_rule_defers_with_all_that_it_says(engine: Engine) {
    let receiver = Receiver::start().await;
    let secret = format!("whsec_{}", "A".repeat(32));
    let named = format!("[[receiver]]\nname = \"warehouse\"\nurl = \"{}\"\nsecret = \"{secret}\"\n", receiver.url("/"));
    let rules = nightly("deadline = \"12h\"\nworkload = \"summaries\"\ncallback = \"warehouse\"\ncache = \"auto\"\n");
    let app = with_rules(engine, &(named + &rules)).await;
    let text = body("Hi").replacen('{', "{\"stream\":false,", 1);
    let ticket = app.call(text.clone()).header("x-from", "airflow").send().await.expect(202);
    let id = ticket.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(decision(&ticket), format!("deferred; rule=\"nightly\"; id={id}"));
    let deferral = app.deferral(&id).await;
    assert_eq!(
        (&deferral["workload"], &deferral["deadline"]),
        (&json!("summaries"), &json!("2026-11-23T00:20:00.000Z"))
    );
    app.finish().await;
    assert_eq!(app.deferral(&id).await["served_by"], "batch");
    receiver.until(|got| got.len() == 1).await;
    assert_eq!(receiver.got()[0].json()["data"]["id"], *id);
    // The item is the caller's own text.
    let books = app.books();
    assert_eq!(books.items().next().unwrap().params, body("Hi"));
    assert!(books.live_calls().next().is_none());
}

async fn the_callers_headers_win_each_by_itself(engine: Engine) {
    let app = with_rules(engine, &nightly("deadline = \"12h\"\nworkload = \"summaries\"")).await;
    let call = |prompt: &str| app.call(body(prompt)).header("x-from", "airflow");
    let live = call("a").header("x-defer", "live").send().await.expect(200);
    assert_eq!(decision(&live), "live; reason=header");

    let named = call("b").header("x-defer-workload", "mine").header("x-defer-ref", "row/1").send().await.expect(202);
    assert!(decision(&named).starts_with("deferred; rule=\"nightly\"; "), "{}", decision(&named));
    let named = named.json();
    assert_eq!((&named["workload"], &named["ref"]), (&json!("mine"), &json!("row/1")));
    assert_eq!(named["deadline"], "2026-11-23T00:20:00.000Z");

    let wrong = call("c").header("x-defer-workload", "not a name").send().await;
    assert!(wrong.refused(400, "invalid_request_error", "invalid-header").contains("x-defer-workload"));
    let nowhere = call("d").header("x-defer-callback", "https://10.0.0.1/").send().await;
    assert_eq!(decision(&nowhere), "refused; reason=callback-forbidden");
    nowhere.refused(400, "invalid_request_error", "callback-forbidden");
    let nobody = call("d").header("x-defer-callback", "nobody").send().await;
    nobody.refused(400, "invalid_request_error", "invalid-header");
    app.finish().await;
}

async fn a_caller_who_asks_himself_gets_what_he_left_open(engine: Engine) {
    let rules = rule(
        "model",
        "when = 'request.model.startsWith(\"claude-haiku\")'\naction = \"defer\"\ndeadline = \"12h\"\nworkload = \"summaries\"",
    );
    let app = with_rules(engine, &rules).await;
    let asked = app.tagged(body("a")).header("x-defer", "6h").send().await.expect(202);
    assert!(decision(&asked).starts_with("deferred; reason=header; "), "{}", decision(&asked));
    let asked = asked.json();
    assert_eq!((&asked["workload"], &asked["deadline"]), (&json!("summaries"), &json!("2026-11-22T18:20:00.000Z")));
    let named = app.tagged(body("b")).header("x-defer-workload", "mine").send().await.expect(202).json();
    assert_eq!(named["workload"], "mine");
    let other = app.tagged(body("c").replace("haiku", "sonnet")).send().await.expect(202).json();
    assert_eq!(other["workload"], json!(null));
    let counted = shown(&app, "model").await;
    assert_eq!((&counted["matched"], &counted["decided"]), (&json!(2), &json!({})));
    app.finish().await;
}

async fn calls_that_a_rule_defers_repeat_as_others_do(engine: Engine) {
    let app = with_rules(engine, &nightly("")).await;
    let call = |prompt: &str| app.call(body(prompt)).header("x-from", "airflow");
    let first = call("a").send().await.id();
    assert_eq!(call("a").header("x-stainless-retry-count", "1").send().await.id(), first);
    assert_ne!(call("a").send().await.id(), first);
    let keyed = call("b").header("idempotency-key", "row-17").send().await.id();
    assert_eq!(call("b").header("idempotency-key", "row-17").send().await.id(), keyed);
    // A key of a form of its own is nobody's mistake: the caller did not ask to be deferred.
    call("c").header("idempotency-key", "a key of another form").send().await.expect(202);
    let other = call("d").header("idempotency-key", "row-17").send().await.expect(200);
    assert_eq!(decision(&other), "live; rule=\"nightly\"; reason=not-deferrable; blocked-by=idempotency-mismatch");
    app.finish().await;
}

async fn a_rollout_takes_its_share_and_stays_with_it(engine: Engine) {
    let of = |rollout: u8| nightly(&format!("rollout = {rollout}"));
    let mut app = with_rules(engine, &of(30)).await;
    let deferred = async |app: &TestApp| {
        let mut deferred = Vec::new();
        for number in 0..40 {
            let call = app.call(body(&format!("call {number}"))).header("x-from", "airflow");
            let answer = call.header("x-stainless-retry-count", "1").send().await;
            if answer.status == 202 {
                deferred.push(number);
            } else {
                assert_eq!(decision(&answer), "live; rule=\"nightly\"; reason=rollout");
            }
        }
        deferred
    };
    let first = deferred(&app).await;
    assert!((4..=22).contains(&first.len()), "{first:?}");
    app.restart().await;
    assert_eq!(deferred(&app).await, first);
    app.reload(&[], &of(60));
    let more = deferred(&app).await;
    assert!(more.len() > first.len() && first.iter().all(|number| more.contains(number)), "{first:?} {more:?}");
    app.reload(&[], &of(0));
    assert!(deferred(&app).await.is_empty());
    app.finish().await;
    app.clock.advance(Duration::from_secs(1));
}

#[tokio::test]
async fn rules_see_who_calls_and_when() {
    let keys = "[[key]]\nname = \"reports\"\nsecret = \"gw-reports-1\"\nupstream = \"sk-ant-green-1\"\n";
    let rules = [
        rule("team", "when = 'tenant == \"reports\" && workload == \"digests\"'\naction = \"live\""),
        rule(
            "noon",
            "when = 'now.getHours() == 12 && now.getHours(\"Asia/Tokyo\") == 21 && path == \"/v1/messages\"'\naction = \"live\"",
        ),
    ];
    let app = with_rules(Engine::Sqlite, &(keys.to_owned() + &rules.concat())).await;
    let call = || app.call(body("Hi")).header("x-defer-workload", "digests");
    assert_eq!(decision(&call().key("gw-reports-1").send().await), "live; rule=\"team\"; reason=rule");
    assert_eq!(decision(&call().bearer("gw-reports-1").send().await), "live; rule=\"team\"; reason=rule");
    assert_eq!(decision(&call().send().await), "live; rule=\"noon\"; reason=rule");
    app.clock.advance(Duration::from_hours(1));
    assert_eq!(decision(&call().send().await), "live; reason=no-rule");
    // A pseudonym is no credential, and the same for as long as there is one.
    let nobody = app.call(body("Hi")).without("x-api-key").send().await;
    assert_eq!(decision(&nobody), "live; reason=no-rule");
}

#[tokio::test]
async fn other_paths_ask_no_rule() {
    let app = with_rules(Engine::Sqlite, &rule("all", "when = \"true\"\naction = \"defer\"")).await;
    for path in ["/v1/messages/count_tokens", "/v1/messages/batches"] {
        let answer = app.post(path).body(body("Hi")).send().await;
        assert_eq!(answer.header("x-defer-decision"), None, "{path}");
    }
    assert_eq!(shown(&app, "all").await["matched"], 0);
}
