"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Generous: it bounds a failure, not a success; the machine may be busy with other things.
DEADLINE = 30.0


def until(condition: Callable[[], T], what: str, *, seconds: float = DEADLINE) -> T:
    """The first true value of `condition`; AssertionError naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    pause = 0.005
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
