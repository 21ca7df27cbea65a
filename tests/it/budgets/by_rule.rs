//! Budgets of workloads that a rule names: calls are held to them as if their caller had named the workload.

use offpeak::simulator::Endpoint;
use serde_json::json;

use super::{TINY, budget, budgets, spent_live};
use crate::it::app::{Answer, Call, Engine, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    a_call_of_a_workload_that_a_rule_names_is_refused_beyond_its_budget,
    a_call_that_a_rule_would_defer_is_refused_as_well,
    who_asks_to_be_deferred_is_refused_by_the_workload_that_a_rule_gives_him,
    what_a_rule_serves_live_is_deferred_beyond_its_budget,
    what_is_deferred_already_is_as_the_rule_says,
    a_warning_changes_nothing,
    a_budget_that_refuses_is_heard_beside_one_that_defers,
}

/// A rule for calls of this origin, which names their workload.
fn rule(from: &str, action: &str, workload: &str) -> String {
    format!(
        "[[rule]]\nname = \"{from}\"\nwhen = 'headers[\"x-from\"] == \"{from}\"'\naction = \"{action}\"\n\
         workload = \"{workload}\"\n"
    )
}

fn of_chat(action: &str) -> String {
    budget("chat", "workload = \"chat\"", TINY, action)
}

/// One whose budget for `chat` is spent by a live call.
async fn with_chat_spent(engine: Engine, file: &str) -> TestApp {
    let app = Setup::on(engine).file(file).start().await;
    app.call(body("0")).header("x-defer-workload", "chat").send().await.expect(200);
    spent_live(&app).await;
    app
}

fn from(app: &TestApp, origin: &str, prompt: &str) -> Call {
    app.call(body(prompt)).header("x-from", origin)
}

fn decision(answer: &Answer) -> &str {
    answer.header("x-defer-decision").unwrap()
}

/// How many calls went to the upstream live, and how many were ever queued.
async fn gone_on(app: &TestApp) -> (usize, i64) {
    let queued = app.storage().count("select count(*) from deferral").await;
    (app.books().to(Endpoint::Messages).count(), queued)
}

async fn of_rule(app: &TestApp, name: &str) -> serde_json::Value {
    let rules = app.operator(http::Method::GET, "/api/rules").send().await.expect(200).json();
    rules["data"].as_array().unwrap().iter().find(|rule| rule["name"] == name).unwrap().clone()
}

async fn a_call_of_a_workload_that_a_rule_names_is_refused_beyond_its_budget(engine: Engine) {
    let file = of_chat("refuse") + &rule("web", "live", "chat") + &rule("look", "observe", "chat");
    let app = Setup::on(engine).file(&file).start().await;
    // What the rule names is added up under that name.
    assert_eq!(decision(&from(&app, "web", "1").send().await.expect(200)), "live; rule=\"web\"; reason=rule");
    spent_live(&app).await;
    let before = gone_on(&app).await;
    // Longer than what is read before it is decided.
    for (origin, prompt) in [("web", "2".to_owned()), ("look", "3".to_owned()), ("web", "long ".repeat(100_000))] {
        let refused = from(&app, origin, &prompt).send().await;
        assert_eq!(decision(&refused), "refused; reason=budget-exceeded");
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 11 * 3_600);
        let told = refused.refused(429, "rate_limit_error", "budget-exceeded");
        assert!(told.contains("the budget \"chat\" of $0.00000001 a day is spent"), "{told}");
    }
    assert_eq!(gone_on(&app).await, before);
    let web = of_rule(&app, "web").await;
    assert_eq!((&web["matched"], &web["decided"]["refused"]["budget-exceeded"]), (&json!(3), &json!(2)), "{web}");

    // A caller's own word beats the rule's, and others are not concerned.
    from(&app, "web", "4").header("x-defer-workload", "mine").send().await.expect(200);
    app.call(body("5")).send().await.expect(200);
    app.clock.advance(std::time::Duration::from_hours(12));
    from(&app, "web", "6").send().await.expect(200);
}

async fn a_call_that_a_rule_would_defer_is_refused_as_well(engine: Engine) {
    let app = with_chat_spent(engine, &(of_chat("refuse") + &rule("cron", "defer", "chat"))).await;
    let before = gone_on(&app).await;
    let refused = from(&app, "cron", "1").header("x-defer-wait", "0").send().await;
    assert_eq!(decision(&refused), "refused; reason=budget-exceeded");
    refused.refused(429, "rate_limit_error", "budget-exceeded");
    assert_eq!(gone_on(&app).await, before);
    from(&app, "cron", "2").header("x-defer-wait", "0").header("x-defer-workload", "mine").send().await.expect(202);
    app.finish().await;
}

