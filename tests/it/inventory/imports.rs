//! Importing: each format by an example as its program writes it, and what does not read.

use offpeak::clock::Timestamp;
use offpeak::domain::price::PriceTable;
use offpeak::inventory::import::{ImportError, Imported, import, line};
use offpeak::inventory::{Collector, Verdict, Workload, assess};

use super::month::{month, window};
use super::thought::assessed;

fn now() -> Timestamp {
    window().to
}

/// What a text holds: the report, and the workloads by name.
fn read(text: &str) -> (Imported, Vec<Workload>) {
    let prices = PriceTable::built_in().unwrap();
    let mut collector = Collector::new(&prices, now());
    let imported = import(text.as_bytes(), &mut collector).unwrap();
    let mut workloads = collector.finish(None);
    workloads.sort_by(|a, b| a.profile.workload.cmp(&b.profile.workload));
    (imported, workloads)
}

fn only(workloads: Vec<Workload>) -> Workload {
    let [one] = workloads.try_into().unwrap();
    one
}

fn format(imported: &Imported) -> &'static str {
    imported.format.unwrap().as_str()
}

const LITELLM: &str = r#"{"request_id":"msg_1","call_type":"anthropic_messages","api_key":"88dc28d0f030c55ed4ab77ed8faf098196cb1c05","spend":0.00123,"total_tokens":1500,"prompt_tokens":1300,"completion_tokens":200,"startTime":"2026-11-20T02:00:01.250000Z","endTime":"2026-11-20T02:00:05.250000Z","completionStartTime":"2026-11-20T02:00:05.250000Z","model":"anthropic/claude-haiku-4-5","custom_llm_provider":"anthropic","metadata":{"user_api_key_alias":"reports","usage_object":{"cache_read_input_tokens":1000,"cache_creation_input_tokens":100}},"cache_hit":"False","request_tags":["jobID:214590","taskName:classify","User-Agent: python-httpx","User-Agent: python-httpx/0.27"],"session_id":"s1","status":"success"}
{"request_id":"msg_2","call_type":"acompletion","api_key":"88dc28d0f030c55ed4ab77ed8faf098196cb1c05","spend":0.002,"prompt_tokens":10,"completion_tokens":2,"startTime":"2026-11-20T02:10:00Z","endTime":"2026-11-20T02:10:03Z","completionStartTime":"2026-11-20T02:10:01Z","model":"claude-haiku-4-5","custom_llm_provider":"anthropic","metadata":"{\"user_api_key_alias\":\"reports\"}","request_tags":"[\"taskName:classify\"]","status":"failure"}
{"request_id":"msg_3","call_type":"aembedding","spend":0.1,"prompt_tokens":10,"startTime":"2026-11-20T02:10:00Z","endTime":"2026-11-20T02:10:03Z","model":"text-embedding-3"}
{"request_id":"msg_4","call_type":"acompletion","spend":0.5,"prompt_tokens":10,"completion_tokens":2,"startTime":"2026-11-20T03:00:00Z","endTime":"2026-11-20T03:00:01Z","model":"gpt-4o","custom_llm_provider":"openai","api_key":"ffff0000ffff0000"}
"#;

#[test]
fn litellm_spend_logs() {
    let (imported, workloads) = read(LITELLM);
    assert_eq!(
        (format(&imported), imported.calls, imported.passed_over, imported.faulty),
        ("LiteLLM spend logs", 3, 1, 0)
    );
    let names: Vec<_> = workloads.iter().map(|one| one.profile.workload.as_str()).collect();
    assert_eq!(names, ["ffff0000/gpt-4o", "reports/taskName:classify/claude-haiku-4-5"]);
    let classify = &workloads[1];
    let tokens = classify.sums.tokens;
    assert_eq!((tokens.input, tokens.output, tokens.cache_read, tokens.cache_write_5m), (210, 202, 1_000, 100));
    assert_eq!((classify.sums.calls, classify.sums.failed, classify.sums.streamed), (2, 1, 1));
    assert_eq!(classify.profile.clients[0].name, "python-httpx/0.27");
    assert_eq!(classify.hours.len(), 1);
    let first = &classify.sample.runs()[0][0];
    assert_eq!((first.duration_ms, first.first_byte_ms, first.at.as_millis() % 60_000), (4_000, 4_000, 1_250));
    // Another provider's model: no batch of ours takes it, and what it cost is what the log says.
    let other = &workloads[0];
    assert_eq!((other.sums.blocked[0].reason.as_str(), other.sums.live_price.0), ("other-provider", 500_000_000));
}

