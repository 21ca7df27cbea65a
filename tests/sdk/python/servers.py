"""The two servers under test, and clients for them."""

import os
import secrets

import anthropic

SIMULATOR = os.environ["OFFPEAK_TEST_SIM_URL"]
GATEWAY = os.environ["OFFPEAK_TEST_GATEWAY_URL"]


def client(url: str, key: str, kind=anthropic.Anthropic, **options):
    # No retries unless a test is about them: what the server said first is what is compared.
    return kind(base_url=url, api_key=key, **{"max_retries": 0, "timeout": 90.0, **options})


def new_key() -> str:
    """A credential that nobody else has: a workspace at the provider and a tenant of the gateway."""
    return f"sk-ant-{secrets.token_hex(6)}-1"
