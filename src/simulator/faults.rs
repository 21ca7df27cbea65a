//! The faults that are armed: which of them a request meets, and how often still.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use super::books::Endpoint;
use super::error::ApiError;
use super::fault::{Effect, Fault, ItemEnd, ItemMatch};

/// The faults that are armed, in the order in which they were injected.
#[derive(Default)]
pub(super) struct Faults(Vec<Armed>);

struct Armed {
    fault: Fault,
    spared: u32,
    hit: u32,
}

/// A request as a fault sees it.
pub(super) struct Target<'r> {
    pub(super) endpoint: Endpoint,
    pub(super) credential: Option<&'r str>,
    pub(super) body: &'r [u8],
}

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        self.0.push(Armed { fault, spared: 0, hit: 0 });
        self.0.retain(Armed::is_left);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What happens to this request; what is used up is forgotten.
    pub(super) fn meet(&mut self, target: &Target<'_>) -> Effects {
        let mut effects = Vec::new();
        let mut kinds: Vec<Discriminant<Effect>> = Vec::new();
        for armed in &mut self.0 {
            let kind = discriminant(&armed.fault.effect);
            let on_items = matches!(armed.fault.effect, Effect::Items { .. });
            if !on_items && !kinds.contains(&kind) && target.is_meant_by(&armed.fault) && armed.strikes() {
                kinds.push(kind);
                effects.push(armed.fault.effect.clone());
            }
        }
        self.0.retain(Armed::is_left);
        Effects(effects)
    }

    /// How this batch item ends, if a fault hits it. `attempt` counts from 0.
    pub(super) fn meet_item(&mut self, custom_id: &str, params: &[u8], attempt: u32) -> Option<ItemEnd> {
        let end = self.0.iter_mut().find_map(|armed| {
            let Effect::Items { which, ends } = &armed.fault.effect else { return None };
            let ends = ends.clone();
            (which.holds(custom_id, params, attempt) && armed.strikes()).then_some(ends)
        });
        self.0.retain(Armed::is_left);
        end
    }
}

impl Armed {
    /// Counts a match: whether the fault strikes this time.
    fn strikes(&mut self) -> bool {
        if self.spared < self.fault.skip {
            self.spared += 1;
            return false;
        }
        self.hit += 1;
        true
    }

    fn is_left(&self) -> bool {
        self.fault.times.is_none_or(|times| self.hit < times)
    }
}

impl Target<'_> {
    fn is_meant_by(&self, fault: &Fault) -> bool {
        fault.endpoint.is_none_or(|endpoint| endpoint == self.endpoint)
            && fault.credential.as_deref().is_none_or(|credential| self.credential == Some(credential))
            && fault.min_bytes.is_none_or(|bytes| self.body.len() >= bytes)
            && fault.text.as_deref().is_none_or(|text| contains(self.body, text))
    }
}

impl ItemMatch {
    fn holds(&self, custom_id: &str, params: &[u8], attempt: u32) -> bool {
        self.custom_id.as_deref().is_none_or(|part| custom_id.contains(part))
            && self.text.as_deref().is_none_or(|text| contains(params, text))
            && self.fraction.is_none_or(|fraction| draw(custom_id) < fraction)
            && self.attempts.is_none_or(|attempts| attempt < attempts)
    }
}

/// The effects that one request meets.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects(Vec<Effect>);

impl Effects {
    /// The first effect of which `pick` makes something.
    pub(super) fn find<T>(&self, pick: impl FnMut(&Effect) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(pick)
    }

    /// How long to wait before the answer.
    pub(super) fn slow_before(&self) -> Option<Duration> {
        self.find(|effect| match effect {
            Effect::Slow { before, .. } => Some(*before).filter(|wait| !wait.is_zero()),
            _ => None,
        })
    }

    /// How long to wait between the pieces of the answer.
    pub(super) fn slow_between(&self) -> Option<Duration> {
        self.find(|effect| match effect {
            Effect::Slow { between, .. } => Some(*between).filter(|wait| !wait.is_zero()),
            _ => None,
        })
    }

    /// After how many pieces the answer is cut.
    pub(super) fn cut_midway(&self) -> Option<usize> {
        self.find(|effect| match effect {
            Effect::CutMidway { pieces } => Some(*pieces),
            _ => None,
        })
    }

