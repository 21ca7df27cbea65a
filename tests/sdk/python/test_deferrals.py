"""Deferred calls: what an SDK that tags a call gets, now and later."""

import json
import re

import anthropic
import httpx2
import pytest
from anthropic.pagination import SyncPage
from anthropic.types import Message
from anthropic.types.messages import MessageBatchIndividualResponse

from held import batched_line
from prompts import KINDS, prompt_for
from servers import GATEWAY, SIMULATOR, client, new_key
from simulator import items

FIELDS = {
    "type", "id", "status", "model", "workload", "ref", "group", "created_at", "deadline", "completed_at",
    "cancel_requested", "batch_id", "attempts", "served_by", "message", "error", "cost",
}  # fmt: skip


def defer(which, prompt, **headers):
    """A tagged call, raw: `defer(gateway, prompt, x_defer="6h")`."""
    named = {name.replace("_", "-"): value for name, value in ({"x_defer": "batch"} | headers).items()}
    return which.messages.with_raw_response.create(**prompt, extra_headers=named)


def raw_message(which, ticket_id) -> httpx2.Response:
    """What became of a deferral, as soon as it is final."""
    return which.get(f"/deferred/{ticket_id}/message?wait=60", cast_to=httpx2.Response)


def test_ticket(gateway, prompt):
    raw = defer(gateway, prompt, x_defer_workload="nightly", x_defer_ref="row-7", x_defer_group="sdk")
    ticket = raw.parse()
    assert raw.status_code == 202
    assert ticket.id.startswith("dfr_") and len(ticket.id) == 36
    assert raw.headers["location"].endswith(f"/deferred/{ticket.id}")
    assert raw.headers["request-id"] == ticket.id == ticket._request_id
    assert int(raw.headers["retry-after"]) >= 0
    assert raw.headers["x-defer-decision"] == f"deferred; reason=header; id={ticket.id}"
    deferral = json.loads(raw.text())
    assert set(deferral) == FIELDS
    assert (deferral["type"], deferral["status"], deferral["model"]) == ("deferral", "queued", prompt["model"])
    assert (deferral["workload"], deferral["ref"], deferral["group"]) == ("nightly", "row-7", "sdk")


