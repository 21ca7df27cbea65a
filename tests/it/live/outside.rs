//! What only the environment can say: which certificates to trust, and which proxy to go through.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::app::{Engine, Storage, body};
use super::super::child::{Gateway, serve};
use super::{DONE, Wire, soon};

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn an_upstream_that_the_machine_trusts_is_spoken_to_encrypted() {
    let storage = Storage::new(Engine::Sqlite).await;
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let trusted = storage.folder().join("trusted.pem");
    let text = BASE64_STANDARD.encode(certificate.der());
    std::fs::write(&trusted, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let (listener, port) = listen().await;

    let mut command = serve(&storage, &format!("https://localhost:{port}"), &[]);
    command.env("SSL_CERT_FILE", &trusted);
    let gateway = Gateway::start(command).await;
    let upstream = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"]}") {
            stream.read_buf(&mut seen).await.unwrap();
        }
        stream.write_all(DONE.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        (stream, String::from_utf8(seen).unwrap())
    };
    let (answer, (_stream, seen)) = soon(async { tokio::join!(gateway.call(body("Hi")).send(), upstream) }).await;
    answer.expect(200);
    assert!(seen.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{seen}");
}

#[tokio::test]
async fn a_proxy_of_the_environment_passes_live_calls_on() {
    let storage = Storage::new(Engine::Sqlite).await;
    let (listener, port) = listen().await;
    let mut command = serve(&storage, "http://upstream.example/prefix", &[]);
    command.env("http_proxy", format!("http://me:secret@127.0.0.1:{port}")).env("no_proxy", "elsewhere.example");
    let gateway = Gateway::start(command).await;
    let proxy = async {
        let mut proxy = Wire::new(listener.accept().await.unwrap().0);
        let seen = proxy.head().await;
        proxy.send(DONE).await;
        seen
    };
    let (answer, seen) = soon(async { tokio::join!(gateway.get("/v1/models?limit=1").send(), proxy) }).await;
    answer.expect(200);
    assert_eq!(seen.start, "GET http://upstream.example/prefix/v1/models?limit=1 HTTP/1.1");
    assert_eq!(seen.get("host"), Some("upstream.example"));
    assert_eq!(seen.get("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
}
