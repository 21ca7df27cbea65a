//! Recorded calls as they are exported: the same calls come in again.

use http::Method;
use offpeak::domain::price::PriceTable;
use offpeak::inventory::import::import;
use offpeak::inventory::{Collector, Workload};

use super::records;
use crate::it::app::{Engine, TestApp, body, on_both_engines};

on_both_engines! {
    what_is_exported_can_be_imported,
    a_wrong_question_is_refused,
}

async fn what_is_exported_can_be_imported(engine: Engine) {
    let app = TestApp::start(engine).await;
    for number in 0..3 {
        let call = app.call(body(&format!("report {number} [server_tool]"))).header("x-defer-workload", "reports");
        call.send().await.expect(200);
    }
    let prompted = body("Hi").replacen('{', r#"{"system":"You count \"sheep\".","#, 1);
    app.call(prompted).send().await.expect(200);
    let recorded = records(&app, 4).await;
    let exported = app.operator(Method::GET, "/api/calls?since=1d").send().await.expect(200);
    assert_eq!(exported.headers["content-type"], "application/x-jsonl");
    let text = String::from_utf8(exported.body.to_vec()).unwrap();
    assert!(!text.contains("report 1"), "prompts are not exported");

    let prices = PriceTable::built_in().unwrap();
    let collect = |fill: &dyn Fn(&mut Collector<'_>)| -> Vec<Workload> {
        let mut collector = Collector::new(&prices, app.clock.now());
        fill(&mut collector);
        let mut workloads = collector.finish(None);
        workloads.sort_by(|a, b| a.profile.workload.cmp(&b.profile.workload));
        workloads
    };
    let direct = collect(&|collector| recorded.iter().for_each(|call| collector.add(call)));
    let again = collect(&|collector| {
        let imported = import(text.as_bytes(), collector).unwrap();
        assert_eq!((imported.calls, imported.faulty), (4, 0));
    });
    assert_eq!(again.len(), 2);
    assert_eq!(again[0].sums.fees.0, 30_000_000);
    for (one, other) in direct.iter().zip(&again) {
        assert_eq!((&one.profile.workload, &one.sums), (&other.profile.workload, &other.sums));
    }
    let begins: Vec<_> = again.iter().filter_map(|one| one.profile.system_prefix.as_deref()).collect();
    assert_eq!(begins, ["You count \"sheep\"."]);
}

async fn a_wrong_question_is_refused(engine: Engine) {
    let app = TestApp::start(engine).await;
    let ask = |query: &str| app.operator(Method::GET, &format!("/api/calls{query}"));
    assert!(ask("").send().await.expect(200).body.is_empty());
    for wrong in ["?since=week", "?limit=5"] {
        ask(wrong).send().await.refused(400, "invalid_request_error", "invalid-query");
    }
}
