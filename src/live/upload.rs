//! The body of a request on its way to the upstream, and how far it has come.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Instant;

use super::BoxError;

/// When a request began, and when its body last moved.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    moved_after_millis: AtomicU64,
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), moved_after_millis: AtomicU64::new(0) }
    }

    /// When the last thing was sent.
    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.moved_after_millis.load(Ordering::Relaxed))
    }

    pub(super) fn moved(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.began).as_millis();
        self.moved_after_millis.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A request's body that notes each step it takes.
#[derive(Debug)]
pub(super) struct Upload {
    body: UnsyncBoxBody<Bytes, BoxError>,
    progress: Arc<Progress>,
}

impl Upload {
    pub(super) fn new<B>(body: B, progress: Arc<Progress>) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { body: body.map_err(Into::into).boxed_unsync(), progress }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Err(_)) => {}
            Some(Ok(_)) | None => self.progress.moved(Instant::now()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// An upload that began an hour ago.
    fn upload(frames: Vec<Result<&'static [u8], &'static str>>) -> (Upload, Arc<Progress>) {
        let began = Instant::now().checked_sub(HOUR).unwrap();
        let progress = Arc::new(Progress { began, ..Progress::begin() });
        let frames = frames.into_iter().map(|frame| frame.map(|data| Frame::data(Bytes::from_static(data))));
        (Upload::new(StreamBody::new(stream::iter(frames)), Arc::clone(&progress)), progress)
    }

    #[tokio::test]
    async fn each_frame_is_progress() {
        let (mut upload, progress) = upload(vec![Ok(b"data")]);
        assert_eq!(progress.last(), progress.began);
        upload.frame().await.unwrap().unwrap();
        assert!(progress.last() >= progress.began + HOUR);
    }

    #[tokio::test]
    async fn a_broken_body_is_no_progress() {
        let (mut upload, progress) = upload(vec![Err("gone")]);
        upload.frame().await.unwrap().unwrap_err();
        assert_eq!(progress.last(), progress.began);
    }
}
