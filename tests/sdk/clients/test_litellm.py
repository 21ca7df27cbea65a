"""LiteLLM as a client: it gets a held answer as it gets a live one, streaming or not."""

import functools
import os

# It would ask for prices elsewhere as it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import pytest

from held import deferrals
from prompts import KINDS, TOOL
from servers import GATEWAY, SIMULATOR, client, new_key
from twice import HELD, PROMPTS, each_kind

# What it warns of is its own.
pytestmark = pytest.mark.filterwarnings("ignore")

TOOLS = [{"type": "function", "function": {"name": TOOL["name"], "parameters": TOOL["input_schema"]}}]


def whole(url, key, headers, prompt, **options):
    return litellm.completion(
        model="anthropic/claude-haiku-4-5", max_tokens=1000, api_base=url, api_key=key, extra_headers=headers,
        max_retries=0, messages=[{"role": "user", "content": prompt}], tools=TOOLS, stop=["END"], **options,
    )  # fmt: skip


def streamed(url, key, headers, prompt):
    return litellm.stream_chunk_builder(list(whole(url, key, headers, prompt, stream=True)))


def told(response) -> dict:
    """A response without what belongs to one run of LiteLLM, and without what tells a batch from a live answer."""
    fields = response.model_dump(exclude={"id", "created"})
    fields["usage"].pop("service_tier", None)
    return fields


@pytest.fixture(scope="module")
def together():
    """Every kind of answer: live and held, whole and streamed."""
    key = new_key()

    def twice(call):
        return tuple(
            each_kind(functools.partial(call, url, key, headers)) for url, headers in ((SIMULATOR, None), (GATEWAY, HELD))
        )

    yield {"completion": twice(whole), "stream": twice(streamed), "key": key}


@pytest.mark.parametrize("way", ["completion", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_held_answer_is_as_a_live_one(together, way, kind):
    live, held = (answers[kind] for answers in together[way])
    assert told(held) == told(live)
    said = held.choices[0].message
    assert said.content or said.tool_calls


def test_it_came_from_a_batch(together):
    with client(GATEWAY, together["key"]) as gateway:
        kept = deferrals(gateway)
    assert [deferral["served_by"] for deferral in kept] == ["batch"] * (2 * len(PROMPTS))
