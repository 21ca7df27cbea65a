//! The provider's own exports, recognised by what is in them: usage and cost, each as the Console's CSV and as the JSON of
//! the Usage and Cost Admin API (`/v1/organizations/usage_report/messages`, `/v1/organizations/cost_report`).

use serde::Deserialize;
use serde_json::Value;

use crate::clock::{Day, Timestamp};
use crate::domain::money::NanoUsd;
use crate::domain::usage::Tokens;

/// What is allowed, for error texts.
const FORMS: &str = "expected the provider's usage or cost export: the Console's CSV (with the columns usage_date_utc and \
    usage_output_tokens, or usage_date_utc and cost_usd), or JSON of the Usage and Cost Admin API (with data[].results[])";

/// A day in milliseconds; no row may be about more.
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1_000;

/// What an export tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportKind {
    /// Tokens.
    Usage,
    /// Dollars.
    Cost,
}

/// An export that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// What it tells of.
    pub kind: ExportKind,
    /// Its rows.
    pub charges: Vec<Charge>,
}

/// What a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// Tokens of a model.
    Tokens,
    /// Web searches.
    WebSearch,
    /// Time in a container.
    CodeExecution,
    /// The export does not tell its rows apart.
    Untold,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The day, in UTC.
    pub day: Day,
    /// The model, if it is told.
    pub model: Option<String>,
    /// What it is for.
    pub item: Item,
    /// The tokens, in an export of usage.
    pub tokens: Tokens,
    /// Web searches, in an export of usage.
    pub web_searches: u64,
    /// The amount, in an export of cost.
    pub amount: NanoUsd,
}

impl Export {
    /// Reads an export; the error says where it is none, and what is allowed.
    pub fn read(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let export = if text.starts_with(['{', '[']) { from_json(text)? } else { from_csv(text)? };
        if export.charges.is_empty() { Err("the export has no rows".to_owned()) } else { Ok(export) }
    }

