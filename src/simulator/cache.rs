//! The prompt cache: what of a prompt was written and read, by the text before each `cache_control` mark.
//!
//! Entries belong to a workspace and a model; live calls and batches have caches apart. A prefix below the
//! model's minimum is not cached. An entry lives from the start of the call that wrote or read it, and is there for
//! calls that begin after that one was answered; so all items of one batch miss what none of them has written yet.
//! Thinking, effort, tool choice and images do not invalidate anything here.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::value::RawValue;

use super::answer::Tier;
use super::call::{Fields, PROMPT};
use super::digest::Digest;
use super::error::ApiError;
use crate::clock::Timestamp;
use crate::domain::cacheable::minimum_tokens;

/// How many blocks back from a mark an earlier entry is found, the mark's own included.
const LOOKBACK: usize = 20;
/// How many marks a call may have.
const MARKS_MAX: usize = 4;

/// What a call took from the cache and left there, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheUsage {
    pub(super) read: u64,
    pub(super) written_5m: u64,
    pub(super) written_1h: u64,
}

impl CacheUsage {
    /// All tokens that do not count as plain input.
    pub(super) fn total(self) -> u64 {
        self.read + self.written_5m + self.written_1h
    }
}

/// How long an entry lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl {
    Minutes5,
    Hour1,
}

/// A prompt as the cache sees it: the prefix up to each of its blocks, and which blocks are marked.
pub(super) struct Plan {
    prefixes: Vec<Prefix>,
    marks: Vec<(usize, Ttl)>,
    /// The fewest tokens that its model caches.
    minimum: u64,
}

#[derive(Clone, Copy)]
struct Prefix {
    key: [u8; 32],
    tokens: u64,
}

/// What one call looked up: its usage, and the entries that are there once it has begun to be answered.
#[derive(Default)]
pub(super) struct Visit {
    pub(super) usage: CacheUsage,
    entries: Vec<([u8; 32], Ttl)>,
}

/// All that is cached, by a prefix's key.
#[derive(Default)]
pub(super) struct Cache(HashMap<[u8; 32], Entry>);

struct Entry {
    ttl: Ttl,
    expires: Timestamp,
}

/// Reads the marks of a call; none when it has no mark at all.
pub(super) fn plan(call: &Fields<'_>, owner: &str, tier: Tier) -> Result<Option<Plan>, ApiError> {
    let prompt = || PROMPT.iter().filter_map(|name| Some((*name, call.given(name)?)));
    // Marks are rare; looking for the word first spares most prompts the reading.
    if call.given("cache_control").is_none() && !prompt().any(|(_, raw)| raw.get().contains("cache_control")) {
        return Ok(None);
    }
    let mut builder = Builder::new(owner, tier, call);
    for (name, raw) in prompt() {
        builder.part(name, raw);
    }
    if let Some(mark) = call.given("cache_control") {
        builder.mark_last(mark);
    }
    builder.finish()
}

impl Cache {
    /// What a call that starts `now` would read and write.
    pub(super) fn visit(&self, plan: &Plan, now: Timestamp) -> Visit {
        let live = |at: &usize| self.0.get(&plan.prefixes[*at].key).is_some_and(|entry| entry.expires > now);
        let hit =
            plan.marks.iter().filter_map(|(mark, _)| (mark.saturating_sub(LOOKBACK - 1)..=*mark).rev().find(live));
        let hit = hit.max();
        let mut visit = Visit::default();
        let mut reached = 0;
        if let Some(at) = hit {
            let prefix = plan.prefixes[at];
            visit.usage.read = prefix.tokens;
            reached = prefix.tokens;
            visit.entries.extend(self.0.get(&prefix.key).map(|entry| (prefix.key, entry.ttl)));
        }
        for (at, ttl) in plan.marks.iter().filter(|(at, _)| hit.is_none_or(|hit| *at > hit)) {
            let prefix = plan.prefixes[*at];
            if prefix.tokens >= plan.minimum {
                let written = match ttl {
                    Ttl::Minutes5 => &mut visit.usage.written_5m,
                    Ttl::Hour1 => &mut visit.usage.written_1h,
                };
                *written += prefix.tokens - reached;
                reached = prefix.tokens;
                visit.entries.push((prefix.key, *ttl));
            }
        }
        visit
    }

