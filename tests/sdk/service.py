"""The service under test: a simulator and a gateway in front of it, with an empty store of either kind."""

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = ROOT / "target" / "debug" / "offpeak"

# How long a process may take until it answers; it takes far less.
START_LIMIT_SECONDS = 60
# How long a process may take to end by itself before it is killed.
STOP_LIMIT_SECONDS = 40

# Whoever takes webhooks by name: one for each suite that does, since each listens at an address of its own.
RECEIVERS = ("clients", "javascript", "warehouse")


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long a batch takes, and how much sooner than in production whoever waits is told that he still waits."""

    batch_time: str = "300ms"
    # A wait is silent up to 4.5 s instead of 4.5 min, and is kept alive three times a second instead of each 20 s.
    hold_periods: int = 60


@contextlib.contextmanager
def service(store: str, scratch: pathlib.Path, pace: Pace):
    """The running service; gives the environment that a suite reads."""
    simulator, gateway, admin, *receivers = free_addresses(3 + len(RECEIVERS))
    urls = {name: f"http://{address}/hook" for name, address in zip(RECEIVERS, receivers)}
    # Two for each, as while it rotates: the new one, and the one before it.
    keys = {name: [new_secret(), new_secret()] for name in (*RECEIVERS, "callbacks")}
    key = scratch / "master.key"
    key.touch(mode=0o600)
    key.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    config = scratch / "offpeak.toml"
    config.write_text(settings_file(urls, keys))
    settings = {
        "OFFPEAK__UPSTREAM__URL": f"http://{simulator}",
        "OFFPEAK__GATEWAY__LISTEN": gateway,
        "OFFPEAK__ADMIN__LISTEN": admin,
        "OFFPEAK__STORE__URL": f"sqlite:{scratch}/offpeak.db" if store == "sqlite" else postgres_database(),
        "OFFPEAK__STORE__MASTER_KEY": f"file:{key}",
        "OFFPEAK__BATCH__LINGER": "100ms",
        "OFFPEAK__BATCH__POLL_MIN": "100ms",
        "OFFPEAK__BATCH__POLL_MAX": "500ms",
    }
    serve = ["serve", "--config", str(config)]
    periods = {"OFFPEAK_HOLD_PERIODS": str(pace.hold_periods)}
    sim = ["sim", "--listen", simulator, "--batch-time", pace.batch_time]
    with (
        process(sim, {}, f"http://{simulator}/", scratch / "sim.log"),
        discreet(scratch / "serve.log"),
        process(serve, settings | periods, f"http://{gateway}/healthz", scratch / "serve.log"),
    ):
        yield {
            "OFFPEAK_TEST_SIM_URL": f"http://{simulator}",
            "OFFPEAK_TEST_GATEWAY_URL": f"http://{gateway}",
            "OFFPEAK_TEST_ADMIN": admin,
            "OFFPEAK_TEST_RECEIVERS": json.dumps(urls),
            "OFFPEAK_TEST_SECRETS": json.dumps(keys),
        }


@contextlib.contextmanager
def discreet(log: pathlib.Path):
    """Looks through the gateway's log in the end: it must name no key, no secret and no prompt of any suite."""
    yield
    told = [word for word in ("sk-ant-", "whsec_", "Say something about", "Summarise the") if word in log.read_text()]
    if told:
        sys.exit(f"the log of the gateway has {' and '.join(told)} in it")


def settings_file(urls: dict[str, str], keys: dict[str, list[str]]) -> str:
    """What only a file can say, or says better: lists and receivers. A list of texts is the same in TOML and JSON."""
    receivers = "".join(
        f'[[receiver]]\nname = "{name}"\nurl = "{url}"\nsecret = {json.dumps(keys[name])}\n' for name, url in urls.items()
    )
    return f'[webhooks]\nsecret = {json.dumps(keys["callbacks"])}\nallow_hosts = ["127.0.0.1"]\n{receivers}'


@contextlib.contextmanager
def process(arguments, settings, url: str, log: pathlib.Path):
    """One `offpeak` process from its first answer until it is stopped; it must end well."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OFFPEAK_")}
    inherited.pop("DATABASE_URL", None)
    with log.open("wb") as output:
        child = subprocess.Popen(
            [BINARY, *arguments], env=inherited | settings, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until_it_answers(child, url, log)
        yield
        child.terminate()
        if child.wait(STOP_LIMIT_SECONDS) != 0:
            sys.exit(f"offpeak {arguments[0]} ended with {child.returncode}:\n{log.read_text()}")
    finally:
        child.kill()
        child.wait()


def wait_until_it_answers(child: subprocess.Popen, url: str, log: pathlib.Path) -> None:
    limit = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < limit:
        if child.poll() is not None:
            sys.exit(f"{child.args[1]} ended with {child.returncode}:\n{log.read_text()}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # an answer of any kind
        except OSError:
            time.sleep(0.02)
    sys.exit(f"{child.args[1]} does not answer at {url} after {START_LIMIT_SECONDS} s:\n{log.read_text()}")


def free_addresses(count: int) -> list[str]:
    """Addresses on loopback that nothing listens on: held all at once, so that no two are the same."""
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]


def new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def postgres_database() -> str:
    """A new database, on the server of TEST_DATABASE_URL or on a cluster that ends with this process."""
    script = ROOT / "scripts" / "test-postgres"
    server = os.environ.get("TEST_DATABASE_URL") or output_of(script, "start", str(os.getpid())).splitlines()[0]
    return output_of(script, "database", server).strip()


def output_of(*command) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
