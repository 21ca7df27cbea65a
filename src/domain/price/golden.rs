//! Golden prices: usage as the provider writes it, and what it comes to, with the arithmetic beside it.
//!
//! A dollar a million tokens is 1,000 nano-dollars a token.

use super::*;

const BOTH: [Tier; 2] = [Tier::Live, Tier::Batch];

fn at(time: &str) -> Timestamp {
    Timestamp::parse_rfc3339(time).unwrap()
}

fn billed(model: &str, usage: &str) -> Billed {
    Billed::read(&format!(r#"{{"type":"message","model":"{model}","usage":{usage}}}"#)).unwrap()
}

/// What a Message cost at noon of a day, live and in a batch.
fn on(day: &str, model: &str, usage: &str) -> [Option<i64>; 2] {
    let (table, billed) = (PriceTable::built_in().unwrap(), billed(model, usage));
    BOTH.map(|tier| table.cost(&billed, tier, at(&format!("{day}T12:00:00Z"))).map(|cost| cost.0))
}

#[track_caller]
fn costs(model: &str, usage: &str, live: i64, batch: i64) {
    assert_eq!(on("2026-11-20", model, usage), [Some(live), Some(batch)], "{model} {usage}");
}

#[test]
fn input_and_output() {
    costs(
        "claude-sonnet-5-5",
        r#"{"input_tokens":1000,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":200,
            "service_tier":"standard","inference_geo":"global"}"#,
        1_000 * 2_000 + 200 * 10_000, // 0.004
        2_000_000,
    );
    // The whole output is billed as such; how much of it was thinking makes no difference.
    costs(
        "claude-opus-5-5",
        r#"{"input_tokens":10,"output_tokens":1000,"output_tokens_details":{"thinking_tokens":900}}"#,
        10 * 4_000 + 1_000 * 20_000, // 0.02004
        10_020_000,
    );
}

#[test]
fn cache_writes_by_their_time_to_live() {
    costs(
        "claude-opus-4-5",
        r#"{"input_tokens":1000,"cache_creation_input_tokens":4000,"cache_read_input_tokens":0,
            "cache_creation":{"ephemeral_5m_input_tokens":4000,"ephemeral_1h_input_tokens":0},"output_tokens":100}"#,
        1_000 * 5_000 + 4_000 * 6_250 + 100 * 25_000, // 0.0325
        16_250_000,
    );
    costs(
        "claude-opus-4-5",
        r#"{"input_tokens":1000,"cache_creation_input_tokens":4000,"cache_read_input_tokens":0,
            "cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":4000},"output_tokens":100}"#,
        1_000 * 5_000 + 4_000 * 10_000 + 100 * 25_000, // 0.0475
        23_750_000,
    );
    costs(
        "claude-sonnet-4-6",
        r#"{"input_tokens":7,"cache_creation_input_tokens":3000,"cache_read_input_tokens":9000,
            "cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":2000},"output_tokens":11}"#,
        7 * 3_000 + 1_000 * 3_750 + 2_000 * 6_000 + 9_000 * 300 + 11 * 15_000, // 0.018636
        9_318_000,
    );
    // Without the split it is the five minutes that are the default.
    costs(
        "claude-haiku-4-5",
        r#"{"input_tokens":0,"cache_creation_input_tokens":2000,"output_tokens":1}"#,
        2_000 * 1_250 + 5_000, // 0.002505
        1_252_500,
    );
}

#[test]
fn cache_reads_by_model() {
    let usage = r#"{"input_tokens":1,"cache_read_input_tokens":100000,"output_tokens":0}"#;
    for (model, input, read) in [
        ("claude-fable-5-2", 8_000, 200),
        ("claude-mythos-5-2", 8_000, 200),
        ("claude-fable-5-1", 10_000, 250),
        ("claude-mythos-5-1", 10_000, 250),
        ("claude-fable-5", 10_000, 1_000),
        ("claude-mythos-5", 10_000, 1_000),
        ("claude-opus-5-5", 4_000, 200),
        ("claude-opus-5", 5_000, 500),
        ("claude-opus-4-8", 5_000, 500),
        ("claude-sonnet-5-5", 2_000, 100),
        ("claude-sonnet-5", 2_000, 200),
        ("claude-sonnet-4-5", 3_000, 300),
        ("claude-haiku-4-5", 1_000, 100),
    ] {
        let live = input + 100_000 * read;
        costs(model, usage, live, live / 2);
    }
}

