//! The whole: puts the parts together, starts them from the bottom up, and drains them from the top down.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::announce::Announce;
use crate::clock::Clock;
use crate::deliver::{Deliver, SigningKey};
use crate::domain::budget::Budgets;
use crate::domain::price::Prices;
use crate::egress::Egress;
use crate::flush::Flush;
use crate::health::Health;
use crate::hold::Hold;
use crate::http::threads::{self, Ends};
use crate::http::{AdminSettings, Gateway, Rooms, admin_routes, listen};
use crate::ingest::Ingest;
use crate::intake::{self, Intake, Refused};
use crate::inventory::{self, Assessor, Inventory, Who};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::poll::Poll;
use crate::provider::{ModelKnowledge, Provider};
use crate::rescue::Rescue;
use crate::retain::Retain;
use crate::savings::{Savings, Spending};
use crate::secret::Vault;
use crate::settings::{Faults, Settings};
use crate::store::{self, Departures, Store};
use crate::telemetry::chain;
use crate::workers::{Crew, Nudges, Supervisor, Worker, task, timetable};

/// How long running streams may go on once the process is asked to end.
pub const DRAIN_GRACE: Duration = Duration::from_secs(30);

/// A store that cannot be migrated at start is tried again this often.
const MIGRATE_EVERY: Duration = Duration::from_secs(2);

/// Whether workers work by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// They look by themselves.
    Running,
    /// Whoever started the app runs them by hand.
    ByHand,
}

/// A running gateway.
pub struct App {
    /// Where callers are served.
    pub gateway: SocketAddr,
    /// Where operators are served.
    pub admin: SocketAddr,
    /// What the workers work with, for running them by hand.
    pub crew: Crew,
    /// What wakes them.
    pub nudges: Nudges,
    /// What is durable.
    pub store: Store,
    rooms: Rooms,
    egress: Egress,
    prices: Prices,
    budgets: Budgets,
    supervisor: Supervisor,
    drain: CancellationToken,
    doors: TaskTracker,
    /// Lets the gateway's threads go, in the end.
    over: DropGuard,
}

