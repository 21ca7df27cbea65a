//! Lookups: what addresses a name has, as the machine resolves it, within limits.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long a name may take to resolve. A caller waits for it, and a name server that is well answers in far less.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// Names that are being resolved at a time. Each takes a thread until the machine gives up on it, which may be long
/// after we have; the others must be left for the rest.
const LOOKUPS_MAX: usize = 128;

/// How a name is resolved.
type Resolve = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Resolves names. Clones share the limit.
#[derive(Clone)]
pub(super) struct Lookup {
    resolve: Arc<Resolve>,
    free: Arc<Semaphore>,
}

/// Why a name has no address.
#[derive(Debug)]
pub(super) enum LookupError {
    /// There is none.
    Failed(io::Error),
    /// It was not known in time.
    TooLong,
}

impl Lookup {
    /// As the machine does it, hosts file and all.
    pub(super) fn system() -> Self {
        Self::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }

    pub(super) fn new(resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self { resolve: Arc::new(resolve), free: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    /// The addresses of a name.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let (resolve, name) = (self.resolve.clone(), name.to_owned());
        let looking = async {
            let place = self.free.clone().acquire_owned().await;
            let looking = spawn_blocking(move || {
                // Held until the thread is done, not until we have lost patience.
                let _place = place;
                resolve(&name)
            });
            looking.await.unwrap_or_else(|join| Err(io::Error::other(join)))
        };
        match timeout(LOOKUP_LIMIT, looking).await {
            Ok(found) => found.map_err(LookupError::Failed),
            Err(_) => Err(LookupError::TooLong),
        }
    }
}
