"""The README's examples: every block is run from its own text, and does what is said of it."""

import json
import os
import re
import shlex
import subprocess
import urllib.request

import httpx2
import pytest

from blocks import README, blocks
from held import deferrals, shown
from programs import OFFPEAK, Bench, commands
from prompts import prompt_for
from servers import client
from service import free_addresses
from waiting import until

BLOCKS = blocks()
SECRETS = json.loads(os.environ["OFFPEAK_TEST_SECRETS"])["warehouse"]
URL = json.loads(os.environ["OFFPEAK_TEST_RECEIVERS"])["warehouse"]
ADMIN = os.environ["OFFPEAK_TEST_ADMIN"]
# The port that the receivers of the README listen on, and the one that the gateway under test knows.
PORT = {"9000": URL.rsplit(":", 1)[1].split("/")[0]}

LANGUAGES = ["Python", "TypeScript"]

# Every block stands in one of the tests below; what the tables of two commands show is held to by Rust's own tests.
TOLD = {
    "What could wait", "What could wait #2",
    "What it costs, and what it saved", "What it costs, and what it saved #2", "What it costs, and what it saved #3",
    "Top", "Quick start", "Quick start #2", "Quick start / curl", "Webhooks", "Rules", "Rules #2", "Operating it",
    *(f"{heading} / {language}" for language in LANGUAGES
      for heading in ("Quick start", "Waiting on the connection", "Webhooks", "The results feed", "Groups")),
}  # fmt: skip


@pytest.fixture
def bench(tmp_path, key):
    opened = Bench(tmp_path, key)
    yield opened
    opened.stop()


@pytest.fixture
def receiver(bench):
    """Starts the receiver of a language, and waits until it listens."""

    def start(language: str):
        program = bench.start(BLOCKS[f"Webhooks / {language}"], PORT, WAREHOUSE_SECRET=SECRETS[0])

        def refuses_strangers() -> bool:
            try:
                return httpx2.post(URL.replace("/hook", "/"), content=b"{}").status_code == 401
            except httpx2.TransportError:
                return False

        until(refuses_strangers, bool)
        return program

    return start


def defer(which, **headers) -> str:
    named = {"x-defer": "batch"} | {f"x-defer-{name}": value for name, value in headers.items()}
    return which.messages.create(**prompt_for("plain"), extra_headers=named).id


def text_of(message: dict) -> str:
    return message["content"][0]["text"]


def test_every_block_is_told_of():
    assert set(BLOCKS) == TOLD


@pytest.mark.parametrize("language", LANGUAGES)
def test_quick_start(bench, gateway, language):
    ticket_id, text = bench.run(BLOCKS[f"Quick start / {language}"]).split("\n", 1)
    [deferral] = deferrals(gateway)
    assert (ticket_id, text) == (deferral["id"], text_of(deferral["message"]))


