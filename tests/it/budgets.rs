//! Budgets of a whole gateway: who is refused once what is spent, and until when.

mod by_rule;

use std::time::Duration;

use futures_util::FutureExt as _;
use http::Method;
use serde_json::{Value, json};

use super::app::{Answer, Engine, OTHER_KEY, Setup, TestApp, body, on_both_engines};
use super::wire::soon;

on_both_engines! {
    calls_beyond_a_budget_are_refused_until_the_next_day,
    a_budget_is_for_its_workload_and_its_tenant,
    a_warning_refuses_nothing,
    live_calls_count_too,
    spending_is_added_up_as_soon_as_it_is_written_down,
    a_month_is_more_than_its_days,
    budgets_change_while_the_gateway_runs,
    calls_that_may_wait_are_deferred_beyond_a_budget,
}

/// A limit that one call reaches.
const TINY: &str = "0.00000001";

fn budget(name: &str, rest: &str, limit: &str, action: &str) -> String {
    format!("[[budget]]\nname = \"{name}\"\nper = \"day\"\nlimit = \"{limit}\"\naction = \"{action}\"\n{rest}\n")
}

async fn budgets(app: &TestApp) -> Vec<Value> {
    let all = app.operator(Method::GET, "/api/budgets").send().await.expect(200).json();
    all["data"].as_array().unwrap().clone()
}

/// Until the first budget is spent by live calls, which are written down beside what is told of them.
async fn spent_live(app: &TestApp) {
    let spent = async {
        while budgets(app).await[0]["exceeded"] != true {
            app.settle().await;
            tokio::task::yield_now().await;
        }
    };
    soon(spent).await;
}

async fn calls_beyond_a_budget_are_refused_until_the_next_day(engine: Engine) {
    let app = Setup::on(engine).file(&budget("all", "", TINY, "refuse")).start().await;
    assert_eq!(budgets(&app).await[0]["spent"], Value::Null);
    app.defer("Hi").await;
    app.finish().await;
    app.settle().await;
    let all = budgets(&app).await;
    assert_eq!(
        (&all[0]["name"], &all[0]["exceeded"], &all[0]["until"]),
        (&json!("all"), &json!(true), &json!("2026-11-23"))
    );
    let entries = app.storage().count("select cast(sum(paid_nanousd) as bigint) from entry").await;
    assert_eq!((all[0]["spent"].as_f64().unwrap() * 1e9).round() as i64, entries);

    for call in [app.call(body("Ho")), app.tagged(body("Ho")), app.call(body("Ho")).header("x-defer", "live")] {
        let refused = call.send().await;
        assert_eq!(refused.header("x-defer-decision"), Some("refused; reason=budget-exceeded"));
        let retry_after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        let told = refused.refused(429, "rate_limit_error", "budget-exceeded");
        assert!(told.contains("the budget \"all\" of $0.00000001 a day is spent"), "{told}");
        assert!(told.ends_with("again from 2026-11-23 (UTC) on"), "{told}");
        assert!((11 * 3_600..12 * 3_600).contains(&retry_after), "{retry_after}");
    }
    // Other paths are nobody's spending, and tomorrow is another day, even before anybody has looked.
    app.operator(Method::GET, "/api/status").send().await.expect(200);
    app.clock.advance(Duration::from_hours(12));
    app.defer("Ho").await;
    app.finish().await;
}

async fn a_budget_is_for_its_workload_and_its_tenant(engine: Engine) {
    let file = budget("chat", "workload = \"chat\"", TINY, "refuse")
        + &budget("reports", "tenant = \"team-reports\"", TINY, "refuse")
        + "[[key]]\nname = \"team-reports\"\nsecret = \"their-key\"\nupstream = \"sk-ant-of-theirs\"\n";
    let app = Setup::on(engine).file(&file).start().await;
    app.tagged(body("1")).header("x-defer-workload", "chat").send().await.id();
    app.finish().await;
    app.settle().await;
    let chat = || app.tagged(body("2")).header("x-defer-workload", "chat");
    chat().send().await.refused(429, "rate_limit_error", "budget-exceeded");
    chat().key(OTHER_KEY).send().await.refused(429, "rate_limit_error", "budget-exceeded");
    app.tagged(body("3")).header("x-defer-workload", "digests").send().await.id();
    app.tagged(body("4")).key("their-key").send().await.id();
    app.finish().await;
    app.settle().await;
    app.tagged(body("5")).key("their-key").send().await.refused(429, "rate_limit_error", "budget-exceeded");
    app.tagged(body("6")).send().await.id();
    app.finish().await;
}

async fn a_warning_refuses_nothing(engine: Engine) {
    let app = Setup::on(engine).file(&budget("all", "", TINY, "warn")).start().await;
    app.defer("Hi").await;
    app.finish().await;
    app.settle().await;
    assert_eq!(budgets(&app).await[0]["exceeded"], true);
    app.call(body("Ho")).send().await.expect(200);
    app.defer("Ho").await;
    app.finish().await;
}

