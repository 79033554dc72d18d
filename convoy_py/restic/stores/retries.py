"""How long a storage across a network is waited for, and how often it is asked again."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from convoy_py.restic.errors import StoreFailed

# Statuses of HTTP that another try may better, beside all from 500 on.
_AGAIN = (408, 425, 429)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """In seconds, but for `retries`; a call ends within `retrying` + `request`."""

    connect: float = 15.0
    stall: float = 120.0  # without a byte that comes or, where that can be seen, goes
    request: float = 900.0  # four packs at once through a line of 1 Mbit/s
    retries: int = 8
    retrying: float = 180.0  # no try begins later
    opening: float = 5.0  # the same, as long as no connection was ever made
    backoff: float = 0.2  # before the first retry; twice as long before each further one
    longest_backoff: float = 15.0


class Passing(StoreFailed):
    """A failure that another try may not have."""


class Unreached(Passing):
    """No connection was made."""


def passes(status: int) -> bool:
    return status >= 500 or status in _AGAIN


class Retrying:
    """Asks one storage again; one that has never answered is given up soon, for somebody waits."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._reached = False

    def __call__(self, once: Callable[[], _T]) -> _T:
        """What `once` gives; it has to do no harm if it is done twice. Raises its last Passing."""
        patience = self._patience
        begun, pause = time.monotonic(), patience.backoff
        for _ in range(patience.retries):
            try:
                return self._tried(once)
            except Passing:
                limit = patience.retrying if self._reached else patience.opening
                if time.monotonic() + pause > begun + limit:
                    raise
            time.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            pause = min(pause * 2, patience.longest_backoff)
        return self._tried(once)

    def _tried(self, once: Callable[[], _T]) -> _T:
        reached = True
        try:
            return once()
        except Unreached:
            reached = False
            raise
        finally:
            self._reached = self._reached or reached