#[test]
fn a_price_changes_with_its_day_in_utc() {
    let (table, read) =
        (PriceTable::built_in().unwrap(), billed("claude-sonnet-5-5", r#"{"cache_read_input_tokens":1000}"#));
    let cost = |time| BOTH.map(|tier| table.cost(&read, tier, at(time)).unwrap().0);
    assert_eq!(cost("2026-10-06T23:59:59.999Z"), [1_000 * 200, 1_000 * 100]);
    assert_eq!(cost("2026-10-07T00:00:00Z"), [1_000 * 100, 1_000 * 50]);
    // The same instant, written elsewhere.
    assert_eq!(cost("2026-10-07T01:59:59+02:00"), [1_000 * 200, 1_000 * 100]);
}

#[test]
fn the_place_costs_where_the_model_has_a_choice() {
    let usage = |geo: &str| format!(r#"{{"input_tokens":1000,"output_tokens":100,"inference_geo":"{geo}"}}"#);
    let plain = 1_000 * 2_000 + 100 * 10_000; // 0.003
    costs("claude-sonnet-5-5", &usage("global"), plain, plain / 2);
    costs("claude-sonnet-5-5", &usage("us"), plain * 11 / 10, plain * 11 / 20); // 0.0033, 0.00165
    // Before 4.6 there is no such choice, and no surcharge.
    let older = 1_000 * 3_000 + 100 * 15_000; // 0.0045
    costs("claude-sonnet-4-5", &usage("us"), older, older / 2);
    costs("claude-sonnet-4-5", &usage("not_available"), older, older / 2);
}

#[test]
fn fast_mode_is_twice_the_price_where_there_is_one() {
    let usage =
        |rest: &str| format!(r#"{{"input_tokens":1000,"cache_read_input_tokens":1000,"output_tokens":100,{rest}}}"#);
    let plain = 1_000 * 4_000 + 1_000 * 200 + 100 * 20_000; // 0.0062
    costs("claude-opus-5-5", &usage(r#""speed":"standard""#), plain, plain / 2);
    costs("claude-opus-5-5", &usage(r#""speed":"fast""#), 2 * plain, plain);
    costs("claude-opus-5-5", &usage(r#""speed":"fast","inference_geo":"us""#), plain * 22 / 10, plain * 11 / 10);
    let fable = 1_000 * 8_000 + 1_000 * 200 + 100 * 40_000; // 0.0122
    costs("claude-fable-5-2", &usage(r#""speed":"fast""#), 2 * fable, fable);
    // What has no price is not taken for the usual one.
    assert_eq!(on("2026-11-20", "claude-sonnet-5-5", &usage(r#""speed":"fast""#)), [None, None]);
    assert_eq!(on("2026-11-20", "claude-opus-4-7", &usage(r#""speed":"fast""#)), [None, None]);
}

#[test]
fn a_long_prompt_has_a_tier_of_its_own_for_the_whole_request() {
    let model = "claude-haiku-5-5";
    let usage = |input: u64, write: u64, read: u64| {
        format!(
            r#"{{"input_tokens":{input},"cache_creation_input_tokens":{write},"cache_read_input_tokens":{read},
                "output_tokens":1000}}"#
        )
    };
    costs(model, &usage(100_000, 0, 0), 100_000 * 100 + 1_000 * 500, 5_250_000); // 0.0105
    costs(model, &usage(100_001, 0, 0), 100_001 * 500 + 1_000 * 2_500, 26_250_250); // 0.0525005
    // Cached tokens are part of the prompt.
    costs(model, &usage(1, 49_999, 50_000), 100 + 49_999 * 125 + 50_000 * 10 + 1_000 * 500, 3_624_988); // 0.007249975
    costs(model, &usage(1, 50_000, 50_000), 500 + 50_000 * 625 + 50_000 * 50 + 1_000 * 2_500, 18_125_250); // 0.0362505
    // And the surcharge is on top: (100_001 * 500 + 1_000 * 2_500) * 1.1 = 57_750_550
    let us = r#"{"input_tokens":100001,"output_tokens":1000,"inference_geo":"us"}"#;
    costs(model, us, 57_750_550, 28_875_275);
    // An hour's write of the same length: 100_001 * 1_000
    let hour = r#"{"input_tokens":0,"cache_creation":{"ephemeral_1h_input_tokens":100001},"output_tokens":0}"#;
    costs(model, hour, 100_001_000, 50_000_500);
}

#[test]
fn passes_of_compaction_and_of_advisors_are_billed_by_their_own_model() {
    // The totals hold the two passes of the Message itself, and nothing of the others.
    costs(
        "claude-sonnet-5-5",
        r#"{"input_tokens":3000,"output_tokens":300,"iterations":[
            {"type":"message","model":"claude-sonnet-5-5","input_tokens":1000,"output_tokens":100},
            {"type":"advisor_message","model":"claude-opus-5-5","input_tokens":500,"cache_read_input_tokens":2000,"output_tokens":50},
            {"type":"compaction","input_tokens":8000,"output_tokens":400},
            {"type":"message","model":"claude-sonnet-5-5","input_tokens":2000,"output_tokens":200}]}"#,
        (3_000 * 2_000 + 300 * 10_000) // 0.009, the Message
            + (500 * 4_000 + 2_000 * 200 + 50 * 20_000) // 0.0034, the advisor
            + (8_000 * 2_000 + 400 * 10_000), // 0.02, the compaction
        16_200_000,
    );
    // Each pass has the tier of its own prompt.
    costs(
        "claude-haiku-5-5",
        r#"{"input_tokens":60000,"output_tokens":10,"iterations":[
            {"type":"compaction","model":"claude-haiku-5-5","input_tokens":150000,"output_tokens":1000}]}"#,
        (60_000 * 100 + 10 * 500) + (150_000 * 500 + 1_000 * 2_500), // 0.006005 + 0.0775
        41_752_500,
    );
    // Fast is the Message's own model; where it runs is said for all of it.
    costs(
        "claude-opus-5-5",
        r#"{"input_tokens":100,"output_tokens":0,"speed":"fast","inference_geo":"us","iterations":[
            {"type":"advisor_message","model":"claude-sonnet-5-5","input_tokens":100,"output_tokens":0},
            {"type":"compaction","model":"claude-opus-5-5","input_tokens":100,"output_tokens":0}]}"#,
        (100 * 4_000) * 22 / 10 + (100 * 2_000) * 11 / 10 + (100 * 4_000) * 22 / 10, // 0.00088 + 0.00022 + 0.00088
        990_000,
    );
    // An advisor without a price leaves the whole without one.
    let stranger =
        r#"{"input_tokens":1,"iterations":[{"type":"advisor_message","model":"claude-nobody","input_tokens":1}]}"#;
    assert_eq!(on("2026-11-20", "claude-sonnet-5-5", stranger), [None, None]);
}

#[test]
fn searches_cost_the_same_in_a_batch_in_every_place_and_at_any_speed() {
    costs(
        "claude-opus-5-5",
        r#"{"input_tokens":1000000,"output_tokens":0,"inference_geo":"us","speed":"fast",
            "server_tool_use":{"web_search_requests":3,"web_fetch_requests":5}}"#,
        1_000_000 * 4_000 * 22 / 10 + 3 * 10_000_000, // 8.8 + 0.03; fetching is free
        4_430_000_000,
    );
    costs("claude-haiku-4-5", r#"{"server_tool_use":{"web_search_requests":1}}"#, 10_000_000, 10_000_000);
}

#[test]
fn dated_names_are_other_names_of_the_same_model() {
    let usage = r#"{"input_tokens":1000,"output_tokens":1000}"#;
    for (dated, plain) in [
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
    ] {
        assert_eq!(on("2026-11-20", dated, usage), on("2026-11-20", plain, usage));
        assert!(on("2026-11-20", dated, usage)[0].is_some());
        assert_eq!(PriceTable::built_in().unwrap().name(dated), plain);
    }
}

#[test]
fn all_of_it_at_once() {
    // Tokens: 1_000 * 4_000 + 2_000 * 5_000 + 3_000 * 8_000 + 4_000 * 200 + 500 * 20_000 = 48_800_000;
    // the compaction: 6_000 * 4_000 + 100 * 20_000 = 26_000_000; the advisor: 700 * 8_000 + 70 * 40_000 = 8_400_000;
    // together 83_200_000, in the United States 91_520_000, in a batch 45_760_000; two searches beside it.
    costs(
        "claude-opus-5-5",
        r#"{"input_tokens":1000,"cache_creation_input_tokens":5000,"cache_read_input_tokens":4000,
            "cache_creation":{"ephemeral_5m_input_tokens":2000,"ephemeral_1h_input_tokens":3000},"output_tokens":500,
            "inference_geo":"us","service_tier":"batch","server_tool_use":{"web_search_requests":2},"iterations":[
            {"type":"message","input_tokens":1000,"output_tokens":500},
            {"type":"compaction","input_tokens":6000,"output_tokens":100},
            {"type":"advisor_message","model":"claude-fable-5-2","input_tokens":700,"output_tokens":70}]}"#,
        91_520_000 + 20_000_000,
        45_760_000 + 20_000_000,
    );
}

#[test]
fn half_a_nano_dollar_is_rounded_up_once_for_the_whole_call() {
    // A token read by the cheapest model: 10; in a batch 5, in the United States 11, and both 5.5.
    let read = |count: u64| format!(r#"{{"cache_read_input_tokens":{count},"inference_geo":"us"}}"#);
    costs("claude-haiku-5-5", &read(1), 11, 6);
    costs("claude-haiku-5-5", &read(2), 22, 11);
    costs("claude-haiku-5-5", &read(3), 33, 17);
}

#[test]
fn what_has_no_price_is_not_free() {
    for model in ["claude-nobody", "", "claude-opus-5-5-20260101", "Claude-Opus-5-5"] {
        assert_eq!(on("2026-11-20", model, r#"{"input_tokens":1}"#), [None, None], "{model}");
    }
    // More tokens than there are dollars for.
    assert_eq!(on("2026-11-20", "claude-opus-5-5", r#"{"output_tokens":18446744073709551615}"#), [None, None]);
    assert_eq!(on("2026-11-20", "claude-opus-5-5", r#"{"input_tokens":null,"output_tokens":0}"#), [Some(0), Some(0)]);
}

#[test]
fn the_price_without_caching_is_that_of_the_whole_prompt() {
    let table = PriceTable::built_in().unwrap();
    let usage = r#"{"input_tokens":1000,"cache_creation":{"ephemeral_5m_input_tokens":200,"ephemeral_1h_input_tokens":300},
        "cache_read_input_tokens":98500,"output_tokens":10,"server_tool_use":{"web_search_requests":1}}"#;
    let price = |model: &str| table.price(&billed(model, usage), Tier::Batch, at("2026-11-20T00:00:00Z")).unwrap();
    let sonnet = price("claude-sonnet-5-5");
    let live = 1_000 * 2_000 + 200 * 2_500 + 300 * 4_000 + 98_500 * 100 + 10 * 10_000; // 0.01365
    assert_eq!(sonnet.live.0, live + 10_000_000);
    assert_eq!(sonnet.paid.0, live / 2 + 10_000_000);
    assert_eq!(sonnet.uncached.0, 100_000 * 2_000 + 10 * 10_000 + 10_000_000);
    // The prompt is as long as before, and so is in the same tier.
    assert_eq!(price("claude-haiku-5-5").uncached.0, 100_000 * 100 + 10 * 500 + 10_000_000);
}

/// The provider's list: input, output, write for 5 minutes, for an hour, read, in thousandths of a dollar for a million
/// tokens; whether the place costs, and whether there is a fast mode.
const LIST: [(&str, [i64; 5], bool, bool); 18] = [
    ("claude-fable-5-2", [8_000, 40_000, 10_000, 16_000, 200], true, true),
    ("claude-mythos-5-2", [8_000, 40_000, 10_000, 16_000, 200], true, true),
    ("claude-fable-5-1", [10_000, 50_000, 12_500, 20_000, 250], true, false),
    ("claude-mythos-5-1", [10_000, 50_000, 12_500, 20_000, 250], true, false),
    ("claude-fable-5", [10_000, 50_000, 12_500, 20_000, 1_000], true, false),
    ("claude-mythos-5", [10_000, 50_000, 12_500, 20_000, 1_000], true, false),
    ("claude-opus-5-5", [4_000, 20_000, 5_000, 8_000, 200], true, true),
    ("claude-opus-5", [5_000, 25_000, 6_250, 10_000, 500], true, true),
    ("claude-opus-4-8", [5_000, 25_000, 6_250, 10_000, 500], true, true),
    ("claude-opus-4-7", [5_000, 25_000, 6_250, 10_000, 500], true, false),
    ("claude-opus-4-6", [5_000, 25_000, 6_250, 10_000, 500], true, false),
    ("claude-opus-4-5", [5_000, 25_000, 6_250, 10_000, 500], false, false),
    ("claude-sonnet-5-5", [2_000, 10_000, 2_500, 4_000, 100], true, false),
    ("claude-sonnet-5", [2_000, 10_000, 2_500, 4_000, 200], true, false),
    ("claude-sonnet-4-6", [3_000, 15_000, 3_750, 6_000, 300], true, false),
    ("claude-sonnet-4-5", [3_000, 15_000, 3_750, 6_000, 300], false, false),
    ("claude-haiku-5-5", [100, 500, 125, 200, 10], true, false),
    ("claude-haiku-4-5", [1_000, 5_000, 1_250, 2_000, 100], false, false),
];

#[test]
fn every_combination_of_model_class_place_speed_and_tier_is_that_of_the_list() {
    const COUNTS: [u64; 5] = [1_000, 200, 3_000, 40, 5_000];
    let table = PriceTable::built_in().unwrap();
    assert_eq!(table.models().len(), LIST.len());
    // Each class is there or not, in every way of being served.
    let ways = (0..32u32).flat_map(|classes| (0..16u32).map(move |way| (classes, way)));
    for ((model, prices, has_place, has_fast), (classes, way)) in
        LIST.into_iter().flat_map(|row| ways.clone().map(move |way| (row, way)))
    {
        let [us, fast, batch, search] = [1, 2, 4, 8].map(|bit| way & bit != 0);
        let count = |class: usize| if classes & (1 << class) == 0 { 0 } else { COUNTS[class] };
        let usage = format!(
            r#"{{"input_tokens":{},"output_tokens":{},"cache_read_input_tokens":{},"cache_creation_input_tokens":{},
                "cache_creation":{{"ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{}}},
                "inference_geo":"{}","speed":"{}","server_tool_use":{{"web_search_requests":{}}}}}"#,
            count(0),
            count(1),
            count(4),
            count(2) + count(3),
            count(2),
            count(3),
            if us { "us" } else { "global" },
            if fast { "fast" } else { "standard" },
            u8::from(search),
        );
        // In hundredths of a nano-dollar: a thousandth of a dollar for a million tokens is one nano-dollar a token.
        let tokens: i64 = (0..5).map(|class| prices[class] * i64::try_from(count(class)).unwrap() * 100).sum();
        let placed = if us && has_place { tokens * 110 / 100 } else { tokens };
        let sped = if fast { placed * 2 } else { placed };
        let served = if batch { sped / 2 } else { sped };
        let expected = (served + 50) / 100 + if search { 10_000_000 } else { 0 };
        let tier = if batch { Tier::Batch } else { Tier::Live };
        let cost = table.cost(&billed(model, &usage), tier, at("2026-11-20T12:00:00Z")).map(|cost| cost.0);
        assert_eq!(cost, (has_fast || !fast).then_some(expected), "{model} {tier:?} {usage}");
    }
}
