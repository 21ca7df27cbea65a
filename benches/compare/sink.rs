//! The sink: a provider that takes no time. It swallows creates, has ended every batch, and streams prepared results. A
//! live call is answered event by event, from a thread that nothing else keeps busy.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use offpeak::domain::id::DeferralId;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::calls::Texts;
use crate::live::{EVENTS, PAUSE, event, make_urgent};

/// Results in one write: about as much as arrives at a time from afar.
const LINES_AT_ONCE: usize = 32;

/// A running sink; it stops when it is dropped.
pub(crate) struct Sink {
    url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
    _streaming: oneshot::Sender<()>,
}

struct Shared {
    texts: Arc<Texts>,
    batches: Mutex<HashMap<String, Arc<Vec<DeferralId>>>>,
    made: Mutex<u32>,
}

impl Sink {
    pub(crate) async fn start(texts: Arc<Texts>) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared { texts, batches: Mutex::default(), made: Mutex::default() });
        let mut serving = JoinSet::new();
        let (pass_on, passed_on) = mpsc::unbounded_channel();
        let (streaming, is_over) = oneshot::channel();
        thread::Builder::new()
            .name("streams".to_owned())
            .spawn(move || stream_live_calls(listener, pass_on, is_over))?;
        serving.spawn(serve(passed_on, Arc::clone(&shared)));
        Ok(Self { url, shared, _serving: serving, _streaming: streaming })
    }

    /// What to use as the provider's base URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Says whose results a batch has.
    pub(crate) fn set_members(&self, batch: String, members: Vec<DeferralId>) {
        let mut batches = self.shared.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.insert(batch, Arc::new(members));
    }
}

/// Takes connections until it is over: serves those of live calls, and passes on the others. The gateway keeps them apart.
fn stream_live_calls(
    listener: std::net::TcpListener,
    pass_on: mpsc::UnboundedSender<std::net::TcpStream>,
    is_over: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    // What it is late by would be taken for the gateway's.
    make_urgent();
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let accept = async {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let pass_on = pass_on.clone();
                connections.spawn(async move {
                    if is_live(&socket).await {
                        let service = async |_| Ok::<_, Infallible>(Response::new(paced()));
                        connection(socket, service_fn(service)).await;
                    } else if let Ok(socket) = socket.into_std() {
                        let _ = pass_on.send(socket);
                    }
                });
            }
        };
        tokio::select! {
            () = accept => {}
            _ = is_over => {}
        }
        Ok(())
    })
}

/// Whether a live call comes on it.
async fn is_live(socket: &TcpStream) -> bool {
    const CALL: &[u8] = b"POST /v1/messages";
    let mut head = [0; CALL.len() + 1];
    // What is shorter has not come whole.
    while let Ok(length @ 1..) = socket.peek(&mut head).await {
        if length == head.len() {
            return head.starts_with(CALL) && !head.ends_with(b"/");
        }
        tokio::task::yield_now().await;
    }
    false
}

async fn serve(mut sockets: mpsc::UnboundedReceiver<std::net::TcpStream>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(socket) = sockets.recv() => if let Ok(socket) = TcpStream::from_std(socket) {
                let shared = Arc::clone(&shared);
                connections.spawn(connection(socket, service_fn(move |request| answer(Arc::clone(&shared), request))));
            },
            Some(_) = connections.join_next() => {}
            else => return,
        }
    }
}

/// Serves a connection until its client goes away.
async fn connection<S>(socket: TcpStream, service: S)
where
    S: Service<Request<Incoming>, Response = Answer, Error: std::error::Error + Send + Sync + 'static>,
{
    let _ = socket.set_nodelay(true);
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let path = request.uri().path().trim_start_matches("/v1/messages/batches").trim_start_matches('/').to_owned();
    if request.method() == Method::POST {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        let mut made = shared.made.lock().unwrap_or_else(PoisonError::into_inner);
        *made += 1;
        return Ok(Response::new(batch(&format!("msgbatch_{made}"), "in_progress")));
    }
    match path.strip_suffix("/results") {
        None => Ok(Response::new(batch(&path, "ended"))),
        Some(id) => {
            let batches = shared.batches.lock().unwrap_or_else(PoisonError::into_inner);
            let members = batches.get(id).cloned().unwrap_or_default();
            let texts = Arc::clone(&shared.texts);
            let chunks = (0..members.len().div_ceil(LINES_AT_ONCE)).map(move |chunk| {
                let begin = chunk * LINES_AT_ONCE;
                let end = members.len().min(begin + LINES_AT_ONCE);
                Ok(Frame::data(lines(&texts, begin, &members[begin..end])))
            });
            Ok(Response::new(StreamBody::new(stream::iter(chunks)).boxed_unsync()))
        }
    }
}

fn paced() -> UnsyncBoxBody<Bytes, Infallible> {
    let events = stream::unfold(interval(PAUSE), async |mut pause| {
        pause.tick().await;
        Some((Ok(Frame::data(Bytes::from(event()))), pause))
    });
    StreamBody::new(events.take(EVENTS)).boxed_unsync()
}

fn batch(id: &str, status: &str) -> UnsyncBoxBody<Bytes, Infallible> {
    let text = format!(r#"{{"id":"{id}","type":"message_batch","processing_status":"{status}"}}"#);
    Full::new(Bytes::from(text)).boxed_unsync()
}

/// Lines of results for some members.
pub(crate) fn lines(texts: &Texts, first: usize, members: &[DeferralId]) -> Bytes {
    let mut out = BytesMut::with_capacity(members.len() * 2_200);
    for (index, id) in members.iter().enumerate() {
        out.extend_from_slice(format!(r#"{{"custom_id":"{id}","result":{{"type":"succeeded","message":"#).as_bytes());
        out.extend_from_slice(texts.answer(first + index).as_bytes());
        out.extend_from_slice(b"}}\n");
    }
    out.freeze()
}
