//! The stand-in as a client sees it.

mod batching;
mod faulty;
mod live;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Books, Settings, Simulator};
use crate::clock::{Clock, Timestamp};

const HOUR: Duration = Duration::from_secs(3_600);
const KEY: &str = "sk-ant-red-1";

/// A stand-in, its clock, and a client with a key.
struct Desk {
    simulator: Simulator,
    clock: Clock,
    http: reqwest::Client,
}

impl Desk {
    async fn open() -> Self {
        Self::with(Settings::default()).await
    }

    /// With batches that take a time.
    async fn with_batch_time(batch_time: Duration) -> Self {
        Self::with(Settings { batch_time, ..Settings::default() }).await
    }

    async fn with(settings: Settings) -> Self {
        // Some other test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Clock::manual(Timestamp::from_millis(1_795_350_000_000));
        let simulator = Simulator::start(settings, clock.clone()).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { simulator, clock, http }
    }

    fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.signed(self.http.post(self.simulator.url() + path)).body(body)
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.signed(self.http.get(self.simulator.url() + path))
    }

    fn signed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.header("x-api-key", KEY).header("anthropic-version", "2023-06-01")
    }

    /// Creates a batch of these items, and returns it.
    async fn create(&self, items: &[(&str, Value)]) -> Value {
        value(self.post("/v1/messages/batches", envelope(items))).await.1
    }

    async fn retrieve(&self, id: &str) -> Value {
        value(self.get(&format!("/v1/messages/batches/{id}"))).await.1
    }

    /// The lines of a batch's results.
    async fn results(&self, id: &str) -> Vec<Value> {
        let answer = self.get(&format!("/v1/messages/batches/{id}/results")).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/x-jsonl");
        lines(&answer.text().await.unwrap())
    }

    /// Waits until the books say so.
    async fn until(&self, condition: impl Fn(&Books) -> bool) -> Books {
        tokio::time::timeout(Duration::from_secs(20), self.simulator.until(condition)).await.unwrap()
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn envelope(items: &[(&str, Value)]) -> String {
    let requests: Vec<_> = items.iter().map(|(id, params)| json!({ "custom_id": id, "params": params })).collect();
    json!({ "requests": requests }).to_string()
}

/// A valid call with this prompt.
fn call(prompt: &str) -> Value {
    json!({ "model": "claude-opus-5-5", "max_tokens": 1000, "messages": [{ "role": "user", "content": prompt }] })
}

/// The same with one more member.
fn call_with(prompt: &str, name: &str, member: Value) -> Value {
    let mut call = call(prompt);
    call[name] = member;
    call
}

async fn value(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

/// The line of a `custom_id`.
fn line<'l>(lines: &'l [Value], custom_id: &str) -> &'l Value {
    lines.iter().find(|line| line["custom_id"] == custom_id).unwrap()
}
