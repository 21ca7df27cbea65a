//! The ledger beside exports in which each kind of difference is made.

use super::*;
use crate::domain::ledger::Sums;
use crate::domain::record::Way;
use crate::savings::text;

const DOLLAR: i64 = 1_000_000_000;

fn day(number: i64) -> Day {
    Day::parse("2026-11-20").unwrap().plus(number)
}

/// What a model cost by the ledger on a day, in cents.
fn line(on: i64, model: &str, cents: i64) -> Line {
    let paid = NanoUsd(cents * DOLLAR / 100);
    let tokens = Tokens { input: cents.unsigned_abs() * 100, output: 7, ..Tokens::default() };
    let sums = Sums { calls: 1, tokens, paid, live: paid, uncached: paid, ..Sums::default() };
    Line { day: day(on), workload: None, model: model.to_owned(), tenant: "t".to_owned(), way: Way::Batch, sums }
}

/// A cost export of the same days: day, model, cents.
fn export(rows: &[(i64, &str, &str)]) -> Export {
    let rows = rows.iter().map(|(on, model, cents)| {
        let (model, kind) = match *model {
            "search" => ("null".to_owned(), "web_search"),
            "code" => ("null".to_owned(), "code_execution"),
            model => (format!("\"{model}\""), "tokens"),
        };
        let results = format!(r#"{{"amount":"{cents}","model":{model},"cost_type":"{kind}"}}"#);
        let (start, end) = (day(*on).start(), day(*on + 1).start());
        format!(r#"{{"starting_at":"{start}","ending_at":"{end}","results":[{results}]}}"#)
    });
    let text = format!(r#"{{"data":[{}]}}"#, rows.collect::<Vec<_>>().join(","));
    Export::read(&text).unwrap()
}

fn beside(lines: &[Line], export: &Export) -> Reconciliation {
    Reconciliation::new(lines, export, &PriceTable::built_in().unwrap()).unwrap()
}

/// The findings, by day and model.
fn findings(all: &Reconciliation) -> Vec<(i64, String, Finding)> {
    let what = |cell: &Cell| cell.what.clone().unwrap_or_else(|| "-".to_owned());
    all.cells.iter().map(|cell| (cell.day.0 - day(0).0, what(cell), cell.finding)).collect()
}

#[test]
fn what_agrees_within_rounding_agrees() {
    let lines = [line(0, "claude-opus-5-5", 10_000), line(0, "claude-haiku-4-5-20251001", 250)];
    let export = export(&[(0, "claude-opus-5-5", "9999.1"), (0, "Claude Haiku 4.5", "250.9")]);
    let all = beside(&lines, &export);
    let agree = |model: &str| (0, model.to_owned(), Finding::Agrees);
    assert_eq!(findings(&all), [agree("claude-haiku-4-5"), agree("claude-opus-5-5")]);
    assert_eq!(all.total.ours.amount, NanoUsd(10_250 * DOLLAR / 100));
}

#[test]
fn each_difference_has_its_name() {
    let mut lines = vec![
        line(0, "claude-opus-5-5", 1_000),
        line(1, "claude-opus-5-5", 1_000),
        line(2, "claude-opus-5-5", 1_000),
        line(1, "claude-sonnet-5-5", 500),
        line(0, "claude-fable-5-2", 900),
        line(1, "claude-fable-5-2", 100),
        line(0, "claude-haiku-4-5", 10),
        line(2, "claude-haiku-5-5", 30),
        line(0, "claude-opus-5", 80),
        line(9, "claude-opus-5", 80),
    ];
    lines[6].sums.unpriced = 4;
    lines[8].sums.web_searches = 3;
    let export = export(&[
        // A discount of 15 percent that we do not know of.
        (0, "claude-opus-5-5", "850"),
        (1, "claude-opus-5-5", "850.3"),
        (2, "claude-opus-5-5", "849.9"),
        // Most of it did not come through here.
        (1, "claude-sonnet-5-5", "2500"),
        // Some of the first day was billed on the second.
        (0, "claude-fable-5-2", "600"),
        (1, "claude-fable-5-2", "400"),
        (0, "claude-haiku-4-5", "50"),
        (2, "claude-sonnet-4-6", "77"),
        // Three searches at a cent each are a row of their own.
        (0, "claude-opus-5", "77"),
        (0, "search", "3"),
        (2, "code", "25"),
    ]);
    let all = beside(&lines, &export);
    let ratio = Finding::Ratio { permille: 850 };
    let expected = [
        (0, "claude-fable-5-2", Finding::OtherDay),
        (0, "claude-haiku-4-5", Finding::Unpriced { answers: 4 }),
        (0, "claude-opus-5", Finding::Agrees),
        (0, "claude-opus-5-5", ratio),
        (0, "web search", Finding::Agrees),
        (1, "claude-fable-5-2", Finding::OtherDay),
        (1, "claude-opus-5-5", ratio),
        (1, "claude-sonnet-5-5", Finding::Differs),
        (2, "claude-haiku-5-5", Finding::OnlyOurs),
        (2, "claude-opus-5-5", ratio),
        (2, "claude-sonnet-4-6", Finding::OnlyTheirs),
        (2, "code execution", Finding::NotInMessages),
    ];
    assert_eq!(findings(&all), expected.map(|(on, what, finding)| (on, what.to_owned(), finding)));
    insta::assert_snapshot!(text(&all.sheet()), @r"
    The ledger beside the provider's export, 2026-11-20 to 2026-11-22 (UTC)

    The ledger has $46.2000, the provider $62.8220: $16.6220 more there (26.5%).
    2 of 12 figures agree.

    What differs
    day         model              why                                                               ledger  provider  more there    part
    2026-11-20  claude-fable-5-2   around midnight: the same over several days                      $9.0000   $6.0000    -$3.0000  -50.0%
    2026-11-20  claude-haiku-4-5   4 answers without a price here                                   $0.1000   $0.5000     $0.4000   80.0%
    2026-11-20  claude-opus-5-5    85.0% of ours on every day: a discount that prices.file lacks?  $10.0000   $8.5000    -$1.5000  -17.6%
    2026-11-21  claude-fable-5-2   around midnight: the same over several days                      $1.0000   $4.0000     $3.0000   75.0%
    2026-11-21  claude-opus-5-5    85.0% of ours on every day: a discount that prices.file lacks?  $10.0000   $8.5030    -$1.4970  -17.6%
    2026-11-21  claude-sonnet-5-5  part of it did not go through this gateway, or another price     $5.0000  $25.0000    $20.0000   80.0%
    2026-11-22  claude-haiku-5-5   the export does not have it                                      $0.3000   $0.0000    -$0.3000       -
    2026-11-22  claude-opus-5-5    85.0% of ours on every day: a discount that prices.file lacks?  $10.0000   $8.4990    -$1.5010  -17.7%
    2026-11-22  claude-sonnet-4-6  did not go through this gateway                                  $0.0000   $0.7700     $0.7700  100.0%
    2026-11-22  code execution     billed by the hour, of which no Message tells                    $0.0000   $0.2500     $0.2500  100.0%

    Models
    model                ledger  provider  more there    part
    claude-fable-5-2   $10.0000  $10.0000     $0.0000    0.0%
    claude-haiku-4-5    $0.1000   $0.5000     $0.4000   80.0%
    claude-haiku-5-5    $0.3000   $0.0000    -$0.3000       -
    claude-opus-5       $0.7700   $0.7700     $0.0000    0.0%
    claude-opus-5-5    $30.0000  $25.5020    -$4.4980  -17.6%
    claude-sonnet-4-6   $0.0000   $0.7700     $0.7700  100.0%
    claude-sonnet-5-5   $5.0000  $25.0000    $20.0000   80.0%
    code execution      $0.0000   $0.2500     $0.2500  100.0%
    web search          $0.0300   $0.0300     $0.0000    0.0%
    ---------------------------------------------------------
    total              $46.2000  $62.8220    $16.6220   26.5%

    Days
    day           ledger  provider  more there    part
    2026-11-20  $19.9000  $15.8000    -$4.1000  -25.9%
    2026-11-21  $16.0000  $37.5030    $21.5030   57.3%
    2026-11-22  $10.3000   $9.5190    -$0.7810   -8.2%
    --------------------------------------------------
    total       $46.2000  $62.8220    $16.6220   26.5%
    ");
}

#[test]
fn an_export_that_does_not_tell_models_apart_is_compared_by_day() {
    let mut lines = vec![line(0, "claude-opus-5-5", 60), line(0, "claude-haiku-4-5", 40)];
    lines[0].sums.web_searches = 1;
    let start = day(0).start();
    let end = day(1).start();
    let text = format!(
        r#"{{"data":[{{"starting_at":"{start}","ending_at":"{end}","results":[{{"amount":"100","model":null}}]}}]}}"#
    );
    let all = beside(&lines, &Export::read(&text).unwrap());
    assert_eq!(findings(&all), [(0, "-".to_owned(), Finding::Agrees)]);
}

#[test]
fn usage_is_compared_class_by_class() {
    let lines = [line(0, "claude-opus-5-5", 10), line(0, "claude-haiku-4-5", 10)];
    let csv = "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_read,usage_output_tokens\n\
        2026-11-20,claude-opus-5-5,1000,0,7\n\
        2026-11-20,claude-haiku-4-5-20251001,900,150,7\n";
    let all = beside(&lines, &Export::read(csv).unwrap());
    let differs = (0, "claude-haiku-4-5".to_owned(), Finding::Differs);
    assert_eq!(findings(&all), [differs, (0, "claude-opus-5-5".to_owned(), Finding::Agrees)]);
    assert!(text(&all.sheet()).contains("input -100, cache reads +150"), "{}", text(&all.sheet()));
}
