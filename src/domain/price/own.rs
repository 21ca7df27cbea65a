//! A price file of one's own, laid over the built-in table.

use super::*;

fn faults(text: &str) -> String {
    let PriceError(faults) = PriceTable::with_own(text).unwrap_err();
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What a million tokens of input, output, and read from the cache cost by the built-in table under this file.
fn cost(file: &str, day: &str, model: &str) -> [Option<i64>; 3] {
    let table = PriceTable::with_own(file).unwrap();
    let at = Timestamp::parse_rfc3339(&format!("{day}T12:00:00Z")).unwrap();
    ["input_tokens", "output_tokens", "cache_read_input_tokens"].map(|class| {
        let billed = Billed::read(&format!(r#"{{"model":"{model}","usage":{{"{class}":50000}}}}"#)).unwrap();
        // Of so many that the shortest prompts' tier holds.
        table.cost(&billed, Tier::Live, at).map(|cost| cost.0 * 20 / 1_000_000)
    })
}

#[test]
fn the_built_in_table_reads_and_an_empty_file_changes_nothing() {
    let table = PriceTable::built_in().unwrap();
    assert_eq!(PriceTable::with_own("").unwrap(), table);
    assert_eq!(table.name("claude-haiku-4-5-20251001"), "claude-haiku-4-5");
}

#[test]
fn a_row_says_only_what_differs() {
    let file = "[[model]]\nid = [\"claude-opus-5-5\"]\ninput = \"3\"\nfrom = \"2026-11-01\"\nuntil = 2026-12-01\n";
    assert_eq!(cost(file, "2026-10-31", "claude-opus-5-5"), [Some(4_000), Some(20_000), Some(200)]);
    assert_eq!(cost(file, "2026-11-30", "claude-opus-5-5"), [Some(3_000), Some(20_000), Some(200)]);
    assert_eq!(cost(file, "2026-12-01", "claude-opus-5-5"), [Some(4_000), Some(20_000), Some(200)]);
    // It rests on whatever the built-in table says at the time.
    let file = "[[model]]\nid = [\"claude-sonnet-5-5\"]\noutput = \"9\"\n";
    assert_eq!(cost(file, "2026-10-06", "claude-sonnet-5-5"), [Some(2_000), Some(9_000), Some(200)]);
    assert_eq!(cost(file, "2026-10-07", "claude-sonnet-5-5"), [Some(2_000), Some(9_000), Some(100)]);
}

#[test]
fn a_row_is_for_one_length_of_prompt() {
    let file = "[[model]]\nid = [\"claude-haiku-5-5\"]\nprompt_above = 100_000\ninput = \"0.40\"\n";
    let table = PriceTable::with_own(file).unwrap();
    let input = |tokens: u64| {
        let billed = Billed::read(&format!(r#"{{"model":"claude-haiku-5-5","usage":{{"input_tokens":{tokens}}}}}"#));
        table.cost(&billed.unwrap(), Tier::Live, Timestamp::from_millis(1_795_000_000_000)).unwrap().0
    };
    assert_eq!([input(100_000), input(100_001)], [100_000 * 100, 100_001 * 400]);
}

#[test]
fn a_discount_is_taken_off_tokens_and_the_first_that_fits_holds() {
    let file = "
        [[discount]]
        model = [\"claude-opus-5-5\"]
        percent_off = \"12.5\"
        from = \"2026-11-01\"
        [[discount]]
        model = [\"claude-opus-*\", \"claude-haiku-4-5\"]
        percent_off = 10
    ";
    assert_eq!(cost(file, "2026-11-01", "claude-opus-5-5"), [Some(3_500), Some(17_500), Some(175)]);
    assert_eq!(cost(file, "2026-10-31", "claude-opus-5-5"), [Some(3_600), Some(18_000), Some(180)]);
    assert_eq!(cost(file, "2026-11-01", "claude-haiku-4-5-20251001"), [Some(900), Some(4_500), Some(90)]);
    assert_eq!(cost(file, "2026-11-01", "claude-sonnet-5"), [Some(2_000), Some(10_000), Some(200)]);
    let search = Billed::read(r#"{"model":"claude-haiku-4-5","usage":{"server_tool_use":{"web_search_requests":1}}}"#);
    let at = Timestamp::from_millis(1_795_000_000_000);
    assert_eq!(PriceTable::with_own(file).unwrap().cost(&search.unwrap(), Tier::Batch, at), Some(NanoUsd(10_000_000)));
}

#[test]
fn a_model_of_ones_own_and_other_names_have_prices() {
    let file = "
        batch_percent = 40
        web_search = \"0.005\"
        [[model]]
        id = [\"acme-tuned\"]
        input = 1
        output = \"2\"
        cache_write_5m = \"1\"
        cache_write_1h = \"1\"
        cache_read = \"0.1\"
        [alias]
        best = \"claude-opus-5-5\"
        [[discount]]
        model = [\"acme-*\"]
        percent_off = 50
    ";
    assert_eq!(cost(file, "2026-11-01", "acme-tuned"), [Some(500), Some(1_000), Some(50)]);
    assert_eq!(cost(file, "2026-11-01", "best"), [Some(4_000), Some(20_000), Some(200)]);
    let table = PriceTable::with_own(file).unwrap();
    let usage = r#"{"model":"acme-tuned","usage":{"input_tokens":1000,"server_tool_use":{"web_search_requests":1}}}"#;
    let billed = Billed::read(usage).unwrap();
    let cost = table.cost(&billed, Tier::Batch, Timestamp::from_millis(1_795_000_000_000));
    assert_eq!(cost, Some(NanoUsd(1_000 * 1_000 * 50 / 100 * 40 / 100 + 5_000_000)));
}

#[test]
fn every_fault_is_told_with_its_place() {
    let file = r#"
batch_percent = 150
web_serch = "0.01"

[[model]]
id = ["claude-opus-5-5"]
input = 3.5
outptu = "1"
from = "2026-11-31"

[[model]]
id = ["acme-tuned"]
input = "1"

[[model]]
input = "-1"
us = 5000

[[model]]
id = ["claude-opus-5-5"]
until = "2026-01-01"
from = "2026-02-01"

[[discount]]
model = ["claude-opsu-*"]
percent_off = "12.345"

[[discount]]
from = "2026-02-01"
"#;
    insta::assert_snapshot!(faults(file), @r#"
    2:17: batch_percent: expected a whole number of percent from 0 to 100
    3:1: web_serch: unknown key; the keys here are batch_percent, web_search, [[model]], [alias] and [[discount]]
    7:9: input: expected dollars in a text, such as "0.125", with at most nine decimals
    8:1: outptu: unknown key; the keys here are id, from, until, prompt_above, input, output, cache_write_5m, cache_write_1h, cache_read, us and fast
    9:8: from: expected a day such as "2026-10-07"
    11:1: model: acme-tuned has no built-in price that this row could rest on; give input, output, cache_write_5m, cache_write_1h and cache_read
    15:1: id: missing; expected a list of models such as ["claude-opus-5-5"]
    16:9: input: expected dollars in a text, such as "0.125", with at most nine decimals
    17:6: us: expected a whole number of percent from 1 to 1000
    19:1: model: `until` is not after `from`, so this never holds; `until` is the first day on which it does not
    24:1: model: no model with a price is named "claude-opsu-*"; a name may end with * to mean all that begin so
    26:15: percent_off: expected percent from 0 to 100, such as 15 or "12.5", with at most two decimals
    28:1: model: missing; a [[discount]] has model, percent_off, from and until
    28:1: percent_off: missing; a [[discount]] has model, percent_off, from and until
    "#);
}

#[test]
fn what_is_no_toml_is_told_alone_and_so_is_what_is_no_table() {
    insta::assert_snapshot!(faults("[[model]\nid = 1\n"), @"1:9: not TOML: unclosed array table, expected `]`");
    insta::assert_snapshot!(faults("model = 1\nalias = 2\ndiscount = [3]\n"), @r"
    1:9: model: expected sections that begin with [[model]]
    2:9: alias: expected one section that begins with [alias]
    3:12: discount: expected sections that begin with [[discount]]
    ");
}

#[test]
fn two_rows_for_the_same_are_a_fault() {
    let row = "[[model]]\nid = [\"claude-opus-5-5\"]\ninput = \"1\"\n";
    insta::assert_snapshot!(
        faults(&format!("{row}{row}")),
        @"4:1: model: claude-opus-5-5 has two rows with the same `from` and `prompt_above`; remove one"
    );
}
