//! Calls over which the policy has the say.

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body_util::Either;
use hyper::body::Incoming;

use crate::domain::decision::{Decision, LiveReason};
use crate::domain::policy::Standing;
use crate::http::error::ApiError;
use crate::http::gateway::{Answering, Gateway};
use crate::http::held;
use crate::http::messages::{decided, discard, refused, showing};
use crate::http::peek::{BrokenOff, Peek, Replayed};
use crate::http::socket::Interim;
use crate::intake::{Admitted, Asking, Chosen, Refusal, Terms};
use crate::inventory::Tap;

/// What stands in the way at the moment, and says nothing of the call itself.
const PASSING: [&str; 5] =
    ["queue-full", "store-unavailable", "group-closed", "callback-forbidden", "idempotency-mismatch"];

/// Answers a call as the first rule says that matches it.
pub(super) fn call(gateway: Gateway, asking: Asking, request: Request<Incoming>) -> Answering {
    let (head, body) = request.into_parts();
    let tap = gateway.tap(&head.headers);
    let peek = Peek::new(body, &head.headers, gateway.rooms().intake.max_body());
    // Choosing is in a box of its own: it takes more room than relaying and waiting, and is soon done.
    let (door, call) = (gateway.clone(), Call { head, peek, tap });
    let choosing = Box::pin(async move { call.choose(&door, asking).await });
    Box::pin(async move {
        match choosing.await {
            Ok(Way::Live(call, decision)) => {
                decided(&gateway, &decision);
                let (request, tap) = call.into_parts();
                showing(gateway.relay(request, tap).await, &decision)
            }
            Ok(Way::Held(admitted, interim, decision)) => {
                decided(&gateway, &decision);
                let answer = held::answer(gateway.rooms(), *admitted, interim).await;
                showing(answer.map(Either::Right), &decision)
            }
            Err(error) => refused(&gateway, error),
        }
    })
}

/// A call of which some may have been read.
struct Call {
    head: Parts,
    peek: Peek<Incoming>,
    tap: Tap,
}

/// Where a call goes.
enum Way {
    Live(Box<Call>, Decision),
    Held(Box<Admitted>, Option<Interim>, Decision),
}

impl Call {
    /// The call as it came, and who watches it.
    fn into_parts(self) -> (Request<Replayed<Incoming>>, Tap) {
        (Request::from_parts(self.head, self.peek.into_body()), self.tap)
    }

    /// It goes on live, and is recorded with the rule that says so.
    fn live(mut self, chosen: &Chosen, reason: LiveReason) -> Way {
        if let Some(rule) = chosen.rule() {
            let blocked_by = match reason {
                LiveReason::NotDeferrable(blocked_by) if !PASSING.contains(&blocked_by) => Some(blocked_by),
                _ => None,
            };
            self.tap.ruled(&rule.name, blocked_by, chosen.workload());
        }
        Way::Live(Box::new(self), chosen.live(reason))
    }

    async fn choose(mut self, gateway: &Gateway, mut asking: Asking) -> Result<Way, ApiError> {
        let found = loop {
            let found = self.ask(&mut asking).await?;
            match gateway.rooms().intake.hold_to_budgets(&asking, found, &self.head.headers) {
                Ok(None) => break found,
                Ok(Some(anew)) => asking = anew,
                Err(refusal) => return Err(self.refuse(asking, found, refusal).await),
            }
        };
        let Some(index) = found else {
            asking.nobody();
            return Ok(Way::Live(Box::new(self), Decision::Live(None, LiveReason::NoRule)));
        };
        let chosen = asking.chosen(index);
        let way = match self.terms(gateway, &chosen).await? {
            Ok(terms) => self.admit(gateway, &chosen, terms).await,
            Err(reason) => Ok(self.live(&chosen, reason)),
        };
        chosen.count(&match &way {
            Ok(Way::Live(_, decision) | Way::Held(_, _, decision)) => decision.clone(),
            Err(error) => error.decision(),
        });
        way
    }

    /// It is neither deferred nor served live, and as a call that its headers refuse it is not recorded.
    async fn refuse(mut self, asking: Asking, found: Option<usize>, refusal: Refusal) -> ApiError {
        let error = ApiError::from(refusal);
        if let Some(index) = found {
            asking.chosen(index).count(&error.decision());
        }
        self.tap.forget();
        discard(self.peek.into_body()).await;
        error
    }

    /// Asks the rules, and reads on as long as one must see more.
    async fn ask(&mut self, asking: &mut Asking) -> Result<Option<usize>, BrokenOff> {
        loop {
            match asking.go_on(&self.head.headers, self.head.uri.path(), self.peek.facts()) {
                Standing::Decided(rule) => return Ok(Some(rule)),
                Standing::NoRule => return Ok(None),
                Standing::WantsBody => self.peek.look_on().await?,
            }
            if self.peek.is_cut_short() {
                asking.cut_short();
            }
        }
    }

    /// What is promised, or why the call is served live.
    async fn terms(&mut self, gateway: &Gateway, chosen: &Chosen) -> Result<Result<Terms, LiveReason>, BrokenOff> {
        let body = if chosen.depends_on_body() {
            self.peek.whole().await?;
            self.peek.meaning().await
        } else {
            Bytes::new()
        };
        Ok(match chosen.live_reason(body).await {
            Some(reason) => Err(reason),
            None => gateway.rooms().intake.terms(chosen, &self.head.headers),
        })
    }

    /// Defers the call, or serves it live where that cannot be: its caller did not ask for it.
    async fn admit(mut self, gateway: &Gateway, chosen: &Chosen, terms: Terms) -> Result<Way, ApiError> {
        let Some(body) = self.peek.whole().await? else {
            return Ok(self.live(chosen, LiveReason::TooLarge));
        };
        let (intake, headers) = (gateway.rooms().intake.clone(), self.head.headers.clone());
        let promise = terms.promise.clone();
        let admission = gateway.beside().run(async move { intake.admit(terms, &headers, body).await }).await;
        let refusal = match admission {
            Ok(admitted) => {
                // What is deferred is recorded where its outcome is.
                self.tap.forget();
                let decision = chosen.deferred(admitted.deferral.id);
                return Ok(Way::Held(Box::new(admitted), Interim::of(&self.head), decision));
            }
            Err(refusal) => refusal,
        };
        match promise.and_then(|promise| refusal.live_reason(&promise)) {
            Some(reason) => Ok(self.live(chosen, reason)),
            None => Err(refusal.into()),
        }
    }
}

impl From<BrokenOff> for ApiError {
    fn from(_: BrokenOff) -> Self {
        Self::broken_body()
    }
}