def test_quick_start_with_curl(bench, gateway):
    ticket, page = map(json.loads, bench.run(BLOCKS["Quick start / curl"]).splitlines())
    assert (ticket["workload"], ticket["ref"]) == ("digests", "ticket-4711")
    assert [deferral["id"] for deferral in page["data"]] == [ticket["id"]] == [found["id"] for found in deferrals(gateway)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_waiting_on_the_connection(bench, gateway, language):
    created, streamed = bench.run(BLOCKS[f"Waiting on the connection / {language}"]).split("\n", 1)
    newest, oldest = (text_of(deferral["message"]) for deferral in deferrals(gateway))
    assert (created, streamed) == (oldest, newest)


@pytest.mark.parametrize("language", LANGUAGES)
def test_webhooks(receiver, gateway, language):
    program = receiver(language)
    deferral_id = defer(gateway, callback="warehouse", ref="row-7")
    assert program.printed(1) == [f"deferral.succeeded {deferral_id} row-7"]
    # The same one a second time is taken, but not handled again; another one is.
    [delivery] = [it for it in deliveries() if it["deferral_id"] == deferral_id]
    offpeak("deliveries", "replay", delivery["id"])
    until(lambda: next(it for it in deliveries() if it["id"] == delivery["id"]), lambda it: it["status"] == "delivered")
    another_id = defer(gateway, callback="warehouse")
    assert program.printed(2)[1:] == [f"deferral.succeeded {another_id} {'None' if language == 'Python' else 'null'}"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_results_feed(bench, gateway, language):
    block = BLOCKS[f"The results feed / {language}"]
    consumer = bench.start(block)
    first = defer(gateway)
    assert consumer.printed(1) == [f"{first} succeeded"]
    second = defer(gateway)
    assert consumer.printed(2)[1] == f"{second} succeeded"
    # Its place outlives it.
    until(lambda: (bench.folder / "results.cursor").read_text(), lambda place: place.startswith("cur_"))
    consumer.stop()
    third = defer(gateway)
    assert bench.start(block).printed(1) == [f"{third} succeeded"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_groups(bench, receiver, gateway, language):
    told = receiver(language)
    printed = bench.run(BLOCKS[f"Groups / {language}"]).splitlines()
    assert printed == ["third succeeded", "second succeeded", "first succeeded"]
    [group] = {deferral["group"] for deferral in deferrals(gateway)}
    assert told.printed(1) == [f"group.completed {group} 3"]


def test_the_receivers_setting(bench):
    (bench.folder / "offpeak.toml").write_text(BLOCKS["Webhooks"].text)
    config = str(bench.folder / "offpeak.toml")
    checked = offpeak("check", "--config", config, "--print", cwd=bench.folder, WAREHOUSE_SECRET=SECRETS[0])
    assert "warehouse" in checked and SECRETS[0] not in checked


def test_the_rule_and_what_explains_it(bench):
    (bench.folder / "offpeak.toml").write_text(BLOCKS["Rules"].text)
    call = prompt_for("plain") | {"model": "claude-haiku-4-5"}
    (bench.folder / "request.json").write_text(json.dumps(call))
    check, explain = (shlex.split(command)[1:] for command in commands(BLOCKS["Rules #2"].text))
    assert "configuration is fine" in offpeak(*check, cwd=bench.folder)
    explained = offpeak(*explain, cwd=bench.folder)
    assert "nightly-summaries  matches" in explained and 'rule="nightly-summaries"' in explained


def test_what_make_is_asked_for():
    for command in commands(BLOCKS["Top"].text):
        # Only what it would do: these tests are part of the one, and the other never ends.
        subprocess.run([*command.split(), "--dry-run"], cwd=README.parent, check=True, stdout=subprocess.DEVNULL)


class TestStarting:
    """The program is built already, and listens elsewhere."""

    @pytest.fixture
    def place(self, bench):
        """A folder in which `cargo build` has been done, and does nothing more."""
        (bench.folder / "target" / "release").mkdir(parents=True)
        (bench.folder / "target" / "release" / "offpeak").symlink_to(OFFPEAK)
        (bench.folder / "cargo").write_text('#!/bin/sh\n[ "$*" = "build --release --locked" ]\n')
        (bench.folder / "cargo").chmod(0o755)
        sim, gateway, admin = free_addresses(3)
        environment = {
            "PATH": f"{bench.folder}:{os.environ['PATH']}",
            "OFFPEAK__GATEWAY__LISTEN": gateway,
            "OFFPEAK__ADMIN__LISTEN": admin,
            "OFFPEAK__BATCH__POLL_MIN": "100ms",
        }
        return sim, gateway, environment

    @pytest.fixture
    def up(self):
        def wait(address: str, path: str = "/healthz"):
            def status():
                try:
                    return urllib.request.urlopen(f"http://{address}{path}", timeout=5).status
                except OSError:
                    return None

            until(status, lambda seen: seen == 200)

        return wait

    def test_the_gateway(self, bench, place, up):
        _, gateway, environment = place
        bench.start(BLOCKS["Quick start"], **environment)
        up(gateway)
        assert (bench.folder / "data" / "offpeak.db").exists()

    def test_the_simulator_in_the_providers_place(self, bench, place, up, key):
        sim, gateway, environment = place
        replaced = {"http://127.0.0.1:8200": f"http://{sim}", "offpeak sim": f"offpeak sim --listen {sim}"}
        bench.start(BLOCKS["Quick start #2"], replaced, **environment)
        up(gateway)
        up(sim, "/_sim/books")
        with client(f"http://{gateway}", key) as opened:
            assert opened.messages.create(**prompt_for("plain")).type == "message"
            ticket_id = defer(opened)
            raw = opened.get(f"/deferred/{ticket_id}/message?wait=60", cast_to=httpx2.Response)
            assert text_of(raw.json()) == text_of(shown(opened, ticket_id).json()["message"])


def test_operating(tmp_path, gateway):
    settings = {
        "OFFPEAK__STORE__URL": f"sqlite:{tmp_path}/offpeak.db",
        "OFFPEAK__STORE__MASTER_KEY": f"file:{tmp_path}/master.key",
    }
    expected = {
        "check": "batch.linger", "deferrals list": "dfr_", "deferrals show": "dfr_", "deferrals cancel": "canceled",
        "deferrals promote": "sent live", "flush": "", "deliveries list": "deferral.", "deliveries replay": "", "report": "Savings from", "migrate": "",
    }  # fmt: skip
    for command in commands(BLOCKS["Operating it"].text):
        program, *arguments = command.split()
        assert program == "offpeak", command
        if "ID" in arguments:
            made = a_delivery(gateway) if arguments[0] == "deliveries" else defer(gateway)
            arguments[arguments.index("ID")] = made
        name = re.match(r"check|flush|migrate|report|\w+ \w+", " ".join(arguments))[0]
        assert expected.pop(name) in offpeak(*arguments, cwd=tmp_path, **settings), command
    assert not expected


def test_what_it_costs(tmp_path, gateway):
    defer(gateway)
    block = BLOCKS["What it costs, and what it saved"].text
    # The provider's export is the reader's own.
    asked = [line.split("#")[0].split(">")[0].split() for line in block.splitlines() if "--reconcile" not in line]
    shown = [offpeak(*arguments, cwd=tmp_path) for program, *arguments in asked if program == "offpeak"]
    assert len(shown) == 3 and all(shown)
    assert "Savings from" in shown[0] and "<html" in shown[1]


def test_prices_of_ones_own(tmp_path):
    prices = tmp_path / "prices.toml"
    prices.write_text(BLOCKS["What it costs, and what it saved #3"].text)
    settings = {
        "OFFPEAK__STORE__URL": f"sqlite:{tmp_path}/offpeak.db",
        "OFFPEAK__STORE__MASTER_KEY": f"file:{tmp_path}/master.key",
        "OFFPEAK__PRICES__FILE": str(prices),
    }
    assert "prices.toml" in offpeak("check", "--print", cwd=tmp_path, **settings)


def a_delivery(gateway) -> str:
    """The id of a webhook, of which nobody has heard."""
    deferral_id = defer(gateway, callback="warehouse")
    [made] = until(lambda: [it["id"] for it in deliveries() if it["deferral_id"] == deferral_id], bool)
    return made


def deliveries() -> list[dict]:
    return httpx2.get(f"http://{ADMIN}/api/deliveries?limit=100").raise_for_status().json()["data"]


def offpeak(*arguments: str, cwd=None, **settings: str) -> str:
    """What a command prints that ends well; one that asks a gateway asks the one under test."""
    asks = ["--admin", f"http://{ADMIN}"] if arguments[0] in ("deferrals", "deliveries", "flush", "report") else []
    environment = {"PATH": os.environ["PATH"]} | settings
    done = subprocess.run([OFFPEAK, *arguments, *asks], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


