//! Reading: what was seen of a call becomes its record, with what it says of itself and what it cost.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::clock::{Clock, Timestamp};
use crate::domain::charge::Charge;
use crate::domain::money::NanoUsd;
use crate::domain::price::{PriceTable, Tier};
use crate::domain::record::{CallRecord, Way};
use crate::domain::tally::Recorded;
use crate::domain::workload::WorkloadId;
use crate::encoding;
use crate::inventory::answer::{self, Told};
use crate::inventory::fingerprint::{Traits, client_kind, family};
use crate::inventory::keyed::Keyed;
use crate::inventory::pieces::BothEnds;
use crate::inventory::placing::{Belongs, Look, Pending};
use crate::inventory::recent::Recent;
use crate::inventory::shape::{self, Shape};
use crate::inventory::tray::{Asked, Call, Kept, Sighting};
use crate::inventory::who::{AskWho, Who};

/// What a body may come to once it is plain.
const PLAIN_MAX: usize = 8_000_000;

/// The longest `user-agent` that is kept.
const CLIENT_MAX: usize = 128;

/// How long it is remembered who a credential is, for as long as the operator's keys may be out of date, and of how many.
const WHO_MILLIS: i64 = 60_000;
const WHO_MAX: usize = 10_000;

/// What reading needs.
pub(super) struct Reader {
    pub(super) clock: Clock,
    pub(super) keyed: Keyed,
    pub(super) ask_who: AskWho,
    pub(super) preview: usize,
    pub(super) recent: std::sync::Arc<Recent>,
}

/// A credential as the two headers have it that may carry one.
type Credential = (Box<[u8]>, Box<[u8]>);

/// Who credentials are.
#[derive(Default)]
pub(super) struct Callers {
    known: HashMap<Credential, Who>,
    since: Timestamp,
}

/// Who calls, with what, for recognising workloads.
pub(super) struct By<'a> {
    pub(super) tenant: &'a str,
    pub(super) user_agent: &'a str,
}

impl Reader {
    /// Reads the body of a call.
    pub(super) async fn read_body(&self, callers: &mut Callers, asked: Asked) {
        let Asked { call, body, .. } = asked;
        let plain = encoding::decode(call.words.encoding(), &body.joined(), PLAIN_MAX).await;
        let who = callers.who(&call, self);
        let by = By { tenant: &who.tenant, user_agent: call.words.client() };
        let shape = plain.ok().and_then(|plain| self.shape(&plain, call.words.profile(), &by));
        let _ = call.shape.set(shape);
    }

    /// The shape of a call, with its workload if that is known, else with what it is recognised by.
    pub(super) fn shape(&self, body: &[u8], profile: Option<&str>, by: &By<'_>) -> Option<Shape> {
        let (mut shape, prompt) = shape::read(body, profile, &self.keyed)?;
        if self.recent.get(self.exact(&shape, by)).is_none() {
            shape.traits = Some(Box::new(Traits::of(&prompt, self.preview, &self.keyed)));
        }
        Some(shape)
    }

    /// What the workload of a call follows from.
    pub(super) fn belongs(&self, name: Option<String>, shape: Option<&Shape>, by: &By<'_>) -> Belongs {
        if let Some(name) = name {
            return Belongs::Named(name);
        }
        let Some(shape) = shape else { return Belongs::Unread };
        let exact = self.exact(shape, by);
        match (self.recent.get(exact), &shape.traits) {
            (Some(id), _) => Belongs::Known(id),
            (None, Some(traits)) => {
                let (family, client) = (family(&shape.model), client_kind(by.user_agent));
                Belongs::Alike(Box::new(Look { family, client, exact, traits: (**traits).clone() }))
            }
            // It was known when the call came, and so many came since that it is forgotten.
            (None, None) => Belongs::Unread,
        }
    }

    fn exact(&self, shape: &Shape, by: &By<'_>) -> u64 {
        let (family, client) = (family(&shape.model), client_kind(by.user_agent));
        self.recent.key(by.tenant, &family, &client, shape.system_hash, shape.tools_hash)
    }

