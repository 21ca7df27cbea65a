"""What tests ask of the simulator beside the API: faults, and what reached it."""

import json

import httpx2

from servers import SIMULATOR


def arm(key: str, endpoint: str, times: int = 1, **effect) -> None:
    """Arms a fault that strikes the next requests of this credential at an endpoint."""
    fault = {"credential": key, "endpoint": endpoint, "times": times, "effect": effect}
    httpx2.post(f"{SIMULATOR}/_sim/faults", json=fault).raise_for_status()


def received(request_id: str) -> tuple[dict, bytes]:
    """A request as it reached the provider: its head, without the credential, and its body."""
    requests = httpx2.get(f"{SIMULATOR}/_sim/books").raise_for_status().json()["requests"]
    [head] = [request for request in requests if request["request_id"] == request_id]
    body = httpx2.get(f"{SIMULATOR}/_sim/books/requests/{request_id}").raise_for_status().content
    return head, body


def items(batch_id: str) -> dict[str, str]:
    """The raw items of a batch as they reached the provider, by their ids."""
    text = httpx2.get(f"{SIMULATOR}/_sim/books/batches/{batch_id}").raise_for_status().text
    # Not `splitlines`, which breaks at what a text may hold.
    return {json.loads(line)["custom_id"]: line for line in text.rstrip("\n").split("\n")}
