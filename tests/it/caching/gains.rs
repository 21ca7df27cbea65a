//! What caching gained, as the report and the batches show it.

use http::Method;

use super::{MINUTE, of_workload, with_batches_of};
use crate::it::app::{Engine, on_both_engines};

on_both_engines! {
    what_caching_gained_is_in_the_report,
}

const CALLS: usize = 8;

/// Nano-dollars for a token of this model: read plainly, written for an hour, read from the cache.
const PLAIN: i64 = 100;
const WRITE: i64 = 200;
const READ: i64 = 10;

async fn what_caching_gained_is_in_the_report(engine: Engine) {
    let app = with_batches_of(engine, 6 * MINUTE, "12h").await;
    of_workload(&app, "gaining", "A", CALLS).await;
    // Who comes alone is not marked.
    of_workload(&app, "plain", "B", 1).await;
    let tokens = app.storage().count("select cast(max(cache_write_1h_tokens) as bigint) from entry").await;
    let report = app.operator(Method::GET, "/api/savings").send().await.expect(200).json();
    let workloads = report["workloads"].as_array().unwrap();
    let of = |name: &str, figure: &str| {
        let row = workloads.iter().find(|row| row["name"] == name).unwrap();
        (row["figures"][figure].as_f64().unwrap() * 1e9).round() as i64
    };
    let followers = CALLS as i64 - 1;
    let gained = tokens * ((followers + 1) * PLAIN - WRITE - followers * READ);
    assert_eq!(of("gaining", "saved_by_cache"), gained);
    assert_eq!(of("gaining", "baseline"), of("gaining", "uncached") - gained);
    assert_eq!(of("gaining", "paid") * 2, of("gaining", "baseline"));
    assert_eq!(of("plain", "saved_by_cache"), 0);
    // The batches show what they paid less or more, which is half of it.
    let shown = app.operator(Method::GET, "/api/batches").send().await.expect(200).json();
    let gains = shown["data"].as_array().unwrap().iter().map(|batch| batch["cache"]["gained"].as_f64().unwrap_or(0.0));
    assert_eq!((gains.sum::<f64>() * 2e9).round() as i64, gained);
}