#[test]
fn litellm_as_a_list_and_as_a_table() {
    let lines: Vec<_> = LITELLM.lines().collect();
    let (imported, workloads) = read(&format!("\n [\n{}\n]\n", lines.join(",\n")));
    assert_eq!((imported.calls, imported.passed_over, workloads.len()), (3, 1, 2));
    let table = "request_id,call_type,api_key,spend,total_tokens,prompt_tokens,completion_tokens,startTime,endTime,completionStartTime,model,custom_llm_provider,metadata,cache_hit,request_tags\n\
        a,acompletion,88dc28d0f0,0.1,12,10,2,2025-06-21 15:47:15.344,2025-06-21 15:47:16.344,2025-06-21 15:47:16.344,claude-haiku-4-5,anthropic,\"{\"\"user_api_key_alias\"\": \"\"nightly\"\", \"\"additional_usage_values\"\": {\"\"cache_read_input_tokens\"\": 4}}\",False,[]\n\
        b,acompletion,88dc28d0f0,0.1,12,10,2,2025-06-21 15:50:00,2025-06-21 15:50:01,,claude-haiku-4-5,anthropic,\"{\"\"note\"\": \"\"two\nlines\"\"}\",True,[]\n";
    let (imported, workloads) = read(table);
    assert_eq!((imported.calls, imported.passed_over, imported.faulty), (1, 1, 0));
    let one = only(workloads);
    assert_eq!(
        (one.profile.workload.as_str(), one.sums.tokens.cache_read, one.sums.tokens.input),
        ("nightly/claude-haiku-4-5", 4, 6)
    );
}

#[test]
fn helicone_exports() {
    let lines = r#"{"response_id":"r1","response_created_at":"2026-11-20T10:00:04.000Z","response_status":200,"request_id":"q1","request_model":"claude-sonnet-5-5","request_created_at":"2026-11-20T10:00:00.000Z","request_body":{"model":"claude-sonnet-5-5","max_tokens":900,"system":"You sort mail","tools":[{"name":"a"},{"name":"b"}],"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]},"request_user_id":"u1","request_properties":{"Helicone-Session-Id":"s","Helicone-Session-Name":"mail"},"provider":"ANTHROPIC","delay_ms":4000,"time_to_first_token":700,"prompt_tokens":500,"prompt_cache_write_tokens":20,"prompt_cache_read_tokens":30,"completion_tokens":60,"costUSD":0.0016}"#;
    let (imported, workloads) = read(lines);
    assert_eq!((format(&imported), imported.calls), ("Helicone export", 1));
    let one = only(workloads);
    assert_eq!(
        (one.profile.workload.as_str(), one.profile.tools, one.sums.tool_turns),
        ("mail/claude-sonnet-5-5", (2, 2), 1)
    );
    assert_eq!((one.sums.streamed, one.sums.tokens.prompt(), one.sums.tokens.cache_read), (1, 550, 30));
    let table = "response_id,response_created_at,response_status,request_created_at,request_body,request_properties,request_user_id,model,prompt_tokens,completion_tokens,latency,cost\n\
        \"r1\",\"2026-11-20T10:00:04.000Z\",\"200\",\"2026-11-20T10:00:00.000Z\",\"\",\"{\"\"Feature\"\":\"\"digest\"\"}\",\"u1\",\"claude-haiku-4-5\",\"500\",\"60\",\"4000\",\"0.0008\"\n";
    let (imported, workloads) = read(table);
    assert_eq!(
        (format(&imported), only(workloads).profile.workload.as_str()),
        ("Helicone export", "digest/claude-haiku-4-5")
    );
}

