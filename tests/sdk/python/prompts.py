"""Calls that no other test makes, and words that steer what the simulator answers to them."""

import secrets

# One answer of each kind that a client has to take apart or rebuild.
KINDS = [
    "plain", "thinking", "redacted", "citations", "json", "lines", "server_tool", "code_execution", "unknown-block",
    "tool_use", "bare_tool", "refusal", "pause_turn", "stop_sequence", "long:300",
]  # fmt: skip
# Those that only the SDK's beta client takes apart.
BETA_KINDS = ["compaction", "mcp"]

TOOL = {
    "name": "get_weather",
    "description": "The weather at a place.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


def prompt_for(kind: str) -> dict:
    """A call with an answer of that kind, or with that error: `error:overloaded_error`."""
    return {
        "model": "claude-haiku-4-5",
        "max_tokens": 1000,
        "system": "Be brief.",
        "tools": [TOOL],
        "stop_sequences": ["END"],
        "messages": [
            {"role": "user", "content": f"[{kind}] Say something about {secrets.token_hex(8)}: æ, \"quotes\", 日本語."}
        ],
    }
