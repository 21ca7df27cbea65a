//! Calls beyond a budget that is spent: they are refused, or deferred where they may be.

use http::HeaderMap;

use crate::domain::budget;
use crate::domain::policy::Action;
use crate::intake::{Asking, Intake, Refusal};

/// The header that names a call's workload.
const WORKLOAD: &str = "x-defer-workload";

impl Intake {
    /// Holds a call over which this rule decides, or none, to the budget of the workload that the rule gives to it, which
    /// its headers could not tell, and to the one that they did tell. Gives what is to be asked in place of what was asked,
    /// where the call is to be deferred and the rule does not; none if all stays as it is.
    ///
    /// # Errors
    /// If it is refused; then nothing may be queued or sent.
    pub fn hold_to_budgets(
        &self,
        asking: &Asking,
        found: Option<usize>,
        headers: &HeaderMap,
    ) -> Result<Option<Asking>, Refusal> {
        let rule = found.and_then(|index| asking.rule(index));
        let workload = rule.and_then(|rule| asking.named_by(rule));
        let by_rule = match workload {
            Some(workload) => self.beyond(|| self.tenant(headers), Some(workload))?,
            None => None,
        };
        if rule.is_some_and(|rule| rule.action == Action::Defer) {
            return Ok(None);
        }
        let budget = by_rule.as_deref().or(asking.budget());
        Ok(budget.and_then(|budget| asking.deferring(budget, workload)))
    }

    /// The budget beyond which a call is by its headers alone, if that wants it to be deferred.
    ///
    /// # Errors
    /// If it is refused.
    pub(super) fn beyond_by_headers(&self, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
        let workload = headers.get(WORKLOAD).and_then(|value| value.to_str().ok());
        self.beyond(|| self.tenant(headers), workload)
    }

    /// The same by whose it is, and by its workload; it is deferred by the name that this gives.
    ///
    /// # Errors
    /// If it is refused.
    pub(super) fn beyond(
        &self,
        tenant: impl FnOnce() -> String,
        workload: Option<&str>,
    ) -> Result<Option<String>, Refusal> {
        let now = self.clock.now();
        let Some(spent) = self.budgets.exceeded(now, tenant, workload) else { return Ok(None) };
        match spent.budget.action {
            budget::Action::Warn => Ok(None),
            budget::Action::Defer => Ok(Some(format!("budget {}", spent.budget.name))),
            budget::Action::Refuse => {
                let retry_after_seconds = spent.until.start().since(now).as_secs().max(1);
                Err(Refusal::BudgetExceeded { spent: spent.into(), retry_after_seconds })
            }
        }
    }

    fn tenant(&self, headers: &HeaderMap) -> String {
        self.caller(headers).map(|caller| caller.tenant).unwrap_or_default()
    }
}
