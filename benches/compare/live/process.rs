//! The processes that are measured, each on a core of its own, and what the kernel says of them.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::upstream;

/// The proxy has the second core to itself; the load and the upstream share the first.
const LOAD_CORE: &str = "0";
const PROXY_CORE: &str = "1";

/// The program, built as it is released.
const OFFPEAK: &str = env!("CARGO_BIN_EXE_offpeak");

/// 32 bytes in base64.
const MASTER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// What takes longer to start does not start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The reference's configuration, with places for what differs from run to run.
const NGINX_CONF: &str = include_str!("nginx.conf");

pub(crate) fn is_installed(program: &str) -> bool {
    find(program).is_some()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place: PathBuf| place.join(program)).find(|program| program.is_file())
}

/// This program as a child that does something else, on the load's core.
pub(crate) fn this_program<const N: usize>(job: [&str; N]) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", LOAD_CORE]).arg(std::env::current_exe().unwrap_or_default()).arg("--child").args(job);
    command.stderr(Stdio::inherit());
    command
}

/// Lets this thread run as soon as it has something to do, where that is allowed: on a crowded machine, what it waits for a
/// core would be taken for the delay of what it watches. It must rest most of the time.
pub(crate) fn make_urgent() {
    let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let Some(thread) = link.file_name() else { return };
    let mut command = Command::new("chrt");
    command.args(["--fifo", "--pid", "1"]).arg(thread).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.status();
}

/// A running upstream; killed when dropped.
pub(crate) struct Upstream {
    child: Child,
    plain: SocketAddr,
    encrypted: SocketAddr,
    identity: TempDir,
}

/// How a proxy speaks to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    Tls,
}

