//! Leaving: callers who go and come back, and a gateway that ends.

use offpeak::clock::Clock;
use offpeak::simulator::{self, Simulator};
use tokio::task::JoinSet;

use super::*;
use crate::it::app::Storage;
use crate::it::child::{Gateway, serve};

on_both_engines! {
    a_caller_who_leaves_cancels_nothing_and_finds_the_result,
    a_caller_who_was_served_is_not_gone,
    a_drain_gives_tickets_or_cuts,
}

const NOTED: &str = "select count(*) from deferral where caller_left_at is not null";

async fn a_caller_who_leaves_cancels_nothing_and_finds_the_result(engine: Engine) {
    let app = setup(engine).start().await;
    for (form, wait) in [("json", SHORT), ("json", LONG), ("events", LONG)] {
        let (ended, prompt) = (app.ended(form, "left").await, format!("{form} {wait}"));
        let call = match form {
            "json" => waiting(&app, &prompt, wait),
            _ => streaming(&app, &prompt),
        };
        let mut callers = JoinSet::new();
        callers.spawn(call.clone().try_send());
        app.until_held(1).await;
        callers.shutdown().await;
        app.until_held(0).await;
        assert_eq!(app.ended(form, "left").await, ended + 1);
        app.until_gone(1).await;
        app.finish().await;
        let back = call.header("x-stainless-retry-count", "1").send().await.expect(200);
        assert!(back.text().contains("msg_"), "{}", back.text());
        app.until_gone(0).await;
    }
    assert_eq!(app.storage().count("select count(*) from deferral").await, 3);
}

async fn a_caller_who_was_served_is_not_gone(engine: Engine) {
    let app = setup(engine).start().await;
    held_until_done(&app, waiting(&app, "1", SHORT)).await.expect(200);
    held_until_done(&app, waiting(&app, "2", LONG)).await.expect(200);
    held_until_done(&app, streaming(&app, "3")).await.expect(200);
    waiting(&app, "4", "20ms").send().await.expect(202);
    streaming(&app, "5").header("x-defer-wait", "20ms").send().await.expect(200);
    app.defer("6").await;
    app.finish().await;
    assert_eq!(app.storage().count(NOTED).await, 0);
}

async fn a_drain_gives_tickets_or_cuts(engine: Engine) {
    let patient = Periods { silent_first: Duration::from_secs(20), ..brisk() };
    for (periods, header, status) in [
        (brisk(), format!("x-defer-wait: {SHORT}"), 202),
        (patient, "x-defer-wait: deadline".to_owned(), 202),
        (brisk(), "x-defer-wait: deadline".to_owned(), 200),
    ] {
        let mut app = setup(engine).periods(periods).start().await;
        let mut caller = caller(&app, "Hi", &header).await;
        app.until_held(1).await;
        let id = match status {
            // Its answer has begun.
            200 => Some(caller.head().await.get("x-defer-id").unwrap().to_owned()),
            _ => None,
        };
        app.restart().await;
        let id = match id {
            Some(id) => id,
            None => {
                let head = caller.head().await;
                assert_eq!((head.status(), head.get("connection")), (202, Some("close")));
                head.get("x-defer-id").unwrap().to_owned()
            }
        };
        let rest = String::from_utf8(caller.rest().await).unwrap();
        match status {
            200 => assert!(!rest.contains('{') && !rest.ends_with("0\r\n\r\n"), "{rest}"),
            _ => assert!(rest.contains(&id), "{rest}"),
        }
        // Whoever was cut is noted as gone, and attaches again.
        assert_eq!(app.storage().count(NOTED).await, i64::from(status == 200));
        let retry = waiting(&app, "Hi", SHORT).header("x-stainless-retry-count", "1");
        let answer = held_until_done(&app, retry).await.expect(200);
        assert_eq!(answer.header("x-defer-id"), Some(id.as_str()));
    }
}

#[tokio::test]
async fn a_process_that_is_asked_to_end_lets_go_of_all_at_once() {
    let simulator = Simulator::start(simulator::Settings::default(), Clock::system()).await.unwrap();
    let storage = Storage::new(Engine::Sqlite).await;
    let mut command = serve(&storage, &simulator.url(), &[("batch.linger", "1h")]);
    // Silent for up to 2.7 seconds, unless the wait is longer: then for a fifth of one.
    command.env("OFFPEAK_HOLD_PERIODS", "100");
    let mut gateway = Gateway::start(command).await;
    gateway.until_ready().await;
    let mut begun = Vec::new();
    for text in [streamed("stream"), body("blanks")] {
        let mut caller = Wire::connect(gateway.address).await;
        caller.send(on_the_wire(&text, "x-defer-wait: deadline\r\n")).await;
        assert_eq!(caller.head().await.status(), 200);
        begun.push(caller);
    }
    let mut silent = JoinSet::new();
    silent.spawn(gateway.tagged(body("silent")).header("x-defer-wait", "2500ms").try_send());
    let held = async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        while storage.count("select count(*) from deferral").await < 3 {
            looks.tick().await;
        }
    };
    soon(held).await;
    gateway.terminate();
    let ticket = soon(silent.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!((ticket.status, ticket.header("connection")), (202, Some("close")));
    for mut caller in begun {
        assert!(!caller.rest().await.ends_with(b"0\r\n\r\n"), "what is cut looks complete");
    }
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    assert_eq!(storage.count(NOTED).await, 2);
}
