//! A replica: the real program in a process of its own, which may be killed at any time.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::stage::until;

/// Lines of its log that are kept for a failure's report.
const LOG_LINES: usize = 60;

/// A running gateway; killed with this value.
pub(super) struct Replica {
    process: Child,
    heard: Arc<Mutex<Heard>>,
}

/// Where it serves callers, and operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doors {
    pub(super) gateway: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// What its log has told.
#[derive(Default)]
struct Heard {
    doors: Option<Doors>,
    log: VecDeque<String>,
}

impl Replica {
    /// Starts one with nothing but this environment.
    pub(super) fn spawn(environment: &BTreeMap<String, String>) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_offpeak"))
            .arg("serve")
            .current_dir(std::env::temp_dir())
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (stderr, ears) = (process.stderr.take().unwrap(), heard.clone());
        std::thread::spawn(move || listen(stderr, &ears));
        Self { process, heard }
    }

    /// Waits until it serves; `None` if it ended before.
    pub(super) async fn serving(&mut self) -> Option<Doors> {
        until("the replica serves or ends", async || {
            let has_ended = self.has_ended();
            (self.doors().is_some() || has_ended).then(|| self.doors())
        })
        .await
    }

    /// Where it serves, or has served.
    pub(super) fn doors(&self) -> Option<Doors> {
        self.heard.lock().unwrap().doors
    }

    fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Waits for it to end by itself.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        until("the replica ends", async || self.process.try_wait().unwrap()).await
    }

    /// Kills it as the kernel does.
    pub(super) fn kill(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }

    /// The errors at the end of its log.
    pub(super) fn errors(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.log.iter().filter(|line| line.contains(r#""level":"ERROR""#)).cloned().collect()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            println!("a replica's last words:\n{}", Vec::from_iter(heard.log.iter().cloned()).join("\n"));
        }
    }
}

/// Reads the log to its end.
fn listen(stderr: ChildStderr, heard: &Mutex<Heard>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let doors = || {
            let line: Value = serde_json::from_str(&line).ok()?;
            let fields = line.get("fields").filter(|fields| fields["message"] == "serving")?;
            let address = |name: &str| fields[name].as_str()?.parse().ok();
            Some(Doors { gateway: address("gateway")?, admin: address("admin")? })
        };
        let mut heard = heard.lock().unwrap();
        if heard.doors.is_none() {
            heard.doors = doors();
        }
        heard.log.push_back(line);
        if heard.log.len() > LOG_LINES {
            heard.log.pop_front();
        }
    }
}