#[test]
fn the_consoles_tables() {
    let usage = "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed\n\
        2026-08-05,claude-haiku-5-5,\"Closer, App\",Default,standard,≤ 200k,2000000,0,0,0,1000000,0,global,\n\
        2026-08-06,claude-haiku-5-5,\"Closer, App\",Default,batch,≤ 200k,2000000,0,0,0,1000000,0,global,\n";
    let (imported, workloads) = read(usage);
    assert_eq!((format(&imported), imported.sums, imported.calls), ("the provider's usage export", 2, 0));
    let one = only(workloads);
    assert_eq!((one.profile.workload.as_str(), one.sums.tokens.input), ("Closer, App/claude-haiku-5-5", 4_000_000));
    // 20 cents and 50 cents, although no single call had so long a prompt; the second day in batches.
    assert_eq!(
        (one.sums.live_price.0, one.sums.served_live_price.0, one.sums.paid.0),
        (1_400_000_000, 700_000_000, 1_050_000_000)
    );
    assert_eq!(one.window.to.since(one.window.from).as_secs(), 2 * 86_400);
    let prices = PriceTable::built_in().unwrap();
    let assessment = assess(&one, &prices, now());
    assert_eq!((assessment.verdict, assessment.savings.batch.0), (Verdict::Look, 350_000_000 * 15));

    let cost = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed,api_key_id,api_key_status\n\
        2026-08-04,Claude Haiku 4.5,Default,demo-key,message,≤ 200k,input_no_cache,0.05,0.05,token,not_available,,apikey_01AAA,archived\n\
        2026-08-04,Claude Haiku 4.5,Default,demo-key,message,≤ 200k,output,0.02,0.02,token,not_available,,apikey_01AAA,archived\n\
        2026-08-04,,Default,demo-key,,,,1.00,1.00,web_search,,,apikey_01AAA,archived\n";
    let (imported, workloads) = read(cost);
    assert_eq!((format(&imported), imported.sums), ("the provider's cost export", 3));
    let names: Vec<_> = workloads.iter().map(|one| (one.profile.workload.as_str(), one.sums.live_price.0)).collect();
    assert_eq!(names, [("demo-key", 1_000_000_000), ("demo-key/claude-haiku-4-5", 70_000_000)]);
    let savings = |at: usize| assess(&workloads[at], &prices, now()).savings.batch.0;
    assert_eq!((savings(0), savings(1)), (0, 35_000_000 * 30));
}

#[test]
fn the_reports_of_the_api() {
    let usage = r#"{"data":[{"starting_at":"2025-08-01T00:00:00Z","ending_at":"2025-08-02T00:00:00Z","results":[{"uncached_input_tokens":1500,"cache_creation":{"ephemeral_1h_input_tokens":1000,"ephemeral_5m_input_tokens":500},"cache_read_input_tokens":200,"output_tokens":500,"server_tool_use":{"web_search_requests":10},"api_key_id":"apikey_01Rj","workspace_id":"wrkspc_01Jw","model":"claude-sonnet-4-6","service_tier":"standard","context_window":"0-200k"}]}],"has_more":false,"next_page":null}"#;
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(usage).unwrap()).unwrap();
    for text in [usage, &pretty, &format!("{pretty}\n{pretty}")] {
        let (imported, workloads) = read(text);
        assert_eq!((format(&imported), imported.faulty), ("the provider's usage and cost API", 0));
        let one = only(workloads);
        let tokens = one.sums.tokens;
        assert_eq!((one.profile.workload.as_str(), tokens.input % 1_500), ("apikey_01Rj/claude-sonnet-4-6", 0));
        assert_eq!((tokens.cache_write_1h / imported.sums, tokens.cache_write_5m / imported.sums), (1_000, 500));
    }
    let cost = r#"{"starting_at":"2025-08-01T00:00:00Z","ending_at":"2025-08-02T00:00:00Z","results":[{"amount":"123.45","currency":"USD","cost_type":"tokens","description":"Claude Sonnet 4.6 Usage - Input Tokens","model":"claude-sonnet-4-6","service_tier":"batch","token_type":"uncached_input_tokens","workspace_id":null}]}"#;
    let (_, workloads) = read(cost);
    let one = only(workloads);
    assert_eq!(
        (one.sums.paid.0, one.sums.live_price.0, one.sums.served_live_price.0),
        (1_234_500_000, 2_469_000_000, 0)
    );
}

