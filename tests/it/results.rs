//! Results: how what was deferred is asked for, one by one, by waiting, and in pages.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::app::{Answer, Engine, KEY, OTHER_KEY, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    a_message_comes_back_as_the_provider_gave_it,
    a_message_that_is_not_there_yet_is_a_202,
    nobody_else_sees_a_deferral,
    the_admin_token_sees_all,
    a_page_is_filtered,
    pages_run_both_ways,
    waiting_ends_with_the_result,
}

/// What comes in one millisecond has no order.
const TICK: Duration = Duration::from_millis(1);

/// A poll that would not hear the bell would look again by itself only after 5 s.
const BELL_LIMIT: Duration = Duration::from_secs(4);

async fn a_message_comes_back_as_the_provider_gave_it(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = app.defer("[unknown-block] [thinking]").await;
    app.finish().await;
    let batch = app.books().batches[0].id.clone();
    let lines = app.get(&format!("/v1/messages/batches/{batch}/results")).send().await.expect(200);
    let whole = lines.text().split_once(r#""message":"#).unwrap().1.trim_end().strip_suffix("}}").unwrap();
    let message = app.message(&id).await.expect(200);
    // Byte for byte: odd numbers, escapes and blanks, and members that nobody knows.
    assert_eq!(message.text(), whole);
    assert_eq!(
        (message.header("request-id"), message.header("content-type")),
        (Some(id.as_str()), Some("application/json"))
    );
    assert_eq!(message.header("x-should-retry"), None);

    let shown = app.get(&format!("/deferred/{id}")).send().await.expect(200);
    assert!(shown.text().contains(&format!(r#""message":{whole},"error":null"#)), "{}", shown.text());
    let deferral = shown.json();
    assert_eq!((&deferral["status"], &deferral["served_by"]), (&json!("succeeded"), &json!("batch")));
    assert_eq!((&deferral["batch_id"], &deferral["attempts"]), (&json!(batch), &json!(1)));
    assert!(deferral["completed_at"].is_string());

    let usage = &message.json()["usage"];
    let tokens = |name: &str| usage[name].as_f64().unwrap();
    // Dollars for a million tokens of claude-haiku-4-5.
    let live_price = (tokens("input_tokens") * 1.0 + tokens("output_tokens") * 5.0) / 1e6;
    let cost = &deferral["cost"];
    assert_eq!(cost["currency"], "USD");
    assert!((cost["live_price"].as_f64().unwrap() - live_price).abs() < 1e-9, "{cost} {usage}");
    assert!((cost["paid"].as_f64().unwrap() - live_price / 2.0).abs() < 1e-9, "{cost}");
}

async fn a_message_that_is_not_there_yet_is_a_202(engine: Engine) {
    let app = Setup::on(engine).batch_time(Duration::from_hours(1)).start().await;
    let id = app.defer("Hi").await;
    for status in ["queued", "batched"] {
        let pending = app.message(&id).await.expect(202);
        assert_eq!((&pending.json()["id"], &pending.json()["status"]), (&json!(id), &json!(status)));
        assert_eq!(pending.header("retry-after"), Some("10"));
        app.settle().await;
    }
    // At the end of its time a poll gets what there is.
    let waited = app.get(&format!("/deferred/{id}/message?wait=1")).send().await.expect(202);
    assert_eq!(waited.json()["status"], "batched");
    app.finish().await;
}

async fn waiting_ends_with_the_result(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = app.defer("Hi").await;
    let poll = app.get(&format!("/deferred/{id}/message?wait=300")).send();
    let mut poll = std::pin::pin!(poll);
    let meanwhile = async {
        // By the time that these are answered, the poll has been heard.
        for _ in 0..5 {
            app.message(&id).await.expect(202);
        }
    };
    tokio::select! {
        early = &mut poll => panic!("answered before there was a result: {}", early.status),
        () = meanwhile => {}
    }
    let (answer, ()) = tokio::join!(timeout(BELL_LIMIT, poll), app.finish());
    let answer = answer.expect("the poll ends when the result has come").expect(200);
    assert_eq!(answer.json()["type"], "message");
    // What is final already is not waited for.
    let again = timeout(BELL_LIMIT, app.get(&format!("/deferred/{id}/message?wait=300")).send()).await;
    assert_eq!(again.unwrap().expect(200).body, answer.body);
}

async fn nobody_else_sees_a_deferral(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = app.defer("Hi").await;
    let unknown = "dfr_0198c0de000070008000000000000000";
    let not_ours = [(id.as_str(), OTHER_KEY), (unknown, KEY), ("dfr_1", KEY), ("msgbatch_1", KEY)];
    let mut answers = Vec::new();
    for (id, key) in not_ours {
        for path in
            [format!("/deferred/{id}"), format!("/deferred/{id}/message"), format!("/deferred/{id}/message?wait=300")]
        {
            answers.push(app.get(&path).key(key).send().await.refused(404, "not_found_error", "not-found"));
        }
        let canceled = app.post(&format!("/deferred/{id}/cancel")).key(key).send().await;
        answers.push(canceled.refused(404, "not_found_error", "not-found"));
    }
    answers.dedup();
    // Nothing tells another tenant's id from one that never was.
    assert_eq!(answers.len(), 1);
    assert_eq!(app.get("/deferred").key(OTHER_KEY).send().await.expect(200).json()["data"], json!([]));
    for path in ["/deferred".to_owned(), format!("/deferred/{id}"), format!("/deferred/{unknown}/message")] {
        let nobody = app.get(&path).without("x-api-key").send().await;
        nobody.refused(401, "authentication_error", "missing-credential");
    }
    assert_eq!(app.deferral(&id).await["status"], "queued");
    // The same key in the other header is the same tenant.
    app.get(&format!("/deferred/{id}")).bearer(KEY).send().await.expect(200);
    app.finish().await;
}

async fn the_admin_token_sees_all(engine: Engine) {
    let app = Setup::on(engine).set("admin.token", "let-me-in").start().await;
    let first = app.defer("Hi").await;
    app.clock.advance(TICK);
    let ids = [first, app.tagged(body("Ho")).key(OTHER_KEY).send().await.id()];
    for id in &ids {
        let by_token = app.get(&format!("/deferred/{id}")).bearer("let-me-in").send().await.expect(200);
        assert_eq!(by_token.json()["id"], json!(id));
        // A wrong one is some tenant's key.
        let wrong = app.get(&format!("/deferred/{id}")).bearer("let-me-out").send().await;
        wrong.refused(404, "not_found_error", "not-found");
    }
    assert_eq!(listed(&app.get("/deferred").bearer("let-me-in").send().await), [ids[1].as_str(), &ids[0]]);
    app.finish().await;
}

/// The ids on a page.
fn listed(page: &Answer) -> Vec<String> {
    assert_eq!(page.status, 200, "{}", page.text());
    let page = page.json();
    let ids: Vec<_> =
        page["data"].as_array().unwrap().iter().map(|each| each["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        (page["first_id"].as_str(), page["last_id"].as_str()),
        (ids.first().map(String::as_str), ids.last().map(String::as_str))
    );
    ids
}

async fn a_page_is_filtered(engine: Engine) {
    let app = TestApp::start(engine).await;
    let named = |workload: &str, group: &str| {
        app.tagged(body("Hi")).header("x-defer-workload", workload).header("x-defer-group", group).send()
    };
    let first = named("w", "g").await.id();
    app.clock.advance(TICK);
    let second = named("w", "h").await.id();
    app.finish().await;
    let third = named("v", "h").await.id();
    for (query, expected) in [
        ("", vec![&third, &second, &first]),
        ("?status=succeeded", vec![&second, &first]),
        ("?status=queued", vec![&third]),
        ("?status=failed", vec![]),
        ("?workload=w", vec![&second, &first]),
        ("?group=h", vec![&third, &second]),
        ("?group=h&workload=w&status=succeeded", vec![&second]),
        ("?workload=nobody", vec![]),
        ("?limit=1", vec![&third]),
    ] {
        let page = app.get(&format!("/deferred{query}")).send().await;
        assert_eq!(listed(&page).iter().collect::<Vec<_>>(), expected, "{query}");
        assert_eq!(page.json()["has_more"], json!(query == "?limit=1"), "{query}");
    }
    app.finish().await;
}

async fn pages_run_both_ways(engine: Engine) {
    let app = TestApp::start(engine).await;
    let mut ids = Vec::new();
    for prompt in 0..5 {
        app.clock.advance(TICK);
        ids.insert(0, app.defer(&prompt.to_string()).await);
        app.tagged(body("not ours")).key(OTHER_KEY).send().await.id();
    }
    let page = async |query: String| {
        let page = app.get(&format!("/deferred?limit=2{query}")).send().await;
        (listed(&page), page.json()["has_more"] == Value::Bool(true))
    };
    assert_eq!(page(String::new()).await, (ids[0..2].to_vec(), true));
    assert_eq!(page(format!("&after_id={}", ids[1])).await, (ids[2..4].to_vec(), true));
    assert_eq!(page(format!("&after_id={}", ids[3])).await, (ids[4..].to_vec(), false));
    assert_eq!(page(format!("&after_id={}", ids[4])).await, (vec![], false));
    assert_eq!(page(format!("&before_id={}", ids[4])).await, (ids[2..4].to_vec(), true));
    assert_eq!(page(format!("&before_id={}", ids[2])).await, (ids[0..2].to_vec(), false));
    assert_eq!(page(format!("&before_id={}", ids[0])).await, (vec![], false));
    app.finish().await;
}

#[tokio::test]
async fn a_query_that_does_not_parse_is_refused() {
    let app = TestApp::start(Engine::Sqlite).await;
    let id = "dfr_0198c0de000070008000000000000000";
    let both = format!("/deferred?after_id={id}&before_id={id}");
    let waits = ["301", "-1", "1.5", "soon"].map(|wait| format!("/deferred/{id}/message?wait={wait}"));
    let others = [
        "/deferred?status=done",
        "/deferred?limit=0",
        "/deferred?limit=1001",
        "/deferred?limit=ten",
        "/deferred?after_id=1",
        "/deferred?before_id=msgbatch_1",
        "/deferred?staus=queued",
        "/deferred?limit=1&limit=2",
        "/deferred?status=%ff",
    ];
    for path in others.into_iter().chain(waits.iter().map(String::as_str)).chain([both.as_str()]) {
        let refused = app.get(path).send().await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text());
        refused.refused(400, "invalid_request_error", "invalid-query");
    }
}
