"""How two answers to the same call are compared."""

import re

from servers import GATEWAY, SIMULATOR

# What differs from one answer to the next however it travelled: ids, times, and the origin that a URL starts with.
PASSING = [
    (re.compile(r"\b(msg|msgbatch|req|toolu|wrkspc)_\w+"), r"\1_…"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "TIME"),
    (re.compile(re.escape(SIMULATOR) + "|" + re.escape(GATEWAY)), "ORIGIN"),
]

# Headers that belong to one connection or one moment, and the one that the gateway adds to each call.
OWN_HEADERS = {"date", "host", "connection", "keep-alive", "transfer-encoding", "content-length", "x-defer-decision"}


def lasting(text: str) -> str:
    """A text without what passes."""
    for pattern, placeholder in PASSING:
        text = pattern.sub(placeholder, text)
    return text


def lasting_headers(headers) -> dict[str, str]:
    """Headers without what passes."""
    return {name: lasting(value) for name, value in dict(headers).items() if name not in OWN_HEADERS}


def exchange(response) -> tuple[int, dict[str, str], str]:
    """A raw answer as it can be compared: status, headers, text."""
    return response.status_code, lasting_headers(response.headers), lasting(response.text())
