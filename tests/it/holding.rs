//! Holding: callers who keep their connection open for the result.

mod attach;
mod crowd;
mod http2;
mod interim;
mod json;
mod leaving;
mod replicas;
mod rules;
mod streams;
mod uploads;

use std::time::Duration;

use http::Method;
use offpeak::hold::Periods;

use super::app::{Answer, Call, Engine, KEY, Setup, TestApp, body, on_both_engines};
use super::wire::{Head, Wire, soon};

/// How often something is looked at that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A wait that is silent, and one that is not.
const SHORT: &str = "20s";
const LONG: &str = "1h";

/// Periods that a test can wait for; only the longest silent wait is long enough not to end by chance.
fn brisk() -> Periods {
    let millis = Duration::from_millis;
    Periods {
        silent_limit: Duration::from_secs(20),
        silent_first: millis(30),
        blank_every: millis(10),
        ping_every: millis(10),
        deadline_grace: Duration::from_hours(1),
    }
}

/// On PostgreSQL the gateway has threads of its own, as in production; on SQLite all is on the test's thread.
fn setup(engine: Engine) -> Setup {
    let threads = if engine == Engine::Postgres { 2 } else { 0 };
    Setup::on(engine).periods(brisk()).threads(threads)
}

/// A call whose caller waits so long.
fn waiting(app: &TestApp, prompt: &str, wait: &str) -> Call {
    app.tagged(body(prompt)).header("x-defer-wait", wait)
}

/// The body of a call for a stream.
fn streamed(prompt: &str) -> String {
    body(prompt).replacen('{', r#"{"stream":true,"#, 1)
}

/// A call whose caller wants a stream.
fn streaming(app: &TestApp, prompt: &str) -> Call {
    app.tagged(streamed(prompt))
}

/// A call as it goes over the wire, with these header lines besides the usual ones.
fn on_the_wire(text: &str, headers: &str) -> String {
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n\
         x-defer: batch\r\ncontent-length: {}\r\n{headers}\r\n{text}",
        text.len()
    )
}

/// A caller by hand whose call has this header besides the usual ones.
async fn caller(app: &TestApp, prompt: &str, header: &str) -> Wire {
    let mut caller = Wire::connect(app.gateway()).await;
    caller.send(on_the_wire(&body(prompt), &format!("{header}\r\n"))).await;
    caller
}

impl TestApp {
    /// What a metric says, all its labels together.
    async fn metric(&self, name: &str) -> i64 {
        let text = self.operator(Method::GET, "/metrics").send().await.expect(200);
        let values = text.text().lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<i64>().unwrap()).sum()
    }

    /// Waits until so many callers are held.
    async fn until_held(&self, callers: i64) {
        let held = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            while self.metric("offpeak_held_connections").await != callers {
                looks.tick().await;
            }
        };
        soon(held).await;
    }

    /// Waits until so many callers are noted as gone.
    async fn until_gone(&self, callers: i64) {
        let gone = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                self.settle().await;
                let noted = "select count(*) from deferral where caller_left_at is not null";
                if self.storage().count(noted).await == callers {
                    break;
                }
            }
        };
        soon(gone).await;
    }

    /// How often a hold ended so.
    async fn ended(&self, form: &str, end: &str) -> i64 {
        self.metric(&format!("offpeak_holds_total{{form=\"{form}\",end=\"{end}\"}}")).await
    }
}

/// Sends a call, and lets it have its result as soon as its caller is held.
async fn held_until_done(app: &TestApp, call: Call) -> Answer {
    let (answer, ()) = tokio::join!(call.send(), async {
        app.until_held(1).await;
        app.finish().await;
    });
    app.until_held(0).await;
    answer
}
