//! The protocols that a listener speaks, and the limits of each.

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// The longest head of a request, and the most that is read ahead of a body on one connection: what the provider's
/// edge takes as well.
const HEAD_MAX: usize = 128 * 1024;

/// The most headers of a request.
const HEADERS_MAX: usize = 128;

/// Requests at a time on one HTTP/2 connection; a client opens another connection for more.
const STREAMS_MAX: u32 = 256;

/// How often a quiet HTTP/2 connection is asked whether its client is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_LIMIT: Duration = Duration::from_secs(20);

/// How each protocol is served.
pub(super) struct Protocols {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    /// A request's head may take `head_read_limit`.
    pub(super) fn new(head_read_limit: Duration) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(head_read_limit)
            .max_buf_size(HEAD_MAX)
            .max_headers(HEADERS_MAX)
            // An answer's headers are the upstream's, or those that a handler chose.
            .auto_date_header(false);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_MAX as u32)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_LIMIT)
            .auto_date_header(false);
        Self { http1, http2 }
    }
}