impl App {
    /// Starts all parts.
    ///
    /// # Errors
    /// If a part cannot start; then nothing serves.
    pub async fn start(settings: Settings, clock: Clock, workers: Workers) -> anyhow::Result<Self> {
        let master_key = settings.store.master_key.open().context("opening store.master_key")?;
        let vault = Vault::new(&master_key);
        let store = open_store(settings.store, vault.clone()).await?;
        let provider = Provider::new(&settings.upstream)?;
        let live = Live::new(&settings.upstream, settings.gateway.public_url.as_ref())?;
        let prices = Prices::new(settings.prices.table.clone());
        let budgets = Budgets::new(&settings.budgets);
        let (health, nudges, metrics) = (Health::new(clock.clone()), Nudges::default(), Metrics::default());
        let departures = Departures::new(store.clone(), clock.clone(), nudges.departures.clone());
        let egress = Egress::new(settings.egress, clock.clone());

        let gateway_doors = bind(settings.gateway.listen, "gateway.listen", settings.gateway.threads)?;
        let admin_door = bind(settings.admin.listen, "admin.listen", 1)?;

        let models = ModelKnowledge::new(provider.clone(), clock.clone());
        let parts = intake::Parts {
            store: store.clone(),
            models,
            vault: vault.clone(),
            clock: clock.clone(),
            egress: egress.clone(),
            departures: departures.clone(),
            budgets: budgets.clone(),
        };
        let intake = Intake::new(parts, settings.intake);
        let callers = intake.clone();
        let inventory = inventory::Parts {
            store: store.clone(),
            clock: clock.clone(),
            vault: vault.clone(),
            prices: prices.clone(),
            metrics: metrics.clone(),
            ask_who: Arc::new(move |headers| {
                let caller = callers.caller(headers)?;
                let blocked_by = caller.is_login().then_some("credential");
                Some(Who { tenant: caller.tenant, blocked_by })
            }),
            spent: nudges.settled.spending.clone(),
        };

        let patience = settings.flush.linger.min(settings.poll.min);
        let crew = Crew {
            flush: Flush::new(
                store.clone(),
                provider.clone(),
                clock.clone(),
                settings.flush.clone(),
                prices.clone(),
                nudges.built.clone(),
                nudges.settled.clone(),
            ),
            poll: Poll::new(store.clone(), provider.clone(), clock.clone(), settings.poll, nudges.ended.clone()),
            ingest: Ingest::new(
                store.clone(),
                provider.clone(),
                clock.clone(),
                settings.ingest,
                prices.clone(),
                nudges.settled.clone(),
            ),
            rescue: Rescue::new(
                store.clone(),
                provider.clone(),
                clock.clone(),
                settings.rescue,
                prices.clone(),
                nudges.settled.clone(),
                nudges.rescue.clone(),
            ),
            hold: Hold::new(store.clone(), settings.hold, metrics.clone(), Handle::current()),
            departures: departures.clone(),
            announce: Announce::new(store.clone(), clock.clone(), nudges.settled.deliver.clone()),
            deliver: Deliver::new(
                store.clone(),
                clock.clone(),
                egress.clone(),
                metrics.clone(),
                SigningKey::of(vault.webhook_key()),
                settings.deliver,
                nudges.settled.deliver.clone(),
            )?,
            assessor: Assessor::new(store.clone(), clock.clone(), inventory.prices.clone(), settings.inventory.enabled),
            inventory: Inventory::new(inventory, settings.inventory),
            retain: Retain::new(store.clone(), clock.clone(), settings.retain),
            spending: Spending::new(store.clone(), clock.clone(), budgets.clone()),
        };
        let rooms = Rooms {
            live,
            intake,
            store: store.clone(),
            budgets: budgets.clone(),
            savings: Savings::new(store.clone(), clock.clone(), prices.clone()),
            clock,
            hold: crew.hold.clone(),
            settled: nudges.settled.clone(),
            flush: nudges.flush.clone(),
            rescue: crew.rescue.clone(),
            recorder: crew.inventory.recorder(),
            assessor: crew.assessor.clone(),
            health: health.clone(),
            metrics,
            admin_token: settings.admin.token.clone(),
        };

        let app = Self {
            gateway: address(&gateway_doors)?,
            admin: address(&admin_door)?,
            crew,
            nudges,
            store,
            rooms,
            egress,
            prices,
            budgets,
            supervisor: Supervisor::new(health),
            drain: CancellationToken::new(),
            doors: TaskTracker::new(),
            over: CancellationToken::new().drop_guard(),
        };
        app.start_workers(workers, patience).await?;
        app.open_gateway(gateway_doors, settings.gateway.threads).await?;
        app.open_admin(admin_door, &settings.admin)?;
        Ok(app)
    }

    /// Takes over what may change while the gateway runs: the policy, the keys that it issues, where webhooks may go, and
    /// what the provider charges.
    pub fn reload(&self, settings: &Settings) {
        self.rooms.intake.policy().replace(settings.intake.rules.clone());
        self.rooms.intake.replace_keys(&settings.intake.keys);
        self.rooms.intake.replace_receivers(&settings.intake.receivers);
        self.egress.replace(&settings.egress);
        self.prices.replace(settings.prices.table.clone());
        self.budgets.replace(&settings.budgets);
        if let Err(error) = self.crew.deliver.replace(&settings.deliver) {
            tracing::error!(error = %chain(&error), "webhooks go on under the settings of before");
        }
    }

    /// Settings were read again that have these faults: nothing changes, and the operator is told.
    pub fn refuse(&self, faults: &Faults) {
        let faults = faults.as_slice().iter().map(ToString::to_string).collect();
        self.rooms.intake.policy().refuse(Refused { at: self.rooms.clock.now(), faults });
    }

    /// Stops accepting, lets go of held callers, lets streams end within the grace and workers their bite, and closes the
    /// store.
    pub async fn drain(self, grace: Duration) {
        self.drain.cancel();
        self.rooms.hold.let_go();
        self.doors.close();
        // The doors cut what is left after the grace themselves.
        let _ = tokio::time::timeout(grace + Duration::from_secs(1), self.doors.wait()).await;
        self.rooms.intake.drain().await;
        self.supervisor.drain().await;
        self.crew.deliver.drain().await;
        self.crew.inventory.finish().await;
        // Those who were cut off will try elsewhere. Where the store is gone a retry attaches to one of them all the same.
        while self.crew.departures.write().await.unwrap_or(false) {}
        self.store.close().await;
    }

