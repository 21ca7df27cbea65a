//! The stand-in provider: the Claude API as far as Offpeak uses it, for `offpeak sim`, `offpeak demo` and tests.
//!
//! It serves Messages (streaming too), token counting, Message Batches and Models as the provider does; what is
//! written on the wire follows the provider's documents, and what they leave open is decided here:
//!
//! - Answers are a function of what the call says (`answer`): a live call and the batch item made of it
//!   agree in content and usage. Words in the prompt steer what comes back.
//! - Any key will do, and a key's workspace follows from its text (`auth`).
//! - A batch takes [`Settings::batch_time`] by the [`Clock`], its items being done in order, evenly over that time. It
//!   ends when somebody looks at it after that. With no batch time at all it has ended at the first look after its creation.
//!   A canceled batch ends at the next look; what was done by then has succeeded. Canceling what has ended is a 400.
//! - A thread can be begun, but is never there to be continued (`validate`).
//! - Prompts are cached as `cache` says.
//!
//! Faults come on request ([`Fault`]) and all that came in can be read in the [`Books`], both in-process and over
//! HTTP (`routes::control`).
//!
//! ```text
//! service ─► routes ─┬─► validate, answer, stream, cache       a live call
//!                    └─► envelope, batches, run                a batch, its items like live calls
//! ```

mod answer;
mod auth;
mod batch;
mod batches;
mod blocks;
mod books;
mod cache;
mod call;
mod decode;
mod digest;
mod envelope;
mod error;
mod fault;
mod faults;
mod message;
mod models;
mod page;
mod reply;
mod routes;
mod run;
mod service;
mod stream;
mod validate;
mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub use self::books::{BatchRecord, Books, Disconnects, Endpoint, Item, Received};
pub use self::fault::{Effect, Fault, ItemEnd, ItemMatch};
use self::routes::control;
use self::world::World;
use crate::clock::Clock;

/// How the stand-in behaves when nothing is wrong.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long a batch takes.
    pub batch_time: Duration,
    /// How long it waits between the events of a stream.
    pub event_pause: Duration,
}

impl Default for Settings {
    /// On a free port of this machine, without any delay.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            batch_time: Duration::ZERO,
            event_pause: Duration::ZERO,
        }
    }
}

/// A running stand-in. It stops when it is dropped, and cuts what is open.
pub struct Simulator {
    world: Arc<World>,
    addr: SocketAddr,
    serving: JoinSet<()>,
}

impl Simulator {
    /// Listens and serves, on the runtime that this is called on.
    pub async fn start(settings: Settings, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let addr = listener.local_addr()?;
        let world = Arc::new(World::new(settings, clock));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&world)));
        Ok(Self { world, addr, serving })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to use as the provider's base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A copy of the books.
    pub fn books(&self) -> Books {
        self.world.books()
    }

    /// Waits until the books satisfy a condition, and returns them. It waits for ever: the caller sets a limit.
    pub async fn until(&self, condition: impl Fn(&Books) -> bool) -> Books {
        let mut changes = self.world.changes();
        loop {
            // Marked as seen before looking, so that no change in between is lost.
            changes.borrow_and_update();
            let books = self.books();
            if condition(&books) || changes.changed().await.is_err() {
                return books;
            }
        }
    }

    /// Arms a fault.
    pub fn inject(&self, fault: Fault) {
        self.world.faults().inject(fault);
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.world.faults().clear();
    }

    /// Ends every batch that is in progress: all its items are done now.
    pub async fn end_batches(&self) {
        control::end_batches(&self.world).await;
    }

    /// Stops listening and cuts what is open; when it returns, the port is free.
    pub async fn shutdown(mut self) {
        self.serving.shutdown().await;
    }
}

/// Accepts connections until it is dropped, and then drops them too.
async fn accept(listener: TcpListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, Arc::clone(&world)));
                }
                // Out of file descriptors, or gone before it was accepted: others must still be served.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection, HTTP/1.1 or cleartext HTTP/2, to its end.
async fn connection(socket: TcpStream, world: Arc<World>) {
    // Small events must not wait for one another. Without it they are slower, but not wrong.
    let _ = socket.set_nodelay(true);
    let service = hyper::service::service_fn(move |request| service::serve(Arc::clone(&world), request));
    // It fails when the client goes away, or by a fault that was asked for: both are in the books.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}
