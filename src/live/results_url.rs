//! `results_url` in answers about batches: SDKs follow it, so it has to lead back to the gateway.

use std::ops::Range;

use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::address::Address;

const BATCHES: &str = "/v1/messages/batches";

/// Whether the answer to this call can hold a `results_url`. The results themselves cannot: they stream untouched.
pub(super) fn concerns(method: &Method, path: &str) -> bool {
    let Some(rest) = path.strip_prefix(BATCHES) else { return false };
    let about_batches = rest.is_empty() || rest.starts_with('/');
    about_batches && !rest.ends_with("/results") && (method == Method::GET || method == Method::POST)
}

/// `answer` with each batch's `results_url` moved from the upstream to `origin`, every other byte as it was; `None`
/// if there is none to move.
///
/// A batch is the object itself, or one in its list `data`. The same name anywhere deeper is somebody's data.
pub(super) fn rewrite(answer: &str, upstream: &Address, origin: &str) -> Option<String> {
    let envelope = members(answer)?;
    let listed = envelope.data.and_then(|data| serde_json::from_str::<Vec<&RawValue>>(data.get()).ok());
    let mut urls: Vec<&RawValue> =
        listed.into_iter().flatten().filter_map(|it| members(it.get())?.results_url).collect();
    urls.extend(envelope.results_url);
    urls.sort_by_key(|url| url.get().as_ptr());

    let mut moved = String::with_capacity(answer.len() + urls.len() * origin.len());
    let mut copied = 0;
    for url in urls {
        let Some(replacement) = move_to(origin, url, upstream) else { continue };
        let place = range_in(answer, url.get())?;
        moved.push_str(answer.get(copied..place.start)?);
        moved.push_str(&replacement);
        copied = place.end;
    }
    moved.push_str(answer.get(copied..)?);
    (copied > 0).then_some(moved)
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    results_url: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

fn members(text: &str) -> Option<Members<'_>> {
    // serde would read a list as members in order.
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok())?
}

/// The JSON string that leads to the gateway instead, if this one leads to the upstream.
fn move_to(origin: &str, url: &RawValue, upstream: &Address) -> Option<String> {
    let url: String = serde_json::from_str(url.get()).ok()?;
    let path = upstream.path_of(&url)?;
    serde_json::to_string(&format!("{origin}{path}")).ok()
}

