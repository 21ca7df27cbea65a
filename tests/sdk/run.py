#!/usr/bin/env python3
"""Runs the official SDKs against Offpeak: starts the simulator and the gateway, on either store, then every suite.

Builds and installs nothing: `make test` does. A suite reads OFFPEAK_TEST_SIM_URL and OFFPEAK_TEST_GATEWAY_URL.
"""

import base64
import contextlib
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BINARY = ROOT / "target" / "debug" / "offpeak"

# How long a process may take until it answers; it takes far less.
START_LIMIT_SECONDS = 60
# How long a process may take to end by itself before it is killed.
STOP_LIMIT_SECONDS = 40
# How long one suite may take: none comes near it unless it hangs.
SUITE_LIMIT_SECONDS = 300


def main() -> int:
    if not BINARY.exists():
        sys.exit(f"{BINARY} is missing: cargo build")
    results = []
    for store in ("sqlite", "postgres"):
        with tempfile.TemporaryDirectory(prefix="offpeak-sdk-") as scratch, service(store, pathlib.Path(scratch)) as urls:
            for name, command in suites():
                print(f"--- {name} on {store}", flush=True)
                results.append((name, store, run_suite(command, urls)))
    print("--- SDK suites")
    for name, store, passed in results:
        print(f"{'ok    ' if passed else 'FAILED'} {name} on {store}")
    return 0 if all(passed for _, _, passed in results) else 1


def suites():
    """Every suite with its command: the Python tests once for each pinned SDK, and the JavaScript tests."""
    for environment in sorted((HERE / ".venv").iterdir()):
        pytest = [environment / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "python"]
        yield f"python {environment.name}", pytest
    yield "javascript", ["node", "--test", "--test-reporter=spec", *sorted((HERE / "javascript").glob("*.test.mjs"))]


def run_suite(command, urls) -> bool:
    # Whatever credential or address the caller's environment names is not for these tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    try:
        return subprocess.run(command, env=environment | urls, timeout=SUITE_LIMIT_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"not done after {SUITE_LIMIT_SECONDS} s", file=sys.stderr)
        return False


@contextlib.contextmanager
def service(store: str, scratch: pathlib.Path):
    """A simulator and a gateway in front of it, with an empty store; gives what the suites must know."""
    simulator, gateway, admin = free_addresses(3)
    key = scratch / "master.key"
    key.touch(mode=0o600)
    key.write_bytes(base64.b64encode(secrets.token_bytes(32)))
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
    with (
        process(["sim", "--listen", simulator, "--batch-time", "300ms"], {}, f"http://{simulator}/", scratch / "sim.log"),
        process(["serve"], settings, f"http://{gateway}/healthz", scratch / "serve.log"),
    ):
        yield {"OFFPEAK_TEST_SIM_URL": f"http://{simulator}", "OFFPEAK_TEST_GATEWAY_URL": f"http://{gateway}"}


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


def postgres_database() -> str:
    """A new database, on the server of TEST_DATABASE_URL or on a cluster that ends with this process."""
    script = ROOT / "scripts" / "test-postgres"
    server = os.environ.get("TEST_DATABASE_URL") or output_of(script, "start", str(os.getpid())).splitlines()[0]
    return output_of(script, "database", server).strip()


def output_of(*command) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
