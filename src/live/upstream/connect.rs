//! Connecting to whichever of some addresses takes us first.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How long one address has before the next is tried beside it: what RFC 8305 recommends.
const HEAD_START: Duration = Duration::from_millis(250);

/// How often a silent connection is probed: a long answer may be silent for minutes, and networks forget connections
/// that carry nothing (the shortest common limit is 350 s).
const PROBE_EVERY: Duration = Duration::from_secs(60);

/// Connects to one of `addresses`: each is tried once its predecessor has failed, or has kept us waiting.
pub(super) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut untried = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "there is no address to connect to");
    loop {
        attempts.extend(untried.next().map(|address| TcpStream::connect(*address)));
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(stream)) => return prepared(stream),
                Some(Err(error)) => failure = error,
                None => return Err(failure),
            },
            () = sleep(HEAD_START), if untried.len() > 0 => {}
        }
    }
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    // The pieces of a request must not wait for each other.
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(PROBE_EVERY).with_interval(PROBE_EVERY);
    SockRef::from(&stream).set_tcp_keepalive(&probes)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::timeout;

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address at which nobody listens, as long as the socket lives.
    fn closed() -> (TcpSocket, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn the_first_address_that_works_is_taken() {
        let ((_first, first), (_second, second), (_closed, closed)) = (listener().await, listener().await, closed());
        for (addresses, taken) in
            [(&[first, second][..], first), (&[closed, first, second], first), (&[closed, closed, second], second)]
        {
            assert_eq!(connect(addresses).await.unwrap().peer_addr().unwrap(), taken);
        }
    }

    #[tokio::test]
    async fn the_last_failure_is_told() {
        let (_closed, closed) = closed();
        assert_eq!(connect(&[closed, closed]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_is_overtaken() {
        // A queue of accepted connections that is full takes no more.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) = timeout(HEAD_START / 2, TcpStream::connect(silent)).await {
            waiting.push(stream);
        }
        let (_listener, works) = listener().await;
        let connected = timeout(HEAD_START * 40, connect(&[silent, works])).await.unwrap().unwrap();
        assert_eq!(connected.peer_addr().unwrap(), works);
        assert!(connected.nodelay().unwrap());
    }
}
