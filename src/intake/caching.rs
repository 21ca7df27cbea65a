//! What a call is known by whose prompt may be marked for caching.

use crate::cache_plan::prefixes;
use crate::domain::caching::Prefixes;
use crate::intake::READ_ASIDE_BYTES;
use crate::store::NewDeferral;

/// The call with the beginnings of its prompt; with none where they could not be read, and so is sent as it is.
pub(super) async fn read(new: NewDeferral) -> NewDeferral {
    let (text, model) = (&new.item.text, &new.item.model);
    let found = if text.len() <= READ_ASIDE_BYTES {
        prefixes(text, model)
    } else {
        let (text, model) = (text.clone(), model.clone());
        tokio::task::spawn_blocking(move || prefixes(&text, &model)).await.unwrap_or_else(|_| Prefixes::default())
    };
    NewDeferral { caching: Some(found), ..new }
}
