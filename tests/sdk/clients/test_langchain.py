"""LangChain: ChatAnthropic gets a held answer as it gets a live one, streaming or not."""

import functools
import operator

import pytest
from langchain_anthropic import ChatAnthropic

from held import deferrals
from prompts import KINDS, TOOL
from servers import GATEWAY, SIMULATOR, client, new_key
from twice import HELD, PROMPTS, each_kind


def chat(url, key, headers=None):
    model = ChatAnthropic(
        model="claude-haiku-4-5", max_tokens=1000, base_url=url, api_key=key, max_retries=0, default_headers=headers
    )
    return model.bind_tools([TOOL]).bind(stop=["END"])


def streamed(model, prompt):
    return functools.reduce(operator.add, model.stream(prompt))


def told(message) -> dict:
    """A message without what belongs to one run of LangChain, and without what tells a batch from a live answer."""
    fields = message.model_dump(exclude={"id"})
    fields["response_metadata"].pop("id", None)
    fields["response_metadata"].get("usage", {}).pop("service_tier", None)
    return fields


@pytest.fixture(scope="module")
def together():
    """Every kind of answer: live and held, whole and streamed."""
    key = new_key()
    live, held = chat(SIMULATOR, key), chat(GATEWAY, key, HELD)
    yield {
        "invoke": (each_kind(live.invoke), each_kind(held.invoke)),
        "stream": (each_kind(functools.partial(streamed, live)), each_kind(functools.partial(streamed, held))),
        "key": key,
    }


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_held_answer_is_as_a_live_one(together, way, kind):
    live, held = (answers[kind] for answers in together[way])
    assert told(held) == told(live)
    assert held.content or held.tool_calls


def test_it_came_from_a_batch(together):
    with client(GATEWAY, together["key"]) as gateway:
        kept = deferrals(gateway)
    ids = {message.response_metadata["id"] for message in together["invoke"][1].values()}
    assert ids <= {deferral["message"]["id"] for deferral in kept if deferral["served_by"] == "batch"}
    assert len(kept) == 2 * len(PROMPTS)
