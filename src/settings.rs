//! The settings: what every part is told, composed from the manual's defaults, the file and the environment.
//!
//! `config/offpeak.toml` is the manual. It is compiled in, and it is where the defaults and the known names come from.

mod fault;
mod known;
mod layers;
mod lists;
mod prices;
mod quoted;
mod reader;
mod reference;
mod rules;
mod unsupported;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::budget::Budget;
use crate::domain::deferral::OnDeadline;
use crate::domain::price::PriceTable;
use crate::domain::units::{DURATION_MAX, format_duration};
use crate::egress::HostPattern;
use crate::hold::{Keepalive, Periods};
use crate::http::{AdminSettings, GatewaySettings, one_thread_per_core};
use crate::secret::{KeySource, MasterKey};
use crate::store::Location;
use crate::{
    deliver, egress, flush, hold, ingest, intake, inventory, poll, provider, rescue, retain, store, telemetry,
};

pub use fault::{Fault, Faults, Origin};

use reader::Reader;

/// The file that is read when no other is named, if it is there.
const USUAL_FILE: &str = "config/offpeak.toml";

/// The variable that names the file.
const FILE_VARIABLE: &str = "OFFPEAK_CONFIG";

/// What hosts may look like, for error texts.
const HOSTS_FORM: &str = "a list of hosts without a port, such as [\"hooks.internal\", \"*.internal\"]";

const KB: u64 = 1_000;
const MB: u64 = 1_000 * KB;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Where settings are read from; read again, they may say something else.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment: settings, and secrets that settings name.
    pub environment: BTreeMap<String, String>,
}

/// All settings, checked, each with the part that it steers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The listener for callers.
    pub gateway: GatewaySettings,
    /// The listener for the operator.
    pub admin: AdminSettings,
    /// The way to the provider.
    pub upstream: provider::Settings,
    /// The store.
    pub store: store::Settings,
    /// What is let in.
    pub intake: intake::Settings,
    /// How connections are held.
    pub hold: hold::Settings,
    /// How queued calls become batches.
    pub flush: flush::Settings,
    /// How often the provider is asked.
    pub poll: poll::Settings,
    /// How answers come home.
    pub ingest: ingest::Settings,
    /// What happens near a deadline.
    pub rescue: rescue::Settings,
    /// How webhooks are signed, and the receivers that have names.
    pub deliver: deliver::Settings,
    /// Where webhooks to URLs of callers may go.
    pub egress: egress::Settings,
    /// What is observed.
    pub inventory: inventory::Settings,
    /// How long things are kept.
    pub retain: retain::Settings,
    /// What the provider charges.
    pub prices: PriceSettings,
    /// How much may be spent.
    pub budgets: Vec<Budget>,
    /// What is logged.
    pub telemetry: telemetry::Settings,
}

/// What the provider charges, and the file that says where that differs from the built-in table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceSettings {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The prices in force.
    pub table: PriceTable,
}

/// Settings, and how they came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Each of them as it was given, in the manual's order.
    pub effective: Vec<Effective>,
}

/// One setting that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// `section.key`.
    pub key: String,
    /// As TOML would have it, with secrets masked.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Sources {
    /// The file named on the command line, else by `OFFPEAK_CONFIG`, else the usual one if it is there, else none.
    pub fn find(named: Option<PathBuf>, environment: BTreeMap<String, String>) -> Self {
        let by_variable = environment.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let usual = || Some(PathBuf::from(USUAL_FILE)).filter(|path| path.exists());
        Self { file: named.or(by_variable).or_else(usual), environment }
    }
}

