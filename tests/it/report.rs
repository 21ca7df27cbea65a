//! The report of a whole gateway: from calls to the ledger, and from there to every form of it.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::app::{Answer, Engine, OTHER_KEY, Setup, TestApp, body, on_both_engines};
use super::program::{offpeak, output, text};
use super::wire::soon;

on_both_engines! {
    the_report_is_the_sum_of_what_deferrals_cost,
    what_is_rescued_saves_nothing_and_its_late_answer_is_paid_twice,
    what_has_no_price_is_counted_and_not_free,
    the_ledger_is_priced_again_where_prices_have_changed,
    every_form_is_served,
    live_calls_are_in_the_ledger_and_are_priced_again_with_it,
    the_ledger_agrees_with_the_providers_own_books,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn savings(app: &TestApp, query: &str) -> Value {
    app.operator(Method::GET, &format!("/api/savings{query}")).send().await.expect(200).json()
}

/// Dollars of the report in billionths.
#[track_caller]
fn nanos(amount: &Value) -> i64 {
    (amount.as_f64().unwrap() * 1e9).round() as i64
}

async fn the_report_is_the_sum_of_what_deferrals_cost(engine: Engine) {
    let app = TestApp::start(engine).await;
    for (prompt, workload, key) in [
        ("a", "digests", None),
        ("b", "digests", None),
        ("c", "tagging", Some(OTHER_KEY)),
        ("a longer one", "digests", None),
    ] {
        let call = app.tagged(body(prompt)).header("x-defer-workload", workload);
        let call = if let Some(key) = key { call.key(key) } else { call };
        call.send().await.id();
    }
    app.finish().await;
    app.clock.advance(DAY);
    app.defer("without a workload").await;
    app.finish().await;

    let deferrals = app.operator(Method::GET, "/api/deferrals?limit=100").send().await.expect(200).json();
    let costs = deferrals["data"].as_array().unwrap().iter().map(|each| &each["cost"]);
    let (paid, live) =
        costs.fold((0, 0), |(paid, live), cost| (paid + nanos(&cost["paid"]), live + nanos(&cost["live_price"])));
    assert!(paid > 0 && live == 2 * paid);

    let report = savings(&app, "?since=7d").await;
    let total = &report["total"];
    assert_eq!((&report["type"], &total["calls"], &total["unpriced"]), (&json!("savings"), &json!(5), &json!(0)));
    assert_eq!((nanos(&total["paid"]), nanos(&total["baseline"]), nanos(&total["saved"])), (paid, live, live - paid));
    // The ledger itself, past the report.
    let stored = app.storage().count("select cast(sum(paid_nanousd) as bigint) from entry").await;
    assert_eq!(nanos(&total["paid"]), stored);
    for (list, names) in [
        ("workloads", vec![json!("digests"), json!("tagging"), Value::Null]),
        ("ways", vec![json!("batch")]),
        ("models", vec![json!("claude-haiku-4-5")]),
    ] {
        let rows = report[list].as_array().unwrap();
        let mut found: Vec<Value> = rows.iter().map(|row| row["name"].clone()).collect();
        found.sort_by_key(|name| (name.is_null(), name.to_string()));
        assert_eq!(found, names, "{list}");
        let sum: i64 = rows.iter().map(|row| nanos(&row["figures"]["paid"])).sum();
        assert_eq!(sum, paid, "{list}");
    }
    assert_eq!(report["tenants"].as_array().unwrap().len(), 2);
    let days: Vec<u64> =
        report["days"].as_array().unwrap().iter().map(|day| day["figures"]["calls"].as_u64().unwrap()).collect();
    assert_eq!(days, [0, 0, 0, 0, 0, 0, 4, 1]);
    // The day before yesterday is not in a report of today alone.
    let today = savings(&app, "?since=1s").await;
    assert_eq!(today["total"]["calls"], 1);
    assert_eq!((&today["from"], &today["to"]), (&json!("2026-11-23"), &json!("2026-11-23")));
    assert_eq!(savings(&app, "?month=2026-11").await["total"]["calls"], 5);
    assert_eq!(savings(&app, "?month=2026-10").await["total"]["calls"], 0);
    for wrong in ["?since=soon", "?month=2026", "?since=1d&month=2026-11", "?format=pdf", "?sicne=1d"] {
        let refused = app.operator(Method::GET, &format!("/api/savings{wrong}")).send().await;
        refused.refused(400, "invalid_request_error", "invalid-query");
    }
}

async fn what_is_rescued_saves_nothing_and_its_late_answer_is_paid_twice(engine: Engine) {
    let app = Setup::on(engine).batch_time(Duration::from_secs(2 * 60 * 60)).start().await;
    let hurried = app.tagged(body("Hi")).header("x-defer", "1h").send().await.id();
    // The batch goes on for this one.
    app.tagged(body("Ho")).header("x-defer", "1d").send().await.id();
    app.finish().await;
    let deferral = app.deferral(&hurried).await;
    assert_eq!(deferral["served_by"], "live", "{deferral}");
    let report = savings(&app, "").await;
    assert_eq!((&report["total"]["calls"], &report["total"]["late_answers"]), (&json!(2), &json!(1)));
    let ways = report["ways"].as_array().unwrap();
    let of = |way: &str| &ways.iter().find(|row| row["name"] == way).unwrap()["figures"];
    // What came late came by a batch.
    assert_eq!((&of("rescued")["late_answers"], &of("batch")["late_answers"]), (&json!(0), &json!(1)));
    assert_eq!(nanos(&of("rescued")["saved"]), 0);
    let (total, cost) = (&report["total"], &deferral["cost"]);
    assert_eq!(nanos(&of("rescued")["baseline"]), nanos(&cost["live_price"]));
    assert_eq!(nanos(&total["paid_twice"]), nanos(&cost["paid_twice"]));
    assert_eq!(nanos(&total["paid_twice"]) * 2, nanos(&cost["live_price"]));
    assert_eq!(nanos(&total["saved"]), nanos(&total["saved_by_batch"]) - nanos(&total["paid_twice"]));
}

async fn what_has_no_price_is_counted_and_not_free(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.defer("Hi").await;
    app.finish().await;
    let priced = savings(&app, "").await;
    app.clock.advance(DAY);
    app.defer("Ho").await;
    app.finish().await;
    // The later answer is taken for that of a model that nobody knows.
    app.storage()
        .change(
            "update entry set model = 'claude-nobody', paid_nanousd = null, live_nanousd = null, uncached_nanousd = null
             where settled_at = (select max(settled_at) from entry)",
        )
        .await;
    let report = savings(&app, "").await;
    assert_eq!(report["unpriced"], json!([{"model": "claude-nobody", "answers": 1}]));
    assert_eq!((&report["total"]["calls"], &report["total"]["unpriced"]), (&json!(2), &json!(1)));
    assert_eq!(report["total"]["paid"], priced["total"]["paid"]);
    let table = app.operator(Method::GET, "/api/savings?format=table").send().await.expect(200);
    assert!(table.text().contains("In none of the amounts: 1 answer of models without a price."), "{}", table.text());
    // With a price it is priced.
    let prices = app.storage().folder().join("prices.toml");
    std::fs::write(&prices, "[alias]\nclaude-nobody = \"claude-haiku-4-5\"\n").unwrap();
    app.reload(&[("prices.file", prices.to_str().unwrap())], "");
    app.operator(Method::POST, "/api/savings/recompute").send().await.expect(200);
    let report = savings(&app, "").await;
    assert_eq!((&report["unpriced"], &report["total"]["unpriced"]), (&json!([]), &json!(0)));
    assert!(nanos(&report["total"]["paid"]) > nanos(&priced["total"]["paid"]));
}

async fn the_ledger_is_priced_again_where_prices_have_changed(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.defer("Hi").await;
    app.defer("Ho").await;
    app.finish().await;
    let before = nanos(&savings(&app, "").await["total"]["paid"]);
    let ask = async |query: &str| -> Value {
        let path = format!("/api/savings/recompute{query}");
        app.operator(Method::POST, &path).send().await.expect(200).json()
    };
    let same = ask("").await;
    assert_eq!((&same["entries"], &same["changed"], &same["next"]), (&json!(2), &json!(0), &Value::Null));

    let prices = app.storage().folder().join("prices.toml");
    std::fs::write(&prices, "[[discount]]\nmodel = [\"*\"]\npercent_off = 20\n").unwrap();
    app.reload(&[("prices.file", prices.to_str().unwrap())], "");
    let told = ask("?dry_run=1").await;
    assert_eq!((&told["dry_run"], &told["changed"]), (&json!(true), &json!(2)));
    let model = &told["data"][0];
    assert_eq!(model["model"], "claude-haiku-4-5-20251001");
    assert_eq!(nanos(&model["before"]["paid"]), before);
    let after = nanos(&model["after"]["paid"]);
    assert!((after * 5 - before * 4).abs() <= 10, "{after} of {before}");
    // It was only said.
    assert_eq!(nanos(&savings(&app, "").await["total"]["paid"]), before);

    assert_eq!(ask("?month=2026-10").await["entries"], 0);
    assert_eq!(ask("?since=7d").await["changed"], 2);
    assert_eq!(nanos(&savings(&app, "").await["total"]["paid"]), after);
    assert_eq!(ask("").await["changed"], 0);
    let wrong = app.operator(Method::POST, "/api/savings/recompute?dry_run=yes").send().await;
    wrong.refused(400, "invalid_request_error", "invalid-query");
}

async fn every_form_is_served(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.tagged(body("Hi")).header("x-defer-workload", "digests").send().await.id();
    app.finish().await;
    let get = async |format: &str| -> Answer {
        app.operator(Method::GET, &format!("/api/savings?format={format}")).send().await.expect(200)
    };
    for (format, kind, begin) in [
        ("table", "text/plain; charset=utf-8", "Savings from 2026-10-23 to 2026-11-22 (UTC)\n"),
        ("md", "text/markdown; charset=utf-8", "# Savings from 2026-10-23 to 2026-11-22 (UTC)\n"),
        ("html", "text/html; charset=utf-8", "<!doctype html>"),
        ("csv", "text/csv; charset=utf-8; header=present", "day,workload,model,tenant,served,calls,"),
    ] {
        let answer = get(format).await;
        assert_eq!(answer.header("content-type"), Some(kind));
        assert!(answer.text().starts_with(begin), "{format}: {}", answer.text());
        assert!(answer.text().contains("digests"), "{format}");
    }
    assert_eq!(get("csv").await.text().lines().count(), 2);

    // The command prints the same.
    let admin = format!("http://{}", app.admin());
    for format in ["table", "md", "html", "csv", "json"] {
        let said = output(&mut offpeak(&["report", "--admin", &admin, "--format", format])).await;
        assert_eq!((said.status.code(), text(&said.stderr)), (Some(0), ""));
        assert_eq!(text(&said.stdout).trim_end(), get(format).await.text().trim_end(), "{format}");
    }
    let told = output(&mut offpeak(&["report", "--recompute", "--dry-run", "--admin", &admin])).await;
    assert!(text(&told.stdout).ends_with("All 1 entries have the price of the table in force already.\n"), "{told:?}");
    for wrong in [&["report", "--dry-run"][..], &["report", "--since", "a&b"], &["report", "--format", "pdf"]] {
        assert_eq!(output(&mut offpeak(wrong)).await.status.code(), Some(2), "{wrong:?}");
    }
}

async fn the_ledger_agrees_with_the_providers_own_books(engine: Engine) {
    let app = TestApp::start(engine).await;
    for prompt in ["a", "bb", "ccc"] {
        app.defer(prompt).await;
    }
    app.finish().await;
    let tokens = async |class: &str| -> i64 {
        match class {
            "input" => app.storage().count("select cast(sum(input_tokens) as bigint) from entry").await,
            _ => app.storage().count("select cast(sum(output_tokens) as bigint) from entry").await,
        }
    };
    let (input, output_tokens) = (tokens("input").await, tokens("output").await);
    let csv = |output_tokens: i64| {
        format!(
            "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens\n\
             2026-11-22,claude-haiku-4-5-20251001,{input},{output_tokens}\n"
        )
    };
    let ask = async |export: String, query: &str| -> Answer {
        app.operator(Method::POST, &format!("/api/savings/reconcile{query}")).body(export).send().await
    };
    let agreed = ask(csv(output_tokens), "").await.expect(200).json();
    assert_eq!((&agreed["type"], &agreed["export"]), (&json!("reconciliation"), &json!("usage")));
    let cell = &agreed["cells"][0];
    assert_eq!((&cell["what"], &cell["finding"]["kind"]), (&json!("claude-haiku-4-5"), &json!("agrees")));
    assert_eq!(cell["ours"]["tokens"], cell["theirs"]["tokens"]);

    let file = app.storage().folder().join("usage.csv");
    std::fs::write(&file, csv(output_tokens + 5)).unwrap();
    let admin = format!("http://{}", app.admin());
    let said = output(&mut offpeak(&["report", "--reconcile", file.to_str().unwrap(), "--admin", &admin])).await;
    assert!(text(&said.stdout).contains("output +5"), "{}{}", text(&said.stdout), text(&said.stderr));
    let told = ask("no export".into(), "").await.refused(400, "invalid_request_error", "invalid-body");
    assert!(told.starts_with("expected the provider's usage or cost export"), "{told}");
    ask(csv(1), "?format=csv").await.refused(400, "invalid_request_error", "invalid-query");
    assert!(ask(csv(1), "?format=html").await.expect(200).text().contains("What differs"));
}

async fn live_calls_are_in_the_ledger_and_are_priced_again_with_it(engine: Engine) {
    let app = TestApp::start(engine).await;
    let mut paid = 0;
    for (prompt, streams) in [("a", false), ("bb", false), ("ccc", true)] {
        let asked = if streams { body(prompt).replacen('{', r#"{"stream":true,"#, 1) } else { body(prompt) };
        let answer = app.call(asked).header("x-defer-workload", "chat").send().await.expect(200);
        let usage = |name: &str| -> i64 {
            let told = answer.text().rsplit(&format!("\"{name}\":")).next().unwrap().to_owned();
            told.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
        };
        // A dollar for a million tokens read, five for those written.
        paid += usage("input_tokens") * 1_000 + usage("output_tokens") * 5_000;
    }
    app.call("{}").send().await.expect(400);
    app.defer("Hi").await;
    app.finish().await;
    let recorded = async {
        loop {
            app.settle().await;
            let report = savings(&app, "").await;
            if report["total"]["calls"] == 4 {
                return report;
            }
            tokio::task::yield_now().await;
        }
    };
    let report = soon(recorded).await;
    let ways = report["ways"].as_array().unwrap();
    let live = &ways.iter().find(|row| row["name"] == "live").unwrap()["figures"];
    assert_eq!((&live["calls"], &live["unpriced"], &live["unread"]), (&json!(3), &json!(0), &json!(0)));
    assert_eq!((nanos(&live["paid"]), nanos(&live["baseline"]), nanos(&live["saved"])), (paid, paid, 0));
    // The sums of both ledgers, to the nano-dollar.
    let stored = app
        .storage()
        .count(
            "select cast((select sum(paid_nanousd) from entry) + (select sum(paid_nanousd) from live_charge) as bigint)",
        )
        .await;
    assert_eq!(nanos(&report["total"]["paid"]), stored);
    let workloads = report["workloads"].as_array().unwrap();
    assert_eq!(workloads.iter().find(|row| row["name"] == "chat").unwrap()["figures"]["calls"], 3);

    let prices = app.storage().folder().join("prices.toml");
    std::fs::write(&prices, "[[discount]]\nmodel = [\"*\"]\npercent_off = 50\n").unwrap();
    app.reload(&[("prices.file", prices.to_str().unwrap())], "");
    let ask = async |query: &str| -> Value {
        let path = format!("/api/savings/recompute{query}");
        app.operator(Method::POST, &path).send().await.expect(200).json()
    };
    let told = ask("?dry_run=1").await;
    assert_eq!((&told["entries"], &told["changed"]), (&json!(4), &json!(4)));
    assert_eq!(ask("").await["changed"], 4);
    assert_eq!(ask("").await["changed"], 0);
    let after = savings(&app, "").await;
    assert!((nanos(&after["total"]["paid"]) * 2 - stored).abs() <= 8, "{after}");
}