    async fn start_workers(&self, workers: Workers, patience: Duration) -> anyhow::Result<()> {
        if workers == Workers::ByHand {
            return Ok(self.store.migrate().await?);
        }
        let timetable = timetable(&self.crew, &self.nudges, patience);
        // A store that is down must not keep live calls waiting: the rest begins when it comes.
        if self.store.migrate().await.is_ok() {
            timetable.into_iter().for_each(|worker| self.supervisor.start(worker));
            return Ok(());
        }
        tracing::error!("the store does not take its migrations: live calls are served, nothing is queued");
        self.supervisor.start(self.migrating(timetable));
        Ok(())
    }

    /// A worker that applies the migrations as soon as the store takes them, and then starts the others.
    fn migrating(&self, timetable: Vec<Worker>) -> Worker {
        let waiting = Arc::new(std::sync::Mutex::new(Some(timetable)));
        let (store, supervisor) = (self.store.clone(), self.supervisor.clone());
        let migrate = task(move || {
            let (store, supervisor, waiting) = (store.clone(), supervisor.clone(), waiting.clone());
            async move {
                let others = || waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                if store.migrate().await.is_ok() {
                    others().into_iter().flatten().for_each(|worker| supervisor.start(worker));
                }
                Ok(false)
            }
        });
        let limit = Duration::from_secs(10 * 60);
        let nudge = crate::nudge::Nudge::default();
        Worker { name: "migrate", period: MIGRATE_EVERY, limit, nudge, rest: 0, task: migrate }
    }

    async fn open_gateway(&self, listeners: Vec<StdListener>, threads: usize) -> anyhow::Result<()> {
        for listener in listeners {
            if threads == 0 {
                let door = Gateway::here(self.rooms.clone());
                let listener = TcpListener::from_std(listener)?;
                self.doors.spawn(listen::serve(listener, move |_| door.clone(), self.drain.clone(), DRAIN_GRACE));
                continue;
            }
            let ends = Ends {
                drain: self.drain.clone(),
                grace: DRAIN_GRACE,
                over: self.over.token().clone(),
                serving: self.doors.token(),
            };
            threads::serve(listener, self.rooms.clone(), ends).await.context("cannot start a thread of the gateway")?;
        }
        Ok(())
    }

    fn open_admin(&self, listeners: Vec<StdListener>, settings: &AdminSettings) -> anyhow::Result<()> {
        let routes = admin_routes(self.rooms.clone(), settings);
        for listener in listeners {
            let (listener, routes) = (TcpListener::from_std(listener)?, routes.clone());
            let service = move |_| TowerToHyperService::new(routes.clone());
            self.doors.spawn(listen::serve(listener, service, self.drain.clone(), DRAIN_GRACE));
        }
        Ok(())
    }
}

/// Opens the store from a thread of the runtime: the threads that an SQLite file has of its own stand back as that one does,
/// which the thread that starts the gateway must not.
async fn open_store(settings: store::Settings, vault: Vault) -> anyhow::Result<Store> {
    let mut opening = JoinSet::new();
    opening.spawn(async move { Store::open(&settings, vault).await });
    let opened = opening.join_next().await.context("the store was not opened")?;
    Ok(opened.context("opening the store")??)
}

fn bind(address: SocketAddr, key: &str, count: usize) -> anyhow::Result<Vec<StdListener>> {
    let cannot = || {
        let variable = key.replace('.', "__").to_ascii_uppercase();
        format!("{key} = {address} cannot be listened on (OFFPEAK__{variable} sets another)")
    };
    threads::bind(address, count).with_context(cannot)
}

/// Where listeners that share an address are.
fn address(listeners: &[StdListener]) -> anyhow::Result<SocketAddr> {
    Ok(listeners.first().context("there is no listener")?.local_addr()?)
}
