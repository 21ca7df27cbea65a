//! `TestApp`: a whole Offpeak for one test, on free ports, with a store, a stand-in provider and a clock of its own.
//!
//! Workers look only when they are told to. Leaving a test checks the house ([`house`]); nothing needs to be called
//! for that.

mod client;
mod house;
mod journal;
mod storage;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use offpeak::app::{App, Workers};
use offpeak::clock::{Clock, Timestamp};
use offpeak::hold::Periods;
use offpeak::settings::{Settings, Sources};
use offpeak::simulator::{self, Books, Fault, Simulator};
use offpeak::store::{Store, StoreError};
use offpeak::workers::{Nudges, timetable};

pub(crate) use client::{Answer, Call, KEY, OTHER_KEY, body, client};
pub(crate) use house::{under_way, wrong};
pub(crate) use storage::{Engine, Storage};

use journal::Journal;

/// When every test begins.
const START: Timestamp = Timestamp::from_millis(1_795_350_000_000);

/// More looks than this at one time find no end.
const LOOKS_MAX: usize = 1_000;

/// How far the clock goes at a time while something is open: doubling between these.
const STEP_FIRST: Duration = Duration::from_secs(1);
const STEP_MAX: Duration = Duration::from_secs(10 * 60);

/// What is open after so many steps, about eight hours, does not end.
const STEPS_MAX: usize = 60;

/// Makes of each `async fn case(engine: Engine)` two tests, one on each engine.
macro_rules! on_both_engines {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $case() { super::$case($crate::it::app::Engine::Sqlite).await; })+
        }
        mod postgres {
            $(#[tokio::test] async fn $case() { super::$case($crate::it::app::Engine::Postgres).await; })+
        }
    };
}
pub(crate) use on_both_engines;

/// How an app under test is set up; batches are due at once and take no time, unless a test wants otherwise.
pub(crate) struct Setup {
    engine: Engine,
    environment: BTreeMap<String, String>,
    file: String,
    batch_time: Duration,
    periods: Periods,
    workers: Workers,
    threads: usize,
}

impl Setup {
    /// The usual one.
    pub(crate) fn on(engine: Engine) -> Self {
        let (environment, file, workers, periods) =
            (BTreeMap::new(), String::new(), Workers::ByHand, Periods::default());
        let usual = Self { engine, environment, file, batch_time: Duration::ZERO, workers, threads: 0, periods };
        usual.set("gateway.listen", "127.0.0.1:0").set("admin.listen", "127.0.0.1:0").set("batch.linger", "0")
    }

    /// Sets `section.key`.
    pub(crate) fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.insert(variable(key), value.into());
        self
    }

    /// Reads these sections too.
    pub(crate) fn file(self, file: &str) -> Self {
        Self { file: file.to_owned(), ..self }
    }

    /// Batches take so long, by the test's clock.
    pub(crate) fn batch_time(self, batch_time: Duration) -> Self {
        Self { batch_time, ..self }
    }

    /// Held connections are silent for other times than usual.
    pub(crate) fn periods(self, periods: Periods) -> Self {
        Self { periods, ..self }
    }

    /// Time is that of the machine, and workers look by themselves.
    pub(crate) fn running(self) -> Self {
        Self { workers: Workers::Running, ..self }
    }

    /// The gateway has threads of its own, as in production.
    pub(crate) fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    pub(crate) async fn start(self) -> TestApp {
        let journal = Journal::open();
        let clock = if self.workers == Workers::Running { Clock::system() } else { Clock::manual(START) };
        let settings = simulator::Settings { batch_time: self.batch_time, ..simulator::Settings::default() };
        let simulator = Simulator::start(settings, clock.clone()).await.unwrap();
        let storage = Storage::new(self.engine).await;

        let file = storage.folder().join("test.toml");
        std::fs::write(&file, &self.file).unwrap();
        let mut environment = self.environment;
        environment.entry(variable("upstream.url")).or_insert_with(|| simulator.url());
        environment.extend(storage.settings().map(|(key, value)| (variable(key), value)));
        let sources = Sources { file: Some(file), environment };
        let mut settings = Settings::load(&sources).unwrap().settings;
        settings.gateway.threads = self.threads;
        settings.hold.periods = self.periods;
        // How fast the machine is must not matter here.
        settings.inventory.time_permille = 1_000;
        let app = App::start(settings.clone(), clock.clone(), self.workers).await.unwrap();
        TestApp {
            app: Some(app),
            settings,
            sources,
            simulator,
            storage,
            clock,
            journal,
            http: client(),
            faulty: Cell::new(false),
        }
    }
}

