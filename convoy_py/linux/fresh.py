"""Copies of whole files for the sake of a fresh inode, which no late writer has open.

Neither a lock nor a lease stops one that was paused, or cut off, and wakes up: but what it writes
goes into a file that nobody uses any more.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from convoy_py.linux import files, reflink
from convoy_py.linux.descriptors import made, opened
from convoy_py.linux.reflink import Step

_MIB = 1 << 20
# What a first small piece takes, any piece takes; by what the rest of the probe takes longer the
# bytes are judged. Filesystems that only make new references to old blocks do so by the call.
_FIRST, PROBED, _PIECE = _MIB, 64 * _MIB, 1024 * _MIB


class Written(OSError):
    """Somebody wrote to the source meanwhile: the copy is of no use."""


class _TooSlow(Exception):
    """The whole would take longer than there is patience for."""


@dataclass(frozen=True)
class Haste:
    """For how long there is patience, by which clock; None: it takes as long as it does.

    `settle` waits, once the copy is made, for as long as we may still see of its source what it was
    before another host wrote there.
    """

    clock: Callable[[], float]
    patience: float | None
    settle: Callable[[], None]


def copied(
    source: Path,
    target: Path,
    haste: Haste,
    step: Step,
    *,
    reserved: bool = False,
) -> bool:
    """Make the new file `target` a copy of `source`; with the holes that the filesystem tells of.

    It is on the disk on return, for the caller to see to its name. Returns False, and leaves
    nothing, if there is no patience for it, which the first 64 MiB tell. If `reserved` it
    gets blocks of its own for all of its size.

    Raises Written (EBUSY) if the source was written meanwhile, what `step` raises, and OSError; and
    leaves nothing.
    """
    with opened(source) as old:
        before = os.fstat(old)
        with made(target) as new:
            try:
                if reserved:
                    files.set_nocow(new)
                    files.allocate(new, before.st_size)
                _copy(old, new, haste, step, share=not reserved)
                os.fsync(new)
                haste.settle()
                _refuse_written(source, before)
            except _TooSlow:
                target.unlink()
                return False
            except BaseException:
                target.unlink()
                raise
    return True


def _copy(source: int, target: int, haste: Haste, step: Step, *, share: bool) -> None:
    if haste.patience is None:
        reflink.copy(source, target, step, share=share)
        return
    pace = _Pace(source, target, haste.clock, haste.patience)

    def stepped(count: int) -> None:
        step(count)
        pace.stepped(count)

    reflink.copy(source, target, stepped, share=share, pieces=pace.pieces())


class _Pace:
    """Follows a copy, and stops it once it is clear that it takes too long."""

    def __init__(self, source: int, target: int, clock: Callable[[], float], patience: float):
        self._target = target
        self._clock = clock
        self._patience = patience
        self._began = clock()
        self._first = 0.0  # what the first piece took: so long takes each, however small
        size = os.fstat(source).st_size
        self._total = sum(end - begin for begin, end in reflink.data(source, size))
        self._done = 0
        self._judged = self._in_piece = False

    def pieces(self) -> Iterator[int]:
        """The sizes of the pieces in which it is copied: few, for that may be quick."""
        for size in chain((_FIRST, PROBED - _FIRST), repeat(_PIECE)):
            self._in_piece = True
            yield size

    def stepped(self, count: int) -> None:
        """So much was copied, or was a hole, which is told between two pieces."""
        if not self._in_piece:
            return
        is_first, self._in_piece = not self._done, False
        self._done += count
        is_probed = not self._judged and self._done >= PROBED
        if is_first or is_probed:
            os.fdatasync(self._target)  # what lies in memory alone is no measure
        took = self._clock() - self._began
        if is_first:
            self._first = took
        left = 0.0
        if is_probed:
            self._judged = True
            left = max(0.0, took - 2 * self._first) / self._done * (self._total - self._done)
        if self._done < self._total and took + left > self._patience:
            raise _TooSlow


def _refuse_written(source: Path, before: os.stat_result) -> None:
    """Compare by opening it anew: attributes by name, or of what is open, may be old ones."""
    with opened(source) as again:
        now = os.fstat(again)
    if not os.path.samestat(before, now) or (before.st_size, before.st_mtime_ns) != (
        now.st_size,
        now.st_mtime_ns,
    ):
        raise Written(errno.EBUSY, "somebody writes to it", str(source))