impl Settings {
    /// Reads and checks everything, and tells all that is wrong at once.
    pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
        let mut read = Reader::open(sources)?;
        let settings = Self::read(&mut read);
        settings.check_relations(&mut read);
        check_what_nobody_reads(&mut read);
        unsupported::refuse(&mut read);
        let effective = read.finish()?;
        Ok(Loaded { settings, effective })
    }

    fn read(read: &mut Reader<'_>) -> Self {
        let linger = read.duration("batch.linger", Duration::ZERO..=DAY);
        let lease = read.duration("batch.lease", SECOND..=10 * MINUTE);
        let on_deadline = on_deadline(read);
        let url = store_location(read);
        let receivers = lists::receivers(read);
        let receiver_names: Vec<String> = receivers.iter().map(|receiver| receiver.name.clone()).collect();
        let egress = egress::Settings {
            allow_hosts: read.list("webhooks.allow_hosts", HOSTS_FORM, HostPattern::parse),
            allow_private: read.boolean("webhooks.allow_private"),
        };
        Self {
            gateway: GatewaySettings {
                listen: read.address("gateway.listen"),
                public_url: read.url_or_empty("gateway.public_url"),
                threads: one_thread_per_core(),
            },
            admin: AdminSettings { listen: read.address("admin.listen"), token: read.secret("admin.token") },
            upstream: provider::Settings {
                url: read.url("upstream.url"),
                timeout: read.duration("upstream.timeout", SECOND..=HOUR),
            },
            store: store::Settings {
                master_key: master_key(read, &url),
                encrypt_bodies: read.boolean("store.encrypt_bodies"),
                url,
            },
            intake: intake::Settings {
                default_deadline: read.duration("defer.default_deadline", SECOND..=365 * DAY),
                min_deadline: read.duration("defer.min_deadline", Duration::ZERO..=DAY),
                max_body: read.size("defer.max_body", KB..=32 * MB),
                max_queued: read.integer("defer.max_queued", 1..=100_000_000).into(),
                linger,
                keys: lists::keys(read),
                rules: rules::rules(read, &receiver_names, &egress),
                receivers: receiver_names,
            },
            hold: hold::Settings { keepalive: keepalive(read), periods: Periods::default() },
            flush: flush::Settings {
                linger,
                max_requests: read.integer("batch.max_requests", 1..=100_000) as usize,
                max_bytes: read.size("batch.max_bytes", KB..=256 * MB),
                reconcile_wait: read.duration("batch.reconcile_wait", Duration::ZERO..=HOUR),
                lease,
            },
            poll: poll::Settings {
                min: read.duration("batch.poll_min", 10 * MILLISECOND..=HOUR),
                max: read.duration("batch.poll_max", 10 * MILLISECOND..=HOUR),
                lease,
            },
            ingest: ingest::Settings { max_attempts: read.integer("batch.max_attempts", 1..=100), on_deadline, lease },
            rescue: rescue::Settings {
                on_deadline,
                lead: read.duration("defer.rescue_lead", Duration::ZERO..=DAY),
                lease,
            },
            deliver: deliver::Settings { keys: read.signing_keys("webhooks.secret"), receivers, lease },
            egress,
            inventory: inventory::Settings {
                enabled: read.boolean("inventory.enabled"),
                time_permille: inventory::TIME_PERMILLE,
                prompt_preview: read.integer("inventory.prompt_preview", 0..=10_000) as usize,
            },
            retain: retain::Settings { retention: read.duration("defer.retention", SECOND..=DURATION_MAX) },
            prices: prices::read(read),
            budgets: lists::budgets(read),
            telemetry: telemetry::Settings {
                log: read.string("telemetry.log", telemetry::LOG_FORM, telemetry::is_filter),
            },
        }
    }

    /// Checks what no setting can be blamed for alone.
    fn check_relations(&self, read: &mut Reader<'_>) {
        let Self { gateway, admin, poll, intake, .. } = self;
        let mut ordered = |low_key, low: Duration, high_key, high: Duration| {
            if read.are_sound(&[low_key, high_key]) && low > high {
                // The default is right; what was set against it is to blame.
                let place = if read.is_given(high_key) { high_key } else { low_key };
                let (low, high) = (format_duration(low), format_duration(high));
                let problem =
                    format!("{low_key} ({low}) is above {high_key} ({high}); lower the one or raise the other");
                read.fault(place, problem);
            }
        };
        ordered("batch.poll_min", poll.min, "batch.poll_max", poll.max);
        ordered("defer.min_deadline", intake.min_deadline, "defer.default_deadline", intake.default_deadline);

        if !read.are_sound(&["gateway.listen", "admin.listen", "admin.token"]) {
            return;
        }
        if gateway.listen == admin.listen && gateway.listen.port() != 0 {
            read.fault("admin.listen", "the same as gateway.listen; give it another port");
        }
        if admin.token.is_none() && !admin.listen.ip().to_canonical().is_loopback() {
            let remedy = "set OFFPEAK_ADMIN_TOKEN, or give admin.token another source, or listen on 127.0.0.1";
            let problem =
                format!("required, since admin.listen ({}) is not a loopback address; {remedy}", admin.listen);
            read.fault_at("admin.listen", "admin.token", problem);
        }
    }
}

fn store_location(read: &mut Reader<'_>) -> Location {
    let expected = "sqlite:PATH, or the URL of a PostgreSQL database: postgres://USER:PASSWORD@HOST/DATABASE";
    read.hidden("store.url", expected, |text| text.parse().ok()).unwrap_or(Location::Sqlite(PathBuf::new()))
}

fn master_key(read: &mut Reader<'_>, location: &Location) -> KeySource {
    let key = "store.master_key";
    match location {
        Location::Postgres(_) if !read.is_given(key) => {
            let remedy = "make one with `openssl rand -base64 32` and give it as \"env:NAME\" or \"file:PATH\"";
            read.fault_at(
                "store.url",
                key,
                format!("must be given with PostgreSQL, the same for every replica; {remedy}"),
            );
        }
        // Not opened yet, because the first start makes it.
        Location::Sqlite(_) if let Some(path) = read.file_reference(key) => return KeySource::File(path),
        _ => match read.secret(key).map(|secret| MasterKey::parse(secret.expose())) {
            Some(Ok(master)) => return KeySource::Given(master),
            Some(Err(error)) => read.fault(key, error),
            None => {}
        },
    }
    KeySource::File(PathBuf::new())
}

fn on_deadline(read: &mut Reader<'_>) -> OnDeadline {
    let choices = [("live", OnDeadline::Live), ("wait", OnDeadline::Wait), ("expire", OnDeadline::Expire)];
    read.choice("defer.on_deadline", &choices, OnDeadline::Live)
}

fn keepalive(read: &mut Reader<'_>) -> Keepalive {
    let choices = [("space", Keepalive::Space), ("interim", Keepalive::Interim)];
    read.choice("defer.keepalive", &choices, Keepalive::Space)
}

/// Settings of parts that read nothing of their own yet: a wrong one is told now all the same.
fn check_what_nobody_reads(read: &mut Reader<'_>) {
    read.url_or_empty("telemetry.otlp");
}
