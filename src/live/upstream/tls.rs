//! How connections are encrypted.

use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// All that we speak so far.
const PROTOCOL: &[u8] = b"http/1.1";

/// What every encrypted connection shares, the tickets to resume earlier ones by among it. Trusts what the machine trusts.
pub(super) fn config() -> io::Result<Arc<ClientConfig>> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let nothing = "this machine has no certificates to trust an upstream by";
        return Err(found.errors.into_iter().next().map_or_else(|| super::other(nothing), super::other));
    }
    config_with(roots)
}

/// The same, trusting these.
pub(super) fn config_with(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(super::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}
