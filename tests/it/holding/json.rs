//! Waits for one JSON text: silent ones, and long ones that are kept alive with blanks.

use super::*;

on_both_engines! {
    a_short_wait_ends_in_what_the_live_api_would_have_given,
    a_short_wait_ends_in_a_ticket,
    a_short_wait_ends_in_the_true_error,
    a_long_wait_that_is_soon_over_has_its_true_status,
    a_long_wait_is_kept_alive_with_blanks,
    a_long_wait_that_fails_is_cut_and_a_retry_hears_why,
    a_long_wait_without_a_result_is_cut,
    a_wait_may_outlast_the_deadline,
    the_deadline_is_waited_for_and_not_much_longer,
}

async fn a_short_wait_ends_in_what_the_live_api_would_have_given(engine: Engine) {
    let app = setup(engine).start().await;
    let live = app.call(body("Hi")).send().await.expect(200);
    let held = held_until_done(&app, waiting(&app, "Hi", SHORT)).await.expect(200);
    let id = held.header("x-defer-id").unwrap();
    assert_eq!(held.header("x-defer-decision"), Some(format!("deferred; reason=header; id={id}").as_str()));
    assert_eq!((held.header("request-id"), held.header("content-type")), (Some(id), live.header("content-type")));
    let mut headers: Vec<_> = held.headers.keys().map(http::HeaderName::as_str).collect();
    headers.sort_unstable();
    insta::assert_snapshot!(headers.join(" "), @"content-length content-type request-id x-defer-decision x-defer-id");

    assert_eq!(held.body, app.message(id).await.expect(200).body);
    let (mut live, mut held) = (live.json(), held.json());
    for of_one in [&mut live, &mut held] {
        of_one["id"].take();
        of_one["usage"]["service_tier"].take();
    }
    assert_eq!(held, live);
    assert_eq!(app.ended("json", "answer").await, 1);
}

async fn a_short_wait_ends_in_a_ticket(engine: Engine) {
    let app = setup(engine).start().await;
    let ticket = waiting(&app, "Hi", "30ms").send().await.expect(202);
    let id = ticket.header("x-defer-id").unwrap();
    assert_eq!((ticket.json()["id"].as_str(), ticket.header("request-id")), (Some(id), Some(id)));
    assert_eq!(ticket.header("location"), Some(format!("/deferred/{id}").as_str()));
    assert!(ticket.header("retry-after").is_some());
    assert_eq!(app.ended("json", "ticket").await, 1);
    // It tells how the deferral stands when the wait ends, not when it began.
    let (ticket, ()) = tokio::join!(waiting(&app, "Ho", "300ms").send(), async {
        app.until_held(1).await;
        app.settle().await;
    });
    assert_ne!(ticket.json()["status"], "queued");
    app.finish().await;
}

async fn a_short_wait_ends_in_the_true_error(engine: Engine) {
    let app = setup(engine).start().await;
    let refused = held_until_done(&app, waiting(&app, "[error:permission_error]", SHORT)).await.expect(403);
    assert_eq!(refused.json()["error"]["type"], "permission_error");
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(refused.header("request-id"), refused.header("x-defer-id"));

    let (gone, ()) = tokio::join!(waiting(&app, "Hi", SHORT).send(), async {
        app.until_held(1).await;
        let page = app.get("/deferred?limit=1").send().await.json();
        app.post(&format!("/deferred/{}/cancel", page["data"][0]["id"].as_str().unwrap())).send().await.expect(200);
        app.settle().await;
    });
    assert_eq!(gone.expect(410).header("x-should-retry"), Some("false"));
    assert_eq!(app.ended("json", "answer").await, 2);
}

async fn a_long_wait_that_is_soon_over_has_its_true_status(engine: Engine) {
    let patient = Periods { silent_first: Duration::from_secs(20), ..brisk() };
    let app = setup(engine).periods(patient).start().await;
    let refused = held_until_done(&app, waiting(&app, "[error:permission_error]", "deadline")).await.expect(403);
    assert!(refused.header("content-length").is_some());
    let held = held_until_done(&app, waiting(&app, "Hi", LONG)).await.expect(200);
    assert!(held.text().starts_with('{') && held.header("content-length").is_some());
}

