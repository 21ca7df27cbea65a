//! What a thread yields to another on the same core.

/// How nice a thread is that nobody's stream waits for: beside one that relays it gets about a tenth of a core where that
/// is all there is, and the whole of it where it is free.
#[cfg(target_os = "linux")]
const BACKGROUND: i32 = 10;

/// Lets the calling thread stand back behind those that relay live calls.
pub(super) fn stand_back() {
    // Elsewhere this is a property of the process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, BACKGROUND) {
        tracing::warn!(%error, "work in the background may delay live calls");
    }
}
