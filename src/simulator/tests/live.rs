//! Live calls, token counting, models.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[tokio::test]
async fn answers_a_call_whatever_the_query() {
    let desk = Desk::open().await;
    let request = desk.post("/v1/messages?beta=true", call("Hi").to_string());
    let answer = request.send().await.unwrap();
    let headers = answer.headers().clone();
    for name in
        ["request-id", "anthropic-organization-id", "anthropic-workspace-id", "anthropic-ratelimit-tokens-limit"]
    {
        assert!(headers.contains_key(name), "{name}");
    }
    let message: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(message["type"], "message");
    assert_eq!(message["usage"]["service_tier"], "standard");
    let books = desk.simulator.books();
    let received = books.live_calls().next().unwrap();
    assert_eq!(received.body, call("Hi").to_string());
    assert_eq!(received.query.as_deref(), Some("beta=true"));
    assert_eq!(received.header("x-api-key"), Some(KEY));
    assert_eq!(received.request_id, headers["request-id"]);
}

#[tokio::test]
async fn errors_have_the_providers_shape() {
    let desk = Desk::open().await;
    let (status, error) = value(desk.post("/v1/messages", "{}")).await;
    assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    assert!(error["request_id"].as_str().unwrap().starts_with("req_"));
    let (status, error) = value(desk.http.post(desk.simulator.url() + "/v1/messages")).await;
    assert_eq!((status, &error["error"]["type"]), (401, &json!("authentication_error")));
    assert_eq!(value(desk.get("/v1/nothing")).await.0, 404);
    assert_eq!(value(desk.post("/v1/messages", call("[error:overloaded_error]").to_string())).await.0, 529);
}

#[tokio::test]
async fn too_large_a_call_is_refused() {
    let desk = Desk::open().await;
    let (status, error) = value(desk.post("/v1/messages", vec![b' '; 32_000_001])).await;
    assert_eq!((status, &error["error"]["type"]), (413, &json!("request_too_large")));
}

#[tokio::test]
async fn reads_compressed_bodies() {
    let desk = Desk::open().await;
    let body = call("Hi").to_string();
    let mut packed = Vec::new();
    let mut encoder = async_compression::tokio::bufread::ZstdEncoder::new(body.as_bytes());
    encoder.read_to_end(&mut packed).await.unwrap();
    let (status, _) = value(desk.post("/v1/messages", packed.clone()).header("content-encoding", "zstd")).await;
    assert_eq!(status, 200);
    assert_eq!(desk.simulator.books().requests[0].body, packed);
}

#[tokio::test]
async fn a_stream_goes_out_event_by_event() {
    let desk = Desk::open().await;
    let body = call_with("[long:40]", "stream", json!(true)).to_string();
    let mut socket = tokio::net::TcpStream::connect(desk.simulator.addr()).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: sim\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("content-type: text/event-stream"));
    let events = answer.matches("\nevent: ").count();
    // Each chunk is its size in hex, then one event.
    let chunks = answer.split("\r\n").filter(|part| part.starts_with("event: ")).collect::<Vec<_>>();
    assert_eq!((chunks.len(), chunks.iter().all(|chunk| chunk.ends_with("\n\n"))), (events, true));
    assert!(chunks.len() > 10, "{}", chunks.len());
}

#[tokio::test]
async fn an_event_does_not_wait_for_the_next() {
    let desk = Desk::with(Settings { event_pause: HOUR, ..Settings::default() }).await;
    let body = call_with("Hi", "stream", json!(true)).to_string();
    let mut answer = desk.post("/v1/messages", body).send().await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(20), answer.chunk()).await.unwrap().unwrap().unwrap();
    assert!(first.starts_with(b"event: message_start\n") && first.ends_with(b"\n\n"));
}

#[tokio::test]
async fn counts_tokens_as_calls_do() {
    let desk = Desk::open().await;
    let (_, message) = value(desk.post("/v1/messages", call("Hello there, what a day").to_string())).await;
    let (status, count) =
        value(desk.post("/v1/messages/count_tokens", call("Hello there, what a day").to_string())).await;
    assert_eq!((status, &count["input_tokens"]), (200, &message["usage"]["input_tokens"]));
}

#[tokio::test]
async fn live_calls_read_what_live_calls_wrote() {
    let desk = Desk::open().await;
    let system = json!([{ "type": "text", "text": "x".repeat(4_000), "cache_control": { "type": "ephemeral" } }]);
    let body = call_with("Hi", "system", system).to_string();
    let mut usages = Vec::new();
    for _ in 0..2 {
        usages.push(value(desk.post("/v1/messages", body.clone())).await.1["usage"].clone());
    }
    desk.clock.advance(Duration::from_secs(301));
    usages.push(value(desk.post("/v1/messages", body)).await.1["usage"].clone());
    let figures =
        |usage: &Value| (usage["cache_creation_input_tokens"].as_u64(), usage["cache_read_input_tokens"].as_u64());
    assert_eq!(
        usages.iter().map(figures).collect::<Vec<_>>(),
        [(Some(1_001), Some(0)), (Some(0), Some(1_001)), (Some(1_001), Some(0))]
    );
    assert_eq!(usages[0]["cache_creation"]["ephemeral_5m_input_tokens"], 1_001);
    assert_eq!(usages[0]["input_tokens"], usages[1]["input_tokens"]);
}

#[tokio::test]
async fn lists_models_in_pages() {
    let desk = Desk::open().await;
    let (_, first) = value(desk.get("/v1/models?limit=10")).await;
    assert_eq!((first["data"].as_array().unwrap().len(), &first["has_more"]), (10, &json!(true)));
    let (_, rest) = value(desk.get(&format!("/v1/models?after_id={}", first["last_id"].as_str().unwrap()))).await;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (9, &json!(false)));
    let (_, model) = value(desk.get("/v1/models/claude-livonly-1")).await;
    assert_eq!(model["capabilities"]["batch"]["supported"], false);
    assert_eq!(value(desk.get("/v1/models/claude-1")).await.0, 404);
}

#[tokio::test]
async fn stops_when_it_is_told_to() {
    let desk = Desk::open().await;
    let (simulator, addr) = (desk.simulator, desk.http);
    let url = simulator.url();
    simulator.shutdown().await;
    assert!(addr.get(url).send().await.is_err());
}