@pytest.fixture(scope="module")
def together():
    """A ticket for every kind of answer, all under one credential, so that they share a batch and its wait."""
    key = new_key()
    with client(SIMULATOR, key) as direct, client(GATEWAY, key) as gateway:
        yield direct, gateway, {kind: defer(gateway, prompt_for(kind)).parse().id for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_message_is_what_the_batch_returned(together, kind):
    direct, gateway, tickets = together
    answer = raw_message(gateway, tickets[kind])
    assert answer.status_code == 200
    # Byte for byte, and so with the fields that no SDK knows.
    line = batched_line(direct, tickets[kind])
    assert f'"message":{answer.text}' in line
    # The SDK makes of it what it makes of the batch's own result.
    message = gateway.get(f"/deferred/{tickets[kind]}/message", cast_to=Message)
    result = MessageBatchIndividualResponse.construct(**json.loads(line)).result
    assert message.to_dict() == result.message.to_dict()
    assert message.usage.service_tier == "batch"


def test_the_message_says_what_a_live_answer_would_have_said(direct, gateway, prompt):
    answer = raw_message(gateway, defer(gateway, prompt).parse().id)
    assert answer.json()["content"] == direct.messages.create(**prompt).to_dict()["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_item_is_what_the_caller_wrote(key, stream):
    bodies = []
    transport = anthropic.DefaultHttpxClient(event_hooks={"request": [lambda request: bodies.append(request.content)]})
    with client(GATEWAY, key, http_client=transport) as gateway:
        # A caller who wants a stream waits for it, unless it asks for the ticket.
        raw = defer(gateway, prompt_for("plain") | {"stream": stream}, x_defer_wait="0")
        ticket_id = json.loads(raw.http_response.read())["id"]
        raw_message(gateway, ticket_id)
        batch_id = gateway.get(f"/deferred/{ticket_id}", cast_to=httpx2.Response).json()["batch_id"]
    # The only member that is taken out; the SDK writes it after another one.
    written, taken_out = re.subn(r',\s*"stream":\s*(true|false)', "", bodies[0].decode())
    assert taken_out == 1
    assert items(batch_id)[ticket_id] == f'{{"custom_id":"{ticket_id}","params":{written}}}'


def test_an_error_of_the_item_is_raised(direct, gateway):
    ticket_id = defer(gateway, prompt_for("error:permission_error")).parse().id
    with pytest.raises(anthropic.PermissionDeniedError) as caught:
        raw_message(gateway, ticket_id)
    assert f'"error":{caught.value.response.text}' in batched_line(direct, ticket_id)


def test_a_final_deferral_shows_its_message_and_cost(gateway, prompt):
    ticket = defer(gateway, prompt).parse()
    answer = raw_message(gateway, ticket.id)
    final = gateway.get(f"/deferred/{ticket.id}", cast_to=httpx2.Response)
    deferral = final.json()
    assert set(deferral) == FIELDS
    assert (deferral["status"], deferral["served_by"], deferral["error"]) == ("succeeded", "batch", None)
    assert f'"message":{answer.text}' in final.text
    assert deferral["cost"]["currency"] == "USD"
    assert deferral["cost"]["paid"] == pytest.approx(deferral["cost"]["live_price"] / 2, abs=1e-6)
    assert deferral["created_at"] <= deferral["completed_at"] <= deferral["deadline"]


def test_a_retry_attaches_to_what_is_there(gateway, prompt):
    first, again = (defer(gateway, prompt, x_stainless_retry_count=tries).parse() for tries in ("0", "1"))
    assert again.id == first.id
    assert defer(gateway, prompt_for("plain"), x_stainless_retry_count="1").parse().id != first.id


def test_the_same_key_is_the_same_deferral(gateway, prompt):
    first, again, other = (defer(gateway, prompt, idempotency_key=key).parse() for key in ("a", "a", "b"))
    assert again.id == first.id != other.id
    with pytest.raises(anthropic.BadRequestError) as caught:
        defer(gateway, prompt_for("plain"), idempotency_key="a")
    assert caught.value.response.headers["x-defer-error"] == "idempotency-mismatch"


def test_pages_and_cancel(gateway, prompt):
    ids = [defer(gateway, prompt | {"max_tokens": tokens}).parse().id for tokens in (1, 2, 3)]

    class Deferral(anthropic.BaseModel):
        id: str

    page = gateway.get_api_list(
        "/deferred", model=Deferral, page=SyncPage[Deferral], options={"params": {"limit": 2}}, method="get"
    )
    assert [deferral.id for deferral in page] == ids[::-1]
    canceled = gateway.post(f"/deferred/{ids[0]}/cancel", cast_to=httpx2.Response).json()
    assert canceled["id"] == ids[0]
    assert canceled["status"] == "canceled" or canceled["cancel_requested"] or canceled["status"] == "succeeded"


class TestRefusals:
    """The gateway's own errors raise what the provider's do, and are not tried again."""

    @pytest.fixture
    def seen(self):
        return []

    @pytest.fixture
    def counted(self, key, seen):
        """A client that would retry, and notes every request that it makes."""
        transport = anthropic.DefaultHttpxClient(event_hooks={"request": [seen.append]})
        with client(GATEWAY, key, max_retries=2, http_client=transport) as opened:
            yield opened

    @pytest.mark.parametrize(
        ("headers", "changes", "code"),
        [
            ({"x-defer": "tomorrow"}, {}, "invalid-header"),
            ({"x-defer": "batch", "x-defer-wait": "long"}, {}, "invalid-header"),
            ({"x-defer": "batch", "x-defer-workload": "no spaces"}, {}, "invalid-header"),
            ({"x-defer": "batch", "x-defer-callback": "nobody"}, {}, "invalid-header"),
            ({"x-defer": "batch", "x-defer-callback": "http://example.com/hook"}, {}, "callback-forbidden"),
            ({"x-defer": "batch", "x-defer-callback": "https://127.9.9.9/hook"}, {}, "callback-forbidden"),
            # What is not known is refused, never ignored.
            ({"x-defer": "batch", "x-defer-unheard-of": "1"}, {}, "invalid-header"),
            ({"x-defer": "batch"}, {"max_tokens": 0}, "not-deferrable"),
            ({"x-defer": "batch"}, {"messages": []}, "not-deferrable"),
            ({"x-defer": "batch"}, {"extra_body": {"speed": "fast"}}, "not-deferrable"),
            ({"x-defer": "batch"}, {"model": "claude-livonly-1"}, "not-deferrable"),
        ],
    )
    def test_bad_request(self, counted, seen, prompt, headers, changes, code):
        with pytest.raises(anthropic.BadRequestError) as caught:
            counted.messages.create(**(prompt | changes), extra_headers=headers)
        error = caught.value
        assert error.response.headers["x-defer-error"] == code
        assert error.response.headers["x-should-retry"] == "false"
        assert error.response.headers["x-defer-decision"] == f"refused; reason={code}"
        assert error.body["error"]["type"] == "invalid_request_error"
        assert error.body["request_id"] == error.request_id
        assert len(seen) == 1

    def test_a_thread_is_refused_with_the_code_that_helpers_know(self, counted, prompt):
        with pytest.raises(anthropic.BadRequestError) as caught:
            counted.messages.create(**prompt, extra_body={"thread": {"type": "create"}}, extra_headers={"x-defer": "batch"})
        assert caught.value.body["error"]["details"]["error_code"] == "thread_unsupported_request"

    def test_no_credential(self, prompt):
        bare = httpx2.post(f"{GATEWAY}/v1/messages", json=prompt, headers={"x-defer": "batch"})
        assert bare.status_code == 401
        assert bare.headers["x-defer-error"] == "missing-credential"
        assert bare.json()["error"]["type"] == "authentication_error"
        omitted = {name: anthropic.Omit() for name in ("authorization", "x-api-key")}
        with pytest.raises(anthropic.AuthenticationError):
            client(GATEWAY, "unused").messages.create(**prompt, extra_headers=omitted | {"x-defer": "batch"})

    def test_another_tenants_deferral_is_not_found(self, counted, gateway, prompt):
        ticket = defer(gateway, prompt).parse()
        with client(GATEWAY, "sk-ant-somebody-else") as stranger:
            for path in (f"/deferred/{ticket.id}", f"/deferred/{ticket.id}/message"):
                with pytest.raises(anthropic.NotFoundError) as caught:
                    stranger.get(path, cast_to=object)
                assert caught.value.response.headers["x-defer-error"] == "not-found"
        with pytest.raises(anthropic.NotFoundError):
            counted.get("/deferred/dfr_00000000000000000000000000000000", cast_to=object)
