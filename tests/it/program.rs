//! The program as a child: any command, and a gateway with a simulator behind it.

use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::wire::soon;

/// A command with nothing in its environment, in a folder without settings; it ends with this value.
pub(crate) fn offpeak(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offpeak"));
    command.args(arguments).current_dir("/").env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// What a command said, once it has ended.
pub(crate) async fn output(command: &mut Command) -> Output {
    soon(command.output()).await.unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A client that no proxy stands before.
pub(crate) fn http_client() -> reqwest::Client {
    // Who comes second finds one installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A running gateway. It ends with this value, and so does its store.
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) admin: String,
    _children: [Child; 2],
    _log: Lines<BufReader<ChildStderr>>,
    _folder: TempDir,
}

impl Gateway {
    /// Starts one with these settings, on free ports.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let (simulator, upstream) = simulator().await;
        let folder = TempDir::new().unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        let mut serve = offpeak(&["serve"]);
        serve.envs([
            ("OFFPEAK__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
            ("OFFPEAK__ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
            ("OFFPEAK__UPSTREAM__URL", upstream),
            ("OFFPEAK__STORE__URL", format!("sqlite:{}", place("offpeak.db"))),
            ("OFFPEAK__STORE__MASTER_KEY", format!("file:{}", place("master.key"))),
            ("OFFPEAK__BATCH__POLL_MIN", "20ms".to_owned()),
        ]);
        let mut child = serve.envs(settings.iter().copied()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let fields = loop {
            let line = soon(log.next_line()).await.unwrap().expect("the gateway ended");
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if line["fields"]["message"] == "serving" {
                break line["fields"].clone();
            }
        };
        let url = |listener: &str| format!("http://{}", fields[listener].as_str().unwrap());
        let (url, admin) = (url("gateway"), url("admin"));
        let gateway = Self { url, admin, _children: [simulator, child], _log: log, _folder: folder };
        soon(gateway.ready()).await;
        gateway
    }

    /// Runs a command that asks it.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> Output {
        output(&mut offpeak(&[arguments, &["--admin", &self.admin]].concat())).await
    }

    async fn ready(&self) {
        let client = http_client();
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
        while client.get(format!("{}/readyz", self.admin)).send().await.is_ok_and(|answer| answer.status() != 200) {
            looks.tick().await;
        }
    }
}

/// A simulator whose batches end at once, and where it is.
async fn simulator() -> (Child, String) {
    let mut sim = offpeak(&["sim", "--listen", "127.0.0.1:0", "--batch-time", "0"]);
    let mut child = sim.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let welcome = soon(lines.next_line()).await.unwrap().expect("the simulator ended");
    let url = welcome.split([' ', ';']).find(|word| word.starts_with("http://")).expect("where it listens");
    (child, url.to_owned())
}
