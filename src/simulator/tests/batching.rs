//! Message Batches.

use super::*;

#[tokio::test]
async fn a_batch_runs_from_creation_to_results() {
    let desk = Desk::with_batch_time(HOUR).await;
    let created =
        desk.create(&[("a", call("Hi")), ("b", call_with("Hi", "stream", json!(true))), ("c", call("Ho"))]).await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(
        (&created["processing_status"], &created["request_counts"]["processing"]),
        (&json!("in_progress"), &json!(3))
    );
    assert_eq!(value(desk.get(&format!("/v1/messages/batches/{id}/results"))).await.0, 404);
    desk.clock.advance(HOUR);
    let ended = desk.retrieve(id).await;
    assert_eq!(ended["processing_status"], "ended");
    assert_eq!(
        ended["request_counts"],
        json!({ "processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0 })
    );
    assert_eq!(ended["results_url"], format!("{}/v1/messages/batches/{id}/results", desk.simulator.url()));
    let results = desk.results(id).await;
    assert_eq!(results.len(), 3);
    let (_, live) = value(desk.post("/v1/messages", call("Hi").to_string())).await;
    assert_eq!(line(&results, "a")["result"]["message"]["content"], live["content"]);
    assert_eq!(line(&results, "a")["result"]["message"]["usage"]["service_tier"], "batch");
    assert_eq!(line(&results, "b")["result"]["error"]["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn without_a_batch_time_it_has_ended_at_the_first_look() {
    let desk = Desk::open().await;
    let created = desk.create(&[("a", call("Hi"))]).await;
    assert_eq!(created["processing_status"], "in_progress");
    assert_eq!(desk.retrieve(created["id"].as_str().unwrap()).await["processing_status"], "ended");
}

#[tokio::test]
async fn all_batches_can_be_ended_at_once() {
    let desk = Desk::with_batch_time(Duration::MAX).await;
    let created = desk.create(&[("a", call("Hi"))]).await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(desk.retrieve(id).await["processing_status"], "in_progress");
    desk.simulator.end_batches().await;
    assert_eq!(desk.retrieve(id).await["request_counts"]["succeeded"], 1);
}

#[tokio::test]
async fn the_envelope_is_checked_at_once() {
    let desk = Desk::open().await;
    for body in [r#"{"requests":[]}"#.to_owned(), envelope(&[("a", call("Hi")), ("a", call("Ho"))])] {
        let (status, error) = value(desk.post("/v1/messages/batches", body)).await;
        assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    }
    assert!(desk.simulator.books().batches.is_empty());
}

#[tokio::test]
async fn cancel_then_delete() {
    let desk = Desk::with_batch_time(HOUR).await;
    let created = desk.create(&[("a", call("Hi")), ("b", call("Ho"))]).await;
    let id = created["id"].as_str().unwrap();
    let delete = || desk.signed(desk.http.delete(format!("{}/v1/messages/batches/{id}", desk.simulator.url())));
    assert_eq!(value(delete()).await.0, 400);
    desk.clock.advance(HOUR / 2);
    let (status, canceling) = value(desk.post(&format!("/v1/messages/batches/{id}/cancel"), "")).await;
    assert_eq!((status, &canceling["processing_status"]), (200, &json!("canceling")));
    let ended = desk.retrieve(id).await;
    assert_eq!((&ended["request_counts"]["succeeded"], &ended["request_counts"]["canceled"]), (&json!(1), &json!(1)));
    assert_eq!(line(&desk.results(id).await, "b")["result"], json!({ "type": "canceled" }));
    assert_eq!(value(delete()).await.1, json!({ "id": id, "type": "message_batch_deleted" }));
    assert_eq!(value(delete()).await.0, 404);
    assert!(desk.simulator.books().batches[0].deleted);
}

#[tokio::test]
async fn a_list_shows_a_workspaces_batches_newest_first() {
    let desk = Desk::open().await;
    let mut ids = Vec::new();
    for custom_id in ["a", "b", "c"] {
        ids.push(desk.create(&[(custom_id, call("Hi"))]).await["id"].clone());
    }
    ids.reverse();
    let (_, page) = value(desk.get("/v1/messages/batches?limit=2")).await;
    let shown: Vec<_> = page["data"].as_array().unwrap().iter().map(|batch| batch["id"].clone()).collect();
    assert_eq!((shown, &page["has_more"], &page["last_id"]), (ids[..2].to_vec(), &json!(true), &ids[1]));
    assert_eq!(value(desk.get("/v1/messages/batches?limit=0")).await.0, 400);
    let blue = || desk.http.get(desk.simulator.url() + "/v1/messages/batches").bearer_auth("sk-ant-blue-1");
    let (_, page) = value(blue().header("anthropic-version", "2023-06-01")).await;
    assert_eq!(page, json!({ "data": [], "has_more": false, "first_id": null, "last_id": null }));
}

#[tokio::test]
async fn items_are_kept_byte_for_byte() {
    let desk = Desk::open().await;
    let params = r#"{ "model":"claude-opus-5" , "max_tokens":1e1,"metadata":{"user_id":"\u00e9"},"messages":[] }"#;
    let body = format!(r#"{{"requests":[{{"custom_id":"a","params":{params}}}]}}"#);
    assert_eq!(value(desk.post("/v1/messages/batches", body)).await.0, 200);
    let books = desk.simulator.books();
    assert_eq!(books.items().next().unwrap().params, params);
    let id = &books.batches[0].id;
    let over_http = desk.get(&format!("/_sim/books/batches/{id}")).send().await.unwrap().text().await.unwrap();
    assert_eq!(over_http, format!("{{\"custom_id\":\"a\",\"params\":{params}}}\n"));
}

#[tokio::test]
async fn items_of_one_batch_do_not_read_each_others_prefix() {
    let desk = Desk::open().await;
    let system =
        json!([{ "type": "text", "text": "x".repeat(4_000), "cache_control": { "type": "ephemeral", "ttl": "1h" } }]);
    let item = |prompt: &str| call_with(prompt, "system", system.clone());
    let live = item("live").to_string();
    value(desk.post("/v1/messages", live)).await;
    let mut usages = Vec::new();
    for (first, second) in [("a", "b"), ("c", "d")] {
        let created = desk.create(&[(first, item(first)), (second, item(second))]).await;
        let id = created["id"].as_str().unwrap();
        desk.retrieve(id).await;
        let results = desk.results(id).await;
        let read = |id: &str| line(&results, id)["result"]["message"]["usage"]["cache_read_input_tokens"].clone();
        usages.push((read(first), read(second)));
    }
    assert_eq!(usages, [(json!(0), json!(0)), (json!(1_001), json!(1_001))]);
}

#[tokio::test]
async fn a_large_batch_comes_back_whole() {
    let desk = Desk::open().await;
    let ids: Vec<_> = (0..3_000).map(|n| format!("item-{n}")).collect();
    let items: Vec<_> = ids.iter().map(|id| (id.as_str(), call(id))).collect();
    let created = desk.create(&items).await;
    let results = desk.results(created["id"].as_str().unwrap()).await;
    let mut seen: Vec<_> = results.iter().map(|line| line["custom_id"].as_str().unwrap().to_owned()).collect();
    assert_ne!(seen, ids);
    seen.sort_unstable();
    let mut expected = ids;
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn results_are_where_an_http2_client_reached_us() {
    use http_body_util::{BodyExt as _, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let desk = Desk::open().await;
    let created = desk.create(&[("a", call("Hi"))]).await;
    let socket = tokio::net::TcpStream::connect(desk.simulator.addr()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    let mut connections = tokio::task::JoinSet::new();
    connections.spawn(connection);
    let request =
        http::Request::get(format!("http://sim.test/v1/messages/batches/{}", created["id"].as_str().unwrap()))
            .header("x-api-key", KEY)
            .header("anthropic-version", "2023-06-01")
            .body(Full::new(bytes::Bytes::new()))
            .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let batch: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert!(batch["results_url"].as_str().unwrap().starts_with("http://sim.test/v1/messages/batches/msgbatch_"));
}
