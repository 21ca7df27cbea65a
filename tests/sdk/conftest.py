"""What each test is given: a credential of its own, a client for each server, a call nobody else makes."""

import pytest

from prompts import prompt_for
from servers import GATEWAY, SIMULATOR, client, new_key


@pytest.fixture
def key() -> str:
    """A credential of this test alone, so that nobody else's batches or deferrals are in sight."""
    return new_key()


@pytest.fixture
def direct(key):
    with client(SIMULATOR, key) as opened:
        yield opened


@pytest.fixture
def gateway(key):
    with client(GATEWAY, key) as opened:
        yield opened


@pytest.fixture
def prompt():
    return prompt_for("plain")
