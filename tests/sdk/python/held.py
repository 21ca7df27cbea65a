"""Held calls, and what became of them: the deferral behind an answer, what else was queued, what the provider was sent."""

import json

import httpx2
from anthropic.types import Message

from simulator import items

# Waits up to 4.5 s are silent here; longer ones, and those until the deadline, are kept alive.
SILENT = {"x-defer": "batch", "x-defer-wait": "4s"}
UNTIL_DEADLINE = {"x-defer": "batch", "x-defer-wait": "deadline"}


def created(which, prompt):
    """A held call that does not stream: what the SDK made of it, its text, and the deferral's id."""
    raw = which.messages.with_raw_response.create(**prompt, extra_headers=UNTIL_DEADLINE)
    return raw.parse(), raw.text(), raw.headers["x-defer-id"]


def streamed(which, prompt):
    """A held call that streams: what the SDK rebuilt from the events, the events, and the deferral's id."""
    with which.messages.stream(**prompt, extra_headers={"x-defer": "batch"}) as stream:
        events = list(stream)
        return stream.get_final_message(), events, stream.response.headers["x-defer-id"]


def events_of(which, prompt):
    """The events of a held call, as they came."""
    return list(which.messages.create(**prompt, stream=True, extra_headers={"x-defer": "batch"}))


def shown(which, deferral_id: str) -> httpx2.Response:
    """A deferral, raw."""
    return which.get(f"/deferred/{deferral_id}", cast_to=httpx2.Response)


def stored_message(which, deferral_id: str, kind=Message):
    """What the SDK makes of the Message that the gateway keeps for a deferral."""
    return kind.construct(**shown(which, deferral_id).json()["message"])


def deferrals(which) -> list[dict]:
    """All that this credential has deferred."""
    page = which.get("/deferred?limit=100", cast_to=httpx2.Response).json()
    assert not page["has_more"]
    return page["data"]


def times_sent(direct, prompt: dict) -> int:
    """How many items with what this call says this credential's batches have had at the provider."""
    said = json.dumps(prompt["messages"][0]["content"], ensure_ascii=False)
    batches = [batch.id for batch in direct.messages.batches.list()]
    return sum(said in line for batch in batches for line in items(batch).values())


def sent_item(which, deferral_id: str) -> dict:
    """What the provider was sent for a deferral."""
    return json.loads(items(shown(which, deferral_id).json()["batch_id"])[deferral_id])["params"]


def batched_line(direct, deferral_id: str) -> str:
    """The raw line that the provider's batch holds for a deferral: its id is the item's."""
    for batch in direct.messages.batches.list():
        if batch.processing_status != "ended":
            continue
        results = direct.messages.batches.with_raw_response.results(batch.id).http_response.read().decode()
        # Not `splitlines`, which breaks at what a text may hold.
        for line in results.rstrip("\n").split("\n"):
            if json.loads(line)["custom_id"] == deferral_id:
                return line
    raise AssertionError(f"no batch holds {deferral_id}")

