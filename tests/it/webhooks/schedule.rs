//! The schedule: when a webhook that was not taken is tried again, when it is given up, and how it is replayed.

use std::time::{Duration, UNIX_EPOCH};

use http::Method;
use offpeak::clock::Timestamp;
use serde_json::{Value, json};

use super::{Receiver, Reply, SECRET, delivery_id, is_signed, setup};
use crate::it::app::{Engine, TestApp, on_both_engines};

on_both_engines! {
    a_webhook_is_tried_ten_times_and_then_it_is_dead,
    a_dead_one_can_be_replayed,
    one_that_was_not_taken_is_taken_later,
    gone_is_gone_at_once,
    a_receiver_may_ask_for_patience,
    a_receiver_that_does_not_answer_is_tried_again,
    what_was_deleted_cannot_be_told,
}

/// The waits that are promised, in seconds; each may be a fifth longer.
const WAITS: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

fn time(value: &Value) -> Timestamp {
    Timestamp::parse_rfc3339(value.as_str().unwrap()).unwrap()
}

impl TestApp {
    /// How long a delivery has to wait from now on.
    async fn wait_of(&self, id: &str) -> Duration {
        time(&self.delivery_of(id).await["due_at"]).since(self.clock.now())
    }

    /// Lets time go on until a delivery is due, and not a millisecond less than that is enough.
    async fn until_due(&self, id: &str, receiver: &Receiver) {
        let (wait, before) = (self.wait_of(id).await, receiver.got().len());
        self.clock.advance(wait - Duration::from_millis(1));
        self.settle().await;
        assert_eq!(receiver.got().len(), before, "it is not due yet");
        self.clock.advance(Duration::from_millis(1));
        self.settle().await;
    }
}

async fn a_webhook_is_tried_ten_times_and_then_it_is_dead(engine: Engine) {
    let receiver = Receiver::scripted(|_, _| Reply::status(500)).await;
    let app = setup(engine).start().await;
    let id = app.defer_to(&receiver.url("/"), "Hi").await;
    app.finish().await;
    for (attempts, wait) in (1..).zip(WAITS) {
        let delivery = app.delivery_of(&id).await;
        assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("due"), &json!(attempts)));
        let actual = app.wait_of(&id).await;
        let range = Duration::from_secs(wait)..=Duration::from_secs(wait).mul_f64(1.2);
        assert!(range.contains(&actual), "after attempt {attempts}: {actual:?}");
        app.until_due(&id, &receiver).await;
        assert_eq!(receiver.got().len(), attempts + 1);
    }
    let delivery = app.delivery_of(&id).await;
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("dead"), &json!(10)));
    assert_eq!((&delivery["due_at"], time(&delivery["ended_at"])), (&Value::Null, app.clock.now()));
    app.clock.advance(Duration::from_hours(24 * 7));
    app.settle().await;

    let got = receiver.got();
    assert_eq!(got.len(), 10);
    // The same event under the same id each time, signed anew.
    assert!(got.iter().all(|each| each.body == got[0].body && each.header("webhook-id") == delivery_id(&id)));
    assert!(got.iter().all(|each| is_signed(each, SECRET)));
    let mut times: Vec<i64> = got.iter().map(|each| each.header("webhook-timestamp").parse().unwrap()).collect();
    assert!(times.is_sorted());
    times.dedup();
    assert_eq!(times.len(), 10);
}