#[test]
fn claude_codes_events() {
    let record = |prompt: &str, sequence: u32, name: &str| {
        format!(
            r#"{{"timeUnixNano":"1795608000000000000","body":{{"stringValue":"claude_code.{name}"}},"attributes":[{{"key":"session.id","value":{{"stringValue":"s-1"}}}},{{"key":"prompt.id","value":{{"stringValue":"{prompt}"}}}},{{"key":"event.name","value":{{"stringValue":"{name}"}}}},{{"key":"event.sequence","value":{{"intValue":"{sequence}"}}}},{{"key":"model","value":{{"stringValue":"claude-opus-5-5"}}}},{{"key":"cost_usd","value":{{"doubleValue":0.05}}}},{{"key":"duration_ms","value":{{"intValue":"5000"}}}},{{"key":"input_tokens","value":{{"stringValue":"12"}}}},{{"key":"output_tokens","value":{{"intValue":34}}}},{{"key":"cache_read_tokens","value":{{"intValue":"5600"}}}},{{"key":"cache_creation_tokens","value":{{"intValue":"78"}}}},{{"key":"terminal.type","value":{{"stringValue":"tmux"}}}}]}}"#
        )
    };
    let records = [
        record("p1", 1, "api_request"),
        record("p1", 2, "api_request"),
        record("p2", 3, "user_prompt"),
        record("p2", 4, "api_request"),
    ];
    let line = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.version","value":{{"stringValue":"2.1.0"}}}}]}},"scopeLogs":[{{"scope":{{"name":"com.anthropic.claude_code.events"}},"logRecords":[{}]}}]}}]}}"#,
        records.join(",")
    );
    let (imported, workloads) = read(&line);
    assert_eq!((format(&imported), imported.calls, imported.passed_over), ("Claude Code telemetry", 3, 1));
    let one = only(workloads);
    assert_eq!((one.profile.workload.as_str(), one.sums.tool_turns), ("claude-code/tmux", 1));
    assert_eq!(one.profile.clients[0].name, "claude-cli/2.1.0");
    let tokens = one.sums.tokens;
    assert_eq!((tokens.input, tokens.output, tokens.cache_read, tokens.cache_write_5m), (36, 102, 16_800, 234));
    assert_eq!(one.sample.runs()[0][0].at.as_millis(), 1_795_608_000_000 - 5_000);

    let flat = "{\"event.name\":\"api_request\",\"event.timestamp\":\"2026-11-25T12:00:00.000Z\",\"session.id\":\"s\",\"model\":\"claude-opus-5-5\",\"cost_usd\":\"0.05\",\"duration_ms\":5000,\"input_tokens\":12,\"output_tokens\":34,\"speed\":\"fast\"}\n\
        {\"event.name\":\"api_error\",\"event.timestamp\":\"2026-11-25T12:00:09.000Z\",\"session.id\":\"s\",\"model\":\"claude-opus-5-5\",\"status_code\":529,\"attempt\":2,\"duration_ms\":10}\n";
    let one = only(read(flat).1);
    assert_eq!((one.sums.calls, one.sums.failed, one.sums.retried), (2, 1, 1));
    assert_eq!(one.sums.blocked[0].reason, "speed");
}

#[test]
fn our_own_export_says_the_same_as_the_calls() {
    let traffic: Vec<_> = month(5).into_iter().filter(|one| one.calls.len() < 3_000).collect();
    let calls: Vec<_> = traffic.iter().flat_map(|one| &one.calls).collect();
    let mut text = String::new();
    for call in &calls {
        text.push_str(&line(call, Some("You \"summarise\"\n")).unwrap());
        text.push('\n');
    }
    let prices = PriceTable::built_in().unwrap();
    let mut collector = Collector::new(&prices, now());
    let imported = import(text.as_bytes(), &mut collector).unwrap();
    assert_eq!((format(&imported), imported.calls, imported.faulty), ("Offpeak's own export", calls.len() as u64, 0));
    let workloads = collector.finish(Some(window()));
    let direct = assessed(calls);
    assert_eq!(workloads.len(), direct.len());
    for (workload, assessment) in &direct {
        let same = workloads.iter().find(|one| one.profile.workload == workload.profile.workload).unwrap();
        assert_eq!(same.sums, workload.sums);
        assert_eq!(&assess(same, &prices, now()), assessment);
        assert_eq!(same.profile.system_prefix.as_deref(), Some("You \"summarise\"\n"));
    }
}