    /// The first day and the last.
    pub fn days(&self) -> Option<(Day, Day)> {
        let days = || self.charges.iter().map(|charge| charge.day);
        days().min().zip(days().max())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pages {
    One(Page),
    Many(Vec<Page>),
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    starting_at: String,
    ending_at: String,
    results: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    model: Option<String>,
    // Of usage.
    uncached_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    server_tool_use: Option<ServerTools>,
    // Of cost: cents, as a decimal text.
    amount: Option<Value>,
    cost_type: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct ServerTools {
    web_search_requests: Option<u64>,
}

/// One page, a list of pages, or pages one after the other.
fn from_json(text: &str) -> Result<Export, String> {
    let mut buckets = Vec::new();
    for pages in serde_json::Deserializer::from_str(text).into_iter::<Pages>() {
        match pages.map_err(|_| FORMS.to_owned())? {
            Pages::One(page) => buckets.extend(page.data),
            Pages::Many(pages) => buckets.extend(pages.into_iter().flat_map(|page| page.data)),
        }
    }
    let is_cost = buckets.iter().flat_map(|bucket| &bucket.results).any(|row| row.amount.is_some());
    let mut charges = Vec::new();
    for bucket in &buckets {
        let day = bucket_day(bucket)?;
        for row in &bucket.results {
            charges.push(if is_cost { cost_of(day, row)? } else { usage_of(day, row) });
        }
    }
    Ok(Export { kind: if is_cost { ExportKind::Cost } else { ExportKind::Usage }, charges })
}

fn bucket_day(bucket: &Bucket) -> Result<Day, String> {
    let Bucket { starting_at, ending_at, .. } = bucket;
    let (start, end) = Timestamp::parse_rfc3339(starting_at)
        .zip(Timestamp::parse_rfc3339(ending_at))
        .ok_or_else(|| format!("{starting_at} to {ending_at} is no time: {FORMS}"))?;
    if end.as_millis() - start.as_millis() > DAY_MILLIS {
        return Err(format!("{starting_at} to {ending_at} is more than a day: ask for bucket_width=1d or 1h"));
    }
    Ok(Day::of(start))
}

fn usage_of(day: Day, row: &Row) -> Charge {
    let written = row.cache_creation.as_ref();
    let tokens = Tokens {
        input: row.uncached_input_tokens.unwrap_or(0),
        output: row.output_tokens.unwrap_or(0),
        cache_write_5m: written.and_then(|written| written.ephemeral_5m_input_tokens).unwrap_or(0),
        cache_write_1h: written.and_then(|written| written.ephemeral_1h_input_tokens).unwrap_or(0),
        cache_read: row.cache_read_input_tokens.unwrap_or(0),
    };
    let web_searches = row.server_tool_use.as_ref().and_then(|tools| tools.web_search_requests).unwrap_or(0);
    Charge { day, model: row.model.clone(), item: Item::Tokens, tokens, web_searches, amount: NanoUsd::ZERO }
}

fn cost_of(day: Day, row: &Row) -> Result<Charge, String> {
    let text = match &row.amount {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    // A cent is ten million billionths.
    let amount = decimal(&text, 7).ok_or_else(|| format!("{text:?} is no amount in cents, in the rows of {day}"))?;
    let item = item(row.cost_type.as_deref(), row.description.as_deref());
    Ok(Charge { day, model: row.model.clone(), item, tokens: Tokens::default(), web_searches: 0, amount })
}

/// What a row of cost is for, by its type, else by its description.
fn item(cost_type: Option<&str>, description: Option<&str>) -> Item {
    let word = cost_type.or(description).unwrap_or_default().to_ascii_lowercase().replace('_', " ");
    match word.as_str() {
        "" => Item::Untold,
        word if word.contains("web search") => Item::WebSearch,
        word if word.contains("code execution") => Item::CodeExecution,
        _ => Item::Tokens,
    }
}

/// A decimal number in its unit, which has so many decimals; what is finer is rounded.
fn decimal(text: &str, decimals: usize) -> Option<NanoUsd> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || ![whole, fraction].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let (kept, beyond) = fraction.split_at_checked(decimals).unwrap_or((fraction, ""));
    let nanos: i64 = format!("{whole}{kept:0<decimals$}").parse().ok()?;
    let round = i64::from(beyond.as_bytes().first().is_some_and(|digit| *digit >= b'5'));
    nanos.checked_add(round).map(|nanos| NanoUsd(sign * nanos))
}

fn from_csv(text: &str) -> Result<Export, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let head = reader.headers().map_err(|_| FORMS.to_owned())?.clone();
    let column = |name: &str| head.iter().position(|column| column == name);
    let Some(date) = column("usage_date_utc") else { return Err(FORMS.to_owned()) };
    let (cost, output) = (column("cost_usd"), column("usage_output_tokens"));
    let kind = match (cost, output) {
        (Some(_), _) => ExportKind::Cost,
        (None, Some(_)) => ExportKind::Usage,
        (None, None) => return Err(FORMS.to_owned()),
    };
    let mut charges = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| format!("not CSV: {error}"))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |name: &str| column(name).and_then(|at| record.get(at)).filter(|text| !text.is_empty());
        let wrong = |name: &str| format!("line {line}: {name} has {:?}", cell(name).unwrap_or_default());
        let day = record.get(date).and_then(|text| text.get(..10)).and_then(Day::parse);
        let day = day.ok_or_else(|| format!("{}, which is no day such as 2026-11-22", wrong("usage_date_utc")))?;
        let count = |name: &str| match cell(name) {
            None => Ok(0),
            Some(text) => text.parse().map_err(|_| format!("{}, which is no number of tokens", wrong(name))),
        };
        let model = cell("model_version").or(cell("model")).map(str::to_owned);
        let blank = Charge {
            day,
            model,
            item: Item::Tokens,
            tokens: Tokens::default(),
            web_searches: 0,
            amount: NanoUsd::ZERO,
        };
        charges.push(match kind {
            ExportKind::Cost => {
                let amount = decimal(cell("cost_usd").unwrap_or("0"), 9);
                let amount = amount.ok_or_else(|| format!("{}, which is no amount in dollars", wrong("cost_usd")))?;
                Charge { amount, item: item(cell("cost_type"), cell("token_type")), ..blank }
            }
            ExportKind::Usage => {
                let tokens = Tokens {
                    input: count("usage_input_tokens_no_cache")?,
                    output: count("usage_output_tokens")?,
                    cache_write_5m: count("usage_input_tokens_cache_write_5m")?,
                    cache_write_1h: count("usage_input_tokens_cache_write_1h")?,
                    cache_read: count("usage_input_tokens_cache_read")?,
                };
                Charge { tokens, web_searches: count("web_search_count")?, ..blank }
            }
        });
    }
    Ok(Export { kind, charges })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    #[test]
    fn usage_of_the_admin_api_is_read_page_by_page() {
        let page = r#"{"data":[{"starting_at":"2026-11-20T00:00:00Z","ending_at":"2026-11-21T00:00:00Z","results":[
            {"uncached_input_tokens":1500,"cache_creation":{"ephemeral_1h_input_tokens":1000,"ephemeral_5m_input_tokens":500},
             "cache_read_input_tokens":200,"output_tokens":500,"server_tool_use":{"web_search_requests":10},"api_key_id":null,
             "workspace_id":null,"model":"claude-opus-5-5","service_tier":"batch","context_window":"0-200k"}]},
            {"starting_at":"2026-11-21T00:00:00Z","ending_at":"2026-11-22T00:00:00Z","results":[]}],
            "has_more":true,"next_page":"page_x"}"#;
        let tokens = Tokens { input: 1_500, output: 500, cache_write_5m: 500, cache_write_1h: 1_000, cache_read: 200 };
        let model = Some("claude-opus-5-5".to_owned());
        let charge = Charge {
            day: day("2026-11-20"),
            model,
            item: Item::Tokens,
            tokens,
            web_searches: 10,
            amount: NanoUsd::ZERO,
        };
        let read = Export::read(page).unwrap();
        assert_eq!((read.kind, read.charges.as_slice()), (ExportKind::Usage, &[charge.clone()][..]));
        for several in [format!("[{page},{page}]"), format!("{page}\n{page}")] {
            assert_eq!(Export::read(&several).unwrap().charges, [charge.clone(), charge.clone()]);
        }
    }

    #[test]
    fn cost_of_the_admin_api_is_in_cents() {
        let row = |amount: &str, rest: &str| format!(r#"{{"currency":"USD","amount":"{amount}",{rest}}}"#);
        let rows = [
            row("2799.187450", r#""cost_type":"tokens","model":"claude-opus-5-5","token_type":"output_tokens""#),
            row("123.45", r#""cost_type":"web_search","model":null,"description":"Web Search Usage""#),
            row("5", r#""cost_type":null,"description":"Code Execution Usage""#),
            row("-0.00000005", r#""cost_type":null,"description":null"#),
        ];
        let bucket = format!(
            r#"{{"data":[{{"starting_at":"2026-11-20T00:00:00Z","ending_at":"2026-11-21T00:00:00Z","results":[{}]}}]}}"#,
            rows.join(",")
        );
        let read = Export::read(&bucket).unwrap();
        let found: Vec<_> = read.charges.iter().map(|charge| (charge.item, charge.amount.0)).collect();
        assert_eq!(read.kind, ExportKind::Cost);
        assert_eq!(
            found,
            [
                (Item::Tokens, 27_991_874_500),
                (Item::WebSearch, 1_234_500_000),
                (Item::CodeExecution, 50_000_000),
                (Item::Untold, -1),
            ]
        );
    }

    #[test]
    fn the_consoles_csv_is_read_by_the_names_of_its_columns() {
        let usage = "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
            usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,\
            usage_output_tokens,web_search_count,inference_geo,speed\n\
            2026-11-20,claude-opus-5-5,\"reports, nightly\",Default,batch,≤ 200k,1,2,3,4,5,6,global,\n\
            2026-11-20 15:00,claude-opus-5-5,x,Default,standard,≤ 200k,10,,,,50,,,\n";
        let read = Export::read(usage).unwrap();
        let tokens = Tokens { input: 1, output: 5, cache_write_5m: 2, cache_write_1h: 3, cache_read: 4 };
        assert_eq!((read.kind, read.charges[0].tokens, read.charges[0].web_searches), (ExportKind::Usage, tokens, 6));
        assert_eq!(read.charges[1].tokens, Tokens { input: 10, output: 50, ..Tokens::default() });

        let cost = "\u{feff}usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,\
            list_price_usd,cost_type,inference_geo,speed\n\
            2026-11-20,Claude Haiku 4.5,Default,k,message,≤ 200k,input_no_cache,0.05,0.06,token,not_available,\n\
            2026-11-21,,Default,k,message,,,0.3,0.3,web_search,,\n";
        let read = Export::read(cost).unwrap();
        assert_eq!(read.kind, ExportKind::Cost);
        assert_eq!(
            (read.charges[0].model.as_deref(), read.charges[0].amount.0),
            (Some("Claude Haiku 4.5"), 50_000_000)
        );
        assert_eq!((read.charges[1].item, read.charges[1].model.as_deref()), (Item::WebSearch, None));
        assert_eq!(read.days(), Some((day("2026-11-20"), day("2026-11-21"))));
    }

    #[test]
    fn what_is_no_export_is_told_with_its_place() {
        let told = |text: &str| Export::read(text).unwrap_err();
        for none in
            ["", "hello", "a,b\n1,2\n", "{}", "[1]", r#"{"type":"error","error":{}}"#, "usage_date_utc,x\n1,2\n"]
        {
            assert!(told(none).starts_with("expected the provider's usage or cost export"), "{none}: {}", told(none));
        }
        assert_eq!(told("usage_date_utc,cost_usd\n"), "the export has no rows");
        assert_eq!(
            told("usage_date_utc,cost_usd\n2026-11-20,1\n2026-11-21,x\n"),
            "line 3: cost_usd has \"x\", which is no amount in dollars"
        );
        assert_eq!(
            told("usage_date_utc,usage_output_tokens\nNov 20,1\n"),
            "line 2: usage_date_utc has \"Nov 20\", which is no day such as 2026-11-22"
        );
        assert!(told("usage_date_utc,cost_usd\n2026-11-20\n").starts_with("not CSV: "));
        let week =
            r#"{"data":[{"starting_at":"2026-11-20T00:00:00Z","ending_at":"2026-11-27T00:00:00Z","results":[]}]}"#;
        assert!(told(week).ends_with("is more than a day: ask for bucket_width=1d or 1h"));
    }
}