async fn live_calls_count_too(engine: Engine) {
    let app = Setup::on(engine).file(&budget("all", "", TINY, "refuse")).start().await;
    app.call(body("Hi")).send().await.expect(200);
    spent_live(&app).await;
    app.call(body("Ho")).send().await.refused(429, "rate_limit_error", "budget-exceeded");
}

async fn spending_is_added_up_as_soon_as_it_is_written_down(engine: Engine) {
    let app = Setup::on(engine).file(&budget("all", "", "100", "refuse")).start().await;
    let is_woken = || app.nudges().settled.spending.woken().now_or_never().is_some();
    app.settle().await;
    assert!(!is_woken());
    app.call(body("Hi")).send().await.expect(200);
    let spent = async {
        while app.storage().count("select count(*) from live_charge").await == 0 {
            app.settle().await;
        }
    };
    soon(spent).await;
    assert!(is_woken() && !is_woken());
    app.defer("Hi").await;
    app.finish().await;
    assert!(is_woken());
}

async fn a_month_is_more_than_its_days(engine: Engine) {
    let file = budget("all", "", "100", "refuse").replace("\"day\"", "\"month\"") + &budget("today", "", "100", "warn");
    let app = Setup::on(engine).file(&file).start().await;
    let spent = async || -> [i64; 2] {
        app.settle().await;
        let all = budgets(&app).await;
        [0, 1].map(|index| (all[index]["spent"].as_f64().unwrap() * 1e9).round() as i64)
    };
    app.defer("Hi").await;
    app.finish().await;
    let [month, today] = spent().await;
    assert!(month > 0 && month == today);
    // Some hours later the first is read no more, and is known all the same.
    app.clock.advance(Duration::from_hours(5));
    app.defer("Hi").await;
    app.finish().await;
    assert_eq!(spent().await, [2 * month, 2 * today]);
    app.clock.advance(Duration::from_hours(24));
    app.defer("Hi").await;
    app.finish().await;
    assert_eq!(spent().await, [3 * month, today]);
    let until = budgets(&app).await.iter().map(|one| one["until"].clone()).collect::<Vec<_>>();
    assert_eq!(until, [json!("2026-12-01"), json!("2026-11-24")]);
    app.clock.advance(Duration::from_hours(24 * 9));
    app.settle().await;
    assert_eq!(spent().await, [0, 0]);
}

async fn budgets_change_while_the_gateway_runs(engine: Engine) {
    let app = Setup::on(engine).file(&budget("all", "", TINY, "refuse")).start().await;
    app.defer("Hi").await;
    app.finish().await;
    app.settle().await;
    app.call(body("Ho")).send().await.refused(429, "rate_limit_error", "budget-exceeded");
    app.reload(&[], &budget("all", "", "1000.00", "refuse"));
    app.call(body("Ho")).send().await.expect(200);
    app.settle().await;
    app.call(body("Ho")).send().await.expect(200);
    app.reload(&[], "");
    assert_eq!(budgets(&app).await, Vec::<Value>::new());
}

async fn calls_that_may_wait_are_deferred_beyond_a_budget(engine: Engine) {
    let file = budget("all", "", TINY, "defer")
        + "[[rule]]\nname = \"chat\"\nwhen = 'true'\naction = \"live\"\n"
        + "[[rule]]\nname = \"nightly\"\nwhen = 'headers[\"x-from\"] == \"cron\"'\naction = \"defer\"\nreply = \"ticket\"\n\
           workload = \"summaries\"\n";
    let app = Setup::on(engine).file(&file).start().await;
    let decision = |answer: &Answer| answer.header("x-defer-decision").unwrap().to_owned();
    let first = app.call(body("1")).send().await.expect(200);
    assert_eq!(decision(&first), "live; rule=\"chat\"; reason=rule");
    app.defer("2").await;
    app.finish().await;
    app.settle().await;

    // The rule that serves live no longer has a say; a caller who does not want to wait gets a ticket.
    let deferred = app.call(body("3")).header("x-defer-wait", "0").send().await.expect(202);
    assert!(decision(&deferred).starts_with("deferred; rule=\"budget all\"; id=dfr_"), "{}", decision(&deferred));
    let by_rule = app.call(body("4")).header("x-from", "cron").send().await.expect(202);
    assert!(decision(&by_rule).starts_with("deferred; rule=\"nightly\"; "), "{}", decision(&by_rule));
    assert_eq!(by_rule.json()["workload"], "summaries");
    // Who asks to be served live is, and so is what no batch takes.
    let live = app.call(body("5")).header("x-defer", "live").send().await.expect(200);
    assert_eq!(decision(&live), "live; reason=header");
    let fast = app.call(body("6").replacen('{', r#"{"speed":"standard","#, 1)).send().await.expect(200);
    assert!(decision(&fast).starts_with("live; rule=\"budget all\"; reason=not-deferrable"), "{}", decision(&fast));
    app.finish().await;
    app.clock.advance(Duration::from_hours(24));
    let tomorrow = app.call(body("7")).send().await.expect(200);
    assert_eq!(decision(&tomorrow), "live; rule=\"chat\"; reason=rule");
}
