//! Who asks: the operator by the admin token, else the tenant who holds the credential.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::http::error::ApiError;
use crate::http::{Rooms, admin};
use crate::store::Scope;

/// What whoever asks may see.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Scope);

impl FromRequestParts<Rooms> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, ApiError> {
        let bears_token = rooms.admin_token.as_ref().is_some_and(|token| admin::bears(&parts.headers, token));
        if bears_token || parts.extensions.get::<admin::Operator>().is_some() {
            return Ok(Self(Scope::All));
        }
        let caller = rooms.intake.caller(&parts.headers).ok_or_else(ApiError::missing_credential)?;
        Ok(Self(Scope::Tenant(caller.tenant)))
    }
}
