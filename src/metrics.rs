//! Metrics: what is counted as it happens, and what is measured when somebody asks.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is decided of most calls by far, and why: to look their counter up each time costs more than to count.
pub const USUAL: (&str, &str) = ("live", "no-rule");

/// What is counted as it happens. Clones share it.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    calls: Family<Labels<2>, Counter>,
    usual_calls: OnceLock<Counter>,
    held: Family<Labels<1>, Gauge>,
    holds: Family<Labels<2>, Counter>,
    webhook_attempts: Family<Labels<1>, Counter>,
    /// Those that were recorded, dropped, and not read.
    records: [Counter; 3],
    registry: Registry,
}

/// What is measured when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Calls that wait to be put into a batch; none where the store does not answer.
    pub queued: Option<u64>,
    /// How long the oldest of them waits.
    pub oldest_queued: Option<Duration>,
    /// Batches under way, by state.
    pub batches: Vec<(&'static str, u64)>,
    /// Credentials with which nothing is sent for the time being.
    pub paused_lanes: u64,
    /// Workloads for which caching was switched off, because it lost.
    pub caching_off: u64,
    /// Webhooks that are due, now or later, and those that were given up.
    pub deliveries: Vec<(&'static str, u64)>,
    /// Each rule of the policy.
    pub rules: Vec<MeasuredRule>,
    /// Calls of which a rule would have had to see more than is read of a body.
    pub cut_short: u64,
    /// Whether the settings that were read last have a fault, and were not taken over.
    pub settings_faulty: bool,
    /// Each worker's name, the time since an activation ended well, and failures in a row.
    pub workers: Vec<(&'static str, Duration, u32)>,
}

/// What a rule has done in this process.
#[derive(Clone, Debug, Default)]
pub struct MeasuredRule {
    /// Its name.
    pub name: String,
    /// How many calls it matched.
    pub matched: u64,
    /// How many calls its condition failed on.
    pub failed: u64,
    /// What became of those that it matched and why, in a word each.
    pub decided: Vec<((&'static str, &'static str), u64)>,
}

/// Pairs of a name and a value.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Labels<const N: usize>([(&'static str, &'static str); N]);

impl<const N: usize> EncodeLabelSet for Labels<N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.as_slice().encode(encoder)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let (calls, held, holds) = (Family::default(), Family::default(), Family::default());
        let mut registry = Registry::with_prefix("offpeak");
        registry.register("calls", "Calls to /v1/messages, by what became of them and why", calls.clone());
        registry.register("held_connections", "Callers who wait on their connection, by what they get", held.clone());
        registry.register("holds", "Held connections that ended, by what they were to get and how", holds.clone());
        let webhook_attempts = Family::default();
        let help = "Attempts to send a webhook, by what came of them";
        registry.register("webhook_attempts", help, webhook_attempts.clone());
        let (records, dropped_records, unread_calls) = (Counter::default(), Counter::default(), Counter::default());
        registry.register("inventory_records", "Calls that the inventory has recorded", records.clone());
        let help = "Calls that it has not, for want of room or of a store";
        registry.register("inventory_dropped", help, dropped_records.clone());
        let help = "Calls that it has not read, for want of time or room: what they took is not known";
        registry.register("inventory_unread", help, unread_calls.clone());
        let records = [records, dropped_records, unread_calls];
        Self(Arc::new(Counted {
            calls,
            usual_calls: OnceLock::new(),
            held,
            holds,
            webhook_attempts,
            records,
            registry,
        }))
    }
}

impl Metrics {
    /// A call was decided over: `live`, `deferred` or `refused`, and why in a word.
    pub fn decided(&self, decision: &'static str, reason: &'static str) {
        let counter = || self.0.calls.get_or_create_owned(&Labels([("decision", decision), ("reason", reason)]));
        if (decision, reason) == USUAL {
            self.0.usual_calls.get_or_init(counter).inc();
        } else {
            counter().inc();
        }
    }

    /// A caller waits on its connection, for `json` or `events`.
    pub fn hold_began(&self, form: &'static str) {
        self.0.held.get_or_create(&Labels([("form", form)])).inc();
    }

    /// It waits no longer.
    pub fn hold_ended(&self, form: &'static str, end: &'static str) {
        self.0.held.get_or_create(&Labels([("form", form)])).dec();
        self.0.holds.get_or_create(&Labels([("form", form), ("end", end)])).inc();
    }

    /// It was tried to send a webhook: what came of it, in a word.
    pub fn webhook_attempted(&self, outcome: &'static str) {
        self.0.webhook_attempts.get_or_create(&Labels([("outcome", outcome)])).inc();
    }

