//! The stage: a simulator, a store and a receiver of webhooks that survive every replica, callers who do not give up, and
//! the reckoning.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use offpeak::clock::Clock;
use offpeak::simulator::{self, Books, Simulator};
use uuid::Uuid;

use super::replica::{Doors, Replica};
use crate::it::app::{Answer, Call, Engine, KEY, Storage, body, client, under_way, variable, wrong};
use crate::it::webhooks::{Got, Receiver};

/// What takes longer does not happen. A webhook that died with its replica is taken up when it cannot be under way any
/// more, which alone takes a quarter of this.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// Waits for a condition.
pub(super) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| panic!("it does not come to pass that {what}"))
}

/// All that surrounds the replicas.
pub(super) struct Stage {
    pub(super) simulator: Simulator,
    pub(super) storage: Storage,
    /// Where all callers want their webhooks.
    pub(super) receiver: Receiver,
    environment: BTreeMap<String, String>,
    http: reqwest::Client,
    /// Where replicas were last seen to serve.
    doors: Mutex<Vec<Doors>>,
}

impl Stage {
    /// Everything is due at once, and whoever is silent for a second counts as dead.
    pub(super) async fn set(engine: Engine, settings: &[(&str, &str)]) -> Self {
        Self::on(Storage::new(engine).await, settings).await
    }

    pub(super) async fn on(storage: Storage, settings: &[(&str, &str)]) -> Self {
        Self::at(storage, Clock::system(), settings).await
    }

    /// With a clock of its own for the provider.
    pub(super) async fn at(storage: Storage, provider: Clock, settings: &[(&str, &str)]) -> Self {
        let simulator = Simulator::start(simulator::Settings::default(), provider).await.unwrap();
        let usual = [
            ("gateway.listen", "127.0.0.1:0"),
            ("admin.listen", "127.0.0.1:0"),
            ("upstream.url", &simulator.url()),
            ("batch.linger", "50ms"),
            ("batch.poll_min", "50ms"),
            ("batch.poll_max", "200ms"),
            ("batch.reconcile_wait", "1s"),
            ("batch.lease", "1s"),
            ("webhooks.allow_hosts", "127.0.0.1"),
        ]
        .map(|(key, value)| (variable(key), value.to_owned()));
        let mut environment = BTreeMap::from(usual);
        environment.extend(storage.settings().map(|(key, value)| (variable(key), value)));
        environment.extend(settings.iter().map(|(key, value)| (variable(key), (*value).to_owned())));
        let receiver = Receiver::start().await;
        Self { simulator, storage, receiver, environment, http: client(), doors: Mutex::default() }
    }

    /// Starts a replica that serves.
    pub(super) async fn start(&self) -> Replica {
        let mut replica = Replica::spawn(&self.environment);
        assert!(replica.serving().await.is_some(), "it does not start");
        self.open_door(&replica);
        replica
    }

    /// Every replica from now on reads this file of settings too.
    pub(super) fn configure(&mut self, file: &str) {
        let path = self.storage.folder().join("offpeak.toml");
        std::fs::write(&path, file).unwrap();
        self.environment.insert("OFFPEAK_CONFIG".to_owned(), path.display().to_string());
    }

    /// Starts a replica that dies at this point; perhaps before it serves.
    pub(super) async fn start_armed(&self, point: &str) -> Replica {
        let mut environment = self.environment.clone();
        environment.insert("OFFPEAK_CRASH_AT".to_owned(), point.to_owned());
        let mut replica = Replica::spawn(&environment);
        replica.serving().await;
        self.open_door(&replica);
        replica
    }

    fn open_door(&self, replica: &Replica) {
        self.doors.lock().unwrap().extend(replica.doors());
    }

    /// Callers need not try this one any more.
    pub(super) fn close_door(&self, replica: &Replica) {
        self.doors.lock().unwrap().retain(|doors| Some(*doors) != replica.doors());
    }

    /// Calls by callers who repeat them until they have their tickets, as the SDKs do.
    pub(super) async fn tickets(&self, calls: std::ops::Range<usize>, defer: &str) -> Vec<String> {
        self.tagged(calls, &[("x-defer", defer)]).await
    }

    /// The same, with these tags.
    pub(super) async fn tagged(&self, calls: std::ops::Range<usize>, tags: &[(&str, &str)]) -> Vec<String> {
        self.asked(calls.map(|number| body(&format!("call {number}"))), tags).await
    }

    /// The same, with these bodies.
    pub(super) async fn asked(&self, bodies: impl Iterator<Item = String>, tags: &[(&str, &str)]) -> Vec<String> {
        join_all(bodies.map(|prompt| async move {
            let mut tries = 0;
            let ticket = self
                .insist(|call| {
                    let call = call(Method::POST, "/v1/messages").body(prompt.clone());
                    let call = tags.iter().fold(call, |call, (name, value)| call.header(name, value));
                    let call = call.header("x-defer-callback", self.receiver.url("/"));
                    let call = if tries > 0 { call.header("x-stainless-retry-count", tries.to_string()) } else { call };
                    tries += 1;
                    call
                })
                .await;
            ticket.id()
        }))
        .await
    }

