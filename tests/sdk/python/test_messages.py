"""Live calls: through the gateway the SDK gets what it gets without it."""

import asyncio

import anthropic
import pytest

from comparing import exchange, lasting, lasting_headers
from prompts import KINDS, prompt_for
from servers import GATEWAY, SIMULATOR, client
from simulator import received


@pytest.mark.parametrize("kind", KINDS)
def test_create(direct, gateway, kind):
    prompt = prompt_for(kind)
    plain, relayed = (which.messages.with_raw_response.create(**prompt) for which in (direct, gateway))
    assert exchange(relayed) == exchange(plain)
    assert relayed.headers["x-defer-decision"] == "live; reason=no-rule"
    assert "x-defer-decision" not in plain.headers
    assert relayed.parse()._request_id == relayed.headers["request-id"]


@pytest.mark.parametrize("kind", KINDS)
def test_stream(direct, gateway, kind):
    prompt = prompt_for(kind)

    def raw(which):
        with which.messages.with_streaming_response.create(**prompt, stream=True) as response:
            body = b"".join(response.iter_bytes()).decode()
            return response.status_code, lasting_headers(response.headers), lasting(body)

    def rebuilt(which):
        with which.messages.stream(**prompt) as stream:
            events = [lasting(event.to_json()) for event in stream]
            return events, lasting(stream.get_final_message().to_json())

    assert raw(gateway) == raw(direct)
    assert rebuilt(gateway) == rebuilt(direct)


@pytest.mark.parametrize("stream", [False, True])
def test_what_reaches_the_provider(direct, gateway, prompt, stream):
    def reached(which):
        raw = which.messages.with_raw_response.create(
            **prompt, stream=stream, extra_headers={"x-own": "kept", "x-defer": "live", "x-defer-ref": "dropped"}
        )
        head, body = received(raw.headers["request-id"])
        return {name: head[name] for name in ("method", "path", "query", "credential")}, lasting_headers(head["headers"]), body

    (plain_head, plain_headers, plain_body), relayed = reached(direct), reached(gateway)
    for name in ("x-defer", "x-defer-ref"):
        del plain_headers[name]
    assert relayed == (plain_head, plain_headers, plain_body)
    assert relayed[1]["x-own"] == "kept"


def test_a_stream_can_be_left_early(gateway):
    with gateway.messages.stream(**prompt_for("long:900")) as stream:
        next(iter(stream))
    assert gateway.messages.create(**prompt_for("plain")).type == "message"


def test_beta_create_with_a_query(direct, gateway, prompt):
    options = {"betas": ["context-management-2025-06-27"], "extra_query": {"beta": "true"}}
    plain, relayed = (which.beta.messages.with_raw_response.create(**prompt, **options) for which in (direct, gateway))
    assert exchange(relayed) == exchange(plain)


def test_count_tokens(direct, gateway, prompt):
    counted = {name: prompt[name] for name in ("model", "messages", "system", "tools")}
    plain, relayed = (which.messages.with_raw_response.count_tokens(**counted) for which in (direct, gateway))
    assert exchange(relayed) == exchange(plain)
    assert relayed.parse().input_tokens > 0


def test_models(direct, gateway):
    # More than one page, so that the cursors travel too.
    plain, relayed = ([model.to_json() for model in which.models.list(limit=5)] for which in (direct, gateway))
    assert relayed == plain
    assert len(relayed) > 5
    plain, relayed = (which.models.with_raw_response.retrieve("claude-haiku-4-5") for which in (direct, gateway))
    assert exchange(relayed) == exchange(plain)


def test_async_client(key, prompt):
    async def answers(url):
        async with client(url, key, anthropic.AsyncAnthropic) as opened:
            created = await opened.messages.create(**prompt)
            async with opened.messages.stream(**prompt) as stream:
                streamed = await stream.get_final_message()
            return lasting(created.to_json()), lasting(streamed.to_json())

    assert asyncio.run(answers(GATEWAY)) == asyncio.run(answers(SIMULATOR))


@pytest.mark.parametrize("value", ["live", "false"])
def test_live_on_request(gateway, prompt, value):
    raw = gateway.messages.with_raw_response.create(**prompt, extra_headers={"x-defer": value})
    assert raw.status_code == 200
    assert raw.headers["x-defer-decision"] == "live; reason=header"
