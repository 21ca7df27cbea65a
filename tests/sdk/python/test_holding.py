"""Held calls: the SDK gets on its own connection what the live API would have given it, only later."""

import asyncio
import concurrent.futures
import json
import time

import anthropic
import pytest
from anthropic.types import Message
from anthropic.types.beta import BetaMessage

from held import (
    SILENT, UNTIL_DEADLINE, batched_line, created, deferrals, sent_item, shown, stored_message, streamed, times_sent,
)  # fmt: skip
from prompts import BETA_KINDS, KINDS, prompt_for
from servers import GATEWAY, SIMULATOR, client, new_key
from simulator import arm

# Errors of an item that trying again cannot help, so that they come with the first batch.
LASTING_ERRORS = {
    "invalid_request_error": anthropic.BadRequestError,
    "authentication_error": anthropic.AuthenticationError,
    "billing_error": anthropic.APIStatusError,
    "permission_error": anthropic.PermissionDeniedError,
    "not_found_error": anthropic.NotFoundError,
}


def every_kind(which, kinds, call):
    """What `call` gives for each kind of answer: all at the same time, so that they share a batch and its wait."""
    with concurrent.futures.ThreadPoolExecutor(len(kinds)) as callers:
        return dict(zip(kinds, callers.map(lambda kind: call(which, prompt_for(kind)), kinds)))


@pytest.fixture(scope="module")
def together():
    """A held answer of every kind, streamed and not, all under one credential."""
    key = new_key()
    with client(SIMULATOR, key) as direct, client(GATEWAY, key) as gateway:
        answers = [every_kind(gateway, KINDS, call) for call in (created, streamed)]
        betas = [every_kind(gateway.beta, BETA_KINDS, call) for call in (created, streamed)]
        yield direct, gateway, *(plain | beta for plain, beta in zip(answers, betas))


@pytest.mark.parametrize("kind", KINDS + BETA_KINDS)
def test_the_message_is_what_the_batch_returned(together, kind):
    direct, gateway, answers, _ = together
    message, text, deferral_id = answers[kind]
    assert f'"message":{text.strip()}' in batched_line(direct, deferral_id)
    assert f'"message":{text.strip()},' in shown(gateway, deferral_id).text
    assert message.to_dict(mode="json") == json.loads(text)
    assert message.usage.service_tier == "batch"


@pytest.mark.parametrize("kind", KINDS + BETA_KINDS)
def test_the_stream_rebuilds_what_the_batch_returned(together, kind):
    direct, gateway, _, streams = together
    message, events, deferral_id = streams[kind]
    assert message.to_dict(mode="json") == shown(gateway, deferral_id).json()["message"]
    assert f'"id":"{message.id}"' in batched_line(direct, deferral_id)
    stored = stored_message(gateway, deferral_id, BetaMessage if kind in BETA_KINDS else Message)
    assert message.to_dict() == stored.to_dict()
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_a_live_answer_would_have_said(together, kind):
    direct, gateway, *held = together
    for message, _, deferral_id in (answers[kind] for answers in held):
        live = direct.messages.create(**sent_item(gateway, deferral_id)).to_dict()
        told = message.to_dict()
        # An answer that was not batched has another id, and is told to be of another tier.
        for passing in (live, told):
            del passing["id"], passing["usage"]["service_tier"]
        assert told == live


def raised(call) -> anthropic.APIStatusError:
    """The exception of a call."""
    with pytest.raises(anthropic.APIStatusError) as caught:
        call()
    return caught.value


def answered(responses) -> list[int]:
    """The statuses of the calls among them, those of questions left out."""
    return [response.status_code for response in responses if response.request.method == "POST"]


@pytest.fixture(scope="module")
def errors():
    """What each error raises live, on a connection that waits in silence, and in a stream."""
    key = new_key()
    with client(SIMULATOR, key) as direct, client(GATEWAY, key) as gateway:

        def each_way(kind):
            prompt = prompt_for(f"error:{kind}")
            live = raised(lambda: direct.messages.create(**prompt))
            silent = raised(lambda: gateway.messages.create(**prompt, extra_headers=SILENT))
            return live, silent, raised(lambda: streamed(gateway, prompt_for(f"error:{kind}")))

        with concurrent.futures.ThreadPoolExecutor(len(LASTING_ERRORS)) as callers:
            yield dict(zip(LASTING_ERRORS, callers.map(each_way, LASTING_ERRORS)))