    /// The inventory has written down so many calls.
    pub fn records_written(&self, count: usize) {
        self.0.records[0].inc_by(count as u64);
    }

    /// It has dropped so many.
    pub fn records_dropped(&self, count: usize) {
        self.0.records[1].inc_by(count as u64);
    }

    /// It has dropped one.
    pub fn record_dropped(&self) {
        self.records_dropped(1);
    }

    /// It has not read one.
    pub fn record_unread(&self) {
        self.0.records[2].inc();
    }

    /// All of it in the OpenMetrics text format, which Prometheus reads.
    pub fn text(&self, measured: &Measured) -> String {
        let mut text = String::new();
        let mut moment = Registry::with_prefix("offpeak");
        register(&mut moment, measured);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &moment);
        let counted_from = text.trim_end_matches("# EOF\n").len();
        text.truncate(counted_from);
        let _ = encode(&mut text, &self.0.registry);
        text
    }
}

type Seconds = Gauge<f64, AtomicU64>;

fn register(registry: &mut Registry, measured: &Measured) {
    let gauge = |value: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge
    };
    if let Some(queued) = measured.queued {
        registry.register("queued", "Calls that wait to be put into a batch", gauge(queued));
        let oldest = Seconds::default();
        oldest.set(measured.oldest_queued.unwrap_or_default().as_secs_f64());
        registry.register("oldest_queued_seconds", "How long the oldest of them waits", oldest);
        registry.register("paused_lanes", "Credentials with which nothing is sent now", gauge(measured.paused_lanes));
        let help = "Workloads for which caching was switched off, because it lost";
        registry.register("caching_off_workloads", help, gauge(measured.caching_off));
        let batches: Family<Labels<1>, Gauge> = Family::default();
        for (state, count) in &measured.batches {
            batches.get_or_create(&Labels([("state", state)])).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        registry.register("batches", "Batches under way, by state", batches);
        let deliveries: Family<Labels<1>, Gauge> = Family::default();
        for (state, count) in &measured.deliveries {
            deliveries.get_or_create(&Labels([("state", state)])).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        registry.register("deliveries", "Webhooks that are due, now or later, or were given up", deliveries);
    }
    let successes: Family<Labels<1>, Seconds> = Family::default();
    let failures: Family<Labels<1>, Gauge> = Family::default();
    for (worker, since_success, failed) in &measured.workers {
        successes.get_or_create(&Labels([("worker", worker)])).set(since_success.as_secs_f64());
        failures.get_or_create(&Labels([("worker", worker)])).set(i64::from(*failed));
    }
    register_rules(registry, measured);
    registry.register("worker_success_age_seconds", "Time since an activation ended well", successes);
    registry.register("worker_failures", "Activations in a row that have failed", failures);
}

/// Only rules that are in force have a label, so there are never more than the policy has.
fn register_rules(registry: &mut Registry, measured: &Measured) {
    let (matched, failed, decided) =
        (Family::<_, Counter>::default(), Family::<_, Counter>::default(), Family::<_, Counter>::default());
    for rule in &measured.rules {
        let name = || ("rule", rule.name.clone());
        matched.get_or_create(&vec![name()]).inc_by(rule.matched);
        failed.get_or_create(&vec![name()]).inc_by(rule.failed);
        for ((decision, reason), count) in &rule.decided {
            let labels = vec![name(), ("decision", (*decision).to_owned()), ("reason", (*reason).to_owned())];
            decided.get_or_create(&labels).inc_by(*count);
        }
    }
    registry.register("rule_matches", "Calls that a rule of the policy matched", matched);
    registry.register("rule_errors", "Calls that a rule's condition failed on, which is no match", failed);
    registry.register("rule_decisions", "What became of the calls that a rule matched, and why", decided);
    let cut_short = Counter::<u64>::default();
    cut_short.inc_by(measured.cut_short);
    registry.register("rule_bodies_cut_short", "Calls of which a rule wanted to see more than is read", cut_short);
    let faulty: Gauge = Gauge::default();
    faulty.set(i64::from(measured.settings_faulty));
    registry.register("settings_faulty", "1 while the settings read last have a fault and are not in force", faulty);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_what_dashboards_rely_on() {
        let metrics = Metrics::default();
        metrics.decided("live", "no-rule");
        metrics.decided("live", "no-rule");
        metrics.hold_began("json");
        metrics.hold_began("json");
        metrics.hold_ended("json", "left");
        metrics.webhook_attempted("timeout");
        metrics.records_written(2);
        metrics.record_dropped();
        metrics.record_unread();
        let measured = Measured {
            queued: Some(3),
            oldest_queued: Some(Duration::from_millis(1_500)),
            batches: vec![("submitted", 2)],
            paused_lanes: 1,
            caching_off: 2,
            deliveries: vec![("due", 5)],
            rules: vec![MeasuredRule {
                name: "nightly".into(),
                matched: 4,
                failed: 1,
                decided: vec![(("live", "rollout"), 3)],
            }],
            cut_short: 2,
            settings_faulty: true,
            workers: vec![("poll", Duration::from_secs(4), 0)],
        };
        insta::assert_snapshot!(metrics.text(&measured), @r##"
        # HELP offpeak_queued Calls that wait to be put into a batch.
        # TYPE offpeak_queued gauge
        offpeak_queued 3
        # HELP offpeak_oldest_queued_seconds How long the oldest of them waits.
        # TYPE offpeak_oldest_queued_seconds gauge
        offpeak_oldest_queued_seconds 1.5
        # HELP offpeak_paused_lanes Credentials with which nothing is sent now.
        # TYPE offpeak_paused_lanes gauge
        offpeak_paused_lanes 1
        # HELP offpeak_caching_off_workloads Workloads for which caching was switched off, because it lost.
        # TYPE offpeak_caching_off_workloads gauge
        offpeak_caching_off_workloads 2
        # HELP offpeak_batches Batches under way, by state.
        # TYPE offpeak_batches gauge
        offpeak_batches{state="submitted"} 2
        # HELP offpeak_deliveries Webhooks that are due, now or later, or were given up.
        # TYPE offpeak_deliveries gauge
        offpeak_deliveries{state="due"} 5
        # HELP offpeak_rule_matches Calls that a rule of the policy matched.
        # TYPE offpeak_rule_matches counter
        offpeak_rule_matches_total{rule="nightly"} 4
        # HELP offpeak_rule_errors Calls that a rule's condition failed on, which is no match.
        # TYPE offpeak_rule_errors counter
        offpeak_rule_errors_total{rule="nightly"} 1
        # HELP offpeak_rule_decisions What became of the calls that a rule matched, and why.
        # TYPE offpeak_rule_decisions counter
        offpeak_rule_decisions_total{rule="nightly",decision="live",reason="rollout"} 3
        # HELP offpeak_rule_bodies_cut_short Calls of which a rule wanted to see more than is read.
        # TYPE offpeak_rule_bodies_cut_short counter
        offpeak_rule_bodies_cut_short_total 2
        # HELP offpeak_settings_faulty 1 while the settings read last have a fault and are not in force.
        # TYPE offpeak_settings_faulty gauge
        offpeak_settings_faulty 1
        # HELP offpeak_worker_success_age_seconds Time since an activation ended well.
        # TYPE offpeak_worker_success_age_seconds gauge
        offpeak_worker_success_age_seconds{worker="poll"} 4.0
        # HELP offpeak_worker_failures Activations in a row that have failed.
        # TYPE offpeak_worker_failures gauge
        offpeak_worker_failures{worker="poll"} 0
        # HELP offpeak_calls Calls to /v1/messages, by what became of them and why.
        # TYPE offpeak_calls counter
        offpeak_calls_total{decision="live",reason="no-rule"} 2
        # HELP offpeak_held_connections Callers who wait on their connection, by what they get.
        # TYPE offpeak_held_connections gauge
        offpeak_held_connections{form="json"} 1
        # HELP offpeak_holds Held connections that ended, by what they were to get and how.
        # TYPE offpeak_holds counter
        offpeak_holds_total{form="json",end="left"} 1
        # HELP offpeak_webhook_attempts Attempts to send a webhook, by what came of them.
        # TYPE offpeak_webhook_attempts counter
        offpeak_webhook_attempts_total{outcome="timeout"} 1
        # HELP offpeak_inventory_records Calls that the inventory has recorded.
        # TYPE offpeak_inventory_records counter
        offpeak_inventory_records_total 2
        # HELP offpeak_inventory_dropped Calls that it has not, for want of room or of a store.
        # TYPE offpeak_inventory_dropped counter
        offpeak_inventory_dropped_total 1
        # HELP offpeak_inventory_unread Calls that it has not read, for want of time or room: what they took is not known.
        # TYPE offpeak_inventory_unread counter
        offpeak_inventory_unread_total 1
        # EOF
        "##);
    }

    #[test]
    fn without_a_store_the_rest_is_still_told() {
        let workers = vec![("poll", Duration::ZERO, 0)];
        let text = Metrics::default().text(&Measured { workers, ..Measured::default() });
        assert!(!text.contains("offpeak_queued") && text.contains("offpeak_worker_failures"), "{text}");
    }
}