    /// The call, which started `at`, has begun to be answered: what it wrote and read is there for others.
    pub(super) fn keep(&mut self, visit: Visit, at: Timestamp) {
        for (key, ttl) in visit.entries {
            let life = match ttl {
                Ttl::Minutes5 => Duration::from_secs(300),
                Ttl::Hour1 => Duration::from_secs(3_600),
            };
            self.0.insert(key, Entry { ttl, expires: at.plus(life) });
        }
    }
}

/// Walks over a prompt in the order in which the cache sees it.
struct Builder {
    digest: Digest,
    plan: Plan,
}

impl Builder {
    fn new(owner: &str, tier: Tier, call: &Fields<'_>) -> Self {
        let mut digest = Digest::default();
        digest.word(owner);
        digest.word(if tier == Tier::Batch { "batch" } else { "live" });
        let model = call.text("model").unwrap_or_default();
        digest.word(&model);
        Self { digest, plan: Plan { prefixes: Vec::new(), marks: Vec::new(), minimum: minimum_tokens(&model) } }
    }

    /// Tools, system prompt or messages.
    fn part(&mut self, name: &str, raw: &RawValue) {
        self.digest.word(name);
        let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else { return self.block(raw) };
        for element in elements {
            let message =
                (name == "messages").then(|| serde_json::from_str::<Fields<'_>>(element.get()).ok()).flatten();
            match message.as_ref().and_then(|message| Some((message.text("role")?, message.get("content")?))) {
                Some((role, content)) => self.part(&role, content),
                None => self.block(element),
            }
        }
    }

    fn block(&mut self, raw: &RawValue) {
        self.digest.json(raw);
        self.plan.prefixes.push(Prefix { key: self.digest.finish(), tokens: self.digest.tokens() });
        if let Ok(block) = serde_json::from_str::<Fields<'_>>(raw.get())
            && let Some(mark) = block.given("cache_control")
        {
            self.mark_last(mark);
        }
    }

    /// Marks the last block; a mark that is there already stays.
    fn mark_last(&mut self, mark: &RawValue) {
        let Some(last) = self.plan.prefixes.len().checked_sub(1) else { return };
        let hour =
            serde_json::from_str::<Fields<'_>>(mark.get()).is_ok_and(|mark| mark.text("ttl").as_deref() == Some("1h"));
        if self.plan.marks.last().is_none_or(|(at, _)| *at != last) {
            self.plan.marks.push((last, if hour { Ttl::Hour1 } else { Ttl::Minutes5 }));
        }
    }

    fn finish(self) -> Result<Option<Plan>, ApiError> {
        let marks = &self.plan.marks;
        if marks.len() > MARKS_MAX {
            return Err(ApiError::invalid(format!(
                "A maximum of {MARKS_MAX} blocks with cache_control may be provided. Found {}.",
                marks.len()
            )));
        }
        if marks.windows(2).any(|pair| pair[0].1 == Ttl::Minutes5 && pair[1].1 == Ttl::Hour1) {
            return Err(ApiError::invalid(
                "cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block",
            ));
        }
        Ok(Some(self.plan).filter(|plan| !plan.marks.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn usage(read: u64, written_5m: u64, written_1h: u64) -> CacheUsage {
        CacheUsage { read, written_5m, written_1h }
    }

    /// A system prompt of these blocks: how many tokens, and which ttl they are marked with.
    fn system(blocks: &[(usize, Option<&str>)]) -> String {
        let blocks = blocks.iter().enumerate().map(|(n, (tokens, ttl))| {
            let mark =
                ttl.map_or(String::new(), |ttl| format!(r#","cache_control":{{"type":"ephemeral","ttl":"{ttl}"}}"#));
            // `type` weighs a token of its own.
            format!(r#"{{"type":"text","text":"{}"{mark}}}"#, n.to_string().repeat((tokens - 1) * 4))
        });
        format!(r#"{{"model":"claude-opus-5","system":[{}]}}"#, blocks.collect::<Vec<_>>().join(","))
    }

    fn planned(body: &str, owner: &str, tier: Tier) -> Result<Option<Plan>, ApiError> {
        plan(&Fields::parse(body.as_bytes()).unwrap(), owner, tier)
    }

    fn run(cache: &mut Cache, body: &str, now: Timestamp) -> CacheUsage {
        run_as(cache, body, "w", Tier::Standard, now)
    }

    fn run_as(cache: &mut Cache, body: &str, owner: &str, tier: Tier, now: Timestamp) -> CacheUsage {
        let visit = cache.visit(&planned(body, owner, tier).unwrap().unwrap(), now);
        let usage = visit.usage;
        cache.keep(visit, now);
        usage
    }

    #[test]
    fn the_second_call_reads_what_the_first_wrote() {
        let mut cache = Cache::default();
        let body = system(&[(600, Some("1h")), (100, Some("5m"))]);
        assert_eq!(run(&mut cache, &body, NOW), usage(0, 100, 600));
        assert_eq!(run(&mut cache, &body, NOW), usage(700, 0, 0));
        assert_eq!(run(&mut cache, &system(&[(600, None), (100, None), (50, Some("5m"))]), NOW), usage(700, 50, 0));
    }

    #[test]
    fn entries_expire_by_their_ttl_and_a_read_renews_them() {
        let mut cache = Cache::default();
        let body = system(&[(600, Some("5m"))]);
        let minute = |n: u64| NOW.plus(Duration::from_secs(60 * n));
        assert_eq!(run(&mut cache, &body, minute(0)), usage(0, 600, 0));
        assert_eq!(run(&mut cache, &body, minute(4)), usage(600, 0, 0));
        assert_eq!(run(&mut cache, &body, minute(8)), usage(600, 0, 0));
        assert_eq!(run(&mut cache, &body, minute(13)), usage(0, 600, 0));
    }

    #[test]
    fn calls_that_begin_together_all_miss() {
        let cache = Cache::default();
        let plan = planned(&system(&[(600, Some("5m"))]), "w", Tier::Batch).unwrap().unwrap();
        assert_eq!(cache.visit(&plan, NOW).usage, cache.visit(&plan, NOW).usage);
        assert_eq!(cache.visit(&plan, NOW).usage, usage(0, 600, 0));
    }

    #[test]
    fn workspaces_and_ways_keep_apart() {
        let mut cache = Cache::default();
        let body = system(&[(600, Some("5m"))]);
        for (owner, tier) in [("red", Tier::Standard), ("blue", Tier::Standard), ("red", Tier::Batch)] {
            assert_eq!(run_as(&mut cache, &body, owner, tier, NOW), usage(0, 600, 0));
        }
        assert_eq!(run_as(&mut cache, &body, "red", Tier::Batch, NOW), usage(600, 0, 0));
    }

    #[test]
    fn a_short_prefix_is_not_cached() {
        let mut cache = Cache::default();
        let body = system(&[(511, Some("5m"))]);
        assert_eq!(run(&mut cache, &body, NOW), usage(0, 0, 0));
        assert_eq!(run(&mut cache, &body, NOW), usage(0, 0, 0));
    }

    #[test]
    fn how_short_depends_on_the_model() {
        for (model, minimum) in [("claude-opus-5", 512), ("claude-opus-4-8", 1_024), ("claude-haiku-4-5", 4_096)] {
            let written = |tokens| {
                let body = system(&[(tokens, Some("1h"))]).replace("claude-opus-5", model);
                run(&mut Cache::default(), &body, NOW).written_1h
            };
            assert_eq!((written(minimum - 1), written(minimum)), (0, minimum as u64), "{model}");
        }
    }

    #[test]
    fn looks_back_twenty_blocks() {
        let filled = |behind: usize| {
            let mut blocks = vec![(600, None)];
            blocks.extend(std::iter::repeat_n((2, None), behind - 1));
            blocks.push((2, Some("5m")));
            system(&blocks)
        };
        for (behind, read) in [(19, 600), (20, 0)] {
            let mut cache = Cache::default();
            run(&mut cache, &system(&[(600, Some("5m"))]), NOW);
            assert_eq!(run(&mut cache, &filled(behind), NOW).read, read, "{behind}");
        }
    }

    #[test]
    fn marks_have_an_order_and_a_limit() {
        let fault = |body: &str| planned(body, "w", Tier::Standard).err().map(|error| error.status);
        assert_eq!(fault(&system(&[(9, Some("5m")); 4])), None);
        assert_eq!(fault(&system(&[(9, Some("5m")); 5])), Some(400));
        assert_eq!(fault(&system(&[(9, Some("5m")), (9, Some("1h"))])), Some(400));
    }

    #[test]
    fn a_mark_on_the_call_marks_its_last_block() {
        let body = format!(
            r#"{{"model":"claude-opus-5","cache_control":{{"type":"ephemeral"}},"messages":[{{"role":"user","content":"{}"}}]}}"#,
            "x".repeat(4 * 600)
        );
        assert_eq!(run(&mut Cache::default(), &body, NOW), usage(0, 600, 0));
        assert!(planned(r#"{"model":"claude-opus-5","messages":[]}"#, "w", Tier::Batch).unwrap().is_none());
    }
}
