//! PostgreSQL for the tests: fresh databases on a private cluster that ends with the run.
//!
//! nextest starts one cluster for all tests (its setup script sets `TEST_DATABASE_URL`). Without it, as under
//! `cargo test`, the first test that asks starts one for this process. Where PostgreSQL is not installed the tests fail.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

/// A new, empty database that nobody else uses; dropped with this value.
pub(crate) struct TestDatabase {
    options: PgConnectOptions,
    name: String,
}

impl TestDatabase {
    /// Where it is, as `store.url` wants it.
    pub(crate) fn url(&self) -> String {
        self.options.clone().database(&self.name).to_url_lossy().to_string()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (options, statement) =
            (self.options.clone(), format!("drop database if exists {} with (force)", self.name));
        // A thread of its own, since this may run inside a runtime, which must not block on itself.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(&options, statement))
        });
        // What cannot be dropped, say because a test took the server down, goes with its cluster.
        let _ = dropped.join();
    }
}

/// A new database on the cluster that the tests share.
pub(crate) async fn database() -> TestDatabase {
    database_at(shared_url()).await
}

/// A new database on the server at `url`.
pub(crate) async fn database_at(url: &str) -> TestDatabase {
    let options: PgConnectOptions = url.parse().expect("the URL of a PostgreSQL");
    let name = format!("offpeak_test_{}", uuid::Uuid::now_v7().simple());
    run(&options, format!("create database {name}")).await.expect("a new database");
    TestDatabase { options, name }
}

/// A cluster for one test alone, which may take it down; it writes through to the disk.
pub(crate) struct PrivateCluster {
    url: String,
    directory: String,
}

impl PrivateCluster {
    /// Starts one; it ends with this process at the latest.
    pub(crate) fn start() -> Self {
        let (url, directory) = start_cluster(std::process::id(), Some("--durable"));
        Self { url, directory }
    }

    /// The server's own database, for [`database_at`].
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn crash(&self) {
        script(["stop", &self.directory]);
    }

    /// Kills the server as the kernel would.
    pub(crate) fn kill(&self) {
        script(["kill", &self.directory]);
    }

    /// Brings it back with what it had on the disk, under the same URL.
    pub(crate) fn resume(&self) {
        script(["resume", &self.directory]);
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        self.crash();
    }
}

/// The cluster that all tests share.
fn shared_url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| std::env::var("TEST_DATABASE_URL").unwrap_or_else(|_| start_cluster(std::process::id(), None).0))
}

/// Starts a cluster that ends with the process `owner`, and says where it is and where its files are.
fn start_cluster(owner: u32, flag: Option<&str>) -> (String, String) {
    let printed = script(["start", &owner.to_string()].into_iter().chain(flag));
    let (url, directory) = printed.trim_end().split_once('\n').expect("a URL and a directory");
    (url.to_owned(), directory.to_owned())
}

/// Runs `scripts/test-postgres`; its complaint is the test's failure.
fn script<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test-postgres");
    let output = Command::new(path).args(arguments).output().expect("scripts/test-postgres can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// One statement on a connection of its own; its names are ours.
async fn run(options: &PgConnectOptions, statement: String) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}

/// One integer, or why there is none.
async fn integer(url: &str, query: &'static str) -> sqlx::Result<i32> {
    let mut connection = PgConnection::connect(url).await?;
    let value = sqlx::query_scalar(query).fetch_one(&mut connection).await;
    connection.close().await?;
    value
}

#[tokio::test]
async fn databases_are_separate_and_go_away() {
    let (one, other) = (database().await, database().await);
    let options: PgConnectOptions = one.url().parse().unwrap();
    run(&options, "create table mine (id integer)".to_owned()).await.unwrap();
    assert_eq!(integer(&one.url(), "select count(*)::int from pg_tables where tablename = 'mine'").await.unwrap(), 1);
    assert_eq!(integer(&other.url(), "select count(*)::int from pg_tables where tablename = 'mine'").await.unwrap(), 0);
    drop(one);
    let gone = PgConnection::connect_with(&options).await.unwrap_err();
    assert_eq!(gone.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(), Some("3D000"));
}

#[tokio::test]
async fn a_private_cluster_comes_back_with_what_was_committed() {
    let cluster = PrivateCluster::start();
    let options: PgConnectOptions = cluster.url().parse().unwrap();
    assert_eq!(integer(cluster.url(), "select (current_setting('fsync') = 'on')::int").await.unwrap(), 1);
    run(&options, "create table kept as select 7 as id".to_owned()).await.unwrap();
    cluster.crash();
    PgConnection::connect_with(&options).await.unwrap_err();
    cluster.resume();
    assert_eq!(integer(cluster.url(), "select id from kept").await.unwrap(), 7);
}

#[tokio::test]
async fn a_cluster_ends_with_its_owner() {
    let mut owner = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
    let (url, directory) = start_cluster(owner.id(), None);
    PgConnection::connect(&url).await.expect("a server that answers").close().await.unwrap();
    // `cat` ends when its input does.
    drop(owner.stdin.take());
    owner.wait().unwrap();
    let gone = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while Path::new(&directory).exists() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the cluster ends within the limit");
    PgConnection::connect(&url).await.unwrap_err();
}
