"""Message Batches of the SDK's own: through the gateway as without it."""

import anthropic
import pytest

from comparing import exchange, lasting
from servers import GATEWAY, SIMULATOR
from simulator import arm
from waiting import until


def requests_of(prompt, count=2):
    return [{"custom_id": f"item-{number}", "params": prompt} for number in range(count)]


def ended(which, batch):
    return until(lambda: which.messages.batches.retrieve(batch.id), lambda seen: seen.processing_status == "ended")


def test_create_and_results(direct, gateway, prompt):
    def run(which):
        created = which.messages.batches.with_raw_response.create(requests=requests_of(prompt))
        batch = ended(which, created.parse())
        lines = [line.to_json() for line in which.messages.batches.results(batch.id)]
        return exchange(created), lasting(batch.to_json()), sorted(map(lasting, lines))

    relayed = run(gateway)
    assert relayed == run(direct)
    assert len(relayed[2]) == 2


def test_results_stay_on_the_gateway(direct, gateway, prompt):
    batch = ended(gateway, gateway.messages.batches.create(requests=requests_of(prompt)))
    assert batch.results_url.startswith(f"{GATEWAY}/v1/messages/batches/{batch.id}/results")
    assert direct.messages.batches.retrieve(batch.id).results_url.startswith(f"{SIMULATOR}/")
    # In every answer that shows a batch, not only in that of retrieve.
    listed = {seen.id: seen for seen in gateway.messages.batches.list()}
    assert listed[batch.id].results_url == batch.results_url


def test_raw_results(direct, gateway, prompt):
    batch = ended(direct, direct.messages.batches.create(requests=requests_of(prompt)))
    plain = direct.messages.batches.with_raw_response.results(batch.id)
    relayed = gateway.messages.batches.with_raw_response.results(batch.id)
    # The same batch: byte for byte.
    assert relayed.http_response.read() == plain.http_response.read()
    assert exchange(relayed) == exchange(plain)


def test_list(direct, gateway, prompt):
    for _ in range(3):
        ended(direct, direct.messages.batches.create(requests=requests_of(prompt, 1)))
    assert len(list(direct.messages.batches.list(limit=2))) == 3
    assert [lasting(batch.to_json()) for batch in gateway.messages.batches.list(limit=2)] == [
        lasting(batch.to_json()) for batch in direct.messages.batches.list(limit=2)
    ]
    assert [batch.id for batch in gateway.messages.batches.list()] == [batch.id for batch in direct.messages.batches.list()]


def test_cancel_and_delete(direct, gateway, key, prompt):
    # Long enough to be canceled before it ends.
    arm(key, "batch_create", kind="batch_time", time="1h")
    batch = gateway.messages.batches.create(requests=requests_of(prompt))
    canceled = gateway.messages.batches.cancel(batch.id)
    assert (canceled.id, canceled.results_url) == (batch.id, None)
    assert ended(gateway, batch).request_counts.canceled == 2
    gone = gateway.messages.batches.with_raw_response.delete(batch.id)
    assert gone.parse().type == "message_batch_deleted" and gone.parse().id == batch.id
    with pytest.raises(anthropic.NotFoundError):
        direct.messages.batches.retrieve(batch.id)


def test_a_batch_of_another_workspace_is_not_found(direct, gateway):
    for which in (direct, gateway):
        with pytest.raises(anthropic.NotFoundError):
            which.messages.batches.retrieve("msgbatch_00000000000000000000000000")