/// Where `part`, which borrows from `whole`, stands in it.
fn range_in(whole: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    Some(start..start + part.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const ORIGIN: &str = "http://gateway.example:8100";

    fn upstream() -> Address {
        Address::new(&"https://api.anthropic.com".parse().unwrap()).unwrap()
    }

    fn rewritten(answer: &str) -> Option<String> {
        rewrite(answer, &upstream(), ORIGIN)
    }

    #[test]
    fn only_answers_about_batches_are_concerned() {
        for (method, path, expected) in [
            (Method::GET, "/v1/messages/batches", true),
            (Method::POST, "/v1/messages/batches", true),
            (Method::GET, "/v1/messages/batches/msgbatch_1", true),
            (Method::POST, "/v1/messages/batches/msgbatch_1/cancel", true),
            (Method::GET, "/v1/messages/batches/msgbatch_1/results", false),
            (Method::HEAD, "/v1/messages/batches", false),
            (Method::GET, "/v1/messages/batchesque", false),
            (Method::POST, "/v1/messages", false),
            (Method::GET, "/x/v1/messages/batches", false),
        ] {
            assert_eq!(concerns(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_batch_leads_back_and_keeps_every_other_byte() {
        let answer = "{ \"id\":\"b\",\r\n \"weight\" : 1.50, \"results_url\" :\t\"https://api.anthropic.com/v1/x/results\" , \"é\":\"\\u00e9\\/\"}\n";
        let expected = answer.replace("https://api.anthropic.com", ORIGIN);
        assert_eq!(rewritten(answer), Some(expected));
    }

    #[test]
    fn every_spelling_of_the_url_is_understood() {
        for url in [
            r"https:\/\/api.anthropic.com\/v1\/b\/results",
            r"\u0068ttps://api.anthropic.com\u002Fv1/b/results",
            "https://API.anthropic.com:443/v1/b/results",
        ] {
            for name in ["results_url", r"results\u005furl"] {
                let expected = format!(r#"{{"{name}":"{ORIGIN}/v1/b/results"}}"#);
                assert_eq!(rewritten(&format!(r#"{{"{name}":"{url}"}}"#)), Some(expected), "{name} {url}");
            }
        }
    }

    #[test]
    fn a_list_leads_back_batch_by_batch() {
        let up = "https://api.anthropic.com/v1/b";
        let answer = format!(
            r#"{{"data":[{{"results_url":"{up}1"}},{{"results_url":null}}, {{"id":3,"results_url":"{up}3"}}],"has_more":false}}"#
        );
        assert_eq!(rewritten(&answer), Some(answer.replace("https://api.anthropic.com", ORIGIN)));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        for answer in [
            r#"{"results_url":null}"#,
            r#"{"results_url":7,"data":{"results_url":"https://api.anthropic.com/v1"}}"#,
            r#"{"results_url":"https://elsewhere.example/v1"}"#,
            r#"{"results_url":"https://api.anthropic.com.elsewhere.example/v1"}"#,
            r#"{"results_url":"\ud800https://api.anthropic.com/v1"}"#,
            r#"{"metadata":{"results_url":"https://api.anthropic.com/v1"}}"#,
            r#"{"data":[{"batch":{"results_url":"https://api.anthropic.com/v1"}},["https://api.anthropic.com/v1"]]}"#,
            r#"{"Results_Url":"https://api.anthropic.com/v1"}"#,
            r#"["https://api.anthropic.com/v1"]"#,
            r#"{"results_url":"https://api.anthropic.com/v1""#,
            r#""results_url""#,
            "",
        ] {
            assert_eq!(rewritten(answer), None, "{answer}");
        }
    }

    #[test]
    fn an_origin_cannot_break_out_of_its_string() {
        let moved = rewrite(r#"{"results_url":"https://api.anthropic.com/v1"}"#, &upstream(), "http://a\",\"b\":\"\\");
        assert_eq!(moved.as_deref(), Some(r#"{"results_url":"http://a\",\"b\":\"\\/v1"}"#));
    }

    /// A JSON text, and what it is to become.
    type Pair = (String, String);

    /// The value of a `results_url` where it counts.
    fn url() -> impl Strategy<Value = Pair> {
        let led_back = ("[a-zA-Z0-9/_.~?&=%é-]{0,12}", any::<bool>()).prop_map(|(path, escaped)| {
            let slash = if escaped { r"\/" } else { "/" };
            let url = format!("https://api.anthropic.com/{path}").replace('/', slash);
            (format!("\"{url}\""), format!("\"{ORIGIN}/{path}\""))
        });
        let left_alone = select(vec!["null", "7", "\"https://elsewhere.example/v1\"", "{ }"]);
        prop_oneof![3 => led_back, 1 => left_alone.prop_map(|text| same(text.to_owned()))]
    }

    fn same(text: String) -> Pair {
        (text.clone(), text)
    }

    fn leaf() -> impl Strategy<Value = String> {
        select(vec!["null", "1.50", "-0e1", "true", r#""\u00e9\"}""#, r#""https://api.anthropic.com/v1""#, "[ ]", "{}"])
            .prop_map(str::to_owned)
    }

    /// Any JSON, full of the name that counts elsewhere.
    fn deep() -> impl Strategy<Value = String> {
        leaf().prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(" ,"))),
                inner.prop_map(|value| format!(r#"{{"results_url": {value},"data":[{value}]}}"#)),
            ]
        })
    }

    fn object(mut members: Vec<(&'static str, Pair)>, turn: usize, space: &str) -> Pair {
        if !members.is_empty() {
            let by = turn % members.len();
            members.rotate_left(by);
        }
        let text = |pick: fn(&Pair) -> &String| {
            let members: Vec<_> =
                members.iter().map(|(name, pair)| format!("{name}{space}:{space}{}", pick(pair))).collect();
            format!("{space}{{{}}}{space}", members.join(","))
        };
        (text(|pair| &pair.0), text(|pair| &pair.1))
    }

    fn batch(list: impl Strategy<Value = Pair>) -> impl Strategy<Value = Pair> {
        let name = select(vec![r#""results_url""#, r#""results\u005furl""#]);
        let space = select(vec!["", " ", "\n\t"]);
        (name, prop::option::of(url()), deep(), prop::option::of(list), any::<usize>(), space).prop_map(
            |(name, url, other, list, turn, space)| {
                let mut members = vec![(r#""metadata""#, same(other))];
                members.extend(url.map(|url| (name, url)));
                members.extend(list.map(|list| (r#""data""#, list)));
                object(members, turn, space)
            },
        )
    }

    fn envelope() -> impl Strategy<Value = Pair> {
        let item = prop_oneof![3 => batch(deep().prop_map(same)), 1 => leaf().prop_map(same)];
        batch(prop::collection::vec(item, 0..4).prop_map(|items| {
            let (before, after): (Vec<_>, Vec<_>) = items.into_iter().unzip();
            (format!("[{}]", before.join(", ")), format!("[{}]", after.join(", ")))
        }))
    }

    proptest! {
        #[test]
        fn exactly_the_urls_that_count_are_moved((before, after) in envelope()) {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&before).is_ok());
            let moved = rewritten(&before);
            prop_assert_eq!(moved.is_some(), before != after);
            prop_assert_eq!(moved.unwrap_or(before), after);
        }

        #[test]
        fn no_text_makes_it_panic(text in r#"[\[\]{}",:\\ a]{0,20}("results_url":"https://api.anthropic.com/")?[\[\]{}",:\\ a]{0,20}"#) {
            let _ = rewritten(&text);
        }
    }
}
