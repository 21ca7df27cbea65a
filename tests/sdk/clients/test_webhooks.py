"""Webhooks, verified with the reference library: to a receiver by name, to a callback, about a group, and once more."""

import json

import httpx2
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from held import shown
from prompts import prompt_for
from receiving import SECRETS, URLS, listening, port_of
from simulator import arm


@pytest.fixture(scope="module")
def receiver():
    """The one that the gateway knows by the name `clients`."""
    with listening(port_of(URLS["clients"])) as (opened, _):
        yield opened


@pytest.fixture
def callback():
    """One that only the caller knows, and its URL."""
    with listening() as (opened, port):
        yield opened, f"http://127.0.0.1:{port}/of/mine?row=7"


def defer(which, kind="plain", **headers):
    named = {f"x-defer-{name}": value for name, value in headers.items()}
    return which.messages.create(**prompt_for(kind), extra_headers={"x-defer": "batch"} | named).id


def verified(webhook, secrets) -> dict:
    """The event, which the library has verified with each of the secrets alone, as either side of a rotation would."""
    events = [Webhook(secret).verify(webhook.body, webhook.headers) for secret in secrets]
    assert events[0] == events[1]
    return events[0]


def test_to_a_receiver_by_its_name(receiver, gateway):
    deferral_id = defer(gateway, "unknown-block", callback="clients", ref="row-7")
    [webhook] = receiver.of(deferral_id)
    event = verified(webhook, SECRETS["clients"])
    assert (event["type"], event["data"]["ref"]) == ("deferral.succeeded", "row-7")
    deferral = shown(gateway, deferral_id)
    assert event["timestamp"] == deferral.json()["completed_at"]
    # Byte for byte, and so with the fields that no client knows.
    assert webhook.body.decode().endswith(f'"data":{deferral.text}}}')
    assert webhook.headers["content-type"] == "application/json"


@pytest.mark.parametrize("change", ["body", "id", "secret"])
def test_what_was_tampered_with_is_not_verified(receiver, gateway, change):
    [webhook] = receiver.of(defer(gateway, callback="clients"))
    body, headers, secret = webhook.body, dict(webhook.headers), SECRETS["clients"][0]
    verified(webhook, SECRETS["clients"])
    if change == "body":
        body = body.replace(b'"succeeded"', b'"failed"')
    elif change == "id":
        headers["webhook-id"] += "0"
    else:
        secret = SECRETS["warehouse"][0]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_to_a_callback(callback, gateway):
    receiver, url = callback
    deferral_id = defer(gateway, callback=url)
    [webhook] = receiver.of(deferral_id)
    assert webhook.path == "/of/mine?row=7"
    assert verified(webhook, SECRETS["callbacks"])["data"] == shown(gateway, deferral_id).json()


def test_of_what_failed_and_of_what_was_canceled(receiver, gateway, key):
    failed = defer(gateway, "error:permission_error", callback="clients")
    event = verified(receiver.of(failed)[0], SECRETS["clients"])
    assert (event["type"], event["data"]["error"]["error"]["type"]) == ("deferral.failed", "permission_error")

    arm(key, "batch_create", kind="batch_time", time="1h")
    canceled = defer(gateway, callback="clients")
    gateway.post(f"/deferred/{canceled}/cancel", cast_to=httpx2.Response)
    assert verified(receiver.of(canceled)[0], SECRETS["clients"])["type"] == "deferral.canceled"


def test_of_a_group(receiver, gateway, key):
    group = f"night-{key[-10:]}"
    members = [defer(gateway, kind, group=group) for kind in ("plain", "thinking", "error:permission_error")]
    close = {"callback": "clients", "expect": len(members)}
    closed = gateway.post(f"/deferred/groups/{group}/close", body=close, cast_to=httpx2.Response).json()
    assert (closed["type"], closed["name"]) == ("group", group)
    [webhook] = receiver.of(group)
    event = verified(webhook, SECRETS["clients"])
    assert event["type"] == "group.completed"
    counts = {state: count for state, count in event["data"]["counts"].items() if count}
    assert (event["data"]["status"], counts) == ("announced", {"succeeded": 2, "failed": 1})
    assert event["data"] == gateway.get(f"/deferred/groups/{group}", cast_to=httpx2.Response).json()


def test_one_that_was_not_taken_comes_again_under_the_same_id(callback, gateway):
    receiver, url = callback
    receiver.statuses["/of/mine?row=7"] = [503]
    first, second = receiver.of(defer(gateway, callback=url), count=2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert verified(first, SECRETS["callbacks"]) == verified(second, SECRETS["callbacks"])
    # Each attempt is signed anew, at its own time.
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) >= 4


def test_the_events_of_one_caller_are_told_once_each(receiver, gateway):
    ids = [defer(gateway, callback="clients") for _ in range(5)]
    told = [receiver.of(deferral_id) for deferral_id in ids]
    assert [len(webhooks) for webhooks in told] == [1] * 5
    assert len({webhooks[0].headers["webhook-id"] for webhooks in told}) == 5
    assert [json.loads(webhooks[0].body)["data"]["id"] for webhooks in told] == ids
