//! Reports of made-up lines, in each form.

use super::*;
use crate::domain::ledger::Sums;
use crate::domain::money::NanoUsd;
use crate::domain::price::PriceTable;
use crate::domain::record::Way;
use crate::domain::usage::Tokens;
use crate::store::CachingOff;

const MICRO: i64 = 1_000;

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

/// A line of so many calls, whose baseline is `live` millionths of a dollar.
fn line(day_of: &str, workload: Option<&str>, model: &str, way: Way, calls: u64, live: i64) -> Line {
    let live = NanoUsd(live * MICRO);
    let paid = if way == Way::Batch { live.times(1, 2) } else { live };
    let tokens = Tokens { input: 1_000 * calls, output: 100 * calls, cache_read: 50 * calls, ..Tokens::default() };
    let sums = Sums { calls, tokens, paid, live, uncached: live.times(5, 4), ..Sums::default() };
    let workload = workload.map(str::to_owned);
    Line { day: day(day_of), workload, model: model.to_owned(), tenant: "team-reports".to_owned(), way, sums }
}

/// A few days of a few workloads; one model has no price, and one answer came twice.
fn some() -> Vec<Line> {
    let mut lines = vec![
        line("2026-11-18", Some("digests"), "claude-haiku-4-5-20251001", Way::Batch, 40, 2_000_000),
        line("2026-11-19", Some("digests"), "claude-haiku-4-5", Way::Batch, 42, 2_100_000),
        line("2026-11-19", Some("chat"), "claude-sonnet-5-5", Way::Live, 7, 400_000),
        line("2026-11-20", Some("digests"), "claude-haiku-4-5", Way::Batch, 38, 1_900_000),
        line("2026-11-20", Some("digests"), "claude-haiku-4-5", Way::Rescued, 2, 100_000),
        line("2026-11-20", None, "claude-nobody", Way::Batch, 3, 0),
        line("2026-11-22", Some("digests"), "claude-haiku-4-5", Way::Batch, 20, 1_000_000),
    ];
    lines[3].sums.late = 2;
    lines[3].sums.paid_twice = NanoUsd(50_000 * MICRO);
    lines[5].sums.unpriced = 3;
    lines
}

fn report_of(lines: &[Line]) -> Report {
    let period = Period { from: day("2026-11-17"), until: day("2026-11-23") };
    Report::new(period, lines, None, &PriceTable::built_in().unwrap(), day("2026-11-22"))
}

#[test]
fn each_step_follows_from_the_one_before_and_every_breakdown_adds_up_to_the_whole() {
    let lines = some();
    let report = report_of(&lines);
    let Figures { uncached, saved_by_cache, baseline, saved_by_batch, paid_twice, paid, saved, .. } = report.total;
    assert_eq!(uncached - saved_by_cache, baseline);
    assert_eq!(baseline - saved_by_batch + paid_twice, paid);
    assert_eq!(baseline - paid, saved);
    let micros = [uncached, baseline, paid_twice, paid].map(|amount| amount.0 / MICRO);
    assert_eq!(micros, [9_375_000, 7_500_000, 50_000, 3_500_000 + 500_000 + 50_000]);
    for rows in [&report.days, &report.ways, &report.workloads, &report.models, &report.tenants] {
        let sum = rows.iter().fold(Figures::default(), |sum, row| sum.plus(&row.figures));
        assert_eq!(sum, report.total);
    }
}

