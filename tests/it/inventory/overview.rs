//! What the operator is shown: workloads with their sums and what is thought of them.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::records;
use crate::it::app::{Engine, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    workloads_are_shown_with_their_sums,
    a_page_goes_on_behind_its_last,
    what_is_thought_follows_the_calls,
    only_the_time_that_is_asked_for_counts,
    a_wrong_question_is_refused,
}

async fn shown(app: &TestApp, query: &str) -> Value {
    app.operator(Method::GET, &format!("/api/workloads{query}")).send().await.expect(200).json()
}

async fn workloads_are_shown_with_their_sums(engine: Engine) {
    let app = TestApp::start(engine).await;
    let call = || app.call(body("Hi")).header("x-defer-workload", "reports");
    call().send().await.expect(200);
    call().header("x-defer", "batch").send().await.id();
    let streaming = body("Hi").replacen('{', r#"{"stream":true,"system":"You count sheep.","#, 1);
    app.call(streaming).send().await.expect(200);
    app.finish().await;
    let records = records(&app, 3).await;
    app.settle().await;
    let page = shown(&app, "").await;
    let data = page["data"].as_array().unwrap();
    assert_eq!((data.len(), &page["has_more"]), (2, &false.into()));
    let named = data.iter().find(|one| one["name"] == "reports").unwrap();
    let other = data.iter().find(|one| one["name"].is_null()).unwrap();
    assert_eq!((&named["calls"], &named["failed"], &named["kind"]), (&2.into(), &0.into(), &"named".into()));
    assert_eq!(named["ways"], serde_json::json!({"live": 1, "batch": 1}));
    assert_eq!(named["models"], serde_json::json!({"claude-haiku-4-5": 2}));
    let of_named = || records.iter().filter(|record| record.workload == "reports");
    let paid: i64 = of_named().map(|record| record.cost.unwrap().0.0).sum();
    let output: u64 = of_named().map(|record| record.tokens.output).sum();
    assert_eq!(named["tokens"]["output"], output);
    assert_eq!(named["cost"]["paid"].as_f64().unwrap(), paid as f64 / 1e9);
    assert_eq!((&other["preview"], &other["streamed"]), (&"You count sheep.".into(), &1.into()));
    assert!(other["id"].as_str().unwrap().starts_with("wkl_"));
    for one in data {
        assert!(one["score"].is_u64() && one["assessment"]["savings"]["monthly_calls"].as_u64().unwrap() > 0, "{one}");
    }
}

async fn a_page_goes_on_behind_its_last(engine: Engine) {
    let app = TestApp::start(engine).await;
    for number in 0..5 {
        app.call(body("Hi")).header("x-defer-workload", format!("job-{number}")).send().await.expect(200);
    }
    records(&app, 5).await;
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = shown(&app, &query).await;
        seen.extend(page["data"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            break;
        }
        query = format!("?limit=2&after_id={}", page["last_id"].as_str().unwrap());
    }
    seen.sort();
    assert_eq!(seen, ["job-0", "job-1", "job-2", "job-3", "job-4"]);
}

async fn what_is_thought_follows_the_calls(engine: Engine) {
    let app = TestApp::start(engine).await;
    let monthly = async || {
        let page = shown(&app, "").await;
        page["data"][0]["assessment"]["savings"]["monthly_calls"].as_u64().unwrap()
    };
    app.call(body("1")).send().await.expect(200);
    records(&app, 1).await;
    app.settle().await;
    assert_eq!(monthly().await, 30);
    app.call(body("2")).send().await.expect(200);
    records(&app, 2).await;
    // It is not thought about at once again.
    assert_eq!(monthly().await, 30);
    app.clock.advance(Duration::from_secs(61));
    app.settle().await;
    assert_eq!(monthly().await, 60);
}

async fn only_the_time_that_is_asked_for_counts(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.call(body("1")).header("x-defer-workload", "old").send().await.expect(200);
    app.call(body("1")).header("x-defer-workload", "both").send().await.expect(200);
    app.clock.advance(Duration::from_hours(10 * 24));
    app.call(body("2")).header("x-defer-workload", "both").send().await.expect(200);
    let tenant = records(&app, 3).await[0].tenant.clone();
    let calls = async |query: &str| {
        let page = shown(&app, query).await;
        let data = page["data"].as_array().unwrap();
        data.iter().map(|one| one["calls"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(calls("").await, [1]);
    let mut all = calls(&format!("?since=30d&tenant={tenant}")).await;
    all.sort();
    assert_eq!(all, [1, 2]);
    assert!(calls("?since=30d&tenant=nobody").await.is_empty());
}

async fn a_wrong_question_is_refused(engine: Engine) {
    let app = Setup::on(engine).set("admin.token", "token").start().await;
    let ask = |query: &str| app.operator(Method::GET, &format!("/api/workloads{query}"));
    ask("").send().await.refused(401, "authentication_error", "unauthorized");
    let right = |query: &str| ask(query).header("authorization", "Bearer token");
    right("").send().await.expect(200);
    right("?since=week").send().await.refused(400, "invalid_request_error", "invalid-query");
}