#[test]
fn what_does_not_read_is_counted_and_told_and_the_rest_is_taken() {
    let good = LITELLM.lines().next().unwrap();
    let long = format!("{{\"request_id\":\"{}\"", "x".repeat(70_000_001));
    let no_time = good.replace("2026-11-20T02:00:01.250000Z", "secret prompt");
    let bad = ["not json", "[1]", "{\"a\":", &no_time, &long, "", &good.replace("1300", "\"many\"")];
    let text = format!("{good}\n{}\n{good}\n", bad.join("\n"));
    let (imported, workloads) = read(&text);
    assert_eq!((imported.calls, imported.faulty, only(workloads).sums.calls), (2, 6, 2));
    let told: Vec<_> = imported.faults.iter().map(|fault| format!("{}: {}", fault.line, fault.reason)).collect();
    assert_eq!(
        told,
        [
            "2: it is no JSON object",
            "3: it is no JSON object",
            "4: it is no JSON object",
            "5: startTime is no time",
            "6: it is longer than a request and its answer can be",
            "8: prompt_tokens is no number",
        ]
    );
    let many = format!("{good}\n{}", "nothing\n".repeat(1_000));
    let (imported, _) = read(&many);
    assert_eq!((imported.faulty, imported.faults.len(), imported.faults[0].line), (1_000, 10, 2));
}

#[test]
fn broken_bytes_and_ends_stop_nothing_that_can_go_on() {
    let prices = PriceTable::built_in().unwrap();
    let take = |bytes: &[u8]| {
        let mut collector = Collector::new(&prices, now());
        import(bytes, &mut collector).unwrap()
    };
    let good = LITELLM.lines().next().unwrap();
    let imported = take(&[good.as_bytes(), b"\n{\"a\":\"\xff\"}\n", good.as_bytes()].concat());
    assert_eq!((imported.calls, imported.faults[0].reason.as_str()), (2, "it is not UTF-8"));
    let imported = take(format!("[{good},{good},{{\"a\"").as_bytes());
    assert_eq!((imported.calls, imported.faults[0].line, imported.faults.len()), (2, 3, 1));
    let head = "request_id,startTime,endTime,model,prompt_tokens";
    let row = "a,2026-11-20T02:00:00Z,2026-11-20T02:00:01Z,claude-haiku-4-5,5";
    let imported =
        take(&[head.as_bytes(), b"\n", row.as_bytes(), b"\nb,\xff,x,y,1\nc\n", row.as_bytes(), b"\n\"open"].concat());
    assert_eq!((imported.calls, imported.faulty), (2, 3));
    // A byte order mark, tabs, and Windows' ends of lines.
    let text = format!("\u{feff}{head}\r\n{row}\r\n").replace(',', "\t");
    assert_eq!(take(text.as_bytes()).calls, 1);
}

#[test]
fn a_file_of_no_known_format_says_what_is_known() {
    let prices = PriceTable::built_in().unwrap();
    for text in ["", " \n", "date,amount\n2026-01-01,5\n", "{\"hello\":1}\n", "[]", "just words", "[{\"x\":2}]"] {
        let mut collector = Collector::new(&prices, now());
        let error = import(text.as_bytes(), &mut collector).unwrap_err();
        assert!(matches!(error, ImportError::Unknown(_)), "{text}");
        let told = error.to_string();
        for known in ["LiteLLM_SpendLogs", "Helicone", "usage_date_utc", "usage_report", "resourceLogs", "JSON Lines"] {
            assert!(told.contains(known), "{told}");
        }
    }
}
