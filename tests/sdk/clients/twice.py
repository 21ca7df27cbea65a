"""The same calls twice: live at the provider, and held by the gateway; a client must not be able to tell them apart."""

import concurrent.futures

from prompts import KINDS, prompt_for

HELD = {"x-defer": "batch", "x-defer-wait": "deadline"}

# As others would write them: only what every client can say.
PROMPTS = {kind: prompt_for(kind)["messages"][0]["content"] for kind in KINDS}


def each_kind(call) -> dict:
    """What a call gives for each kind of answer: all at the same time, so that they share a batch and its wait."""
    with concurrent.futures.ThreadPoolExecutor(len(PROMPTS)) as callers:
        return dict(zip(PROMPTS, callers.map(call, PROMPTS.values())))
