//! Connections that rest between two requests: the last one in is the first one out.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::stream::Stream;
use crate::live::answer::Known;

/// How long an idle connection is kept: load balancers commonly close theirs after 60 s, and whoever closes first
/// must be us, since a request that meets a connection being closed is lost.
const IDLE_LIMIT: Duration = Duration::from_secs(50);

/// After so long the system is asked whether a connection is still open; before, what the reactor was told last must do.
/// No server closes a connection that it has just answered on, unless it says so or goes down itself, and to ask is one
/// more call to the system for every request.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How often the connections are looked through for such as have rested too long: with [`IDLE_LIMIT`] below those 60 s.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How many idle connections are kept; more are only left over from a burst, and each costs the upstream a socket.
const IDLE_CONNECTIONS_MAX: usize = 512;

/// A connection, with the buffer that it is read into.
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) arrived: BytesMut,
    /// The heads that came with its last answers.
    pub(super) known: Known,
    /// Whether it has carried a request before.
    pub(super) is_used: bool,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, arrived: BytesMut::new(), known: Known::default(), is_used: false }
    }
}

/// The stack of idle connections.
///
/// A task watches them, so that one that its other end closes is closed here too, at once.
#[derive(Default)]
pub(super) struct Idle {
    stack: Mutex<Stack>,
}

#[derive(Default)]
struct Stack {
    /// The ones that have rested longest are at the front.
    resting: VecDeque<(Instant, Connection)>,
    is_watched: bool,
    /// Wakes the watch; there is none until the watch has begun to look.
    waker: Option<Waker>,
    /// Ends the watch when it is dropped.
    watch: JoinSet<()>,
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle").finish_non_exhaustive()
    }
}

impl Idle {
    /// The connection that was used last and is still good.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut stack = self.stack();
        while let Some((since, connection)) = stack.resting.pop_back() {
            let rested = since.elapsed();
            let is_good = match rested < TRUSTED_FOR {
                true => connection.stream.stays_quiet(&mut Context::from_waker(Waker::noop())),
                false => rested < IDLE_LIMIT && connection.stream.is_quiet(),
            };
            if is_good {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end, unless more has come than that.
    pub(super) fn keep(self: &Arc<Self>, connection: Connection) {
        let mut stack = self.stack();
        // Registers for the watch without waking it. Before its first look it has not said how: that look registers all.
        if let Some(waker) = &stack.waker
            && !connection.stream.stays_quiet(&mut Context::from_waker(waker))
        {
            return;
        }
        if stack.resting.len() >= IDLE_CONNECTIONS_MAX {
            stack.resting.pop_front();
        }
        stack.resting.push_back((Instant::now(), Connection { is_used: true, ..connection }));
        if !stack.is_watched {
            stack.is_watched = true;
            // One that has ended is taken out, so that they do not pile up.
            while stack.watch.try_join_next().is_some() {}
            stack.watch.spawn(watch_over(Arc::downgrade(self)));
        }
    }

    /// Drops what has closed or rested too long; `cx` is woken when another one closes. Says whether the watch goes on,
    /// which it does until it is time to look and nothing is left.
    fn look(&self, is_time: bool, cx: &mut Context<'_>) -> bool {
        let mut stack = self.stack();
        stack.resting.retain(|(since, connection)| since.elapsed() < IDLE_LIMIT && connection.stream.stays_quiet(cx));
        stack.is_watched = !is_time || !stack.resting.is_empty();
        stack.waker = stack.is_watched.then(|| cx.waker().clone());
        stack.is_watched
    }

    fn stack(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks whenever a connection closes, and from time to time.
async fn watch_over(idle: Weak<Idle>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    poll_fn(|cx| {
        let is_time = ticks.poll_tick(cx).is_ready();
        // Asked again, it wakes us at the next.
        let _ = is_time && ticks.poll_tick(cx).is_ready();
        match idle.upgrade() {
            Some(idle) if idle.look(is_time, cx) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{advance, timeout};

    use super::*;

    /// A connection of ours, and its other end.
    async fn connection() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Connection::new(Stream::Plain(ours)), listener.accept().await.unwrap().0)
    }

    fn port(connection: &Connection) -> u16 {
        let Stream::Plain(tcp) = &connection.stream else { panic!("not encrypted here") };
        tcp.local_addr().unwrap().port()
    }

    /// Reads until our end is closed.
    async fn until_closed(other: &mut TcpStream) {
        timeout(10 * IDLE_LIMIT, other.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_last_one_in_is_the_first_one_out() {
        let idle = Arc::new(Idle::default());
        let (mut ports, mut others) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (connection, other) = connection().await;
            ports.push(port(&connection));
            others.push(other);
            idle.keep(connection);
        }
        for expected in ports.iter().rev() {
            let taken = idle.take().unwrap();
            assert!(taken.is_used);
            assert_eq!(port(&taken), *expected);
        }
        assert!(idle.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_closes_or_speaks_out_of_turn_is_not_given_out() {
        let idle = Arc::new(Idle::default());
        for speaks in [false, true] {
            let (connection, mut other) = connection().await;
            idle.keep(connection);
            advance(TRUSTED_FOR).await;
            if speaks {
                other.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
            }
            drop(other);
            // Nothing was awaited since, so that only the system knows.
            assert!(idle.take().is_none());
        }
    }

    #[tokio::test]
    async fn what_closes_is_closed_here_too() {
        let idle = Arc::new(Idle::default());
        for _ in 0..3 {
            let ((staying, _other), (leaving, mut other)) = (connection().await, connection().await);
            idle.keep(staying);
            idle.keep(leaving);
            other.shutdown().await.unwrap();
            until_closed(&mut other).await;
            assert!(idle.take().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_rests_too_long_is_closed() {
        let idle = Arc::new(Idle::default());
        let (resting, other) = connection().await;
        idle.keep(resting);
        advance(IDLE_LIMIT).await;
        assert!(idle.take().is_none());
        drop(other);

        // Twice, since the watch ends where nothing is left, and has to begin anew.
        for _ in 0..2 {
            let (resting, mut other) = connection().await;
            idle.keep(resting);
            let began = Instant::now();
            until_closed(&mut other).await;
            assert!(began.elapsed() >= IDLE_LIMIT && began.elapsed() <= IDLE_LIMIT + LOOK_EVERY);
            advance(3 * LOOK_EVERY).await;
        }
    }

    #[tokio::test]
    async fn with_the_stack_go_its_connections() {
        let idle = Arc::new(Idle::default());
        let (resting, mut other) = connection().await;
        idle.keep(resting);
        drop(idle);
        until_closed(&mut other).await;
    }
}
