//! Rules: the policy decides over calls that do not say themselves what is to become of them.

mod bodies;
mod deciding;
mod explain;
mod recording;
mod reload;
mod unable;

use http::Method;
use serde_json::Value;

use super::app::{Answer, Engine, Setup, TestApp, body, on_both_engines};

/// A rule of this name, with these lines.
fn rule(name: &str, lines: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\n{lines}\n")
}

/// One that defers what `airflow` sends, with a ticket.
fn nightly(more: &str) -> String {
    rule(
        "nightly",
        &format!("when = 'headers[\"x-from\"] == \"airflow\"'\naction = \"defer\"\nreply = \"ticket\"\n{more}"),
    )
}

/// An app with these rules.
async fn with_rules(engine: Engine, rules: &str) -> TestApp {
    Setup::on(engine).file(rules).start().await
}

/// What an answer says was decided.
fn decision(answer: &Answer) -> &str {
    answer.header("x-defer-decision").unwrap()
}

/// The rule of this name, as the operator sees it.
async fn shown(app: &TestApp, name: &str) -> Value {
    let rules = app.operator(Method::GET, "/api/rules").send().await.expect(200).json();
    rules["data"].as_array().unwrap().iter().find(|rule| rule["name"] == name).unwrap().clone()
}
