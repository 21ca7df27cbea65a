//! Tests of policies: what conditions may say, what they see, and who decides.

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::domain::glance::{BodyFacts, Glance};

const BODY: &str = r#"{"model":"claude-haiku-4-5","max_tokens":64,"system":"You summarise.","stream":true,
    "messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"tools":[{"name":"t"}]}"#;

/// Monday, the 23rd of November 2026, a quarter past five in the morning, and nine milliseconds.
const NOW: Timestamp = Timestamp::from_millis(1_795_410_900_009);

fn rule(name: &str, when: &str) -> Rule {
    Rule {
        name: name.into(),
        when: Condition::compile(when).unwrap_or_else(|mistakes| panic!("{when}: {mistakes:?}")),
        action: Action::Defer,
        rollout: 100,
        deadline: None,
        reply: Reply::Hold,
        workload: None,
        callback: None,
        cache: Cache::Off,
    }
}

fn policy(conditions: &[&str]) -> Policy {
    Policy::new(conditions.iter().map(|when| rule(when, when)).collect())
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn usual_headers() -> HeaderMap {
    headers(&[
        ("user-agent", "airflow/2.9"),
        ("x-team", "a"),
        ("x-team", "b"),
        ("x-api-key", "sk-ant-secret"),
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
        ("x-odd", "caf\u{e9}"),
    ])
}

fn body_of(text: &str) -> BodyFacts {
    let mut glance = Glance::default();
    glance.read(text.as_bytes());
    glance.set_bytes(text.len() as u64);
    glance.end();
    glance.facts().clone()
}

fn facts<'a>(headers: &'a HeaderMap, body: &'a BodyFacts) -> Facts<'a> {
    Facts {
        headers,
        path: "/v1/messages",
        tenant: "team-reports",
        workload: "digests",
        now: NOW,
        body,
        is_record: false,
    }
}

/// What a condition says of the usual call.
fn said(when: &str) -> Said {
    let (headers, body, mut course) = (usual_headers(), body_of(BODY), Course::default());
    policy(&[when]).go_on(&mut course, &facts(&headers, &body));
    course.said.remove(0)
}

fn mistakes(when: &str) -> Vec<(usize, String)> {
    let mistakes = Condition::compile(when).expect_err(when);
    mistakes.into_iter().map(|mistake| (mistake.at, mistake.problem)).collect()
}

#[test]
fn conditions_see_what_they_ask_for() {
    for when in [
        "true",
        "request.model == 'claude-haiku-4-5'",
        "request.model.startsWith(\"claude-haiku\") && headers[\"user-agent\"].contains(\"airflow\")",
        "request['model'].endsWith('4-5')",
        "request.stream",
        "request.max_tokens == 64 && request.max_tokens < 64.5",
        "request.bytes > 150 && request.bytes < 250",
        "request.messages == 2",
        "request.tools == 1",
        "request.system_prefix == 'You summarise.'",
        "size(request.system_prefix) == 14 && request.system_prefix.size() == 14",
        "headers['user-agent'] in ['airflow/2.9', 'cron']",
        "['airflow', 'cron'].exists(word, headers['user-agent'].startsWith(word))",
        "headers.host == ''",
        "headers['x-missing'] == '' && !headers['x-missing'].contains('a')",
        "headers['x-team'] == 'a, b'",
        "headers['x-odd'].startsWith('caf')",
        "has(headers.host) == false && 'user-agent' in headers && !('host' in headers)",
        "headers.exists(name, name == 'x-team')",
        "headers.all(name, size(headers[name]) > 0) && headers['x-' + 'team'] == 'a, b' && size(headers) == 3",
        "path == '/v1/messages'",
        "tenant == 'team-reports'",
        "workload == 'digests'",
        "workload != '' ? workload.startsWith('dig') : false",
        "now.getHours() == 5 && now.getMinutes() == 15 && now.getDayOfWeek() == 1 && now.getMilliseconds() == 9",
        "now.getHours('Europe/Berlin') == 6 && now.getDate() == 23 && now.getMonth() == 10",
        "now > timestamp('2026-11-22T00:00:00Z') && now < timestamp('2026-11-22T00:00:00Z') + duration('48h')",
        "now - timestamp('2026-11-23T05:15:00Z') < duration('1s')",
        "request.model.matches('^claude-(haiku|sonnet)-4') && matches(path, '/messages$')",
        "request.model.matches('HAIKU') == false && request.model.matches('(?i)HAIKU')",
        "type(request.model) == string && dyn(request.messages) == 2",
        "int('7') == 7 && string(request.messages) == '2' && double(request.messages) < 2.5",
        "request.model.startsWith('x') || request.messages == 2",
        "!(request.model.startsWith('x') && int(headers['x-missing']) > 1)",
        "[1, 2].map(n, n * 2)[1] == 4 && [1, 2, 3].filter(n, n > 1).size() == 2 && [1, 2].exists_one(n, n == 2)",
        "{'a': 1}.a == 1 && {'a': 1}['a'] == 1",
        "headers.exists(now, now == 'x-team') && ['p'].exists(path, path == 'p')",
        "b'abc' == bytes('abc') && 7u == uint(7) && 1e3 > 999.0 && null == null",
        "request.messages % 2 == 0 && -request.messages == -2 && 7 / 2 == 3",
        // Where one side settles it, the other may fail.
        "int(headers['x-missing']) > 1 || true",
    ] {
        assert_eq!(said(when), Said::Matches, "{when}");
    }
}

#[test]
fn what_does_not_hold_is_no_match() {
    for when in ["false", "request.model == 'claude-opus-4-5'", "request.messages > 2", "headers['x-team'] == 'a'"] {
        assert_eq!(said(when), Said::No, "{when}");
    }
}

#[test]
fn credentials_are_not_seen() {
    for when in [
        "headers['x-api-key'] == '' && headers.authorization == '' && headers['cookie'] == ''",
        "!has(headers.authorization) && !('x-api-key' in headers)",
        "headers.all(name, !headers[name].contains('secret')) && headers['x-' + 'api-key'] == ''",
        "headers['proxy-authorization'] == ''",
    ] {
        assert_eq!(said(when), Said::Matches, "{when}");
    }
}

#[test]
fn a_condition_that_fails_is_no_match_and_shows_nothing_of_the_call() {
    for (when, why) in [
        ("int(headers['user-agent']) > 1", "int() fails on what it is given"),
        ("request.messages / request.max_tokens == 1 / (request.tools - 1)", "divides by zero"),
        ("request.messages % (request.tools - 1) == 1", "divides by zero to find a remainder"),
        ("request.max_tokens + 9223372036854775807 > 0", "counts beyond 64 bits"),
        ("[1][request.messages] == 1", "asks a list for an item that is not there"),
        ("{'a': 1}[headers['user-agent']] == 1", "asks a map for a key that is not there"),
        ("timestamp(headers['user-agent']) < now", "timestamp() fails on what it is given"),
        ("now.getHours(headers['user-agent']) < 6", "timezone() fails on what it is given"),
    ] {
        assert_eq!(said(when), Said::Fails(why.to_owned()), "{when}");
    }
}

#[test]
fn what_cannot_be_right_is_told_with_its_place() {
    let mut told = Vec::new();
    for when in [
        "",
        "request.modle == 'x'",
        "foo",
        "model == 'x'",
        "requst.model == 'x'",
        "request == 'x'",
        "request.foo > 1",
        "request.model",
        "1 + 1",
        "request.model && true",
        "request.messages > '5'",
        "request.model == 5",
        "request.model.startWith('x')",
        "startsWith(request.model, 'x')",
        "request.model.contains(5)",
        "request.frobnicate('x')",
        "headers['User-Agent'] == 'x'",
        "headers[5] == 'x'",
        "headers['x'] == 5",
        "has(request.model)",
        "request.model.matches('(') && request.model.matches(path)",
        "request.messages in ['a']",
        "now.getHours('Mars/Olympus') < 6",
        "now < timestamp('yesterday')",
        "now.getHours() < duration('5 o clock').getHours()",
        "1 / 0 == 1",
        "'a' + 1 == 'a'",
        "request.messages.exists(m, m > 1)",
        "request.model == 'x' &&",
        "request.model == 'x",
        "!request.model",
        "request.stream ? 1 : 2",
        "foo.bar == 1 || request.modle == 'x'\n  || request.tols > 1",
        "optional.of(1).hasValue()",
        "dyn(request.model)",
        "dyn(request.model) > 5",
        "Thing{a: 1} == 1",
        "path.x == 1",
        "has(path)",
    ] {
        told.push(when.to_owned());
        told.extend(mistakes(when).into_iter().map(|(at, problem)| format!("  {at}: {problem}")));
    }
    insta::assert_snapshot!(told.join("\n"), @r##"

      0: not CEL: it ends where more is expected
    request.modle == 'x'
      7: there is no request.modle; did you mean request.model?
    foo
      0: there is no variable foo; there are headers, path, tenant, workload, now, request
    model == 'x'
      0: there is no variable model; did you mean request.model?
    requst.model == 'x'
      0: there is no variable requst; did you mean request?
    request == 'x'
      0: request is read by its members: request.model, request.stream, request.max_tokens, request.bytes, request.messages, request.tools, request.system_prefix
    request.foo > 1
      7: there is no request.foo; there are model, stream, max_tokens, bytes, messages, tools, system_prefix
    request.model
      7: expected a condition that is true or false; this is a string
    1 + 1
      2: expected a condition that is true or false; this is an int
    request.model && true
      14: `&&` is not defined between a string and a bool
    request.messages > '5'
      17: `>` is not defined between an int and a string
    request.model == 5
      14: `==` is not defined between a string and an int
    request.model.startWith('x')
      23: there is no function string.startWith(string); did you mean startsWith()?
    startsWith(request.model, 'x')
      10: there is no function startsWith(string, string); it is called as string.startsWith(string)
    request.model.contains(5)
      22: expected string.contains(string); found string.contains(int)
    request.frobnicate('x')
      0: request is read by its members: request.model, request.stream, request.max_tokens, request.bytes, request.messages, request.tools, request.system_prefix
      18: there is no function dyn.frobnicate(string); the functions are contains, startsWith, endsWith, matches, size, bool, int, uint, double, string, bytes, dyn, type, timestamp, duration, getFullYear, getMonth, getDayOfYear, getDayOfMonth, getDate, getDayOfWeek, getHours, getMinutes, getSeconds, getMilliseconds, has, all, exists, exists_one, existsOne, map, filter
    headers['User-Agent'] == 'x'
      7: names of headers are in lower case here: headers["user-agent"]
    headers[5] == 'x'
      7: a map is not read by an int
    headers['x'] == 5
      13: `==` is not defined between a string and an int
    has(request.model)
      3: members of request are always there: compare with "", 0 or false
    request.model.matches('(') && request.model.matches(path)
      22: not a regular expression: unclosed group
      51: expected text.matches("pattern") with the pattern in quotes
    request.messages in ['a']
      17: `in` is not defined between an int and a list
    now.getHours('Mars/Olympus') < 6
      12: timezone(): unknown time zone Mars/Olympus
    now < timestamp('yesterday')
      15: timestamp(): premature end of input
    now.getHours() < duration('5 o clock').getHours()
      25: duration(): Parsing Error: Error { input: " o clock", code: Char }
    1 / 0 == 1
      2: divides by zero
    'a' + 1 == 'a'
      4: `+` is not defined between a string and an int
    request.messages.exists(m, m > 1)
      7: expected a list or a map to look through; found an int
    request.model == 'x' &&
      23: not CEL: it ends where more is expected
    request.model == 'x
      17: not CEL: ''x' cannot be read; is a quote missing?
      19: not CEL: it ends where more is expected
    !request.model
      0: `!` is not defined for a string
    request.stream ? 1 : 2
      15: expected a condition that is true or false; this is an int
    foo.bar == 1 || request.modle == 'x'
      || request.tols > 1
      0: there is no variable foo; there are headers, path, tenant, workload, now, request
      23: there is no request.modle; did you mean request.model?
      49: there is no request.tols; did you mean request.tools?
    optional.of(1).hasValue()
      0: there is no variable optional; there are headers, path, tenant, workload, now, request
      11: there is no function dyn.of(int); the functions are contains, startsWith, endsWith, matches, size, bool, int, uint, double, string, bytes, dyn, type, timestamp, duration, getFullYear, getMonth, getDayOfYear, getDayOfMonth, getDate, getDayOfWeek, getHours, getMinutes, getSeconds, getMilliseconds, has, all, exists, exists_one, existsOne, map, filter
      23: there is no function dyn.hasValue(); the functions are contains, startsWith, endsWith, matches, size, bool, int, uint, double, string, bytes, dyn, type, timestamp, duration, getFullYear, getMonth, getDayOfYear, getDayOfMonth, getDate, getDayOfWeek, getHours, getMinutes, getSeconds, getMilliseconds, has, all, exists, exists_one, existsOne, map, filter
    dyn(request.model)
      0: expected true or false; found type string
    dyn(request.model) > 5
      0: found no matching overload for '_>_' applied to '(string, int)'
    Thing{a: 1} == 1
      5: this is nothing that a condition can hold
    path.x == 1
      4: a string has no member x
    has(path)
      4: not CEL: invalid argument to has() macro
    "##);
}

#[test]
fn long_conditions_and_deep_ones_are_refused_not_died_of() {
    let long = format!("['{}'].size() > 0", "x".repeat(CONDITION_MAX));
    assert!(mistakes(&long)[0].1.contains("at most 8000 characters"), "{:?}", mistakes(&long));
    for (opening, closing, before) in [("(", ")", "true"), ("!", "", "true"), ("", " + path", "path"), ("-", "", "1")] {
        for times in [50, 150, 390, 2_000] {
            let deep = format!("{}{before}{}", opening.repeat(times), closing.repeat(times));
            let mistakes = Condition::compile(&deep).err().unwrap_or_default();
            assert!(times < 400 || mistakes[0].problem.contains("at most"), "{times} {mistakes:?}");
        }
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = policy(&["request.messages > 5", "int(tenant) > 5", "request.model != ''", "true"]);
    let (headers, body, mut course) = (usual_headers(), body_of(BODY), Course::default());
    assert_eq!(policy.go_on(&mut course, &facts(&headers, &body)), Standing::Decided(2));
    let said = [Said::No, Said::Fails("int() fails on what it is given".into()), Said::Matches];
    assert_eq!(course.said, said);
    assert_eq!(policy.go_on(&mut course, &facts(&headers, &body)), Standing::Decided(2));
    assert_eq!(course.said, said, "no rule is asked twice");

    let nobody = super::Policy::new(vec![rule("a", "false")]);
    let mut course = Course::default();
    assert_eq!(nobody.go_on(&mut course, &facts(&headers, &body)), Standing::NoRule);
    assert_eq!(nobody.go_on(&mut course, &facts(&headers, &body)), Standing::NoRule);
    assert_eq!(course.said, [Said::No]);
    assert_eq!(Policy::default().go_on(&mut Course::default(), &facts(&headers, &body)), Standing::NoRule);
}

#[test]
fn the_body_is_asked_for_only_where_it_makes_a_difference() {
    let (headers, nothing) = (usual_headers(), BodyFacts::default());
    for (when, standing) in [
        ("headers['user-agent'] == 'x' && request.model == 'm'", Standing::NoRule),
        ("request.model == 'm' && headers['user-agent'] == 'x'", Standing::NoRule),
        ("request.model == 'm' || headers['user-agent'].startsWith('airflow')", Standing::Decided(0)),
        ("headers['user-agent'].startsWith('airflow') && request.model == 'm'", Standing::WantsBody),
        ("request.messages > 1", Standing::WantsBody),
        ("request.bytes > 1", Standing::WantsBody),
        ("['a', 'b'].exists(x, request.model == x)", Standing::WantsBody),
        ("['a', 'b'].all(x, request.model == x) && path == ''", Standing::NoRule),
        ("path == '' ? request.stream : true", Standing::Decided(0)),
        ("path != '' ? request.stream : true", Standing::WantsBody),
        ("int(tenant) > 1 || request.stream", Standing::WantsBody),
    ] {
        assert_eq!(policy(&[when]).go_on(&mut Course::default(), &facts(&headers, &nothing)), standing, "{when}");
    }
}

#[test]
fn a_course_goes_on_where_it_stood() {
    let policy = policy(&["tenant == ''", "request.stream", "request.model == 'm'"]);
    let (headers, mut glance, mut course) = (HeaderMap::new(), Glance::default(), Course::default());
    let mut go_on = |glance: &Glance| {
        let standing = policy.go_on(&mut course, &facts(&headers, glance.facts()));
        (standing, course.said.len())
    };
    assert_eq!(go_on(&glance), (Standing::WantsBody, 1));
    assert!(glance.read(br#"{"stream":false,"#));
    assert_eq!(go_on(&glance), (Standing::WantsBody, 2));
    assert!(glance.read(br#""model":"m","#));
    assert_eq!(go_on(&glance), (Standing::Decided(2), 3));
}

#[test]
fn a_policy_knows_what_its_rules_ask_for() {
    let policy = policy(&["headers['x-a'] == '' && request.model == ''", "tenant == '' || has(headers.host)"]);
    let asked = [Variable::Model, Variable::Tenant, Variable::Headers, Variable::Header("x-a".into())];
    assert!(asked.iter().all(|variable| policy.reads(variable)));
    for variable in [Variable::Now, Variable::Bytes, Variable::Header("x-b".into())] {
        assert!(!policy.reads(&variable), "{variable}");
    }
    let reads: Vec<String> = policy.rules()[0].when.reads().iter().map(ToString::to_string).collect();
    assert_eq!(reads, ["request.model", "headers[\"x-a\"]"]);
}

#[test]
fn what_people_write_needs_no_interpreter() {
    for (when, is_whole) in [
        ("request.model.startsWith('claude-haiku') && headers['user-agent'].contains('airflow')", true),
        ("tenant == 'a' || !(workload in ['a', 'b']) && request.stream", true),
        ("5 == request.messages || request.tools != 1 && request.max_tokens <= 64 && request.bytes >= 1", true),
        ("path.endsWith('s') && request.system_prefix.matches('^You')", true),
        ("now.getHours() < 6 && headers['user-agent'] == 'cron'", false),
        ("tenant == 'a' && request.model.size() > 3", false),
    ] {
        let policy = policy(&[when]);
        let found = match &policy.plain[0] {
            Part::Whole(_) => Some(true),
            Part::Needed(_) => Some(false),
            Part::Nothing => None,
        };
        assert_eq!(found, Some(is_whole), "{when}");
    }
    for when in ["now.getHours() < 6", "'x-team' in headers || tenant == 'a'", "path == tenant", "true"] {
        assert!(matches!(policy(&[when]).plain[0], Part::Nothing), "{when}");
    }
}

/// Conditions of every plain kind, and some that are not.
fn any_condition() -> impl Strategy<Value = String> {
    let text = prop::sample::select(vec![
        "request.model",
        "request.system_prefix",
        "headers['user-agent']",
        "headers['x-none']",
        "path",
        "tenant",
        "workload",
    ]);
    let number = prop::sample::select(vec!["request.messages", "request.tools", "request.max_tokens", "request.bytes"]);
    let word =
        prop::sample::select(vec!["", "a", "claude", "claude-haiku-4-5", "airflow/2.9", "digests", "4-5", "/v1"]);
    let is_like = prop::sample::select(vec!["startsWith", "endsWith", "contains", "matches"]);
    let order = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let equal = prop::sample::select(vec!["==", "!="]);
    let leaf = prop_oneof![
        (text.clone(), is_like, word.clone()).prop_map(|(text, is_like, word)| format!("{text}.{is_like}('{word}')")),
        (text.clone(), equal.clone(), word.clone()).prop_map(|(text, is, word)| format!("{text} {is} '{word}'")),
        (word.clone(), equal, text.clone()).prop_map(|(word, is, text)| format!("'{word}' {is} {text}")),
        (text, word).prop_map(|(text, word)| format!("{text} in ['x', '{word}']")),
        (number, order, 0..70_i64).prop_map(|(number, is, other)| format!("{number} {is} {other}")),
        Just("request.stream".to_owned()),
        Just("now.getHours() == 5".to_owned()),
        Just("int(headers['user-agent']) > 3".to_owned()),
        Just("request.model.size() > 3".to_owned()),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let joined = |sign: &'static str| {
            prop::collection::vec(inner.clone(), 2..4).prop_map(move |parts| format!("({})", parts.join(sign)))
        };
        prop_oneof![joined(" && "), joined(" || "), inner.clone().prop_map(|part| format!("!({part})"))]
    })
}

proptest! {
    #[test]
    fn quick_answers_are_those_of_the_interpreter(when in any_condition(), bodies in 0..3_usize) {
        let policy = policy(&[&when]);
        let bodies = [BODY, r#"{"model":"claude-haiku-4-5","messages":[1]"#, ""].get(bodies).copied().unwrap_or_default();
        let mut glance = Glance::default();
        glance.read(bodies.as_bytes());
        let headers = usual_headers();
        let facts = facts(&headers, glance.facts());
        let known = Known::of(&facts, &policy.wanted, &policy.patterns);
        let slowly = policy.rules()[0].when.holds(&condition::context(&known), &known);
        let mut course = Course::default();
        let standing = policy.go_on(&mut course, &facts);
        let quickly = match (standing, course.said.pop()) {
            (Standing::WantsBody, _) => Err(Unanswered::Unknown),
            (_, Some(Said::Fails(why))) => Err(Unanswered::Failed(why)),
            (_, said) => Ok(said == Some(Said::Matches)),
        };
        prop_assert_eq!(quickly, slowly, "{}", when);
    }
}
