"""Clones of files that others write to: made in pieces beside them, and completed when they wait.

A clone takes long by the fragments that both do not share yet. As long as writers go on most of
that is done, in pieces for which they hardly wait; what they changed meanwhile is all that is left
for the moment in which they stand still.
"""

import fcntl
import os
import struct
import time
from collections.abc import Iterator

from convoy_py.linux import btrfs, libc, reflink
from convoy_py.linux.reflink import Step

_CLONE_RANGE = 0x4020940D
_CLONED = struct.Struct("=q3Q")

_XFS = 0x58465342

_MIB = 1 << 20
_LEAST, _FIRST, _MOST = _MIB, 4 * _MIB, 16 * _MIB
_PIECE_SECONDS = 0.01

# Where in both files, in bytes: begin, and the first that is beyond it.
_Range = tuple[int, int]


def pays(fd: int) -> bool:
    """Whether a clone of this file can be completed faster than it is made."""
    is_small = os.fstat(fd).st_size < _MIB  # to btrfs it may be a part of its inode
    return not is_small and (libc.filesystem_magic(fd) == _XFS or btrfs.is_btrfs(fd))


def advance(source: int, target: int, step: Step) -> None:
    """Let `target`, empty or advanced before, share what it does not yet; writers go on meanwhile.

    What they write may be in it or not. `step` is called between two pieces, of 0 bytes. Raises
    OSError as `reflink.clone` does.
    """
    if not os.fstat(target).st_size:
        reflink.prepare(source, target)
    piece = _FIRST
    for begin, end in _left(source, target):
        at = begin
        while at < end:
            step(0)
            count, began = min(piece, end - at), time.monotonic()
            _share(source, target, at, count)
            piece = _fitted(count, time.monotonic() - began)
            at += count


def complete(source: int, target: int, step: Step) -> None:
    """Make a target that was advanced what `reflink.clone` would make it now.

    Nobody writes to either. Where both have the same blocks at the same places nothing is to be
    done; all else is cloned anew.
    """
    for begin, end in _left(source, target):
        step(0)
        _share(source, target, begin, end - begin)


def _left(source: int, target: int) -> Iterator[_Range]:
    """Where the two may differ, in order; the target has the source's size from now on."""
    os.fsync(source)  # what is not on the disk has no blocks that could be compared
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    if not btrfs.is_btrfs(source):
        # Xfs passes over what the two share already.
        if size:
            yield 0, size
        return
    begin = end = 0
    for low, high in btrfs.differences(source, target):
        if low > end:
            if end > begin:
                yield begin, end
            begin = low
        end = min(size, max(end, high))
    if end > begin:
        yield begin, end


def _share(source: int, target: int, begin: int, count: int) -> None:
    fcntl.ioctl(target, _CLONE_RANGE, _CLONED.pack(source, begin, count, begin))


def _fitted(count: int, took: float) -> int:
    """How many bytes the next piece may have, for it to take about as long as one should."""
    wanted = count * min(2.0, _PIECE_SECONDS / max(took, 1e-6))
    return max(_LEAST, min(_MOST, int(wanted) // _MIB * _MIB))
