//! A gateway that is killed loses what it has seen last, and nothing else.

use offpeak::clock::Clock;
use offpeak::simulator::{self, Simulator};

use crate::it::app::{Engine, Storage, body, on_both_engines};
use crate::it::child::{Gateway, serve};
use crate::it::wire::soon;

on_both_engines! {
    what_was_written_outlives_a_kill_and_is_written_once,
}

const RECORDS: &str = "select count(*) from call_record";
const SUM: &str = "select cast(coalesce(sum(calls), 0) as bigint) from call_hour";

async fn what_was_written_outlives_a_kill_and_is_written_once(engine: Engine) {
    let storage = Storage::new(engine).await;
    let simulator = Simulator::start(simulator::Settings::default(), Clock::system()).await.unwrap();
    let mut calls = 0;
    for _ in 0..2 {
        let gateway = Gateway::start(serve(&storage, &simulator.url(), &[])).await;
        gateway.until_ready().await;
        for number in 0..3 {
            gateway.call(body(&number.to_string())).send().await.expect(200);
        }
        calls += 3;
        // No worker is asked to: it comes to that by itself, within seconds.
        soon(async { while storage.count(RECORDS).await < calls {} }).await;
        drop(gateway);
        assert_eq!((storage.count(RECORDS).await, storage.count(SUM).await), (calls, calls));
    }
}
