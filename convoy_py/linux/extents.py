"""Where a file's blocks lie, how many are its own, and which it shares with others: by FIEMAP."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from convoy_py.linux import files, libc, pulse
from convoy_py.linux.descriptors import opened

_FIEMAP = 0xC020660B
_SYNC = 1
_LAST, _INLINE, _SHARED = 0x1, 0x200, 0x2000
_UNWRITTEN = 0x800
# Unknown, delayed, encoded, encrypted, not aligned, inline, tail: not where, or not as, it is told.
_VAGUE = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | _INLINE | 0x400
_WHOLE = 2**64 - 1
_SECTOR = 512

# fiemap: begin, length, flags, extents found, extents asked for, reserved; then the extents, each:
# begin in the file, begin on the disk, length, reserved, flags, reserved.
_REQUEST = struct.Struct("=2Q4I")
_EXTENT = struct.Struct("=3Q16xI12x")
# With no more than 1024 bytes fcntl.ioctl lets go of the interpreter's lock, here until the file is
# written out; and most files are one extent.
_BATCH = 16

_NO_FIEMAP = frozenset({errno.EOPNOTSUPP, errno.ENOTTY})
# No other filesystem lets two files have one block.
_XFS = 0x58465342
_SHARING = frozenset({_XFS, 0x9123683E, 0xCA451A4E, 0x7461636F})

_XFS_GEOMETRY = 0x8100587E
_GEOMETRY_FLAGS = struct.Struct("=92xI160x")
_WITH_REFLINKS = 1 << 20

# Where on the disk, in bytes: begin, and the first that is beyond it.
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shares:
    """Bytes that are `allocated` in all, and of those the ones `shared` with another file."""

    allocated: int
    shared: int


class Part(NamedTuple):
    """Bytes of a file that are no hole, and where on the disk they lie; None if that is vague."""

    begin: int
    end: int
    place: int | None


_NOTHING = Part(0, 0, None)


@dataclass(slots=True)
class Footprint:
    """Bytes that nobody else has, and where those lie that something else has too, or has twice."""

    own: int = 0
    shared: list[Range] = field(default_factory=list)


def footprint(folder: Path, is_late: Callable[[], bool]) -> Footprint:
    """What a tree has of the disk; less than that if it gets late before all is seen."""
    found = Footprint()
    with opened(folder) as fd:
        sharing = can_share(fd)
    if not sharing:
        found.own = files.disk_usage(folder, is_late)[1]
        return found
    for fd in files.regular_files(folder):
        for begin, length, flags in _known_extents(fd):
            if flags & _SHARED:
                found.shared.append((begin, begin + length))
            elif not flags & _INLINE:
                found.own += length
        if is_late():
            break
    return found


def can_share(fd: int) -> bool:
    """Whether two files on the filesystem of an open one can have one block; writes nothing."""
    magic = libc.filesystem_magic(fd)
    if magic == _XFS:
        (flags,) = _GEOMETRY_FLAGS.unpack(
            fcntl.ioctl(fd, _XFS_GEOMETRY, bytes(_GEOMETRY_FLAGS.size))
        )
        return bool(flags & _WITH_REFLINKS)
    return magic in _SHARING


def shared_ranges(folder: Path, is_late: Callable[[], bool]) -> Iterator[Range]:
    """Where those blocks of a tree lie that something else has too.

    TimeoutError if it gets late before all is seen.
    """
    for fd in files.regular_files(folder):
        if is_late():
            raise TimeoutError
        for begin, length, flags in _known_extents(fd):
            if flags & _SHARED:
                yield begin, begin + length


def _known_extents(fd: int) -> Iterator[tuple[int, int, int]]:
    """Without waiting for what is not written yet: nobody else can have it."""
    try:
        yield from _extents(fd, 0)
    except OSError as error:
        if error.errno not in _NO_FIEMAP:
            raise


def shares(fd: int) -> Shares:
    """What an open file holds, once all that was written to it is on the disk.

    Where the filesystem does not tell (no FIEMAP), nothing is shared.
    """
    allocated = shared = 0
    try:
        for _, length, flags in _extents(fd, _SYNC):
            allocated += length
            shared += length if flags & _SHARED else 0
    except OSError as error:
        if error.errno not in _NO_FIEMAP:
            raise
        return Shares(os.fstat(fd).st_blocks * _SECTOR, 0)
    return Shares(allocated, shared)


def tree_shares(folder: Path) -> Shares:
    """The same of all regular files in a tree together, each once however many links it has.

    Follows no symbolic link and stays on the mount of `folder`. What the files share with each
    other counts as shared, and as allocated for each of them.
    """
    allocated = shared = 0
    for fd in files.regular_files(folder):
        pulse.beat()
        found = shares(fd)
        allocated += found.allocated
        shared += found.shared
    return Shares(allocated, shared)


def parts(fd: int) -> list[Part] | None:
    """All of an open file that is no hole, in order, once it is on the disk; as few as can be.

    What was reserved and never written is a hole. None if the filesystem does not tell.
    """
    found: list[Part] = []
    last = _NOTHING
    try:
        for begin, place, length, flags in _mapped(fd, _SYNC):
            if flags & _UNWRITTEN:
                continue
            part = Part(begin, begin + length, None if flags & _VAGUE else place)
            if found and last.end == begin and _goes_on(last, part):
                last = found[-1] = Part(last.begin, part.end, last.place)
            else:
                found.append(part)
                last = part
    except OSError as error:
        if error.errno not in _NO_FIEMAP:
            raise
        return None
    return found


def _goes_on(last: Part, part: Part) -> bool:
    if last.place is None or part.place is None:
        return last.place is part.place
    return last.place + last.end - last.begin == part.place


def _extents(fd: int, how: int) -> Iterator[tuple[int, int, int]]:
    """(where it begins on the disk, bytes, flags) of each extent, in order."""
    for _, place, length, flags in _mapped(fd, how):
        yield place, length, flags


def _mapped(fd: int, how: int) -> Iterator[tuple[int, int, int, int]]:
    """(where it begins in the file, and on the disk, bytes, flags) of each extent, in order."""
    begin = 0
    while True:
        answer = bytearray(_REQUEST.size + _BATCH * _EXTENT.size)
        _REQUEST.pack_into(answer, 0, begin, _WHOLE - begin, how, 0, _BATCH, 0)
        fcntl.ioctl(fd, _FIEMAP, answer)
        count = _REQUEST.unpack_from(answer)[3]
        end = _REQUEST.size + count * _EXTENT.size
        found = list(_EXTENT.iter_unpack(memoryview(answer)[_REQUEST.size : end]))
        yield from found
        if not found or found[-1][3] & _LAST:
            return
        begin = found[-1][0] + found[-1][2]
