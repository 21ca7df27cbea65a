//! Rules are read, and what is wrong with one is told at its place.

use std::time::Duration;

use super::*;
use crate::domain::policy::{Action, Cache, Reply};

const RECEIVER: &str = "[[receiver]]\nname = \"warehouse\"\nurl = \"http://10.0.0.1/\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";

/// A rule with these lines besides its name.
fn rule(lines: &str) -> String {
    format!("[[rule]]\nname = \"nightly\"\n{lines}")
}

#[test]
fn a_rule_is_read_with_all_that_it_says() {
    let file = rule(
        "when = 'request.model == \"m\"'\naction = \"defer\"\nrollout = 25\ndeadline = \"12h\"\nreply = \"ticket\"\n\
         workload = \"summaries\"\ncallback = \"warehouse\"\ncache = \"auto\"\n\
         [[rule]]\nname = \"all the rest\"\nwhen = \"true\"\naction = \"observe\"\n",
    );
    let rules = load(&(RECEIVER.to_owned() + &file), &[]).unwrap().settings.intake.rules;
    let [first, second] = rules.as_slice() else { panic!("{rules:?}") };
    assert_eq!((&*first.name, first.when.text()), ("nightly", "request.model == \"m\""));
    assert_eq!((first.action, first.rollout, first.deadline), (Action::Defer, 25, Some(Duration::from_hours(12))));
    assert_eq!((first.reply, first.cache), (Reply::Ticket, Cache::Auto));
    assert_eq!((first.workload.as_deref(), first.callback.as_deref()), (Some("summaries"), Some("warehouse")));

    assert_eq!((&*second.name, second.action, second.rollout), ("all the rest", Action::Observe, 100));
    assert_eq!((second.deadline, second.reply, second.cache), (None, Reply::Hold, Cache::Off));
    assert_eq!((&second.workload, &second.callback), (&None, &None));
}

#[test]
fn every_fault_of_every_rule_is_told_at_once() {
    let file = r#"
[[rule]]
name = "nightly"
when = 'request.modle == "x" && foo'
action = "dfer"
rollout = 101
deadline = "soon"
reply = "later"
workload = "a b"
callback = "warehuose"
cache = "on"
colour = "red"
[[rule]]
name = "nightly"
when = "request.model == \"x\" && request.model > 5"
action = "defer"
callback = "http://8.8.8.8/"
[[rule]]
name = "nächtlich"
when = """
request.model == "x"
  && request.messages ==
"""
action = "live"
rollout = "all"
callback = "https://127.0.0.1/"
[[rule]]
when = ""
[rules]
"#;
    insta::assert_snapshot!(faults_of(&format!("{RECEIVER}{file}"), &[]).join("\n"), @r##"
    FILE:8:16: rule[0].when: there is no request.modle; did you mean request.model?
    FILE:8:33: rule[0].when: there is no variable foo; there are headers, path, tenant, workload, now, request
    FILE:9:10: rule[0].action: expected one of "live", "observe", "verify", "defer"; found "dfer"
    FILE:10:11: rule[0].rollout: expected an integer from 0 to 100; found 101
    FILE:11:12: rule[0].deadline: expected a duration from 0 to 3650d, such as "30s" or "4m30s" (an integer with ms, s, m, h or d); found "soon"
    FILE:12:9: rule[0].reply: expected one of "hold", "ticket"; found "later"
    FILE:13:12: rule[0].workload: expected a name of 1 to 64 of A-Z a-z 0-9 . _ -; found "a b"
    FILE:14:12: rule[0].callback: expected a receiver's name or an https URL; did you mean "warehouse"?
    FILE:15:9: rule[0].cache: expected one of "off", "auto"; found "on"
    FILE:16:1: rule[0].colour: unknown key; the keys here are name, when, action, rollout, deadline, reply, workload, callback, cache
    FILE:18:8: rule[1].name: another [[rule]] is named "nightly"; names are unique
    FILE:19:49: rule[1].when: `>` is not defined between a string and an int
    FILE:21:12: rule[1].callback: a callback must be an https URL, or the name of a receiver; a [[receiver]] may be anywhere, and webhooks.allow_hosts excepts
    FILE:23:8: rule[2].name: expected a name of 1 to 64 visible ASCII characters or blanks, without " and \; found "nächtlich"
    FILE:27:1: rule[2].when: not CEL: it ends where more is expected
    FILE:29:11: rule[2].rollout: expected an integer from 0 to 100; found "all"
    FILE:30:12: rule[2].callback: a callback must lead to a public address, and this one leads to one that is loopback; a [[receiver]] may be anywhere, and webhooks.allow_hosts excepts
    FILE:31:1: rule[3].action: missing; expected one of "live", "observe", "verify", "defer"
    FILE:31:1: rule[3].name: missing; expected a name of 1 to 64 visible ASCII characters or blanks, without " and \
    FILE:32:8: rule[3].when: expected a CEL expression in a text; found ""
    FILE:33:2: rules: unknown section; did you mean [rule]?
    "##);
}

#[test]
fn callbacks_go_where_they_may() {
    let with = |callback: &str| rule(&format!("when = \"true\"\naction = \"defer\"\ncallback = \"{callback}\"\n"));
    for right in ["https://hooks.example/a?token=t", "https://8.8.8.8/"] {
        assert!(load(&with(right), &[]).is_ok(), "{right}");
    }
    for wrong in ["http://hooks.example/", "https://10.0.0.1/", "https://localhost/", "https://u:p@hooks.example/"] {
        let told = faults_of(&with(wrong), &[]);
        assert!(told.len() == 1 && told[0].starts_with("FILE:5:12: rule[0].callback: a callback"), "{wrong}: {told:?}");
    }
    let excepted = [("OFFPEAK__WEBHOOKS__ALLOW_HOSTS", "10.0.0.1")];
    assert!(load(&with("http://10.0.0.1/"), &excepted).is_ok());
    let told = faults_of(&with("nobody"), &[]);
    assert_eq!(
        told,
        ["FILE:5:12: rule[0].callback: expected a receiver's name or an https URL; no [[receiver]] is configured"]
    );
}

#[test]
fn there_may_be_a_thousand_rules_and_no_more() {
    let rules = |count: usize| -> String {
        (0..count).map(|n| format!("[[rule]]\nname = \"{n}\"\nwhen = \"false\"\naction = \"live\"\n")).collect()
    };
    assert_eq!(load(&rules(1_000), &[]).unwrap().settings.intake.rules.len(), 1_000);
    let told = faults_of(&rules(1_001), &[]);
    assert!(told.len() == 1 && told[0].starts_with("FILE:4001:1: rule[1000]: there are at most 1000"), "{told:?}");
}

#[test]
fn no_fault_shows_what_a_callback_holds() {
    let file = rule("when = \"true\"\naction = \"defer\"\ncallback = \"http://hooks.example/s3cret\"\n");
    assert!(faults_of(&file, &[]).iter().all(|told| !told.contains("s3cret")));
}