class TestErrors:
    """An error of the item raises what it would have raised live."""

    @pytest.mark.parametrize("kind", LASTING_ERRORS)
    def test_of_a_call_that_waits_in_silence(self, errors, kind):
        live, silent, _ = errors[kind]
        assert isinstance(silent, LASTING_ERRORS[kind])
        assert (type(silent), silent.status_code, silent.body["error"]) == (type(live), live.status_code, live.body["error"])
        assert silent.response.headers["x-should-retry"] == "false"

    @pytest.mark.parametrize("kind", LASTING_ERRORS)
    def test_of_a_stream(self, errors, kind):
        live, _, stream = errors[kind]
        assert stream.body["error"] == live.body["error"]

    def test_after_an_early_200_the_retry_has_the_true_status(self, direct, key):
        arm(key, "batch_create", kind="batch_time", time="1500ms")
        prompt, seen = prompt_for("error:permission_error"), []
        transport = anthropic.DefaultHttpxClient(event_hooks={"response": [seen.append]})
        with client(GATEWAY, key, max_retries=2, http_client=transport) as gateway:
            with pytest.raises(anthropic.PermissionDeniedError) as held:
                gateway.messages.create(**prompt, extra_headers=UNTIL_DEADLINE)
            [deferral] = deferrals(gateway)
        assert answered(seen) == [200, 403]
        assert held.value.response.headers["x-defer-id"] == deferral["id"]
        assert (deferral["status"], deferral["attempts"]) == ("failed", 1)
        assert times_sent(direct, prompt) == 1


class TestWaits:
    """A wait ends in the result, or else in the ticket."""

    def test_that_ends_in_the_result(self, gateway, prompt):
        raw = gateway.messages.with_raw_response.create(**prompt, extra_headers=SILENT)
        assert raw.status_code == 200
        deferral_id = raw.headers["x-defer-id"]
        assert raw.headers["x-defer-decision"] == f"deferred; reason=header; id={deferral_id}"
        assert raw.headers["request-id"] == deferral_id == raw.parse()._request_id
        assert raw.parse().to_dict() == shown(gateway, deferral_id).json()["message"]
        # Nothing was sent ahead of it.
        assert raw.text().startswith("{")

    def test_that_ends_in_a_ticket(self, gateway, key, prompt):
        arm(key, "batch_create", kind="batch_time", time="3s")
        raw = gateway.messages.with_raw_response.create(**prompt, extra_headers={"x-defer": "batch", "x-defer-wait": "1s"})
        ticket = raw.parse()
        assert (raw.status_code, ticket.type, raw.headers["location"]) == (202, "deferral", f"/deferred/{ticket.id}")
        # It goes on all the same.
        message = gateway.get(f"/deferred/{ticket.id}/message?wait=60", cast_to=Message)
        assert message.to_dict() == shown(gateway, ticket.id).json()["message"]

    def test_that_is_kept_alive_and_ends_without_a_result(self, key, prompt):
        arm(key, "batch_create", kind="batch_time", time="1h")
        seen = []
        transport = anthropic.DefaultHttpxClient(event_hooks={"response": [seen.append]})
        with client(GATEWAY, key, max_retries=2, http_client=transport) as gateway:
            begun = time.monotonic()
            ticket = gateway.messages.create(**prompt, extra_headers={"x-defer": "batch", "x-defer-wait": "5s"})
            took = time.monotonic() - begun
            [deferral] = deferrals(gateway)
        assert ticket.type == "deferral" and ticket.id == deferral["id"]
        assert answered(seen) == [200, 202]
        # The retry is not made to wait again.
        assert 5 <= took < 9

    def test_of_a_stream_that_ends_without_a_result(self, gateway, key, prompt):
        arm(key, "batch_create", kind="batch_time", time="1h")
        headers = {"x-defer": "batch", "x-defer-wait": "1s"}
        with gateway.messages.stream(**prompt, extra_headers=headers) as stream:
            error = raised(lambda: list(stream)).body["error"]
        assert error["type"] == "timeout_error"
        [deferral] = deferrals(gateway)
        assert deferral["id"] in error["message"]


def test_async_client(key):
    async def answers():
        async with client(GATEWAY, key, anthropic.AsyncAnthropic) as gateway:

            async def streamed():
                async with gateway.messages.stream(**prompt_for("tool_use"), extra_headers=UNTIL_DEADLINE) as stream:
                    return await stream.get_final_message()

            created = gateway.messages.create(**prompt_for("thinking"), extra_headers=UNTIL_DEADLINE)
            return await asyncio.gather(created, streamed())

    held = asyncio.run(answers())
    with client(GATEWAY, key) as gateway:
        kept = [deferral["message"] for deferral in deferrals(gateway)]
    assert sorted((message.to_dict() for message in held), key=str) == sorted(kept, key=str)
