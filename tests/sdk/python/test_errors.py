"""Errors of the provider: through the gateway the SDK raises what it raises without it."""

import anthropic
import pytest
from anthropic._exceptions import OverloadedError  # the older SDK does not show it elsewhere

from comparing import lasting, lasting_headers
from prompts import prompt_for
from servers import GATEWAY, SIMULATOR, client
from simulator import arm

TYPES = {
    "invalid_request_error": anthropic.BadRequestError,
    "authentication_error": anthropic.AuthenticationError,
    "billing_error": anthropic.APIStatusError,
    "permission_error": anthropic.PermissionDeniedError,
    "not_found_error": anthropic.NotFoundError,
    "conflict_error": anthropic.ConflictError,
    "request_too_large": anthropic.APIStatusError,
    "rate_limit_error": anthropic.RateLimitError,
    "api_error": anthropic.InternalServerError,
    "timeout_error": anthropic.InternalServerError,
    "overloaded_error": OverloadedError,
}


def raised(call):
    """The exception of a call as it can be compared."""
    with pytest.raises(anthropic.APIStatusError) as caught:
        call()
    error = caught.value
    return type(error), error.status_code, lasting_headers(error.response.headers), lasting(error.response.text)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_error_of_a_call(direct, gateway, kind, stream):
    prompt = prompt_for(f"error:{kind}")
    relayed = raised(lambda: gateway.messages.create(**prompt, stream=stream))
    assert relayed == raised(lambda: direct.messages.create(**prompt, stream=stream))
    assert issubclass(relayed[0], TYPES[kind])


@pytest.mark.parametrize(
    "call",
    [
        lambda which, prompt: which.messages.create(**prompt | {"max_tokens": -1}),
        lambda which, prompt: which.messages.create(**prompt | {"model": "claude-unheard-of"}),
        lambda which, prompt: which.messages.create(**prompt, extra_headers={"anthropic-beta": "unknown-thing"}),
        lambda which, prompt: which.models.retrieve("claude-unheard-of"),
        lambda which, prompt: which.messages.batches.retrieve("msgbatch_unheard_of"),
        lambda which, prompt: which.messages.batches.create(requests=[{"custom_id": "no spaces", "params": prompt}]),
        lambda which, prompt: which.get("/v1/nothing-here", cast_to=object),
    ],
)
def test_wrong_requests(direct, gateway, prompt, call):
    assert raised(lambda: call(gateway, prompt)) == raised(lambda: call(direct, prompt))


def test_no_credential_and_a_wrong_one(prompt):
    def refused(url, key, **options):
        with client(url, key) as stranger:
            return raised(lambda: stranger.messages.create(**prompt, **options))

    bare = {"extra_headers": {name: anthropic.Omit() for name in ("Authorization", "X-Api-Key")}}
    for key, options in [("sk-ant-invalid-1", {}), ("unused", bare)]:
        relayed = refused(GATEWAY, key, **options)
        assert relayed == refused(SIMULATOR, key, **options)
        assert relayed[0] is anthropic.AuthenticationError


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 529, "message": "Overloaded, said twice"},
        {"status": 429, "retry_after": 7},
        {"status": 400, "should_retry": True, "error_type": "brand_new_error"},
        {"status": 503},
        {"status": 413, "html": "<html><body>413 Request Entity Too Large</body></html>"},
    ],
)
def test_faults_of_the_provider(direct, gateway, key, prompt, fault):
    def met(which):
        arm(key, "messages", kind="status", **fault)
        return raised(lambda: which.messages.create(**prompt))

    assert met(gateway) == met(direct)


def test_an_error_in_the_middle_of_a_stream(direct, gateway, key, prompt):
    def met(which):
        arm(key, "messages", kind="stream_error", events=3, error_type="overloaded_error")
        with which.messages.stream(**prompt) as stream, pytest.raises(anthropic.APIStatusError) as caught:
            list(stream)
        return caught.type, caught.value.status_code, lasting(str(caught.value.body))

    assert met(gateway) == met(direct)


def test_a_stream_that_is_cut_is_cut(direct, gateway, key, prompt):
    def met(which):
        arm(key, "messages", kind="cut_midway", pieces=3)
        # Not an ordinary end: whoever reads learns that something is missing. How much still comes before it is up to
        # the network, since a reset may overtake what was sent.
        events = []
        with which.messages.create(**prompt, stream=True) as stream, pytest.raises(Exception) as caught:
            events.extend(event.type for event in stream)
        assert "message_stop" not in events
        return caught.type

    assert met(gateway) == met(direct)


def test_a_retry_gets_through(key, prompt):
    arm(key, "messages", kind="status", status=529)
    with client(GATEWAY, key, max_retries=1) as opened:
        assert opened.messages.create(**prompt).type == "message"


def test_retries_are_the_same(key):
    prompt = prompt_for("error:overloaded_error")

    def tries(url):
        seen = []
        transport = anthropic.DefaultHttpxClient(event_hooks={"request": [seen.append]})
        with client(url, key, max_retries=1, http_client=transport) as opened:
            raised(lambda: opened.messages.create(**prompt))
        return [request.headers["x-stainless-retry-count"] for request in seen]

    assert tries(GATEWAY) == tries(SIMULATOR) == ["0", "1"]