/// The environment variable of `section.key`.
pub(crate) fn variable(key: &str) -> String {
    format!("OFFPEAK__{}", key.replace('.', "__").to_uppercase())
}

/// A running app, and all that surrounds it.
pub(crate) struct TestApp {
    /// Taken while it restarts.
    app: Option<App>,
    settings: Settings,
    sources: Sources,
    simulator: Simulator,
    storage: Storage,
    pub(crate) clock: Clock,
    journal: Journal,
    http: reqwest::Client,
    /// Whether the provider does not behave as usual: then a call may be submitted more than once, or refused.
    faulty: Cell<bool>,
}

impl TestApp {
    /// One in the usual setup.
    pub(crate) async fn start(engine: Engine) -> Self {
        Setup::on(engine).start().await
    }

    /// Every worker looks until none has anything to do at this time.
    pub(crate) async fn settle(&self) {
        self.try_settle().await.unwrap();
    }

    /// The same where one may fail.
    pub(crate) async fn try_settle(&self) -> Result<(), StoreError> {
        self.let_look(|_| true).await
    }

    /// Only those workers look by whom calls get into batches and home again; many runs take less time so.
    pub(crate) async fn settle_batches(&self) {
        self.let_look(|name| ["flush", "submit-1", "poll", "ingest-1"].contains(&name)).await.unwrap();
    }

    async fn let_look(&self, wanted: fn(&str) -> bool) -> Result<(), StoreError> {
        let mut workers = timetable(&self.app().crew, &Nudges::default(), Duration::ZERO);
        workers.retain(|worker| wanted(worker.name));
        for _ in 0..LOOKS_MAX {
            let mut has_more = false;
            for worker in &workers {
                has_more |= (worker.task)().await?;
            }
            self.app().crew.deliver.idle().await;
            if !has_more {
                return Ok(());
            }
        }
        panic!("the workers find no end");
    }

    /// Time goes on, with the workers looking, until every deferral is final and every batch done.
    pub(crate) async fn finish(&self) {
        let mut step = STEP_FIRST;
        for _ in 0..STEPS_MAX {
            self.settle().await;
            if self.storage.count(house::UNDER_WAY).await == 0 {
                return;
            }
            self.clock.advance(step);
            step = (2 * step).min(STEP_MAX);
        }
        panic!("something does not end: {:?}", house::faults(&self.storage, None).await);
    }

    /// Ends the app in good order and starts it again on the same store; it has other ports then.
    pub(crate) async fn restart(&mut self) {
        if let Some(app) = self.app.take() {
            app.drain(Duration::ZERO).await;
        }
        let app = App::start(self.settings.clone(), self.clock.clone(), Workers::ByHand).await.unwrap();
        self.app = Some(app);
    }

    /// Has it read its settings again: the usual ones with these, and this file.
    pub(crate) fn reload(&self, changes: &[(&str, &str)], file: &str) {
        let mut sources = self.sources.clone();
        std::fs::write(sources.file.as_ref().unwrap(), file).unwrap();
        sources.environment.extend(changes.iter().map(|(key, value)| (variable(key), (*value).to_owned())));
        self.app().reload(&Settings::load(&sources).unwrap().settings);
    }

    /// Lets the provider misbehave.
    pub(crate) fn inject(&self, fault: Fault) {
        self.leave_books_unchecked();
        self.simulator.inject(fault);
    }

    /// In this test the provider's books need not agree with ours.
    pub(crate) fn leave_books_unchecked(&self) {
        self.faulty.set(true);
    }

    /// What has reached the provider.
    pub(crate) fn books(&self) -> Books {
        self.simulator.books()
    }

    /// The stand-in provider itself.
    pub(crate) fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// The app's own store.
    pub(crate) fn store(&self) -> &Store {
        &self.app().store
    }

    /// The store behind the app's back.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// This test makes the app log errors.
    pub(crate) fn expect_errors(&self) {
        self.journal.forgive();
    }

    /// What it has warned of.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.journal.warnings()
    }

    /// What it has told besides.
    pub(crate) fn news(&self) -> Vec<String> {
        self.journal.news()
    }

    /// What wakes its workers, where they run by themselves.
    pub(crate) fn nudges(&self) -> &Nudges {
        &self.app().nudges
    }

    /// Where callers connect.
    pub(crate) fn gateway(&self) -> SocketAddr {
        self.app().gateway
    }

    /// Where operators connect.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.app().admin
    }

    fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let books = (!self.faulty.get()).then(|| self.simulator.books());
        let mut faults = house::faults_blocking(&self.storage, books.as_ref());
        faults.extend(self.journal.errors());
        assert!(faults.is_empty(), "the house is not in order:\n{}", faults.join("\n"));
    }
}
