"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Generous: it bounds a failure, not a success; the machine may be busy with other things.
DEADLINE = 120.0


def until(
    condition: Callable[[], T], what: str | Callable[[], str], *, seconds: float = DEADLINE
) -> T:
    """The first true value of `condition`; AssertionError naming `what` after `seconds`.

    `what` was waited for, and how it stands then, if that is a function.
    """
    end = time.monotonic() + seconds
    pause = 0.005
    while True:
        if found := condition():
            return found
        if time.monotonic() > end:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:g} s: {told}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
