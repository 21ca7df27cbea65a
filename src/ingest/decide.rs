//! What becomes of a call, from what its batch gave back for it.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::backoff;
use crate::domain::deferral::{Answer, Cost, State};
use crate::domain::error_type::{self, ErrorType};
use crate::domain::price::{PriceTable, Tier};
use crate::domain::usage::Billed;
use crate::provider::ItemResult;
use crate::store::{Bill, Member, Verdict};

/// Waits before a call goes into another batch: doubling between these.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_CAP: Duration = Duration::from_secs(10 * 60);

/// A Message came. It was billed, so it counts even if its caller has asked to cancel.
pub(super) fn succeeded(message: String, prices: &PriceTable, now: Timestamp) -> Verdict {
    let bill = Billed::read(&message).map(|billed| {
        let price = |tier| prices.cost(&billed, tier, now);
        let cost = price(Tier::Batch).zip(price(Tier::Live)).map(|(paid, live_price)| Cost { paid, live_price });
        Bill { tokens: billed.tokens(), cost, model: billed.model }
    });
    Verdict::Final { state: State::Succeeded, answer: Answer { status: 200, body: message }, bill }
}

/// Something other than a Message came; nothing was billed.
pub(super) fn without_message(result: ItemResult, member: &Member, max_attempts: u32, now: Timestamp) -> Verdict {
    if member.cancel_requested {
        return canceled(member);
    }
    match result {
        ItemResult::Errored(envelope) => {
            let error = ErrorType::read(&envelope);
            if error.may_pass() && may_try_again(member, max_attempts, now) {
                return again("errored", Some(error.as_str().to_owned()), member, now);
            }
            let answer = Answer { status: error.status(), body: envelope };
            Verdict::Final { state: State::Failed, answer, bill: None }
        }
        ItemResult::Canceled => without_result("canceled", member, max_attempts, now),
        ItemResult::Expired => without_result("expired", member, max_attempts, now),
        // A Message is never without a message; should one come this way, it is as if it had not come.
        ItemResult::Succeeded(_) => without_result("missing", member, max_attempts, now),
    }
}

/// Nothing came for this member, although its batch has ended.
pub(super) fn missing(member: &Member, max_attempts: u32, now: Timestamp) -> Verdict {
    if member.cancel_requested {
        return canceled(member);
    }
    without_result("missing", member, max_attempts, now)
}

fn without_result(result: &'static str, member: &Member, max_attempts: u32, now: Timestamp) -> Verdict {
    if may_try_again(member, max_attempts, now) {
        return again(result, None, member, now);
    }
    let message = "no batch had a result for this call before its deadline";
    let body = error_type::envelope("timeout_error", message, &member.id.to_string());
    Verdict::Final { state: State::Expired, answer: Answer { status: 504, body }, bill: None }
}

fn canceled(member: &Member) -> Verdict {
    Verdict::Final { state: State::Canceled, answer: Answer::canceled(member.id), bill: None }
}

fn may_try_again(member: &Member, max_attempts: u32, now: Timestamp) -> bool {
    member.attempts.unsigned_abs() < max_attempts && now < member.deadline_at
}

fn again(result: &'static str, detail: Option<String>, member: &Member, now: Timestamp) -> Verdict {
    let failures = member.attempts.unsigned_abs().saturating_sub(1);
    let queued_at = now.plus(backoff::exponential(failures, AGAIN_FIRST, AGAIN_CAP));
    Verdict::Again { result, detail, queued_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::DeferralId;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn member(attempts: i32, deadline_in: i64, cancel_requested: bool) -> Member {
        let deadline_at = Timestamp::from_millis(NOW.as_millis() + deadline_in);
        Member { id: DeferralId(uuid::Uuid::nil()), attempts, deadline_at, cancel_requested }
    }

    fn errored(kind: &str) -> ItemResult {
        ItemResult::Errored(error_type::envelope(kind, "why", "req_1"))
    }

    /// The state and status that a result leads to; `None` for another try.
    fn outcome(result: ItemResult, member: &Member) -> Option<(State, u16)> {
        match without_message(result, member, 3, NOW) {
            Verdict::Final { state, answer, .. } => Some((state, answer.status)),
            Verdict::Again { queued_at, .. } => {
                assert!(queued_at > NOW);
                None
            }
        }
    }

    #[test]
    fn what_can_pass_is_tried_again_while_attempts_and_deadline_allow() {
        for result in [errored("api_error"), errored("overloaded_error"), ItemResult::Expired, ItemResult::Canceled] {
            assert_eq!(outcome(result, &member(1, 1, false)), None);
        }
        assert_eq!(outcome(errored("api_error"), &member(3, 1, false)), Some((State::Failed, 500)));
        assert_eq!(outcome(errored("overloaded_error"), &member(1, 0, false)), Some((State::Failed, 529)));
        assert_eq!(outcome(ItemResult::Expired, &member(3, 1, false)), Some((State::Expired, 504)));
        assert_eq!(outcome(ItemResult::Canceled, &member(1, 0, false)), Some((State::Expired, 504)));
    }

    #[test]
    fn what_cannot_pass_fails_at_once_with_the_providers_words() {
        let verdict = without_message(errored("invalid_request_error"), &member(1, 1, false), 3, NOW);
        let Verdict::Final { state, answer, bill } = verdict else { panic!("tried again") };
        assert_eq!((state, answer.status, bill.is_none()), (State::Failed, 400, true));
        assert_eq!(answer.body, error_type::envelope("invalid_request_error", "why", "req_1"));
    }

    #[test]
    fn a_wish_to_cancel_is_met_unless_there_is_a_message() {
        for result in
            [errored("api_error"), errored("invalid_request_error"), ItemResult::Expired, ItemResult::Canceled]
        {
            assert_eq!(outcome(result, &member(1, 1, true)), Some((State::Canceled, 410)));
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
        let cost = bill.cost.unwrap();
        assert_eq!((cost.paid.0, cost.live_price.0), (750_000, 1_500_000));
    }
}
