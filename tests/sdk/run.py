#!/usr/bin/env python3
"""Runs real clients against Offpeak: starts the simulator and the gateway, on either store, then every suite.

    run.py [--only NAME] [--store NAME]    all suites, or those whose name contains NAME
    run.py --soak                          what takes minutes, since nothing in it is made shorter than in production

Builds and installs nothing: `make test` and `make soak` do. What a suite is told stands in its environment, see
service.py.
"""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile

from service import BINARY, Pace, service

HERE = pathlib.Path(__file__).resolve().parent

STORES = ("sqlite", "postgres")
# How long one suite may take: none comes near it unless it hangs.
SUITE_LIMIT_SECONDS = 600
# How many suites run at a time: most of their time is waiting for batches.
AT_ONCE = 3
# What the soak is about: Node's own client gives up after five minutes without a byte.
SOAK = Pace(batch_time="6m", hold_periods=1)


def main() -> int:
    asked = arguments()
    if not BINARY.exists():
        sys.exit(f"{BINARY} is missing: cargo build")
    suites = [suite for suite in (soaks() if asked.soak else all_suites()) if asked.only in suite[0]]
    if not suites:
        sys.exit(f"no suite has {asked.only} in its name")
    results = []
    for store in STORES[:1] if asked.soak else [store for store in STORES if asked.store in store]:
        with tempfile.TemporaryDirectory(prefix="offpeak-sdk-") as scratch:
            with service(store, pathlib.Path(scratch), SOAK if asked.soak else Pace()) as environment:
                results += run_suites(suites, store, environment)
    print("--- SDK suites")
    for name, store, passed in results:
        print(f"{'ok    ' if passed else 'FAILED'} {name} on {store}")
    return 0 if all(passed for _, _, passed in results) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs real clients against Offpeak.")
    parser.add_argument("--only", default="", metavar="NAME", help="only suites whose name contains this")
    parser.add_argument("--store", default="", choices=STORES, help="only on this store")
    parser.add_argument("--soak", action="store_true", help="what takes minutes, and nothing else")
    return parser.parse_args()


def all_suites():
    """Every suite with its command: the official SDKs, each pinned version of them, then others and the README."""
    for pins in sorted((HERE / "python").glob("requirements-*.txt")):
        version = pins.stem.removeprefix("requirements-")
        yield f"python {version}", pytest(version, HERE / "python")
    yield "javascript", node(HERE / "javascript")
    yield "clients", pytest("clients", HERE / "clients")
    yield "readme", pytest("clients", HERE / "readme")


def soaks():
    """What is run with production's periods, all at the same time on one service."""
    yield "python", pytest("newest", HERE / "soak")
    yield "javascript", node(HERE / "soak")


def pytest(environment: str, tests: pathlib.Path):
    python = HERE / ".venv" / environment / "bin" / "python"
    return [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", HERE / "pytest.ini", tests]


def node(tests: pathlib.Path):
    return ["node", "--test", "--test-reporter=spec", *sorted(tests.glob("*.test.mjs"))]


def run_suites(suites, store: str, environment):
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as runs:
        passed = runs.map(lambda suite: run_suite(*suite, store, environment), suites)
        return [(name, store, passed) for (name, _), passed in zip(suites, passed)]


def run_suite(name: str, command, store: str, environment) -> bool:
    # Whatever credential or address the caller's environment names is not for these tests.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    with tempfile.TemporaryFile("w+") as output:
        try:
            status = subprocess.run(
                command, env=inherited | environment, timeout=SUITE_LIMIT_SECONDS, stdout=output, stderr=subprocess.STDOUT
            ).returncode
        except subprocess.TimeoutExpired:
            status = f"not done after {SUITE_LIMIT_SECONDS} s"
        output.seek(0)
        # All of it at once, since others run beside it.
        print(f"--- {name} on {store}: {status or 'ok'}\n{output.read()}", end="", flush=True)
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
