//! Uploads: a body may come in any way and take its time; what is refused is refused before anybody waits.

use super::*;

on_both_engines! {
    a_body_may_come_in_pieces,
    what_is_refused_is_not_held,
}

async fn a_body_may_come_in_pieces(engine: Engine) {
    let app = setup(engine).start().await;
    let text = streamed("slowly");
    let head = on_the_wire(&text, "");
    let head = head.split_once("\r\n\r\n").unwrap().0;
    let mut caller = Wire::connect(app.gateway()).await;
    // By its length, a few bytes at a time.
    caller.send(format!("{head}\r\n\r\n")).await;
    for piece in text.as_bytes().chunks(7) {
        caller.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(caller.head().await.status(), 200);
    assert!(caller.chunk().await.starts_with(b"event: ping"));

    // In chunks, after an answer to `expect`.
    let mut chunked = Wire::connect(app.gateway()).await;
    let chunks = head.replacen(&format!("content-length: {}", text.len()), "transfer-encoding: chunked", 1);
    chunked.send(format!("{chunks}\r\nexpect: 100-continue\r\n\r\n")).await;
    assert_eq!(chunked.head().await.status(), 100);
    for piece in text.as_bytes().chunks(11) {
        chunked.send_chunk(piece).await;
    }
    chunked.send("0\r\n\r\n").await;
    assert_eq!(chunked.head().await.status(), 200);

    app.until_held(2).await;
    app.finish().await;
    for caller in [&mut caller, &mut chunked] {
        let (events, _) = caller.chunks().await;
        assert!(events.ends_with(b"data: {\"type\":\"message_stop\"}\n\n"));
    }
    assert!(app.books().items().all(|item| item.params == body("slowly")));
}

async fn what_is_refused_is_not_held(engine: Engine) {
    let app = setup(engine).start().await;
    for wrong in ["", "soon", "5", "-1s", "1.5h", "Deadline", "3651d", "1h,2h"] {
        let refused = waiting(&app, "Hi", wrong).send().await;
        let message = refused.refused(400, "invalid_request_error", "invalid-header");
        assert!(message.contains("x-defer-wait") && message.contains("deadline"), "{wrong}: {message}");
    }
    let twice = waiting(&app, "Hi", SHORT).also("x-defer-wait", LONG).send().await;
    twice.refused(400, "invalid_request_error", "invalid-header");
    let speedy = app.tagged(streamed("Hi").replacen('{', r#"{"speed":"fast","#, 1)).send().await;
    speedy.refused(400, "invalid_request_error", "not-deferrable");
    // A live call may carry the header, and is not held.
    let live = app.call(body("Hi")).header("x-defer", "live").header("x-defer-wait", LONG).send().await.expect(200);
    assert_eq!((live.header("x-defer-id"), live.header("x-defer-decision")), (None, Some("live; reason=header")));
    assert_eq!(app.metric("offpeak_holds_total").await, 0);
    assert_eq!(app.storage().count("select count(*) from deferral").await, 0);
}