impl Upstream {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let identity = TempDir::new()?;
        upstream::make_identity(identity.path())?;
        let folder = identity.path().to_string_lossy().into_owned();
        let mut child = this_program(["upstream", &folder, "-"]).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let (plain, encrypted) = upstream::parse(&line).context("it does not say where it listens")?;
        Ok(Self { child, plain, encrypted, identity })
    }

    fn url(&self, way: Way) -> String {
        match way {
            Way::Plain => format!("http://{}", self.plain),
            // By the name that its certificate has.
            Way::Tls => format!("https://localhost:{}", self.encrypted.port()),
        }
    }

    fn certificate(&self) -> String {
        self.identity.path().join(upstream::CERTIFICATE).to_string_lossy().into_owned()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who stands between the load and the upstream; killed when dropped.
pub(crate) struct Proxy {
    child: Option<Child>,
    address: SocketAddr,
    _folder: Option<TempDir>,
}

impl Proxy {
    /// Nobody.
    pub(crate) fn none(upstream: &Upstream) -> Self {
        Self { child: None, address: upstream.plain, _folder: None }
    }

    pub(crate) fn nginx(upstream: &Upstream, way: Way) -> anyhow::Result<Self> {
        let (folder, address) = (TempDir::new()?, free_address()?);
        let (scheme, server) = match way {
            Way::Plain => ("http", upstream.plain),
            Way::Tls => ("https", upstream.encrypted),
        };
        let conf = NGINX_CONF
            .replace("FOLDER", &folder.path().display().to_string())
            .replace("SCHEME", scheme)
            .replace("CERTIFICATE", &upstream.certificate())
            .replace("UPSTREAM", &server.to_string())
            .replace("LISTEN", &address.to_string());
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, conf)?;
        let mut command = on_proxy_core(&find("nginx").context("nginx is not installed")?);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&path);
        Self::start(command, address, folder)
    }

    /// The program as users run it, with its store and its workers, and these settings.
    pub(crate) fn offpeak(upstream: &Upstream, way: Way, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = on_proxy_core(Path::new(OFFPEAK));
        command.env_clear().env("SSL_CERT_FILE", upstream.certificate());
        let url = upstream.url(way);
        let usual = [("UPSTREAM__URL", url.as_str())];
        Self::serve(command, &[&usual[..], settings].concat())
    }

    /// The same with these rules.
    pub(crate) fn with_rules(upstream: &Upstream, way: Way, rules: &str) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("rules.toml");
        std::fs::write(&path, rules)?;
        let mut command = on_proxy_core(Path::new(OFFPEAK));
        command.env_clear().env("SSL_CERT_FILE", upstream.certificate()).env("OFFPEAK_CONFIG", &path);
        Self::serve_in(folder, command, &[("UPSTREAM__URL", &upstream.url(way))])
    }

    /// The same on both cores, with this store and nobody to send batches to.
    pub(crate) fn accepting(store: &str) -> anyhow::Result<Self> {
        let settings = [("STORE__URL", store), ("STORE__MASTER_KEY", MASTER_KEY), ("BATCH__LINGER", "1d")];
        let mut command = Command::new(OFFPEAK);
        command.env_clear();
        Self::serve(command, &settings)
    }

    /// The same with this upstream, for which it works as fast as it can.
    pub(crate) fn working(store: &str, upstream: &str) -> anyhow::Result<Self> {
        let mut settings = vec![("STORE__URL", store), ("STORE__MASTER_KEY", MASTER_KEY), ("BATCH__LINGER", "0")];
        settings.push(("UPSTREAM__URL", upstream));
        // A session of its own, as a service has: the kernel shares the cores out among sessions first, and each process of
        // PostgreSQL is one.
        let mut command = Command::new("setsid");
        command.arg(OFFPEAK);
        command.env_clear();
        Self::serve(command, &settings)
    }

    fn serve(command: Command, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::serve_in(TempDir::new()?, command, settings)
    }

    fn serve_in(folder: TempDir, mut command: Command, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let address = free_address()?;
        command.arg("serve").current_dir(folder.path());
        let usual =
            [("GATEWAY__LISTEN", &*address.to_string()), ("ADMIN__LISTEN", "127.0.0.1:0"), ("TELEMETRY__LOG", "error")];
        for (name, value) in usual.iter().chain(settings) {
            command.env(format!("OFFPEAK__{name}"), value);
        }
        Self::start(command, address, folder)
    }

    fn start(mut command: Command, address: SocketAddr, folder: TempDir) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let proxy = Self { child: Some(command.spawn()?), address, _folder: Some(folder) };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(begin.elapsed() < START_LIMIT, "a proxy does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(proxy)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, if there is one. `taskset` becomes what it starts.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn on_proxy_core(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", PROXY_CORE]).arg(program);
    command
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// What a process has taken of the processor so far, in microseconds.
pub(crate) fn cpu_micros(pid: u32) -> anyhow::Result<f64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    let mut nanos = 0.0;
    for task in tasks {
        // How long it ran, to the nanosecond; a thread may end meanwhile.
        let Ok(schedule) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanos += schedule.split(' ').next().context("no figure")?.parse::<f64>()?;
    }
    Ok(nanos / 1_000.0)
}

/// What a process holds in memory, in megabytes.
pub(crate) fn resident_megabytes(pid: Option<u32>) -> anyhow::Result<f64> {
    memory_of(pid, "VmRSS:")
}

/// The part of it that is in no file, in megabytes.
pub(crate) fn anonymous_megabytes(pid: Option<u32>) -> anyhow::Result<f64> {
    memory_of(pid, "RssAnon:")
}

/// The most that a process has held since its peak was forgotten, in megabytes.
pub(crate) fn peak_megabytes(pid: Option<u32>) -> anyhow::Result<f64> {
    memory_of(pid, "VmHWM:")
}

/// Forgets the peak of a process, as `proc_pid_clear_refs(5)` has it.
pub(crate) fn forget_peak(pid: Option<u32>) -> anyhow::Result<()> {
    let pid = pid.context("there is no process")?;
    Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn memory_of(pid: Option<u32>, figure: &str) -> anyhow::Result<f64> {
    let pid = pid.context("there is no process")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).context("no such figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1_024.0 / 1_000_000.0)
}
