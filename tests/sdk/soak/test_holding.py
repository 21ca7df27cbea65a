"""Held for six minutes, with nothing shortened: the SDK as it comes, without a retry, gets its answer on one connection."""

import concurrent.futures
import time

import anthropic
import pytest

from held import created, deferrals, shown, streamed
from prompts import prompt_for
from servers import GATEWAY, new_key

# How long a batch takes here.
BATCH_SECONDS = 360


@pytest.fixture(scope="module")
def held():
    """Three callers at the same time: for JSON, for a stream, and one who waits as long as may be waited in silence."""

    def timed(call, *arguments):
        begun = time.monotonic()
        return call(*arguments), time.monotonic() - begun

    def silent(which, prompt):
        headers = {"x-defer": "batch", "x-defer-wait": "4m30s"}
        return which.messages.with_raw_response.create(**prompt, extra_headers=headers)

    with anthropic.Anthropic(base_url=GATEWAY, api_key=new_key(), max_retries=0) as gateway:
        with concurrent.futures.ThreadPoolExecutor(3) as callers:
            calls = [callers.submit(timed, call, gateway, prompt_for("thinking")) for call in (created, streamed, silent)]
            yield gateway, *(call.result() for call in calls)


def test_json(held):
    gateway, ((message, text, deferral_id), took), *_ = held
    assert took > BATCH_SECONDS
    # One after 20 s, and one each 20 s from then on.
    assert text.startswith(" " * 15)
    assert message.to_dict() == shown(gateway, deferral_id).json()["message"]


def test_stream(held):
    gateway, _, ((message, _, deferral_id), took), _ = held
    assert took > BATCH_SECONDS
    assert message.to_dict() == shown(gateway, deferral_id).json()["message"]


def test_a_silent_wait_ends_in_a_ticket(held):
    *_, (raw, took) = held
    assert raw.status_code == 202 and 270 <= took < 280
    assert raw.parse().type == "deferral"


def test_nothing_was_deferred_twice(held):
    assert len(deferrals(held[0])) == 3
