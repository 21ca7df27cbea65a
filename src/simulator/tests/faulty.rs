//! Faults on request, and clients that go away.

use super::super::{Disconnects, Effect, Endpoint, Fault, ItemEnd, ItemMatch};
use super::*;

/// The result types of a batch by `custom_id`.
fn kinds(lines: &[Value]) -> Vec<(&str, &str)> {
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    for line in lines {
        kinds.push((line["custom_id"].as_str().unwrap(), line["result"]["type"].as_str().unwrap()));
    }
    kinds.sort_unstable();
    kinds
}

#[tokio::test]
async fn gives_the_status_that_was_asked_for() {
    let desk = Desk::open().await;
    desk.simulator.inject(Fault::at(Endpoint::Messages, Effect::rate_limit(Some(7))).times(1));
    desk.simulator.inject(Fault::at(Endpoint::Messages, Effect::edge_too_large()).times(1));
    let limited = desk.post("/v1/messages", call("Hi").to_string()).send().await.unwrap();
    assert_eq!((limited.status().as_u16(), &limited.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    assert!(limited.text().await.unwrap().contains("rate_limit_error"));
    let large = desk.post("/v1/messages", call("Hi").to_string()).send().await.unwrap();
    assert_eq!((large.status().as_u16(), large.headers()["content-type"].to_str().unwrap()), (413, "text/html"));
    assert_eq!(value(desk.post("/v1/messages", call("Hi").to_string())).await.0, 200);
}

#[tokio::test]
async fn cuts_before_or_after_the_work() {
    let desk = Desk::open().await;
    for (effect, batches) in [(Effect::CutBefore, 0), (Effect::CutAfter, 1)] {
        desk.simulator.inject(Fault::at(Endpoint::BatchCreate, effect).times(1));
        let body = envelope(&[("a", call("Hi"))]);
        assert!(desk.post("/v1/messages/batches", body).send().await.is_err());
        assert_eq!(desk.simulator.books().batches.len(), batches);
    }
    assert_eq!(desk.simulator.books().disconnects, Disconnects::default());
}

#[tokio::test]
async fn cuts_in_the_middle() {
    let desk = Desk::open().await;
    desk.simulator.inject(Fault::anywhere(Effect::CutMidway { pieces: 3 }));
    for body in [call("Hi"), call_with("Hi", "stream", json!(true))] {
        let answer = desk.post("/v1/messages", body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err());
    }
    assert_eq!(desk.simulator.books().disconnects, Disconnects::default());
}

#[tokio::test]
async fn notices_clients_that_go_away() {
    let desk = Desk::with(Settings { event_pause: HOUR, ..Settings::default() }).await;
    desk.simulator.inject(Fault::at(Endpoint::Messages, Effect::Hang { worked: false }).times(1));
    let hanging = desk.post("/v1/messages", call("Hi").to_string()).send();
    tokio::select! {
        _ = hanging => panic!("answered"),
        _ = desk.until(|books| books.requests.len() == 1) => {}
    }
    desk.until(|books| books.disconnects.waiting == 1).await;
    let stream = desk.post("/v1/messages", call_with("Hi", "stream", json!(true)).to_string()).send().await.unwrap();
    drop(stream);
    let books = desk.until(|books| books.disconnects.answering == 1).await;
    assert_eq!(books.disconnects, Disconnects { reading: 0, waiting: 1, answering: 1 });
}

#[tokio::test]
async fn a_create_can_hang_with_its_work_done() {
    let desk = Desk::open().await;
    desk.simulator.inject(Fault::at(Endpoint::BatchCreate, Effect::Hang { worked: true }).times(1));
    let hanging = desk.post("/v1/messages/batches", envelope(&[("a", call("Hi"))])).send();
    tokio::select! {
        _ = hanging => panic!("answered"),
        _ = desk.until(|books| books.batches.len() == 1) => {}
    }
}

#[tokio::test]
async fn puts_an_error_into_a_stream() {
    let desk = Desk::open().await;
    desk.simulator.inject(Fault::anywhere(Effect::StreamError { events: 4, error_type: "overloaded_error".into() }));
    let answer = desk.post("/v1/messages", call_with("Hi", "stream", json!(true)).to_string()).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert_eq!(text.matches("event: ").count(), 5);
    assert!(text.split("\n\n").nth(4).unwrap().contains("overloaded_error"));
}

#[tokio::test]
async fn slow_answers_arrive_all_the_same() {
    let desk = Desk::open().await;
    let pause = Duration::from_millis(1);
    desk.simulator.inject(Fault::anywhere(Effect::Slow { before: pause, between: pause }));
    let answer = desk.post("/v1/messages", call_with("Hi", "stream", json!(true)).to_string()).send().await.unwrap();
    assert!(answer.text().await.unwrap().ends_with("{\"type\":\"message_stop\"}\n\n"));
}

#[tokio::test]
async fn results_can_be_torn() {
    let desk = Desk::open().await;
    let created = desk.create(&[("a", call("A")), ("b", call("B")), ("c", call("C"))]).await;
    let path = format!("/v1/messages/batches/{}/results", created["id"].as_str().unwrap());
    let text = async |effect: Effect| {
        desk.simulator.inject(Fault::at(Endpoint::BatchResults, effect).times(1));
        desk.get(&path).send().await.unwrap().text().await
    };
    assert!(text(Effect::TruncateResults { lines: 1, clean: false }).await.is_err());
    let torn = text(Effect::TruncateResults { lines: 1, clean: true }).await.unwrap();
    assert_eq!((torn.lines().count(), torn.ends_with('\n')), (2, false));
    let count = |text: &str, id: &str| {
        lines(text).iter().filter(|line| line["custom_id"].as_str().unwrap().starts_with(id)).count()
    };
    assert_eq!(lines(&text(Effect::OmitResults { lines: 2 }).await.unwrap()).len(), 1);
    let repeated = text(Effect::RepeatResults { lines: 1 }).await.unwrap();
    assert_eq!(lines(&repeated).len(), 4);
    let foreign = text(Effect::ForeignResults { lines: 2 }).await.unwrap();
    assert_eq!((lines(&foreign).len(), count(&foreign, "foreign-")), (5, 2));
}

#[tokio::test]
async fn a_batch_can_stay_out_of_the_list() {
    let desk = Desk::open().await;
    desk.simulator.inject(Fault::at(Endpoint::BatchCreate, Effect::HideBatch { during: HOUR }).times(1));
    let created = desk.create(&[("a", call("Hi"))]).await;
    let listed = async || value(desk.get("/v1/messages/batches")).await.1["data"].as_array().unwrap().len();
    assert_eq!(listed().await, 0);
    assert_eq!(desk.retrieve(created["id"].as_str().unwrap()).await["id"], created["id"]);
    desk.clock.advance(HOUR);
    assert_eq!(listed().await, 1);
}

#[tokio::test]
async fn a_batch_can_be_lost_or_archived() {
    let desk = Desk::open().await;
    let created = desk.create(&[("a", call("Hi"))]).await;
    let id = created["id"].as_str().unwrap();
    desk.simulator.inject(Fault::at(Endpoint::BatchRetrieve, Effect::ArchiveBatch).times(1));
    let archived = desk.retrieve(id).await;
    assert_eq!((&archived["processing_status"], &archived["results_url"]), (&json!("ended"), &Value::Null));
    assert!(archived["archived_at"].is_string());
    desk.simulator.inject(Fault::at(Endpoint::BatchRetrieve, Effect::LoseBatch).times(1));
    assert_eq!(desk.retrieve(id).await["error"]["type"], "not_found_error");
    assert_eq!(desk.retrieve(id).await["error"]["type"], "not_found_error");
}

#[tokio::test]
async fn items_fail_as_they_were_told() {
    let desk = Desk::open().await;
    let item = |which, ends| Fault::anywhere(Effect::Items { which, ends });
    let by_id = ItemMatch { custom_id: Some("late".into()), ..ItemMatch::default() };
    desk.simulator.inject(item(by_id, ItemEnd::Expired));
    let by_text = ItemMatch { text: Some("poison".into()), ..ItemMatch::default() };
    desk.simulator.inject(item(by_text, ItemEnd::Errored("api_error".into())));
    let first = ItemMatch { attempts: Some(1), ..ItemMatch::default() };
    desk.simulator.inject(item(first, ItemEnd::Canceled));
    let items = [("late", call("Hi")), ("bad", call("poison")), ("new", call("Hi"))];
    let mut seen = Vec::new();
    for _ in 0..2 {
        let created = desk.create(&items).await;
        seen.push(desk.results(created["id"].as_str().unwrap()).await);
    }
    assert_eq!(kinds(&seen[0]), [("bad", "errored"), ("late", "expired"), ("new", "canceled")]);
    assert_eq!(kinds(&seen[1]), [("bad", "errored"), ("late", "expired"), ("new", "succeeded")]);
}

#[tokio::test]
async fn a_batch_can_have_a_time_of_its_own() {
    let desk = Desk::open().await;
    desk.simulator.inject(Fault::at(Endpoint::BatchCreate, Effect::BatchTime { time: HOUR }).times(1));
    let created = desk.create(&[("a", call("Hi"))]).await;
    assert_eq!(desk.retrieve(created["id"].as_str().unwrap()).await["processing_status"], "in_progress");
}

#[tokio::test]
async fn obeys_over_http_and_shows_no_secret() {
    let desk = Desk::with_batch_time(HOUR).await;
    let fault = r#"{"endpoint":"messages","effect":{"kind":"status","status":529}}"#;
    assert_eq!(value(desk.post("/_sim/faults", fault)).await, (200, json!({ "armed": 1 })));
    assert_eq!(value(desk.post("/_sim/faults", "{}")).await.0, 400);
    let body = call("a prompt").to_string();
    assert_eq!(value(desk.post("/v1/messages", body.clone())).await.0, 529);
    assert_eq!(value(desk.signed(desk.http.delete(desk.simulator.url() + "/_sim/faults"))).await.0, 200);
    assert_eq!(value(desk.post("/v1/messages", body.clone())).await.0, 200);
    let created = desk.create(&[("a", call("Hi"))]).await;
    assert_eq!(value(desk.post("/_sim/end", "")).await.0, 200);
    assert_eq!(desk.retrieve(created["id"].as_str().unwrap()).await["processing_status"], "ended");
    let books = desk.get("/_sim/books").send().await.unwrap().text().await.unwrap();
    assert!(!books.contains(KEY) && !books.contains("a prompt"));
    let books: Value = serde_json::from_str(&books).unwrap();
    assert_eq!((&books["requests"][0]["credential"], &books["batches"][0]["items"]), (&json!("x-api-key"), &json!(1)));
    let id = books["requests"][0]["request_id"].as_str().unwrap();
    assert_eq!(desk.get(&format!("/_sim/books/requests/{id}")).send().await.unwrap().text().await.unwrap(), body);
}

#[tokio::test]
async fn notices_clients_that_go_while_they_speak() {
    use tokio::io::AsyncWriteExt as _;

    let desk = Desk::open().await;
    let mut socket = tokio::net::TcpStream::connect(desk.simulator.addr()).await.unwrap();
    socket.write_all(b"POST /v1/messages HTTP/1.1\r\nhost: sim\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    drop(socket);
    let books = desk.until(|books| books.disconnects.reading == 1).await;
    assert!(books.requests.is_empty());
}

#[tokio::test]
async fn a_fault_that_strikes_no_time_is_none() {
    let desk = Desk::open().await;
    desk.simulator.inject(Fault::anywhere(Effect::status(500)).times(0));
    assert_eq!(value(desk.post("/v1/messages", call("Hi").to_string())).await.0, 200);
    desk.simulator.inject(Fault::anywhere(Effect::status(500)).with_credential(KEY));
    assert_eq!(value(desk.post("/v1/messages", call("Hi").to_string())).await.0, 500);
    desk.simulator.clear_faults();
    assert_eq!(value(desk.post("/v1/messages", call("Hi").to_string())).await.0, 200);
}
