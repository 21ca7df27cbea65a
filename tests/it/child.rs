//! A gateway as a process of its own, which can be killed, and whose log can be read.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::sync::watch;

use super::app::{Answer, Call, KEY, Storage, client, variable};
use super::wire::soon;

/// How often something is looked at that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running `offpeak serve`; killed when dropped.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
    http: reqwest::Client,
}

/// The command that serves on free ports with this store and upstream, and nothing else in its environment.
pub(crate) fn serve(storage: &Storage, upstream: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offpeak"));
    command.arg("serve").current_dir(storage.folder()).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env(variable("upstream.url"), upstream);
    command.env(variable("gateway.listen"), "127.0.0.1:0").env(variable("admin.listen"), "127.0.0.1:0");
    command.envs(storage.settings().map(|(key, value)| (variable(key), value)));
    command.envs(settings.iter().map(|(key, value)| (variable(key), *value)));
    command
}

impl Gateway {
    /// Starts one, and waits until it serves.
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap());
        let (log, (told, mut serving)) = (Arc::new(Mutex::new(String::new())), watch::channel(None));
        let written = log.clone();
        // Read to the end, lest the process wait for us.
        let reading = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some(addresses) = addresses(&line) {
                    told.send_replace(Some(addresses));
                }
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let found = soon(serving.wait_for(Option::is_some)).await.map(|found| *found);
        let Ok(Some((address, admin))) = found else { panic!("it does not serve: {}", log.lock().unwrap()) };
        Self { process, address, admin, log, reading: Some(reading), http: client() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Call {
        let call = Call::new(&self.http, method, self.address, path);
        call.header("x-api-key", KEY).header("anthropic-version", "2023-06-01")
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.request(Method::GET, path)
    }

    pub(crate) fn call(&self, body: String) -> Call {
        self.request(Method::POST, "/v1/messages").body(body)
    }

    pub(crate) fn tagged(&self, body: String) -> Call {
        self.call(body).header("x-defer", "batch")
    }

    pub(crate) fn operator(&self, method: Method, path: &str) -> Call {
        Call::new(&self.http, method, self.admin, path)
    }

    /// What becomes of a deferral, as soon as it is final.
    pub(crate) async fn message(&self, id: &str) -> Answer {
        self.get(&format!("/deferred/{id}/message?wait=25")).send().await
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn until_ready(&self) {
        let ready = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            while self.get("/readyz").send().await.status != 200 {
                looks.tick().await;
            }
        };
        soon(ready).await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(killed.success());
    }

    /// Waits until it has logged this.
    pub(crate) async fn until_logged(&self, words: &str) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let logged = async {
            while !self.log.lock().unwrap().contains(words) {
                looks.tick().await;
            }
        };
        soon(logged).await;
    }

    /// How it ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                if let Some(status) = self.process.try_wait().unwrap() {
                    break status;
                }
            }
        };
        soon(ended).await
    }

    /// All that it has logged; it must have ended.
    pub(crate) fn log(&mut self) -> String {
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap();
        }
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where it says that it serves, if this line is the one.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| line["fields"][name].as_str()?.parse().ok();
    (line["fields"]["message"] == "serving").then_some(())?;
    Some((address("gateway")?, address("admin")?))
}
