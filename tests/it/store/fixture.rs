//! A store on a fresh database of either engine, with calls and batches to try it on.

use std::any::Any;
use std::time::Duration;

use futures_util::future::join_all;
use offpeak::clock::Timestamp;
use offpeak::domain::batch::BatchState;
use offpeak::domain::body::Item;
use offpeak::domain::deferral::{Answer, Deferral, State};
use offpeak::domain::id::{BatchId, DeferralId};
use offpeak::domain::lane::{Credential, CredentialHeader, Lane};
use offpeak::domain::ledger::Bill;
use offpeak::domain::money::NanoUsd;
use offpeak::domain::price::Price;
use offpeak::domain::usage::{Billed, Pass, Tokens, Usage};
use offpeak::secret::{KeySource, MasterKey, Secret, Vault};
use offpeak::store::{
    Accepted, ClaimedBatch, LaneId, Limits, Location, NewDeferral, Scope, Settings, Settlement, Store, Verdict,
};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use tempfile::TempDir;
use uuid::Uuid;

use crate::it::postgres::{self, TestDatabase};

/// When each test begins.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// Limits that no test meets by chance.
pub(super) const AMPLE: Limits = Limits { requests: 1_000, bytes: 1_000_000, bytes_per_item: 0 };

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A migrated store, and a way to its database past it.
pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) raw: Raw,
    settings: Settings,
    /// What goes when the test ends.
    _place: Box<dyn Any>,
}

impl Fixture {
    pub(super) async fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let location = Location::Sqlite(folder.path().join("offpeak.db"));
        Self::open(location, Box::new(folder)).await
    }

    pub(super) async fn postgres() -> Self {
        Self::at(postgres::database().await).await
    }

    pub(super) async fn at(database: TestDatabase) -> Self {
        Self::open(Location::Postgres(database.url()), Box::new(database)).await
    }

    async fn open(url: Location, place: Box<dyn Any>) -> Self {
        let settings = Settings { url, master_key: KeySource::Given(key()), encrypt_bodies: false };
        let store = Store::open(&settings, vault()).await.unwrap();
        store.migrate().await.unwrap();
        let raw = Raw::open(&settings.url).await;
        Self { store, raw, settings, _place: place }
    }

    /// The store of another replica; SQLite has one process only, and a clone stands for another worker in it.
    pub(super) async fn replica(&self) -> Store {
        match &self.settings.url {
            Location::Sqlite(_) => self.store.clone(),
            Location::Postgres(_) => Store::open(&self.settings, vault()).await.unwrap(),
        }
    }

    /// The same database opened again, after a restart with other settings or another master key.
    pub(super) async fn reopened(self, encrypt_bodies: bool, vault: Vault) -> Self {
        let Self { store, raw, settings, _place } = self;
        store.close().await;
        drop(store);
        let settings = Settings { encrypt_bodies, ..settings };
        let store = Store::open(&settings, vault).await.unwrap();
        Self { store, raw, settings, _place }
    }

    /// The store of a replica to which PostgreSQL sends the plan of each statement.
    pub(super) async fn explaining(&self) -> Store {
        const OPTIONS: &str = "options[session_preload_libraries]=auto_explain&options[auto_explain.log_min_duration]=0\
            &options[client_min_messages]=log";
        let Location::Postgres(url) = &self.settings.url else { panic!("only PostgreSQL explains by itself") };
        let joint = if url.contains('?') { '&' } else { '?' };
        let settings = Settings { url: Location::Postgres(format!("{url}{joint}{OPTIONS}")), ..self.settings.clone() };
        Store::open(&settings, vault()).await.unwrap()
    }

    pub(super) fn location(&self) -> &Location {
        &self.settings.url
    }

    /// Makes calls durable, all of them new.
    pub(super) async fn accept(&self, calls: impl IntoIterator<Item = NewDeferral>) {
        let outcomes = join_all(calls.into_iter().map(|call| self.store.accept(call))).await;
        for outcome in outcomes {
            assert_eq!(outcome.unwrap(), Accepted::Fresh);
        }
    }

    /// Puts what waits in the lane of [`call`] into batch `number`.
    pub(super) async fn build(&self, number: u128, limits: Limits) -> Option<ClaimedBatch> {
        self.store.build_batch(batch_id(number), lane_id(&lane()), limits, NOW.plus(LEASE), LEASE).await.unwrap()
    }

    /// A batch of new calls in the given state, claimed; its number is that of its first call.
    pub(super) async fn batch(&self, calls: std::ops::Range<u128>, state: BatchState) -> ClaimedBatch {
        let number = calls.start;
        self.accept(calls.map(call)).await;
        let batch = self.build(number, AMPLE).await.unwrap();
        let (claim, later) = (batch.claim, NOW.plus(LEASE * 2));
        let steps = match state {
            BatchState::Void => {
                assert!(self.store.batch_void(claim).await.unwrap());
                0
            }
            BatchState::Building => 0,
            BatchState::Uncertain => 1,
            BatchState::Submitted => 2,
            BatchState::Ended | BatchState::Ingested => 3,
        };
        if steps >= 1 {
            assert!(self.store.batch_sending(claim, later).await.unwrap().is_some());
        }
        if steps >= 2 {
            assert!(self.store.batch_submitted(claim, &provider_id(number), false, later, later).await.unwrap());
        }
        if steps >= 3 {
            assert!(self.store.batch_ended(claim, later).await.unwrap());
        }
        if state == BatchState::Ingested {
            for member in self.store.open_members(claim.batch, None, 1_000).await.unwrap() {
                self.store.settle(claim.batch, &[succeeded(member.id)], later).await.unwrap();
            }
            assert!(self.store.batch_ingested(claim, later).await.unwrap());
        }
        batch
    }

    pub(super) async fn deferral(&self, number: u128) -> Deferral {
        self.store.deferral(id(number), &Scope::All).await.unwrap().expect("a deferral")
    }

    pub(super) async fn states(&self, numbers: impl IntoIterator<Item = u128>) -> Vec<State> {
        let mut states = Vec::new();
        for number in numbers {
            states.push(self.deferral(number).await.state);
        }
        states
    }

    /// The state of a batch, as an operator sees it.
    pub(super) async fn batch_state(&self, batch: BatchId) -> BatchState {
        let batches = self.store.batches(1_000).await.unwrap();
        batches.iter().find(|each| each.id == batch).expect("a batch").state
    }
}