async fn who_asks_to_be_deferred_is_refused_by_the_workload_that_a_rule_gives_him(engine: Engine) {
    let app = with_chat_spent(engine, &(of_chat("refuse") + &rule("web", "live", "chat"))).await;
    let before = gone_on(&app).await;
    let tagged = |prompt| app.tagged(body(prompt)).header("x-from", "web");
    let refused = tagged("1").send().await;
    assert_eq!(decision(&refused), "refused; reason=budget-exceeded");
    refused.refused(429, "rate_limit_error", "budget-exceeded");
    assert_eq!(gone_on(&app).await, before);
    tagged("2").header("x-defer-workload", "mine").send().await.expect(202);
    app.tagged(body("3")).send().await.expect(202);
    // Who asks for nothing but to be served live is given no name by a rule.
    app.call(body("4")).header("x-from", "web").header("x-defer", "live").send().await.expect(200);
    app.finish().await;
}

async fn what_a_rule_serves_live_is_deferred_beyond_its_budget(engine: Engine) {
    let file = of_chat("defer") + &rule("web", "live", "chat") + &rule("look", "observe", "chat");
    let app = Setup::on(engine).file(&file).start().await;
    from(&app, "web", "1").send().await.expect(200);
    spent_live(&app).await;
    for (origin, prompt) in [("web", "2"), ("look", "3")] {
        let deferred = from(&app, origin, prompt).header("x-defer-wait", "0").send().await.expect(202);
        assert!(decision(&deferred).starts_with("deferred; rule=\"budget chat\"; id=dfr_"), "{}", decision(&deferred));
        assert_eq!(deferred.json()["workload"], "chat");
    }
    // What no batch takes is served live, and is spending of the workload all the same.
    let paid = || {
        app.storage().count(
            "select cast(sum(paid_nanousd) as bigint) from live_charge join workload on workload.id = workload_id
         where name = 'chat'",
        )
    };
    let (spent, fast) = (paid().await, body("4").replacen('{', r#"{"speed":"standard","#, 1));
    let live = app.call(fast).header("x-from", "web").send().await.expect(200);
    assert!(decision(&live).starts_with("live; rule=\"budget chat\"; reason=not-deferrable"), "{}", decision(&live));
    let more = async {
        while paid().await == spent {
            app.settle().await;
        }
    };
    crate::it::wire::soon(more).await;
    let live = from(&app, "web", "5").header("x-defer", "live").send().await.expect(200);
    assert_eq!(decision(&live), "live; reason=header");
    let live = from(&app, "web", "6").header("x-defer-workload", "mine").send().await.expect(200);
    assert_eq!(decision(&live), "live; rule=\"web\"; reason=rule");
    // It was never up to the rule, and is not counted as its doing.
    assert_eq!(of_rule(&app, "web").await["matched"], 2);
    app.finish().await;
}

async fn what_is_deferred_already_is_as_the_rule_says(engine: Engine) {
    let file = of_chat("defer")
        + &rule("cron", "defer", "chat")
        + "reply = \"ticket\"\n"
        + &rule("some", "defer", "chat")
        + "rollout = 0\n"
        + &rule("web", "live", "chat");
    let app = with_chat_spent(engine, &file).await;
    let deferred = from(&app, "cron", "1").send().await.expect(202);
    assert!(decision(&deferred).starts_with("deferred; rule=\"cron\"; id=dfr_"), "{}", decision(&deferred));
    assert_eq!(deferred.json()["workload"], "chat");
    let live = from(&app, "some", "2").send().await.expect(200);
    assert_eq!(decision(&live), "live; rule=\"some\"; reason=rollout");
    let tagged = app.tagged(body("3")).header("x-from", "web").send().await.expect(202);
    assert!(decision(&tagged).starts_with("deferred; reason=header; id=dfr_"), "{}", decision(&tagged));
    app.finish().await;
}

async fn a_warning_changes_nothing(engine: Engine) {
    let file = of_chat("warn") + &rule("web", "live", "chat") + &rule("cron", "defer", "chat") + "reply = \"ticket\"\n";
    let app = with_chat_spent(engine, &file).await;
    assert_eq!(budgets(&app).await[0]["exceeded"], true);
    assert_eq!(decision(&from(&app, "web", "1").send().await.expect(200)), "live; rule=\"web\"; reason=rule");
    from(&app, "cron", "2").send().await.expect(202);
    app.tagged(body("3")).header("x-from", "web").send().await.expect(202);
    app.finish().await;
}

async fn a_budget_that_refuses_is_heard_beside_one_that_defers(engine: Engine) {
    let file = of_chat("refuse")
        + &budget("all", "", TINY, "defer")
        + &rule("web", "live", "chat")
        + &rule("other", "live", "news");
    let app = with_chat_spent(engine, &file).await;
    from(&app, "web", "1").send().await.refused(429, "rate_limit_error", "budget-exceeded");
    // The workload stays what the rule has named it.
    let deferred = from(&app, "other", "2").header("x-defer-wait", "0").send().await.expect(202);
    assert!(decision(&deferred).starts_with("deferred; rule=\"budget all\"; id=dfr_"), "{}", decision(&deferred));
    assert_eq!(deferred.json()["workload"], "news");
    app.finish().await;
}
