"""Clients whose patience ends before the batch does: kept alive by bytes, or back again; but nothing is deferred twice."""

import concurrent.futures
import json
import time

import anthropic
import pytest
from anthropic.types import Message

from held import SILENT, UNTIL_DEADLINE, created, deferrals, events_of, shown, stored_message, streamed, times_sent
from prompts import prompt_for
from servers import GATEWAY, SIMULATOR, client, new_key
from simulator import arm
from waiting import until

# A client that gives up after two seconds without a byte.
IMPATIENT = anthropic.Timeout(30, read=2.0)


@pytest.fixture(scope="module")
def kept_alive():
    """Three calls of such a client, at the same time: one for JSON, one rebuilt from a stream, one for raw events."""
    key = new_key()
    prompts = [prompt_for("plain") for _ in range(3)]
    # Most likely they share a batch.
    arm(key, "batch_create", times=len(prompts), kind="batch_time", time="4s")
    with client(SIMULATOR, key) as direct, client(GATEWAY, key, timeout=IMPATIENT) as gateway:
        with concurrent.futures.ThreadPoolExecutor(len(prompts)) as callers:
            calls = [callers.submit(call, gateway, prompt) for call, prompt in zip((created, streamed, events_of), prompts)]
            begun = time.monotonic()
            answers = [call.result() for call in calls]
        assert time.monotonic() - begun > 4
        assert [times_sent(direct, prompt) for prompt in prompts] == [1, 1, 1]
        assert len(deferrals(gateway)) == 3
        yield gateway, *answers


def test_is_kept_alive_by_blanks(kept_alive):
    gateway, (message, text, deferral_id), _, _ = kept_alive
    assert text.startswith("   ") and f'"message":{text.strip()},' in shown(gateway, deferral_id).text
    assert message.to_dict(mode="json") == json.loads(text)


def test_is_kept_alive_by_pings(kept_alive):
    gateway, _, (message, _, deferral_id), _ = kept_alive
    assert message.to_dict() == stored_message(gateway, deferral_id).to_dict()


def test_reads_raw_events_as_the_providers(kept_alive):
    *_, events = kept_alive
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop") and kinds.count("message_delta") == 1


def test_that_ends_in_silence_is_tried_again_but_not_deferred_again(direct, key, prompt):
    arm(key, "batch_create", kind="batch_time", time="3s")
    seen = []
    transport = anthropic.DefaultHttpxClient(event_hooks={"request": [seen.append]})
    with client(GATEWAY, key, timeout=IMPATIENT, max_retries=4, http_client=transport) as gateway:
        message = gateway.messages.create(**prompt, extra_headers={"x-defer": "batch", "x-defer-wait": "4500ms"})
        [deferral] = deferrals(gateway)
    assert message.to_dict() == deferral["message"]
    tries = [request.headers["x-stainless-retry-count"] for request in seen if request.method == "POST"]
    assert tries == ["0", "1"]
    assert (deferral["attempts"], times_sent(direct, prompt)) == (1, 1)


def test_two_callers_with_one_key_share_a_deferral(direct, gateway, prompt):
    headers = UNTIL_DEADLINE | {"idempotency-key": "report-7"}
    with concurrent.futures.ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(gateway.messages.create, **prompt, extra_headers=headers) for _ in range(2)]
        first, second = (call.result().to_dict() for call in calls)
    assert first == second
    assert len(deferrals(gateway)) == times_sent(direct, prompt) == 1


def test_a_caller_that_leaves_does_not_cancel(gateway, key, prompt):
    arm(key, "batch_create", kind="batch_time", time="3s")
    with pytest.raises(anthropic.APITimeoutError):
        gateway.with_options(timeout=1.0).messages.create(**prompt, extra_headers=SILENT)
    [deferral] = until(lambda: deferrals(gateway), bool)
    message = gateway.get(f"/deferred/{deferral['id']}/message?wait=60", cast_to=Message)
    assert message.to_dict() == stored_message(gateway, deferral["id"]).to_dict()
