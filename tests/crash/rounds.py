"""How long the tests go on that take their chances: some rounds, or as long as a campaign does.

`CAMPAIGN` sets for how many seconds each such test goes on, `CRASH_SEED` repeats the choices of a
run, though not its timing.
"""

import os
import random
import secrets
import time
from collections.abc import Iterator

SECONDS = float(os.environ.get("CAMPAIGN", "0"))
SEED = os.environ.get("CRASH_SEED") or secrets.token_hex(4)
# For pytest, which is to end what hangs: a round takes seconds.
TIMEOUT = 600 + 2 * SECONDS


def rounds(least: int) -> Iterator[int]:
    """The numbers of the rounds, of which there are at least so many."""
    end, number = time.monotonic() + SECONDS, 0
    while number < least or time.monotonic() < end:
        yield number
        number += 1


def chance(*about: object) -> random.Random:
    """The choices of one part of a run."""
    return random.Random("-".join(map(str, (SEED, *about))))