    /// The record of a live call that is over.
    pub(super) async fn read_sighting(&self, callers: &mut Callers, prices: &PriceTable, seen: Sighting) -> Pending {
        let Sighting { call, answer, encoding, is_stream, status, .. } = seen;
        let is_missed = matches!(answer, Kept::Missed);
        let told = told(answer, encoding.as_deref(), is_stream).await;
        let who = callers.who(&call, self);
        let by = By { tenant: &who.tenant, user_agent: call.words.client() };
        let shape = call.shape.get().and_then(Option::as_ref);
        let cost = told.billed.as_ref().and_then(|billed| prices.cost(billed, Tier::Live, call.at));
        // A part of the price, so that without one there are none.
        let priced = told.billed.as_ref().filter(|_| cost.is_some());
        let fees = prices.web_search(priced.map_or(0, |billed| billed.usage.web_searches));
        let mut charges = told.billed.as_ref().map(|billed| Charge::of(billed, prices, call.at)).unwrap_or_default();
        let mut record = CallRecord {
            at: call.at,
            tenant: who.tenant.clone(),
            way: Way::Live,
            rule: seen.rule.as_deref().map(str::to_owned),
            tokens: told.billed.map(|billed| billed.tokens()).unwrap_or_default(),
            // What did not come to an answer costs nothing.
            cost: cost.or((status >= 300 || status == 0).then_some(NanoUsd(0))).map(|price| (price, price)),
            fees,
            status,
            request_bytes: call.request_bytes.load(Ordering::Relaxed),
            answer_bytes: seen.answer_bytes,
            duration_ms: millis(seen.duration),
            first_byte_ms: millis(seen.first_byte),
            reader_wait_ms: millis(seen.reader_wait),
            hung_up: seen.hung_up,
            retries: call.words.retries(),
            client: client(call.words.client()),
            tool_stop: told.tool_stop,
            ..CallRecord::default()
        };
        fill_in(&mut record, shape);
        record.blocked_by = seen.blocked_by.or(who.blocked_by).map(str::to_owned).or(record.blocked_by);
        let is_unread = is_missed || shape.is_none();
        if is_missed && charges.is_empty() && (200..300).contains(&status) {
            charges.push(Charge::unread(record.model.clone()));
        }
        let belongs = self.belongs(call.words.workload().map(str::to_owned), shape, &by);
        Pending {
            recorded: Recorded { record, id: rand::random(), workload: WorkloadId(0), is_unread, charges },
            belongs,
        }
    }
}

impl Callers {
    /// Who has made a call; nobody, without a credential.
    fn who(&mut self, call: &Call, reader: &Reader) -> Who {
        let now = reader.clock.now();
        if now.as_millis().abs_diff(self.since.as_millis()) > WHO_MILLIS.unsigned_abs() || self.known.len() >= WHO_MAX {
            self.known.clear();
            self.since = now;
        }
        let (key, authorization) = call.words.credential();
        let credential = (key.into(), authorization.into());
        let ask = || (reader.ask_who)(&call.words.credential_headers()).unwrap_or_default();
        self.known.entry(credential).or_insert_with(ask).clone()
    }
}

/// What an answer says of itself.
async fn told(answer: Kept, encoding: Option<&str>, is_stream: bool) -> Told {
    let ends = match answer {
        Kept::Nothing | Kept::Missed => return Told::default(),
        Kept::Ends(ends) => ends.into_both(),
        Kept::Whole(pieces) => {
            let plain = encoding::decode(encoding.unwrap_or_default(), &pieces.joined(), PLAIN_MAX).await;
            let Ok(plain) = plain else { return Told::default() };
            if !is_stream {
                return text(&plain).map(answer::of_message).unwrap_or_default();
            }
            BothEnds { beginning: plain.to_vec(), ending: Vec::new() }
        }
    };
    if is_stream { answer::of_events(&ends) } else { answer::of_message_ends(&ends) }
}

fn text(plain: &Bytes) -> Option<&str> {
    std::str::from_utf8(plain).ok()
}

/// What the body of a call says.
pub(super) fn fill_in(record: &mut CallRecord, shape: Option<&Shape>) {
    let Some(shape) = shape else { return };
    record.model.clone_from(&shape.model);
    record.blocked_by = shape.blocked_by.map(str::to_owned);
    record.stream = shape.stream;
    record.max_tokens = shape.max_tokens;
    (record.messages, record.tools, record.tool_turn) = (shape.messages, shape.tools, shape.tool_turn);
    (record.system_hash, record.tools_hash) = (shape.system_hash, shape.tools_hash);
    (record.opening_hash, record.prefix_bytes) = (shape.opening_hash, shape.prefix_bytes);
}

/// A `user-agent` as it is kept.
pub(super) fn client(user_agent: &str) -> String {
    user_agent.chars().filter(|letter| !letter.is_control()).take(CLIENT_MAX).collect()
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
