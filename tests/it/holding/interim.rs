//! Interim answers: with `defer.keepalive = "interim"` the final status is always the true one.

use super::*;

on_both_engines! {
    interim_answers_come_before_the_true_status,
}

fn interim(engine: Engine) -> Setup {
    setup(engine).set("defer.keepalive", "interim")
}

/// Some interim answers, which must come now.
async fn hears_interim_answers(caller: &mut Wire) {
    for _ in 0..3 {
        assert_eq!(caller.line().await, b"HTTP/1.1 102 Processing");
        assert_eq!(caller.line().await, b"");
    }
}

/// The head of the true answer, behind however many interim ones.
async fn true_head(caller: &mut Wire) -> Head {
    loop {
        let head = caller.head().await;
        if head.status() != 102 {
            return head;
        }
    }
}

async fn body_of(caller: &mut Wire, head: &Head) -> String {
    let length = head.get("content-length").unwrap().parse().unwrap();
    String::from_utf8(caller.take(length).await).unwrap()
}

async fn interim_answers_come_before_the_true_status(engine: Engine) {
    let app = interim(engine).start().await;
    let mut caller = Wire::connect(app.gateway()).await;
    for (prompt, status) in [("Hi", 200), ("[error:permission_error]", 403), ("Ho", 200)] {
        caller.send(on_the_wire(&body(prompt), "x-defer-wait: deadline\r\n")).await;
        hears_interim_answers(&mut caller).await;
        app.finish().await;
        let head = true_head(&mut caller).await;
        assert_eq!(head.status(), status);
        let body = body_of(&mut caller, &head).await;
        assert_eq!(body, app.message(head.get("x-defer-id").unwrap()).await.text());
    }
    assert_eq!(app.ended("json", "answer").await, 3);
}

#[tokio::test]
async fn a_wait_that_ends_or_is_ended_gives_a_ticket() {
    let brief = Periods { silent_limit: Duration::from_millis(20), ..brisk() };
    let mut app = interim(Engine::Sqlite).periods(brief).start().await;
    let mut timely = caller(&app, "Hi", "x-defer-wait: 200ms").await;
    hears_interim_answers(&mut timely).await;
    let head = true_head(&mut timely).await;
    assert_eq!((head.status(), head.get("retry-after").is_some()), (202, true));
    assert_eq!(head.get("x-defer-id"), head.get("request-id"));

    let mut drained = caller(&app, "Ho", "x-defer-wait: deadline").await;
    hears_interim_answers(&mut drained).await;
    app.restart().await;
    assert_eq!(true_head(&mut drained).await.status(), 202);
    app.finish().await;
}

#[tokio::test]
async fn a_silent_wait_stays_silent() {
    let app = interim(Engine::Sqlite).start().await;
    let mut caller = caller(&app, "Hi", &format!("x-defer-wait: {SHORT}")).await;
    app.until_held(1).await;
    app.finish().await;
    assert_eq!(caller.head().await.status(), 200);
}

#[tokio::test]
async fn http_1_0_knows_no_interim_answers() {
    let app = interim(Engine::Sqlite).start().await;
    let mut caller = Wire::connect(app.gateway()).await;
    let call = on_the_wire(&body("Hi"), "x-defer-wait: deadline\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1);
    caller.send(call).await;
    assert_eq!(caller.head().await.status(), 200);
    app.finish().await;
    let text = String::from_utf8(caller.rest().await).unwrap();
    assert!(text.starts_with(' ') && text.trim_start().starts_with('{') && text.contains("msg_"), "{text}");
}

#[tokio::test]
async fn an_earlier_answer_that_is_not_read_yet_is_not_broken_by_them() {
    let app = interim(Engine::Sqlite).start().await;
    let long = body("[long:60000]").replacen("64", "60000", 1);
    let id = app.tagged(long).send().await.id();
    app.finish().await;
    let message = app.message(&id).await.expect(200);
    assert!(message.body.len() > 300_000);

    // More than the sockets hold, so that some of it waits in the gateway when the next call is already held.
    const AHEAD: usize = 30;
    let mut caller = Wire::connect(app.gateway()).await;
    let get = format!("GET /deferred/{id}/message HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\n\r\n");
    caller.send(get.repeat(AHEAD)).await;
    caller.send(on_the_wire(&body("Hi"), "x-defer-wait: deadline\r\n")).await;
    for _ in 0..AHEAD {
        let head = caller.head().await;
        assert_eq!(head.status(), 200);
        assert!(caller.take(message.body.len()).await == message.body);
    }
    hears_interim_answers(&mut caller).await;
    app.finish().await;
    assert_eq!(true_head(&mut caller).await.status(), 200);
}
