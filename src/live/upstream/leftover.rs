//! The rest of a request that was answered before it was sent.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::live::upload::Upload;

/// How much is still read, and for how long: twice the largest request that the provider takes, at a modest speed.
const DISCARD_MAX: usize = 64_000_000;
const DISCARD_LIMIT: Duration = Duration::from_secs(10);

/// Reads the rest and forgets it: a client that is cut while it sends may never see the answer.
pub(super) async fn discard(mut rest: Upload) {
    let all = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = rest.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_MAX {
                break;
            }
        }
    };
    let _ = timeout(DISCARD_LIMIT, all).await;
}