async fn a_long_wait_is_kept_alive_with_blanks(engine: Engine) {
    let app = setup(engine).start().await;
    for wait in [LONG, "deadline"] {
        let mut caller = caller(&app, wait, &format!("x-defer-wait: {wait}")).await;
        let head = caller.head().await;
        assert_eq!((head.status(), head.get("content-type")), (200, Some("application/json")));
        let id = head.get("x-defer-id").unwrap();
        assert_eq!((head.get("request-id"), head.get("transfer-encoding")), (Some(id), Some("chunked")));
        assert_eq!(head.get("x-defer-decision"), Some(format!("deferred; reason=header; id={id}").as_str()));
        for _ in 0..3 {
            assert_eq!(caller.chunk().await, b" ");
        }
        app.finish().await;
        let (text, _) = caller.chunks().await;
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.trim_start(), app.message(id).await.expect(200).text());
        // The connection serves on.
        caller.send("GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n").await;
        assert_eq!(caller.head().await.status(), 200);
    }
    assert_eq!(app.ended("json", "answer").await, 2);
}

/// What is left of a body that is cut: blanks in chunks, and no last chunk.
async fn assert_cut(mut caller: Wire) {
    let rest = caller.rest().await;
    assert!(rest.chunks(6).all(|chunk| chunk == b"1\r\n \r\n"), "{:?}", String::from_utf8_lossy(&rest));
}

async fn a_long_wait_that_fails_is_cut_and_a_retry_hears_why(engine: Engine) {
    let app = setup(engine).set("batch.max_attempts", "1").set("defer.on_deadline", "wait").start().await;
    for (prompt, cancels, status) in [("[error:overloaded_error]", false, 529), ("Hi", true, 410)] {
        let mut caller = caller(&app, prompt, "x-defer-wait: deadline").await;
        let head = caller.head().await;
        let id = head.get("x-defer-id").unwrap();
        if cancels {
            app.post(&format!("/deferred/{id}/cancel")).send().await.expect(200);
        }
        app.finish().await;
        assert_cut(caller).await;
        app.settle().await;

        let retry =
            waiting(&app, prompt, "deadline").header("x-stainless-retry-count", "1").send().await.expect(status);
        assert_eq!(retry.header("x-defer-id"), Some(id));
        assert_eq!(retry.json()["type"], "error");
    }
    assert_eq!(app.storage().count("select count(*) from deferral").await, 2);
    assert_eq!(app.ended("json", "cut").await, 2);
}

async fn a_long_wait_without_a_result_is_cut(engine: Engine) {
    let brief = Periods { silent_limit: Duration::from_millis(50), ..brisk() };
    let app = setup(engine).periods(brief).start().await;
    let mut caller = caller(&app, "Hi", "x-defer-wait: 200ms").await;
    let head = caller.head().await;
    assert_eq!(head.status(), 200);
    assert_cut(caller).await;
    assert_eq!(app.ended("json", "cut").await, 1);

    app.clock.advance(Duration::from_millis(200));
    let retry = waiting(&app, "Hi", "200ms").header("x-stainless-retry-count", "1").send().await.expect(202);
    assert_eq!(retry.json()["id"].as_str(), head.get("x-defer-id"));
    app.finish().await;
    assert_eq!(app.message(head.get("x-defer-id").unwrap()).await.expect(200).json()["type"], "message");
}

async fn a_wait_may_outlast_the_deadline(engine: Engine) {
    let app = setup(engine).set("defer.on_deadline", "wait").batch_time(Duration::from_hours(2)).start().await;
    let call = waiting(&app, "Hi", "3h").header("x-defer", "1h");
    let held = held_until_done(&app, call).await.expect(200);
    let deferral = app.deferral(held.header("x-defer-id").unwrap()).await;
    assert!(deferral["completed_at"].as_str() > deferral["deadline"].as_str());
}

async fn the_deadline_is_waited_for_and_not_much_longer(engine: Engine) {
    let without_grace = Periods { deadline_grace: Duration::ZERO, silent_first: Duration::from_secs(20), ..brisk() };
    let app = setup(engine).set("defer.min_deadline", "0").periods(without_grace).start().await;
    let ticket = waiting(&app, "Hi", "deadline").header("x-defer", "50ms").send().await.expect(202);
    assert_eq!(app.ended("json", "ticket").await, 1);
    app.finish().await;
    app.message(ticket.header("x-defer-id").unwrap()).await.expect(200);
}
