"""Waits for a condition, with a limit."""

import time

# No condition here takes more than a few seconds.
LIMIT_SECONDS = 60
# Between two looks, so that the looking does not become the load.
LOOK_EVERY_SECONDS = 0.05


def until(look, good):
    """What `look` gives as soon as it is `good`."""
    limit = time.monotonic() + LIMIT_SECONDS
    while not good(seen := look()):
        assert time.monotonic() < limit, f"still not there after {LIMIT_SECONDS} s"
        time.sleep(LOOK_EVERY_SECONDS)
    return seen