/// The database itself.
pub(super) enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Raw {
    async fn open(location: &Location) -> Self {
        match location {
            Location::Sqlite(path) => {
                Self::Sqlite(SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await.unwrap())
            }
            Location::Postgres(url) => Self::Postgres(PgPool::connect(url).await.unwrap()),
        }
    }

    pub(super) async fn run(&self, statements: &str) {
        let statements = AssertSqlSafe(statements.to_owned());
        match self {
            Self::Sqlite(pool) => drop(sqlx::raw_sql(statements).execute(pool).await.unwrap()),
            Self::Postgres(pool) => drop(sqlx::raw_sql(statements).execute(pool).await.unwrap()),
        }
    }

    /// A transaction of somebody else on PostgreSQL, who has made this query and holds what it locks.
    pub(super) async fn hold(&self, query: &'static str) -> Transaction<'static, Postgres> {
        let Self::Postgres(pool) = self else { panic!("only PostgreSQL locks rows") };
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query(query).execute(&mut *transaction).await.unwrap();
        transaction
    }

    /// Waits until somebody waits for a lock on PostgreSQL.
    pub(super) async fn until_blocked(&self) {
        const BLOCKED: &str = "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        while self.count(BLOCKED).await == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// The one column of a query, all its rows joined.
    pub(super) async fn bytes(&self, query: &str) -> Vec<u8> {
        let query = AssertSqlSafe(query.to_owned());
        let rows: Vec<Vec<u8>> = match self {
            Self::Sqlite(pool) => sqlx::query_scalar(query).fetch_all(pool).await.unwrap(),
            Self::Postgres(pool) => sqlx::query_scalar(query).fetch_all(pool).await.unwrap(),
        };
        rows.concat()
    }

    /// The one column of a query, which is of text.
    pub(super) async fn texts(&self, query: &str) -> Vec<String> {
        let query = AssertSqlSafe(query.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(query).fetch_all(pool).await.unwrap(),
            Self::Postgres(pool) => sqlx::query_scalar(query).fetch_all(pool).await.unwrap(),
        }
    }

    /// How many rows a table (and what follows its name) has.
    pub(super) async fn count(&self, from: &str) -> i64 {
        let query = AssertSqlSafe(format!("select count(*) from {from}"));
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(query).fetch_one(pool).await.unwrap(),
            Self::Postgres(pool) => sqlx::query_scalar(query).fetch_one(pool).await.unwrap(),
        }
    }
}

pub(super) fn key() -> MasterKey {
    MasterKey::parse(KEY).unwrap()
}

pub(super) fn vault() -> Vault {
    Vault::new(&key())
}

/// The lane of every [`call`].
pub(super) fn lane() -> Lane {
    lane_of("tenant")
}

pub(super) fn lane_of(tenant: &str) -> Lane {
    let secret = Secret::new(format!("sk-ant-of-{tenant}"));
    Lane {
        tenant: tenant.to_owned(),
        credential: Credential { header: CredentialHeader::ApiKey, secret },
        version: Some("2023-06-01".to_owned()),
        betas: String::new(),
        workspace_id: None,
        user_profile_id: None,
    }
}

pub(super) fn lane_id(lane: &Lane) -> LaneId {
    LaneId::of(lane, &vault())
}

pub(super) fn id(number: u128) -> DeferralId {
    DeferralId(Uuid::from_u128(number))
}

pub(super) fn batch_id(number: u128) -> BatchId {
    BatchId(Uuid::from_u128(number))
}

pub(super) fn provider_id(number: u128) -> String {
    format!("msgbatch_{number}")
}

pub(super) fn item(content: &str) -> Item {
    let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":"{content}"}}]}}"#);
    Item::read(body.as_bytes(), None).unwrap()
}

/// A call of its own, accepted `number` milliseconds after the test began: numbers are the order of the queue.
pub(super) fn call(number: u128) -> NewDeferral {
    let accepted_at = NOW.plus(Duration::from_millis(u64::try_from(number).unwrap()));
    NewDeferral {
        id: id(number),
        lane: lane(),
        item: item(&format!("call {number}")),
        workload: None,
        reference: None,
        group: None,
        callback: None,
        client: None,
        rule: None,
        idempotency_key: None,
        retries: 0,
        accepted_at,
        deadline: accepted_at.plus(Duration::from_secs(24 * 60 * 60)),
        caching: None,
    }
}

pub(super) fn answer(text: &str) -> Answer {
    Answer { status: 200, body: format!(r#"{{"type":"message","content":"{text}"}}"#) }
}

/// A Message that was billed.
pub(super) fn succeeded(id: DeferralId) -> Settlement {
    let tokens = Tokens { input: 1, output: 2, cache_write_5m: 3, cache_write_1h: 4, cache_read: 5 };
    let usage = Usage { passes: vec![Pass { model: None, tokens }], ..Usage::default() };
    let price = Some(Price { paid: NanoUsd(10), live: NanoUsd(20), uncached: NanoUsd(30) });
    let bill = Some(Bill { billed: Billed { model: "m-1".to_owned(), usage }, price });
    Settlement { id, verdict: Verdict::Final { state: State::Succeeded, answer: answer("done"), bill } }
}

/// No Message, and no bill.
pub(super) fn failed(id: DeferralId) -> Settlement {
    let answer = Answer { status: 400, body: r#"{"type":"error"}"#.to_owned() };
    Settlement { id, verdict: Verdict::Final { state: State::Failed, answer, bill: None } }
}

/// Another try, at `queued_at`.
pub(super) fn again(id: DeferralId, queued_at: Timestamp) -> Settlement {
    Settlement { id, verdict: Verdict::Again { result: "expired", detail: Some("slow".to_owned()), queued_at } }
}