    /// Whether an effect is among them.
    pub(super) fn has(&self, is: impl Fn(&Effect) -> bool) -> bool {
        self.0.iter().any(is)
    }
}

/// The error of a [`Effect::Status`] that names no type.
pub(super) fn error_of(status: u16, kind: Option<String>, message: Option<String>) -> ApiError {
    let usual = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    let kind = kind.unwrap_or_else(|| usual.to_owned());
    let message = message.unwrap_or_else(|| "The simulator was asked to fail".to_owned());
    ApiError { status, ..ApiError::of(kind, message) }
}

/// A number from 0 to 1 that a `custom_id` always draws.
fn draw(custom_id: &str) -> f64 {
    let digits = super::digest::hex_of(custom_id);
    f64::from(u32::from_str_radix(&digits[..8], 16).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

fn contains(body: &[u8], text: &str) -> bool {
    std::str::from_utf8(body).is_ok_and(|body| body.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: Endpoint) -> Target<'static> {
        Target { endpoint, credential: Some("key"), body: b"a body" }
    }

    fn armed(faults: impl IntoIterator<Item = Fault>) -> Faults {
        let mut armed = Faults::default();
        faults.into_iter().for_each(|fault| armed.inject(fault));
        armed
    }

    fn status(effects: &Effects) -> Option<u16> {
        effects.find(|effect| if let Effect::Status { status, .. } = effect { Some(*status) } else { None })
    }

    #[test]
    fn strikes_where_and_as_often_as_it_was_told() {
        let mut faults = armed([Fault::at(Endpoint::Messages, Effect::status(529)).after(1).times(2)]);
        assert_eq!(status(&faults.meet(&target(Endpoint::BatchCreate))), None);
        let seen: Vec<_> = (0..4).map(|_| status(&faults.meet(&target(Endpoint::Messages)))).collect();
        assert_eq!(seen, [None, Some(529), Some(529), None]);
        assert_eq!(faults.len(), 0);
    }

    #[test]
    fn matches_by_credential_text_and_size() {
        let fault = || Fault::anywhere(Effect::status(500));
        for (fault, expected) in [
            (fault().with_credential("key"), Some(500)),
            (fault().with_credential("other"), None),
            (fault().with_text("bod"), Some(500)),
            (fault().with_text("nobody"), None),
            (fault().with_bytes(6), Some(500)),
            (fault().with_bytes(7), None),
        ] {
            assert_eq!(status(&armed([fault]).meet(&target(Endpoint::Models))), expected);
        }
    }

    #[test]
    fn effects_of_one_kind_come_one_after_the_other() {
        let at = |effect| Fault::at(Endpoint::BatchCreate, effect).times(1);
        let mut faults = armed([at(Effect::status(500)), at(Effect::CutAfter), at(Effect::status(529))]);
        let first = faults.meet(&target(Endpoint::BatchCreate));
        assert_eq!(status(&first), Some(500));
        assert!(first.has(|effect| matches!(effect, Effect::CutAfter)));
        assert_eq!(status(&faults.meet(&target(Endpoint::BatchCreate))), Some(529));
    }

    #[test]
    fn items_are_chosen_by_every_condition() {
        let hits = |which: ItemMatch, custom_id: &str, attempt: u32| {
            let fault = Fault::anywhere(Effect::Items { which, ends: ItemEnd::Expired });
            armed([fault]).meet_item(custom_id, b"params", attempt).is_some()
        };
        let any = ItemMatch::default;
        assert!(hits(any(), "a", 0));
        assert!(hits(ItemMatch { custom_id: Some("a".into()), text: Some("param".into()), ..any() }, "ab", 0));
        assert!(!hits(ItemMatch { custom_id: Some("a".into()), text: Some("other".into()), ..any() }, "ab", 0));
        assert!(hits(ItemMatch { attempts: Some(2), ..any() }, "a", 1));
        assert!(!hits(ItemMatch { attempts: Some(2), ..any() }, "a", 2));
        let quarter = || ItemMatch { fraction: Some(0.25), ..any() };
        let hit = (0..1_000).filter(|n| hits(quarter(), &format!("item-{n}"), 0)).count();
        assert!((200..300).contains(&hit), "{hit}");
    }
}