    /// A request of a caller that is repeated until a replica answers it.
    pub(super) async fn insist(&self, mut write: impl FnMut(&dyn Fn(Method, &str) -> Call) -> Call) -> Answer {
        self.repeat(|doors| {
            write(&|method, path: &str| {
                Call::new(&self.http, method, doors.gateway, path)
                    .header("x-api-key", KEY)
                    .header("anthropic-version", "2023-06-01")
            })
        })
        .await
    }

    /// The same of an operator.
    pub(super) async fn operate(&self, method: Method, path: &str) -> Answer {
        self.repeat(|doors| Call::new(&self.http, method.clone(), doors.admin, path)).await
    }

    async fn repeat(&self, mut write: impl FnMut(Doors) -> Call) -> Answer {
        let mut turn = 0;
        until("a request is answered", async || {
            turn += 1;
            let sent = write(self.doors(turn)?).try_send().await;
            sent.ok().filter(|answer| answer.status < 500)
        })
        .await
    }

    /// The doors of one of the replicas, which may lead nowhere by now.
    fn doors(&self, turn: usize) -> Option<Doors> {
        let doors = self.doors.lock().unwrap();
        doors.get(turn % doors.len().max(1)).copied()
    }

    /// Where callers come in, at one of the replicas.
    pub(super) fn door(&self, turn: usize) -> Option<SocketAddr> {
        self.doors(turn).map(|doors| doors.gateway)
    }

    pub(super) fn call(&self, door: SocketAddr, method: Method, path: &str) -> Call {
        let call = Call::new(&self.http, method, door, path);
        call.header("x-api-key", KEY).header("anthropic-version", "2023-06-01")
    }

    /// Waits until nothing is under way, and says what is not in order then: whoever has a ticket has a result and was
    /// told so, and by the simulator's books nothing was submitted twice.
    pub(super) async fn reckon(&self, tickets: &[String]) -> Vec<String> {
        until("nothing is under way", async || {
            // A call that its caller asks for again in the instant of a claim is left out of the batch, and nobody comes to
            // fill another one.
            let queued = "select count(*) from deferral where state = 'queued'";
            if self.storage.count(queued).await > 0 {
                self.operate(Method::POST, "/api/flush").await.expect(202);
            }
            (under_way(&self.storage).await == 0).then_some(())
        })
        .await;
        let due = "select count(*) from delivery where state = 'due'";
        until("all webhooks are taken", async || (self.storage.count(due).await == 0).then_some(())).await;
        let mut faults = wrong(&self.storage).await;
        let submitted = self.submitted();
        let durable = self.storage.numbers("select id, cast(attempts as bigint) from deferral").await;
        for (id, _) in &durable {
            match submitted.get(id) {
                None | Some(1) => {}
                Some(times) => faults.push(format!("{id} was submitted {times} times")),
            }
        }
        for ticket in tickets {
            if !durable.iter().any(|(id, _)| *ticket == shown(id)) {
                faults.push(format!("{ticket} is lost"));
                continue;
            }
            let answer = self.insist(|call| call(Method::GET, &format!("/deferred/{ticket}/message"))).await;
            if answer.status == 202 {
                faults.push(format!("{ticket} has no result"));
            }
            match self.told(ticket).as_slice() {
                [] => faults.push(format!("nobody was told of {ticket}")),
                [first, more @ ..] if more.iter().any(|other| other.body != first.body) => {
                    faults.push(format!("what was told of {ticket} is not the same each time"));
                }
                _ => {}
            }
        }
        faults
    }

    /// What the receiver was told of a deferral: the id is the same each time.
    pub(super) fn told(&self, ticket: &str) -> Vec<Got> {
        let id = ticket.replacen("dfr_", "dlv_", 1);
        self.receiver.got().into_iter().filter(|got| got.header("webhook-id") == id).collect()
    }

    /// In how many batches that were made each deferral is.
    pub(super) fn submitted(&self) -> HashMap<Uuid, usize> {
        submitted(&self.simulator.books())
    }

    /// A batch of somebody else in the same workspace.
    pub(super) async fn foreign_batch(&self, items: usize) {
        let call = Call::new(&self.http, Method::POST, self.simulator.addr(), "/v1/messages/batches")
            .header("x-api-key", KEY)
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json");
        call.body(foreign_batch(items)).send().await.expect(200);
    }
}

/// In how many of the batches that were made each deferral is.
pub(super) fn submitted(books: &Books) -> HashMap<Uuid, usize> {
    let mut submitted = HashMap::new();
    for item in books.items() {
        if let Some(id) = item.custom_id.strip_prefix("dfr_") {
            *submitted.entry(id.parse().unwrap()).or_default() += 1;
        }
    }
    submitted
}

/// The body that creates a batch of somebody else's.
pub(super) fn foreign_batch(items: usize) -> String {
    let item = |n| format!(r#"{{"custom_id":"foreign-{n}","params":{}}}"#, body("not ours"));
    let items: Vec<String> = (0..items).map(item).collect();
    format!(r#"{{"requests":[{}]}}"#, items.join(","))
}

fn shown(id: &Uuid) -> String {
    format!("dfr_{}", id.simple())
}
