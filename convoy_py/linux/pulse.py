"""Lets whoever waits for work in a thread tell the slow from what hangs: it beats as it gets on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Heard(threading.local):
    by: Callable[[], None] | None = None


_heard = _Heard()


@contextmanager
def heard(by: Callable[[], None]) -> Iterator[None]:
    """Have this thread's beats heard while the block runs; what `by` raises stops the work."""
    before, _heard.by = _heard.by, by
    try:
        yield
    finally:
        _heard.by = before


def beat() -> None:
    """Say that the work got on; nothing if nobody listens."""
    if _heard.by is not None:
        _heard.by()
