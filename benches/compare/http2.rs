//! HTTP/2 to the upstream: what calls take that share one connection, beside a connection for each, by the same library and
//! over TLS. So it is seen whether the other protocol would be worth having.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Options;
use crate::comparison::{Comparison, Report, Unit};

/// Calls at a time.
const CALLERS: usize = 32;

/// How long one protocol is measured in one round.
const ROUND: Duration = Duration::from_secs(2);

const HTTP_1: &str = "HTTP/1.1, a connection each";
const HTTP_2: &str = "HTTP/2, one connection";

/// Bytes of a call, and of its answer.
const LENGTH: usize = 1_000;

pub(crate) async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let name = |figure: &str| format!("upstream over TLS, {CALLERS} calls at a time: {figure}");
    let mut answers = Comparison::new(name("answers"), Unit::PerSecond);
    let mut cpu = Comparison::new(name("CPU of the client per answer"), Unit::Microseconds);
    if !report.wants(answers.name()) && !report.wants(cpu.name()) {
        return Ok(());
    }
    for _ in 0..options.rounds {
        for protocol in [HTTP_1, HTTP_2] {
            // Client and upstream have a thread each, and this runtime is neither's.
            let (per_second, micros) = tokio::task::spawn_blocking(move || one_round(protocol)).await??;
            answers.note(protocol, per_second);
            cpu.note(protocol, micros);
        }
    }
    report.add(answers);
    report.add(cpu);
    Ok(())
}

/// Answers a second, and microseconds of the client's thread for each.
fn one_round(protocol: &'static str) -> anyhow::Result<(f64, f64)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let (upstream, address) = upstream(certificate.clone(), key)?;
    let client = Builder::new_current_thread().enable_all().build()?;
    let before = cpu_micros()?;
    let begin = Instant::now();
    let answers = client.block_on(ask_for_a_while(protocol, address, certificate, begin + ROUND))?;
    let (took, micros) = (begin.elapsed(), cpu_micros()? - before);
    upstream.shutdown_background();
    Ok((answers as f64 / took.as_secs_f64(), micros / answers as f64))
}

fn upstream(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> anyhow::Result<(Runtime, SocketAddr)> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(config));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            connections.spawn(async move {
                stream.set_nodelay(true)?;
                let stream = TokioIo::new(tls.accept(stream).await?);
                let served =
                    auto::Builder::new(TokioExecutor::new()).serve_connection(stream, service_fn(answer)).await;
                served.map_err(anyhow::Error::from_boxed)
            });
        }
    });
    Ok((runtime, address))
}

async fn answer(request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
    request.into_body().collect().await?;
    let mut answer = Response::builder().header("content-type", "application/json");
    for number in 0..14 {
        answer = answer.header(format!("anthropic-ratelimit-{number}"), "2026-11-22T12:00:00Z");
    }
    Ok(answer.body(Full::new(Bytes::from(vec![b'x'; LENGTH])))?)
}

async fn ask_for_a_while(
    protocol: &'static str,
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    end: Instant,
) -> anyhow::Result<u64> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if protocol == HTTP_2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let tls = TlsConnector::from(Arc::new(config));
    let (mut driving, mut callers) = (JoinSet::new(), JoinSet::new());
    if protocol == HTTP_2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), connect(&tls, address).await?).await?;
        driving.spawn(connection);
        for _ in 0..CALLERS {
            let mut sender = sender.clone();
            callers.spawn(async move {
                let mut answers = 0;
                while Instant::now() < end {
                    sender.send_request(call(address)?).await?.into_body().collect().await?;
                    answers += 1;
                }
                anyhow::Ok(answers)
            });
        }
    } else {
        for _ in 0..CALLERS {
            let (mut sender, connection) = http1::handshake(connect(&tls, address).await?).await?;
            driving.spawn(connection);
            callers.spawn(async move {
                let mut answers = 0;
                while Instant::now() < end {
                    sender.ready().await?;
                    sender.send_request(call(address)?).await?.into_body().collect().await?;
                    answers += 1;
                }
                anyhow::Ok(answers)
            });
        }
    }
    let mut answers = 0;
    while let Some(caller) = callers.join_next().await {
        answers += caller??;
    }
    Ok(answers)
}

async fn connect(tls: &TlsConnector, address: SocketAddr) -> anyhow::Result<TokioIo<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(tls.connect(ServerName::try_from("localhost")?, stream).await?))
}

fn call(address: SocketAddr) -> anyhow::Result<Request<Full<Bytes>>> {
    let call = Request::post(format!("https://localhost:{}/v1/messages", address.port()))
        .header("host", "localhost")
        .header("x-api-key", "sk-ant-api03-0123456789")
        .header("anthropic-version", "2023-06-01")
        .header("content-type", "application/json")
        .header("user-agent", "Anthropic/Python 2.12.0");
    Ok(call.body(Full::new(Bytes::from(vec![b'x'; LENGTH])))?)
}

/// How long the calling thread has run, in microseconds.
fn cpu_micros() -> anyhow::Result<f64> {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(schedule.split(' ').next().context("no figure")?.parse::<f64>()? / 1_000.0)
}
