//! The gateway on threads of its own, each with a runtime, a listener and connections to the upstream that it shares with
//! nobody: a call stays on one thread from its first byte to its last.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::http::beside::Beside;
use crate::http::{Gateway, Rooms, listen};

/// How many connections may wait to be accepted on each listener, as Tokio's own have it.
const BACKLOG: i32 = 1024;

/// When a thread has to end.
pub struct Ends {
    /// It accepts nobody any more, and lets what runs end.
    pub drain: CancellationToken,
    /// What outlasts this is cut.
    pub grace: Duration,
    /// Nothing is left that could need its runtime: connections of the store may have been opened on it.
    pub over: CancellationToken,
    /// Dropped once it has drained.
    pub serving: TaskTrackerToken,
}

/// So many listeners at one address, at least one, among which the system divides those who connect.
///
/// # Errors
/// If somebody else listens there, even if they would share it.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    // Sharing is allowed after the first has the address, so that it cannot itself share somebody else's.
    let first = socket(address)?;
    first.bind(&address.into())?;
    if count > 1 {
        first.set_reuse_port(true)?;
    }
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..count {
        let another = socket(address)?;
        another.set_reuse_port(true)?;
        another.bind(&address.into())?;
        sockets.push(another);
    }
    sockets.into_iter().map(|socket| socket.listen(BACKLOG).map(|()| socket.into())).collect()
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of an earlier process that linger must not keep the address.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Serves a listener on a thread of its own. What concerns the store is done on the runtime that this is called on.
///
/// # Errors
/// If there is no such thread to be had.
pub async fn serve(listener: StdListener, rooms: Rooms, ends: Ends) -> io::Result<()> {
    let gateway = Gateway::new(
        Rooms { live: rooms.live.apart(), recorder: rooms.recorder.apart(), ..rooms },
        Beside::On(Handle::current()),
    );
    let (started, has_started) = oneshot::channel();
    let run = move || match begin(listener) {
        Ok((runtime, listener)) => {
            if started.send(Ok(())).is_ok() {
                runtime.block_on(run(listener, gateway, ends));
            }
            // A name lookup may hang for a long time, and nobody waits for it.
            runtime.shutdown_background();
        }
        Err(error) => drop(started.send(Err(error))),
    };
    thread::Builder::new().name("gateway".to_owned()).spawn(run)?;
    has_started.await.unwrap_or_else(|_| Err(io::Error::other("a thread ended before it began")))
}

fn begin(listener: StdListener) -> io::Result<(Runtime, TcpListener)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let listener = TcpListener::from_std(listener)?;
    drop(entered);
    Ok((runtime, listener))
}

async fn run(listener: TcpListener, gateway: Gateway, ends: Ends) {
    let Ends { drain, grace, over, serving } = ends;
    let serve = listen::serve(listener, move |_| gateway.clone(), drain, grace);
    over.run_until_cancelled(serve).await;
    drop(serving);
    over.cancelled().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYWHERE: &str = "127.0.0.1:0";

    #[test]
    fn listeners_share_one_address_among_themselves_and_with_nobody_else() {
        for (count, address) in [(1, ANYWHERE), (3, ANYWHERE), (3, "[::1]:0")] {
            let listeners = bind(address.parse().unwrap(), count).unwrap();
            assert_eq!(listeners.len(), count);
            let shared = listeners[0].local_addr().unwrap();
            assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == shared));
            for others in [1, 2] {
                assert_eq!(bind(shared, others).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            }
            drop(listeners);
            assert_eq!(bind(shared, count).unwrap().len(), count);
        }
    }
}
