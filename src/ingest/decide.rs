//! What becomes of a call, from what its batch gave back for it.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::backoff;
use crate::domain::deferral::{Answer, OnDeadline, State};
use crate::domain::error_type::ErrorType;
use crate::domain::ledger::Bill;
use crate::domain::price::{PriceTable, Tier};
use crate::domain::usage::Billed;
use crate::ingest::Settings;
use crate::provider::ItemResult;
use crate::store::{Member, Verdict};

/// Waits before a call goes into another batch: doubling between these.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_CAP: Duration = Duration::from_secs(10 * 60);

/// A Message came. It was billed, so it counts even if its caller has asked to cancel.
pub(super) fn succeeded(message: String, prices: &PriceTable, now: Timestamp) -> Verdict {
    let bill = Billed::read(&message).map(|billed| Bill::new(billed, prices, Tier::Batch, now));
    Verdict::Final { state: State::Succeeded, answer: Answer { status: 200, body: message }, bill }
}

/// Something other than a Message came, or (`None`) nothing at all; nothing was billed.
pub(super) fn without_message(
    result: Option<ItemResult>,
    member: &Member,
    settings: &Settings,
    now: Timestamp,
) -> Verdict {
    if member.cancel_requested {
        return Verdict::Final { state: State::Canceled, answer: Answer::canceled(member.id), bill: None };
    }
    let (result, error) = match result {
        Some(ItemResult::Errored(envelope)) => ("errored", Some(envelope)),
        Some(ItemResult::Canceled) => ("canceled", None),
        Some(ItemResult::Expired) => ("expired", None),
        Some(ItemResult::Succeeded(_)) | None => ("missing", None),
    };
    let kind = error.as_deref().map(ErrorType::read);
    let detail = kind.as_ref().map(|kind| kind.as_str().to_owned());
    let failed = error.zip(kind.as_ref()).map(|(body, kind)| {
        let answer = Answer { status: kind.status(), body };
        Verdict::Final { state: State::Failed, answer, bill: None }
    });
    let expired = || Verdict::Final { state: State::Expired, answer: Answer::expired(member.id), bill: None };
    match (failed, settings.on_deadline) {
        (Some(failed), _) if kind.is_some_and(|kind| !kind.may_pass()) => failed,
        _ if may_try_again(member, settings, now) => again(result, detail, member, now),
        (_, OnDeadline::Live) => Verdict::Rescue { result, detail },
        // Waiting longer would change nothing for a call that was tried often enough.
        (Some(failed), OnDeadline::Wait) => failed,
        (None, OnDeadline::Wait) | (_, OnDeadline::Expire) => expired(),
    }
}

fn may_try_again(member: &Member, settings: &Settings, now: Timestamp) -> bool {
    let has_time = now < member.deadline_at || settings.on_deadline == OnDeadline::Wait;
    member.attempts.unsigned_abs() < settings.max_attempts && has_time
}

fn again(result: &'static str, detail: Option<String>, member: &Member, now: Timestamp) -> Verdict {
    let failures = member.attempts.unsigned_abs().saturating_sub(1);
    let queued_at = now.plus(backoff::exponential(failures, AGAIN_FIRST, AGAIN_CAP));
    Verdict::Again { result, detail, queued_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error_type;
    use crate::domain::id::DeferralId;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn member(attempts: i32, deadline_in: i64, cancel_requested: bool) -> Member {
        let deadline_at = Timestamp::from_millis(NOW.as_millis() + deadline_in);
        Member { id: DeferralId(uuid::Uuid::nil()), attempts, deadline_at, cancel_requested }
    }

    fn errored(kind: &str) -> ItemResult {
        ItemResult::Errored(error_type::envelope(kind, "why", "req_1"))
    }

    /// What a result leads to under a policy: a state and its status, `again`, or `rescue`.
    fn outcome(result: Option<ItemResult>, member: &Member, on_deadline: OnDeadline) -> String {
        let settings = Settings { max_attempts: 3, on_deadline, lease: Duration::ZERO };
        match without_message(result, member, &settings, NOW) {
            Verdict::Final { state, answer, .. } => format!("{} {}", state.as_str(), answer.status),
            Verdict::Again { queued_at, .. } => {
                assert!(queued_at > NOW);
                "again".into()
            }
            Verdict::Rescue { .. } => "rescue".into(),
        }
    }

    #[test]
    fn what_can_pass_is_tried_again_while_attempts_and_deadline_allow() {
        use OnDeadline::{Expire, Live, Wait};
        let overloaded = || Some(errored("overloaded_error"));
        for result in
            [Some(errored("api_error")), overloaded(), Some(ItemResult::Expired), Some(ItemResult::Canceled), None]
        {
            for policy in [Live, Wait, Expire] {
                assert_eq!(outcome(result.clone(), &member(2, 1, false), policy), "again");
            }
        }
        for (late, result, policy, expected) in [
            (member(3, 1, false), overloaded(), Live, "rescue"),
            (member(1, 0, false), overloaded(), Live, "rescue"),
            (member(3, 1, false), None, Live, "rescue"),
            (member(3, 1, false), overloaded(), Wait, "failed 529"),
            (member(1, 0, false), overloaded(), Wait, "again"),
            (member(3, 1, false), Some(ItemResult::Expired), Wait, "expired 504"),
            (member(3, 1, false), overloaded(), Expire, "expired 504"),
            (member(1, 0, false), None, Expire, "expired 504"),
        ] {
            assert_eq!(outcome(result, &late, policy), expected);
        }
    }

    #[test]
    fn what_cannot_pass_fails_at_once_with_the_providers_words() {
        let settings = Settings { max_attempts: 3, on_deadline: OnDeadline::Live, lease: Duration::ZERO };
        let verdict = without_message(Some(errored("invalid_request_error")), &member(1, 1, false), &settings, NOW);
        let Verdict::Final { state, answer, bill } = verdict else { panic!("tried again") };
        assert_eq!((state, answer.status, bill.is_none()), (State::Failed, 400, true));
        assert_eq!(answer.body, error_type::envelope("invalid_request_error", "why", "req_1"));
    }

    #[test]
    fn a_wish_to_cancel_is_met_unless_there_is_a_message() {
        for result in
            [Some(errored("api_error")), Some(errored("invalid_request_error")), Some(ItemResult::Expired), None]
        {
            assert_eq!(outcome(result, &member(1, 1, true), OnDeadline::Live), "canceled 410");
        }
        let prices = PriceTable::built_in().unwrap();
        let verdict = succeeded("{}".into(), &prices, NOW);
        assert!(matches!(verdict, Verdict::Final { state: State::Succeeded, .. }));
    }

    #[test]
    fn a_message_is_billed_at_both_prices() {
        let message =
            r#"{"model":"claude-haiku-4-5","usage":{"input_tokens":1000,"output_tokens":100,"service_tier":"batch"}}"#;
        let Verdict::Final { bill: Some(bill), .. } = succeeded(message.into(), &PriceTable::built_in().unwrap(), NOW)
        else {
            panic!("no bill")
        };
        let price = bill.price.unwrap();
        assert_eq!((price.paid.0, price.live.0), (750_000, 1_500_000));
    }
}
