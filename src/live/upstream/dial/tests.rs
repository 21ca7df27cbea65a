//! Connections to servers and proxies with certificates of their own.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

/// Somebody who proves to be `localhost`, and those who trust that.
fn identity() -> (TlsAcceptor, Arc<ClientConfig>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let certificate: CertificateDer<'static> = certificate.der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    server.alpn_protocols = ["h2", "http/1.1"].map(|name| name.as_bytes().to_vec()).to_vec();
    (TlsAcceptor::from(Arc::new(server)), tls::config_with(roots).unwrap())
}

async fn listen() -> (TcpListener, u16) {
    // `localhost` may have two addresses, and the other one refuses.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn host(name: &str, port: u16) -> Host {
    Host::of(&format!("http://{name}:{port}").parse().unwrap()).unwrap()
}

fn dialer(host: Host, tls: Option<Arc<ClientConfig>>) -> Dialer {
    let (is_encrypted, origin) = (tls.is_some(), format!("http://{}", host.authority()));
    Dialer { host, origin, is_encrypted, proxy: None, tls }
}

/// Has a word with whoever is at the other end, who says it back.
async fn talk(stream: &mut Stream) {
    stream.write_all(b"word").await.unwrap();
    stream.flush().await.unwrap();
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"word");
}

async fn say_back(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).await.unwrap();
    stream.write_all(&heard).await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test]
async fn an_encrypted_connection_speaks_http_1_and_the_next_one_resumes_it() {
    let (acceptor, trust) = identity();
    let (listener, port) = listen().await;
    let dialer = dialer(host("localhost", port), Some(trust));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let client = async {
            let mut stream = dialer.dial().await.unwrap();
            talk(&mut stream).await;
            assert!(stream.is_quiet(), "what belongs to the handshake is taken for an answer");
        };
        let server = async {
            let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            say_back(&mut stream).await;
            let (_, session) = stream.get_ref();
            assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(session.server_name(), Some("localhost"));
            (session.handshake_kind().unwrap(), stream)
        };
        let ((), (kind, _stream)) = timeout(LIMIT, async { tokio::join!(client, server) }).await.unwrap();
        kinds.push(kind);
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let ((acceptor, trust), (_, trust_in_another)) = (identity(), identity());
    let (listener, port) = listen().await;
    for (name, trust) in [("localhost", trust_in_another), ("127.0.0.1", trust)] {
        let dialer = dialer(host(name, port), Some(trust));
        let server = async { acceptor.accept(listener.accept().await.unwrap().0).await.map(drop) };
        let (stream, _) = timeout(LIMIT, async { tokio::join!(dialer.dial(), server) }).await.unwrap();
        assert!(stream.is_err(), "{name}");
    }
}

/// What a proxy is asked, and then what is said through it.
async fn proxied(proxy_encrypts: bool) -> String {
    let ((acceptor, trust), (listener, port), (proxy, proxy_port)) = (identity(), listen().await, listen().await);
    let mut dialer = dialer(host("localhost", port), Some(trust));
    dialer.proxy =
        Some(Proxy { host: host("localhost", proxy_port), is_encrypted: proxy_encrypts, authorization: None });
    let client = async { talk(&mut dialer.dial().await.unwrap()).await };
    let server = async { say_back(&mut acceptor.accept(listener.accept().await.unwrap().0).await.unwrap()).await };
    let between = async {
        let (stream, _) = proxy.accept().await.unwrap();
        if proxy_encrypts {
            connect_through(acceptor.accept(stream).await.unwrap(), port).await
        } else {
            connect_through(stream, port).await
        }
    };
    let all = async { tokio::join!(client, server, between) };
    timeout(LIMIT, all).await.unwrap().2
}

async fn connect_through(mut client: impl AsyncRead + AsyncWrite + Unpin, port: u16) -> String {
    let mut asked = String::new();
    while !asked.ends_with("\r\n\r\n") {
        asked.push(char::from(client.read_u8().await.unwrap()));
    }
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
    client.flush().await.unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // Ends in an error where one side hangs up without a word, which is no matter here.
    let _ = copy_bidirectional(&mut client, &mut server).await;
    asked
}

#[tokio::test]
async fn an_encrypted_upstream_is_reached_through_a_proxy_encrypted_or_not() {
    for proxy_encrypts in [false, true] {
        let asked = proxied(proxy_encrypts).await;
        assert!(asked.starts_with("CONNECT localhost:"), "{asked}");
    }
}

#[test]
fn only_a_proxy_that_passes_requests_on_sees_where_they_go() {
    let (_, trust) = identity();
    let proxy = || {
        Some(Proxy {
            host: host("proxy.example", 1),
            is_encrypted: false,
            authorization: Some(HeaderValue::from_static("Basic x")),
        })
    };
    let direct = dialer(host("up.example", 80), None);
    let forwarded = Dialer { proxy: proxy(), ..dialer(host("up.example", 80), None) };
    let tunnelled = Dialer { proxy: proxy(), ..dialer(host("up.example", 443), Some(trust)) };
    for (dialer, prefix, authorization) in
        [(direct, "", None), (forwarded, "http://up.example:80", Some("Basic x")), (tunnelled, "", None)]
    {
        assert_eq!(dialer.target_prefix(), prefix);
        assert_eq!(dialer.proxy_authorization().map(|value| value.to_str().unwrap()), authorization);
    }
}
