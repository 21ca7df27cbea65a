//! Workloads: calls that do one job are known for it, and no others.

use std::collections::BTreeSet;

use super::records;
use crate::it::app::{Engine, OTHER_KEY, TestApp, body, on_both_engines};

on_both_engines! {
    a_template_is_one_workload,
    different_jobs_are_different_workloads,
    a_restart_knows_them_again,
    prompts_without_end_make_no_list_without_end,
}

const TEMPLATE: &str = "You are the support assistant of a shop for garden tools. You answer the letters of customers in \
    a friendly and brief way. You never promise a refund, and you never give a discount. You write in the language of \
    the letter. The customer whose letter you answer is";

fn with_system(system: &str) -> String {
    let system = serde_json::Value::from(system);
    body("Hi").replacen('{', &format!(r#"{{"system":{system},"#), 1)
}

/// The workloads of all calls.
async fn workloads(app: &TestApp, calls: usize) -> BTreeSet<String> {
    records(app, calls).await.into_iter().map(|record| record.workload).collect()
}

async fn a_template_is_one_workload(engine: Engine) {
    let app = TestApp::start(engine).await;
    for filled_in in [
        "Ann Smith, customer 4711, on 2026-11-25.",
        "Ann Smith, customer 4712, on 2026-11-26.",
        "Jörg Müller of Bonn, who bought two rakes and a hose last spring and is not happy with either of them.",
        "\"somebody\" with the id 7c9e6679-7425-40de-944b-e07fc1f90ae7",
    ] {
        app.call(with_system(&format!("{TEMPLATE} {filled_in}"))).send().await.expect(200);
    }
    // Another version of the same model, and of the same client.
    let other = with_system(&format!("{TEMPLATE} nobody")).replace("claude-haiku-4-5", "claude-haiku-4-5-20251001");
    app.call(other).send().await.expect(200);
    assert_eq!(workloads(&app, 5).await.len(), 1);
    assert_eq!(app.storage().count("select count(*) from workload").await, 1);
}

async fn different_jobs_are_different_workloads(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.call(with_system(TEMPLATE)).send().await.expect(200);
    app.call(with_system("You translate recipes into Finnish, keeping every amount as it is."))
        .send()
        .await
        .expect(200);
    app.call(body("Hi")).send().await.expect(200);
    app.call(with_system(TEMPLATE)).header("user-agent", "other/1").send().await.expect(200);
    app.call(with_system(TEMPLATE).replace("claude-haiku-4-5", "claude-sonnet-4-5")).send().await.expect(200);
    app.call(with_system(TEMPLATE)).key(OTHER_KEY).send().await.expect(200);
    app.call(with_system(TEMPLATE)).header("x-defer-workload", "support").send().await.expect(200);
    app.call(with_system(TEMPLATE)).key(OTHER_KEY).header("x-defer-workload", "support").send().await.expect(200);
    assert_eq!(workloads(&app, 8).await.len(), 7);
    // Two tenants may give the same name.
    assert_eq!(app.storage().count("select count(*) from workload").await, 8);
}

async fn a_restart_knows_them_again(engine: Engine) {
    let mut app = TestApp::start(engine).await;
    app.call(with_system(&format!("{TEMPLATE} Ann Smith"))).send().await.expect(200);
    let before = workloads(&app, 1).await;
    app.restart().await;
    app.call(with_system(&format!("{TEMPLATE} Jörg Müller from Bonn in Germany"))).send().await.expect(200);
    assert_eq!(workloads(&app, 2).await, before);
}

async fn prompts_without_end_make_no_list_without_end(engine: Engine) {
    let app = TestApp::start(engine).await;
    let words = ["ash", "bay", "elm", "fir", "oak", "yew"];
    let prompt = |number: usize| -> String {
        (0..40)
            .map(|place: u32| words[number / 6usize.pow(place % 4) % 6].repeat(1 + place as usize % 5) + " ")
            .collect()
    };
    for number in 0..220 {
        app.call(with_system(&prompt(number * 5))).send().await.expect(200);
    }
    let found = workloads(&app, 220).await;
    assert!(found.len() <= 201, "{}", found.len());
    let counted = app.storage().count("select count(*) from workload where kind = 'alike'").await;
    assert!(counted <= 200, "{counted}");
}
