"""A process that appends and syncs without a pause, and for how long each of its writes waited."""

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from time import perf_counter

from bench.together import FORK

_BLOCK = 4096


@dataclass(frozen=True)
class Writes:
    """The moments between writes: when the first began, then when each was on the disk."""

    moments: tuple[float, ...]

    def longest(self, begin: float, end: float) -> float:
        """The seconds of the slowest write that was under way at any time between these two."""
        first = max(bisect_left(self.moments, begin) - 1, 0)
        last = bisect_left(self.moments, end)
        seen = self.moments[first : last + 1]
        return max(after - before for before, after in pairwise(seen))

    def rate(self, begin: float, end: float) -> float:
        """How many were on the disk between these two, per second."""
        count = bisect_right(self.moments, end) - bisect_right(self.moments, begin)
        return count / (end - begin)


class Writer:
    """What is known of the process while it runs; `writes` is there when it has ended."""

    writes = Writes(())


@contextmanager
def writing(folder: Path) -> Iterator[Writer]:
    """Append 4 KiB and fsync, again and again, to a file in `folder` while the block runs."""
    writer, stop = Writer(), FORK.Event()
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_append, args=(folder / "log", stop, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield writer
    finally:
        stop.set()
        moments = array("d")
        moments.frombytes(ours.recv_bytes())
        process.join()
    writer.writes = Writes(tuple(moments))


def _append(path: Path, stop: Event, result: Connection) -> None:
    block, moments = os.urandom(_BLOCK), array("d")
    with path.open("xb", buffering=0) as file:
        moments.append(perf_counter())
        while not stop.is_set():
            file.write(block)
            os.fsync(file.fileno())
            moments.append(perf_counter())
    path.unlink()
    result.send_bytes(moments.tobytes())
