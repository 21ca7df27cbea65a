//! The Models API.

use serde_json::value::{RawValue, to_raw_value};

use crate::simulator::error::ApiError;
use crate::simulator::models::{MODELS, find};
use crate::simulator::page::{Wanted, page};
use crate::simulator::reply::Reply;
use crate::simulator::service::Ask;

/// `GET /v1/models`
pub(super) fn list(ask: &Ask) -> Result<Reply, ApiError> {
    let wanted = Wanted::parse(ask.query.as_deref())?;
    let ids: Vec<_> = MODELS.iter().map(|model| model.id).collect();
    let entry = |at: usize| to_raw_value(&MODELS[at].info()).unwrap_or_else(|_| RawValue::NULL.to_owned());
    Ok(Reply::json(200, page(&wanted, &ids, entry)?))
}

/// `GET /v1/models/{id}`
pub(super) fn retrieve(ask: &Ask) -> Result<Reply, ApiError> {
    let id = &ask.route.id;
    let model = find(id).ok_or_else(|| ApiError::not_found(format!("model: {id}")))?;
    Ok(Reply::json(200, model.info().to_string()))
}
