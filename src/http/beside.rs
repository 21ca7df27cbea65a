//! Work for the store, done on the runtime that keeps its connections: a thread that relays streams has no time for it.

use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Where that work is done.
#[derive(Clone, Debug)]
pub(super) enum Beside {
    /// By whoever asks, who runs on the right runtime already.
    Here,
    /// On that runtime.
    On(Handle),
}

impl Beside {
    /// Does it. Dropping the future ends the work.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let Self::On(runtime) = self else { return work.await };
        let mut beside = JoinSet::new();
        beside.spawn_on(work, runtime);
        match beside.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
            // The runtime is ending, and the process with it.
            Some(Err(_)) | None => pending().await,
        }
    }

    /// An answer whose body is made there too, frame by frame, if it is not here already.
    pub(super) fn carry(&self, answer: Response) -> Response {
        use http_body::Body as _;
        match self {
            Self::On(runtime) if answer.body().size_hint().exact().is_none() => {
                answer.map(|body| Body::new(Carried::over(runtime, body)))
            }
            _ => answer,
        }
    }
}

/// A body that is made elsewhere, at most one frame ahead. Dropping it drops that one too.
struct Carried {
    frames: mpsc::Receiver<Result<Frame<Bytes>, axum::Error>>,
    _making: JoinSet<()>,
}

impl Carried {
    fn over(runtime: &Handle, mut body: Body) -> Self {
        let (taken, frames) = mpsc::channel(1);
        let mut making = JoinSet::new();
        let make = async move {
            while let Some(frame) = body.frame().await {
                if taken.send(frame).await.is_err() {
                    return;
                }
            }
        };
        making.spawn_on(make, runtime);
        Self { frames, _making: making }
    }
}

impl http_body::Body for Carried {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.frames.poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use futures_util::{StreamExt as _, stream};
    use tokio::runtime::{Builder, Runtime};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn another() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).thread_name("another").enable_all().build().unwrap()
    }

    fn here() -> String {
        thread::current().name().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn work_is_done_where_it_belongs() {
        let another = another();
        assert_eq!(Beside::On(another.handle().clone()).run(async { here() }).await, "another");
        assert_eq!(Beside::Here.run(async { here() }).await, here());

        let body = stream::iter(0..3).map(|_| Ok::<_, Infallible>(Bytes::from(here())));
        let carried = Beside::On(another.handle().clone()).carry(Response::new(Body::from_stream(body)));
        let whole = carried.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(whole, "another".repeat(3));
        another.shutdown_background();
    }

    #[tokio::test]
    async fn nothing_goes_on_for_somebody_who_has_gone() {
        let another = another();
        let beside = Beside::On(another.handle().clone());
        let held = Arc::new(());
        let is_alone = async |held: &Arc<()>| {
            timeout(LIMIT, async {
                while Arc::strong_count(held) > 1 {
                    tokio::task::yield_now().await
                }
            })
            .await
            .unwrap();
        };

        let work = {
            let held = held.clone();
            async move {
                let _held = held;
                pending::<()>().await
            }
        };
        assert!(timeout(Duration::ZERO, beside.run(work)).await.is_err());
        is_alone(&held).await;

        let body = {
            let held = held.clone();
            stream::pending::<Result<Bytes, Infallible>>().map(move |it| {
                let _ = &held;
                it
            })
        };
        drop(beside.carry(Response::new(Body::from_stream(body))));
        is_alone(&held).await;
        another.shutdown_background();
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_does_so_here_too() {
        let another = another();
        let body = stream::iter([Ok(Bytes::from_static(b"half")), Err("gone")]);
        let mut carried =
            Beside::On(another.handle().clone()).carry(Response::new(Body::from_stream(body))).into_body();
        assert_eq!(carried.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        assert!(carried.frame().await.unwrap().is_err());
        another.shutdown_background();
    }
}
