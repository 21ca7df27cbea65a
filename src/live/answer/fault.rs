//! Why an answer cannot be passed on.

/// What is wrong with an answer. Whichever it is, the connection that it came on is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else, such as what an earlier answer has left behind.
    #[error("what came back does not begin as an HTTP/1 answer")]
    NotHttp,
    /// A status line or header that breaks the grammar, a folded header or a line that ends oddly among them.
    #[error("the answer's head is malformed")]
    Head,
    /// More bytes or headers than a head may have.
    #[error("the answer's head is too long")]
    HeadTooLong,
    /// A length that is no number, or that is said twice.
    #[error("the answer's content-length is malformed, or repeated")]
    Length,
    /// A coding of the transfer other than chunks, which we never ask for.
    #[error("the answer's transfer-encoding is not understood")]
    Coding,
    /// Two ways to find the body's end.
    #[error("the answer has both a content-length and a transfer-encoding")]
    Ambiguous,
    /// More interim answers than anybody needs, or one that changes the protocol.
    #[error("there are too many interim answers, or one that was not asked for")]
    Interim,
    /// A chunk whose size or end is not what it must be.
    #[error("the answer's body has a malformed chunk")]
    Chunk,
    /// Trailers that break the grammar, or are too long.
    #[error("the answer's trailers are malformed")]
    Trailers,
    /// The connection was closed before the answer's end.
    #[error("the answer broke off")]
    Cut,
}