#[test]
fn other_names_of_a_model_are_the_same_model_and_days_without_calls_are_days() {
    let report = report_of(&some());
    let names = |rows: &[Row]| rows.iter().map(|row| row.name.clone().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(names(&report.models), ["claude-haiku-4-5", "claude-sonnet-5-5", "claude-nobody"]);
    assert_eq!(names(&report.workloads), ["digests", "chat", ""]);
    assert_eq!(report.days.len(), 6);
    assert_eq!(report.unpriced, [Unpriced { model: "claude-nobody".into(), answers: 3 }]);
    // Nothing that has not come yet.
    let month = Period { from: day("2026-11-01"), until: day("2026-12-01") };
    let report = Report::new(month, &some(), None, &PriceTable::built_in().unwrap(), day("2026-11-22"));
    assert_eq!((report.days.len(), report.to), (22, day("2026-11-30")));
}

#[test]
fn the_rate_of_a_month_is_taken_from_full_days_alone() {
    // The 18th is the first with calls, and may have begun anywhere; the 22nd is not over.
    let month = report_of(&some()).month.unwrap();
    assert_eq!((month.full_days, month.paid.low), (3, None));
    assert_eq!(month.baseline.month.0 / MICRO, (2_500_000 + 2_000_000) * 10);
    let paid = 1_050_000 + 400_000 + 950_000 + 100_000 + 50_000;
    assert_eq!(month.paid.month.0 / MICRO, paid * 10);
    // What was paid twice is no part of the lean baseline.
    assert_eq!(month.lean.0 / MICRO, (paid - 50_000) * 10);
    assert_eq!(report_of(&[]).month, None);
}

#[test]
fn what_is_on_the_table_makes_the_baseline_lean() {
    let offer = |workload: &str, saves: i64| Offer {
        workload: workload.to_owned(),
        calls: 100,
        live: NanoUsd(2 * saves * MICRO),
        saves: NanoUsd(saves * MICRO),
    };
    let period = Period { from: day("2026-11-17"), until: day("2026-11-23") };
    let offers = Some(vec![offer("chat", 1_000_000), offer("tagging", 4_000_000)]);
    let report = Report::new(period, &some(), offers, &PriceTable::built_in().unwrap(), day("2026-11-22"));
    let table = report.on_the_table.clone().unwrap();
    assert_eq!((table.saves, table.workloads[0].workload.as_str()), (NanoUsd(5_000_000 * MICRO), "tagging"));
    assert_eq!(report.month.as_ref().unwrap().lean.0 / MICRO, 25_000_000 - 5_000_000);
    assert!(text(&Sheet::of(&report)).contains("Still on the table"));
}

#[test]
fn a_table_for_the_terminal() {
    insta::assert_snapshot!(text(&Sheet::of(&report_of(&some()))), @r"
    Savings from 2026-11-17 to 2026-11-22 (UTC)

    152 calls cost $4.0500 instead of $7.5000: $3.4500 saved, 46.0% of the baseline.
    In none of the amounts: 3 answers of models without a price.
    2026-11-22 is not over yet.

    From the list price to what was paid
    Paid twice: 2 answers that came when there was one already, or nobody wanted one any more.
    step                                       amount  of the baseline
    live, without caching                     $9.3750           125.0%
    saved by caching                         -$1.8750           -25.0%
    baseline: live, with the caching it had   $7.5000           100.0%
    saved by batches                         -$3.5000           -46.7%
    paid twice                                $0.0500             0.7%
    ------------------------------------------------------------------
    paid                                      $4.0500            54.0%

    A month at this rate
    30 days at the mean of 3 full days; beside it, at that of the seven days in a row with the least and with the most.
    The lean baseline is what is paid, without what was paid twice: commit to no more than that. What is still on the table was not assessed.
    what            a month  quietest week  busiest week
    baseline       $45.0000              -             -
    paid           $25.5000              -             -
    saved          $19.5000              -             -
    lean baseline  $25.0000              -             -

    Without a price
    What these cost is not known, and is in none of the amounts: give them a price in `prices.file`, and price them with `offpeak report --recompute`.
    model          answers
    claude-nobody        3

    How calls were served
    served   calls  no price  baseline  by cache  by batches  paid twice     paid  saved
    batch      143         3   $7.0000   $1.7500     $3.5000     $0.0500  $3.5500  49.3%
    live         7         0   $0.4000   $0.1000     $0.0000     $0.0000  $0.4000   0.0%
    rescued      2         0   $0.1000   $0.0250     $0.0000     $0.0000  $0.1000   0.0%
    ------------------------------------------------------------------------------------
    total      152         3   $7.5000   $1.8750     $3.5000     $0.0500  $4.0500  46.0%

    Workloads
    workload  calls  no price  baseline  by cache  by batches  paid twice     paid  saved
    digests     142         0   $7.1000   $1.7750     $3.5000     $0.0500  $3.6500  48.6%
    chat          7         0   $0.4000   $0.1000     $0.0000     $0.0000  $0.4000   0.0%
    (none)        3         3   $0.0000   $0.0000     $0.0000     $0.0000  $0.0000      -
    -------------------------------------------------------------------------------------
    total       152         3   $7.5000   $1.8750     $3.5000     $0.0500  $4.0500  46.0%

    Models
    model              calls  no price  baseline  by cache  by batches  paid twice     paid  saved
    claude-haiku-4-5     142         0   $7.1000   $1.7750     $3.5000     $0.0500  $3.6500  48.6%
    claude-sonnet-5-5      7         0   $0.4000   $0.1000     $0.0000     $0.0000  $0.4000   0.0%
    claude-nobody          3         3   $0.0000   $0.0000     $0.0000     $0.0000  $0.0000      -
    ----------------------------------------------------------------------------------------------
    total                152         3   $7.5000   $1.8750     $3.5000     $0.0500  $4.0500  46.0%

    Tenants
    tenant        calls  no price  baseline  by cache  by batches  paid twice     paid  saved
    team-reports    152         3   $7.5000   $1.8750     $3.5000     $0.0500  $4.0500  46.0%
    -----------------------------------------------------------------------------------------
    total           152         3   $7.5000   $1.8750     $3.5000     $0.0500  $4.0500  46.0%

    Days
    day         calls  no price  baseline  by cache  by batches  paid twice     paid  saved
    2026-11-17      0         0   $0.0000   $0.0000     $0.0000     $0.0000  $0.0000      -
    2026-11-18     40         0   $2.0000   $0.5000     $1.0000     $0.0000  $1.0000  50.0%
    2026-11-19     49         0   $2.5000   $0.6250     $1.0500     $0.0000  $1.4500  42.0%
    2026-11-20     43         3   $2.0000   $0.5000     $0.9500     $0.0500  $1.1000  45.0%
    2026-11-21      0         0   $0.0000   $0.0000     $0.0000     $0.0000  $0.0000      -
    2026-11-22     20         0   $1.0000   $0.2500     $0.5000     $0.0000  $0.5000  50.0%
    ---------------------------------------------------------------------------------------
    total         152         3   $7.5000   $1.8750     $3.5000     $0.0500  $4.0500  46.0%
    ");
}

#[test]
fn nothing_at_all_is_a_report_too() {
    insta::assert_snapshot!(text(&Sheet::of(&report_of(&[]))).lines().take(12).collect::<Vec<_>>().join("\n"), @r"
    Savings from 2026-11-17 to 2026-11-22 (UTC)

    There were no calls.

    From the list price to what was paid
    step                                        amount  of the baseline
    live, without caching                    $0.000000                -
    saved by caching                         $0.000000                -
    baseline: live, with the caching it had  $0.000000                -
    saved by batches                         $0.000000                -
    paid twice                               $0.000000                -
    -------------------------------------------------------------------
    ");
}

#[test]
fn markdown_has_the_same_tables() {
    let all = markdown(&Sheet::of(&report_of(&some())));
    insta::assert_snapshot!(all.lines().take(17).collect::<Vec<_>>().join("\n"), @r"
    # Savings from 2026-11-17 to 2026-11-22 (UTC)

    152 calls cost $4.0500 instead of $7.5000: $3.4500 saved, 46.0% of the baseline.
    In none of the amounts: 3 answers of models without a price.
    2026-11-22 is not over yet.

    ## From the list price to what was paid

    Paid twice: 2 answers that came when there was one already, or nobody wanted one any more.

    | step | amount | of the baseline |
    | --- | ---: | ---: |
    | live, without caching | $9.3750 | 125.0% |
    | saved by caching | -$1.8750 | -25.0% |
    | baseline: live, with the caching it had | $7.5000 | 100.0% |
    | saved by batches | -$3.5000 | -46.7% |
    | paid twice | $0.0500 | 0.7% |
    ");
    let odd = vec![line("2026-11-18", Some("a|b*<c>"), "m", Way::Live, 1, 1)];
    assert!(markdown(&Sheet::of(&report_of(&odd))).contains(r"| a\|b\*\<c> |"));
}

#[test]
fn csv_is_exact_and_no_formula() {
    let odd = [
        line("2026-11-18", Some("=SUM(A1)"), "m,\"n\"", Way::Live, 1, 1),
        line("2026-11-19", None, "claude-haiku-4-5", Way::Batch, 2, 3),
    ];
    insta::assert_snapshot!(csv::csv(&odd), @r#"
    day,workload,model,tenant,served,calls,late_answers,unread,unpriced,input_tokens,output_tokens,cache_write_5m_tokens,cache_write_1h_tokens,cache_read_tokens,web_searches,uncached_usd,saved_by_cache_usd,baseline_usd,saved_by_batch_usd,paid_twice_usd,paid_usd,saved_usd
    2026-11-18,'=SUM(A1),"m,""n""",team-reports,live,1,0,0,0,1000,100,0,0,50,0,0.00000125,0.00000025,0.000001,0.0,0.0,0.000001,0.0
    2026-11-19,,claude-haiku-4-5,team-reports,batch,2,0,0,0,2000,200,0,0,100,0,0.00000375,0.00000075,0.000003,0.0000015,0.0,0.0000015,0.0000015
    "#);
}

#[test]
fn html_needs_nothing_from_outside_and_takes_names_for_text() {
    let odd = vec![
        line("2026-11-18", Some("<script>alert(1)</script>"), "m&\"'", Way::Live, 1, 5),
        line("2026-11-19", Some("digests"), "m", Way::Batch, 1, 5),
    ];
    let page = html::report(&report_of(&odd));
    for outside in ["http:", "https:", "src=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("m&amp;&quot;&#39;"));
    assert_eq!(page.matches("<svg").count(), 3);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    // Each table of the sheet is there, with its total.
    assert_eq!(page.matches("<table>").count(), Sheet::of(&report_of(&odd)).sections.len());
}

#[test]
fn many_workloads_are_cut_and_added_up() {
    let lines: Vec<Line> =
        (0..40).map(|n| line("2026-11-19", Some(&format!("w{n:02}")), "m", Way::Batch, 1, 1_000 - n)).collect();
    let sheet = Sheet::of(&report_of(&lines));
    let section = sheet.sections.iter().find(|section| section.title == "Workloads").unwrap();
    assert_eq!(section.rows.len(), 26);
    assert_eq!((section.rows[25][0].as_str(), section.rows[25][1].as_str()), ("15 others", "15"));
}

#[test]
fn the_readme_shows_a_report_as_it_is() {
    let readme = include_str!("../../README.md");
    let all = text(&Sheet::of(&report_of(&some())));
    let example = all.split("\n\nWithout a price").next().unwrap();
    assert!(readme.contains(&format!("```text\n{example}\n```")), "{example}");
    let prices = readme.split("```toml\n").skip(1).find(|block| block.starts_with("[[discount]]")).unwrap();
    PriceTable::with_own(prices.split("```").next().unwrap()).unwrap();
}

#[test]
fn where_caching_is_off_is_told_in_every_form_that_has_words() {
    let off = |number: i64, workload: Option<&str>| CachingOff {
        tenant: "team-reports".into(),
        workload: workload.map(str::to_owned),
        since: day("2026-11-20").start(),
        until: day("2026-11-27").start(),
        calls: 20,
        lost: NanoUsd(number * 1_000 * MICRO),
    };
    let report = report_of(&some()).without_caching(vec![off(5, Some("chat")), off(7, None)]);
    let shown = |all: &str| {
        let lines = all.lines().skip_while(|line| !line.contains("Caching is off"));
        lines.take_while(|line| !line.contains("How calls were served")).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(shown(&text(&Sheet::of(&report))), @r"
    Caching is off
    Caching has cost more than it spared over these calls, and was switched off. It is tried again by itself.
    workload  tenant        off since   tried again  calls       lost
    (none)    team-reports  2026-11-20  2026-11-27      20  $0.007000
    chat      team-reports  2026-11-20  2026-11-27      20  $0.005000
    -----------------------------------------------------------------
    total                                               40  $0.012000
    ");
    insta::assert_snapshot!(shown(&markdown(&Sheet::of(&report))), @r"
    ## Caching is off

    Caching has cost more than it spared over these calls, and was switched off. It is tried again by itself.

    | workload | tenant | off since | tried again | calls | lost |
    | --- | --- | --- | --- | ---: | ---: |
    | (none) | team-reports | 2026-11-20 | 2026-11-27 | 20 | $0.007000 |
    | chat | team-reports | 2026-11-20 | 2026-11-27 | 20 | $0.005000 |
    | **total** |  |  |  | **40** | **$0.012000** |
    ");
    let page = html::report(&report);
    assert!(page.contains("<h2>Caching is off</h2>") && page.contains("<td>chat</td><td>team-reports</td>"), "{page}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        (&json["caching_off"][0]["workload"], &json["caching_off"][1]["workload"]),
        (&().into(), &"chat".into())
    );
    // Of very many only those are shown that lost most, and all are counted.
    let many = report_of(&some()).without_caching((1..=30).map(|number| off(number, Some("some"))).collect());
    let shown = shown(&text(&Sheet::of(&many)));
    assert!(shown.contains("30 in all") && shown.contains("$0.030000") && !shown.contains("$0.005000"), "{shown}");
}