async fn a_dead_one_can_be_replayed(engine: Engine) {
    // It takes nothing until it has refused ten, and one more.
    let receiver = Receiver::scripted(|_, before| Reply::status(if before < 11 { 503 } else { 200 })).await;
    let app = setup(engine).start().await;
    let id = app.defer_to(&receiver.url("/"), "Hi").await;
    app.finish().await;
    while app.delivery_of(&id).await["status"] == "due" {
        app.until_due(&id, &receiver).await;
    }
    let replay = async || {
        let path = format!("/api/deliveries/{}/replay", delivery_id(&id));
        app.operator(Method::POST, &path).send().await.expect(200).json()
    };
    let replayed = replay().await;
    assert_eq!((&replayed["status"], &replayed["attempts"]), (&json!("due"), &json!(0)));
    assert_eq!((time(&replayed["due_at"]), &replayed["ended_at"]), (app.clock.now(), &Value::Null));
    app.settle().await;
    // All of its attempts are before it again.
    let wait = app.wait_of(&id).await;
    assert!(wait >= Duration::from_secs(5) && wait <= Duration::from_secs(6), "{wait:?}");
    // Whoever cannot wait for that replays it once more.
    assert_eq!(time(&replay().await["due_at"]), app.clock.now());
    app.settle().await;
    let delivery = app.delivery_of(&id).await;
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("delivered"), &json!(1)));
    let history = delivery["history"].as_array().unwrap();
    let numbers: Vec<_> = history.iter().map(|attempt| attempt["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>(), "none is forgotten");
    assert_eq!(history.last(), Some(&delivery["last_attempt"]));
    assert_eq!((&history[10]["status"], &history[11]["status"]), (&json!(503), &json!(200)));

    // What was delivered can be sent again as well.
    replay().await;
    app.settle().await;
    assert_eq!(receiver.got().len(), 13);
    assert_eq!(app.delivery_of(&id).await["status"], "delivered");
    let unknown = app.operator(Method::POST, "/api/deliveries/dlv_00000000000000000000000000000000/replay");
    unknown.send().await.refused(404, "not_found_error", "not-found");
}

async fn one_that_was_not_taken_is_taken_later(engine: Engine) {
    // What counts is the status: no redirect is followed, and nothing but 2xx is a yes.
    let answers = [302, 400, 404, 429];
    let elsewhere = Receiver::start().await;
    let location = elsewhere.url("/elsewhere");
    let receiver = Receiver::scripted(move |_, before| match answers.get(before) {
        Some(status) => Reply::with(*status, "location", &location),
        None => Reply::status(202),
    })
    .await;
    let app = setup(engine).start().await;
    let id = app.defer_to(&receiver.url("/"), "Hi").await;
    app.finish().await;
    for status in answers {
        assert_eq!(app.delivery_of(&id).await["last_attempt"]["status"], status);
        app.until_due(&id, &receiver).await;
    }
    assert_eq!(app.delivery_of(&id).await["status"], "delivered");
    assert_eq!((receiver.got().len(), elsewhere.got().len()), (5, 0));
}

async fn gone_is_gone_at_once(engine: Engine) {
    let receiver = Receiver::scripted(|_, _| Reply::status(410)).await;
    let app = setup(engine).start().await;
    let id = app.defer_to(&receiver.url("/"), "Hi").await;
    app.finish().await;
    let delivery = app.delivery_of(&id).await;
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("dead"), &json!(1)));
    assert_eq!(
        (&delivery["last_attempt"]["status"], &delivery["last_attempt"]["failure"]),
        (&json!(410), &Value::Null)
    );
}

async fn a_receiver_may_ask_for_patience(engine: Engine) {
    let app = setup(engine).start().await;
    let now = Duration::from_millis(app.clock.now().as_millis().try_into().unwrap());
    let in_two_hours = httpdate::fmt_http_date(UNIX_EPOCH + now + Duration::from_hours(2));
    for (asked, least) in
        [("600", 600), (in_two_hours.as_str(), 7_190), ("1", 5), ("9999999", 86_400), ("soon", 5), ("-5", 5)]
    {
        let retry_after = asked.to_owned();
        let receiver = Receiver::scripted(move |_, _| Reply::with(503, "retry-after", &retry_after)).await;
        let id = app.defer_to(&receiver.url("/"), asked).await;
        app.finish().await;
        let (wait, least) = (app.wait_of(&id).await, Duration::from_secs(least));
        assert!(wait >= least && wait <= least.mul_f64(1.21), "{asked}: {wait:?}");
    }
}

async fn a_receiver_that_does_not_answer_is_tried_again(engine: Engine) {
    let hanging = Receiver::scripted(|_, before| if before == 0 { Reply::Hang } else { Reply::status(200) }).await;
    let app = setup(engine).start().await;
    // Nobody listens at the first port.
    let refused = app.defer_to("http://127.0.0.1:1/", "Ho").await;
    let slow = app.defer_to(&hanging.url("/"), "Hi").await;
    let began = std::time::Instant::now();
    app.finish().await;
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(15) && waited < Duration::from_secs(25), "{waited:?}");
    let attempt = async |id: &str| app.delivery_of(id).await["last_attempt"].clone();
    assert_eq!((&attempt(&slow).await["status"], &attempt(&slow).await["failure"]), (&Value::Null, &json!("timeout")));
    assert_eq!(attempt(&refused).await["failure"], "unreachable");
    app.until_due(&slow, &hanging).await;
    assert_eq!(app.delivery_of(&slow).await["status"], "delivered");
}

async fn what_was_deleted_cannot_be_told(engine: Engine) {
    let receiver = Receiver::scripted(|_, before| Reply::status(if before == 0 { 500 } else { 200 })).await;
    let app = setup(engine).set("defer.retention", "1s").start().await;
    let id = app.defer_to(&receiver.url("/"), "Hi").await;
    app.finish().await;
    // The deferral is deleted in the look in which its webhook is due again, or before.
    app.clock.advance(Duration::from_secs(2));
    app.settle().await;
    app.clock.advance(Duration::from_secs(5));
    app.settle().await;
    assert_eq!(receiver.got().len(), 1);
    let delivery = app.delivery_of(&id).await;
    assert_eq!((&delivery["status"], &delivery["last_attempt"]["failure"]), (&json!("dead"), &json!("forgotten")));
}
