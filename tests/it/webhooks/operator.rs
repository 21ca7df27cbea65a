//! What the operator sees of deliveries.

use http::Method;
use serde_json::{Value, json};

use super::{Receiver, Reply, delivery_id, section, setup};
use crate::it::app::{Engine, OTHER_KEY, TestApp, body, on_both_engines};

on_both_engines! {
    deliveries_are_listed_and_filtered,
    deliveries_are_counted,
}

async fn page(app: &TestApp, query: &str) -> Value {
    app.operator(Method::GET, &format!("/api/deliveries{query}")).send().await.expect(200).json()
}

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

async fn deliveries_are_listed_and_filtered(engine: Engine) {
    let receiver =
        Receiver::scripted(|got, _| Reply::status(if got.path.starts_with("/gone") { 410 } else { 200 })).await;
    let file = section("warehouse", &receiver.url("/in"), &format!("\"{}\"", super::SECRET));
    let app = setup(engine).file(&file).start().await;
    let mut deferred = Vec::new();
    for (callback, key) in [
        ("warehouse".to_owned(), OTHER_KEY),
        (receiver.url("/gone?token=s3cret"), OTHER_KEY),
        (receiver.url("/in?token=s3cret"), OTHER_KEY),
        ("warehouse".to_owned(), OTHER_KEY),
    ] {
        let call = app.tagged(body("Hi")).key(key).header("x-defer-callback", &callback);
        deferred.push(delivery_id(&call.send().await.id()));
        app.clock.advance(std::time::Duration::from_millis(1));
    }
    app.finish().await;
    let [first, gone, third, last] = deferred.clone().try_into().unwrap();
    let all = page(&app, "").await;
    assert_eq!(ids(&all), [&last, &third, &gone, &first].map(Clone::clone));
    assert_eq!((&all["has_more"], &all["first_id"], &all["last_id"]), (&json!(false), &json!(last), &json!(first)));
    // What a caller has put into a URL behind its origin may be a secret.
    assert!(!all.to_string().contains("s3cret") && !all.to_string().contains("/gone"), "{all}");

    let two = page(&app, "?limit=2").await;
    assert_eq!((ids(&two), &two["has_more"]), (vec![last.clone(), third.clone()], &json!(true)));
    let rest = page(&app, &format!("?limit=2&after_id={third}")).await;
    assert_eq!((ids(&rest), &rest["has_more"]), (vec![gone.clone(), first.clone()], &json!(false)));
    let origin = receiver.origin();
    for (query, expected) in [
        ("?status=dead".to_owned(), vec![&gone]),
        ("?status=delivered".to_owned(), vec![&last, &third, &first]),
        ("?status=due".to_owned(), vec![]),
        ("?receiver=warehouse".to_owned(), vec![&last, &first]),
        (format!("?receiver={origin}"), vec![&third, &gone]),
        (format!("?receiver={origin}&status=dead"), vec![&gone]),
        (format!("?receiver={origin}&status=delivered&after_id={third}"), vec![]),
        (format!("?receiver=warehouse&after_id={last}"), vec![&first]),
        (format!("?status=delivered&after_id={last}&limit=1"), vec![&third]),
        ("?receiver=nobody".to_owned(), vec![]),
    ] {
        assert_eq!(ids(&page(&app, &query).await).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let one = app.operator(Method::GET, &format!("/api/deliveries/{gone}")).send().await.expect(200).json();
    assert_eq!((&one["id"], &one["history"]), (&json!(gone), &Value::Null));
    assert_eq!(one["deferral_id"], gone.replacen("dlv_", "dfr_", 1));
    for wrong in ["?status=queued", "?limit=0", "?after_id=dfr_1", "?stauts=due"] {
        let refused = app.operator(Method::GET, &format!("/api/deliveries{wrong}")).send().await;
        refused.refused(400, "invalid_request_error", "invalid-query");
    }
    for unknown in [&gone[..35], "dlv_00000000000000000000000000000000", &gone.replacen("dlv_", "dfr_", 1)] {
        let refused = app.operator(Method::GET, &format!("/api/deliveries/{unknown}")).send().await;
        assert!(refused.refused(404, "not_found_error", "not-found").contains("delivery"));
    }
}

async fn deliveries_are_counted(engine: Engine) {
    let receiver = Receiver::scripted(|got, _| {
        Reply::status(match got.path.as_str() {
            "/taken" => 200,
            "/gone" => 410,
            _ => 500,
        })
    })
    .await;
    let app = setup(engine).start().await;
    for path in ["/taken", "/taken", "/gone", "/down", "/down", "/down"] {
        app.defer_to(&receiver.url(path), path).await;
    }
    app.finish().await;
    let metrics = app.operator(Method::GET, "/metrics").send().await.expect(200);
    for line in [
        "offpeak_deliveries{state=\"due\"} 3",
        "offpeak_deliveries{state=\"dead\"} 1",
        "offpeak_webhook_attempts_total{outcome=\"delivered\"} 2",
        "offpeak_webhook_attempts_total{outcome=\"refused\"} 4",
    ] {
        assert!(metrics.text().lines().any(|told| told == line), "{line}: {}", metrics.text());
    }
}
