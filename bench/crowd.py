"""What else runs on a host: threads of others, which sleep."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from bench.together import FORK

_STACK = 1 << 16  # bytes: they do nothing


@contextmanager
def crowd(threads: int) -> Iterator[None]:
    """A process with so many threads beside the block."""
    if not threads:
        yield
        return
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_sleep, args=(threads, theirs), daemon=True)
    process.start()
    try:
        ours.recv()
        yield
    finally:
        process.kill()
        process.join()


def _sleep(threads: int, ready: Connection) -> None:
    never = threading.Event()
    threading.stack_size(_STACK)
    for _ in range(threads - 1):
        threading.Thread(target=never.wait).start()
    ready.send(None)
    never.wait()
