"""How much of a file's blocks are its own, and how much it shares with others: by FIEMAP."""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convoy_py.linux import files, libc, pulse

_FIEMAP = 0xC020660B
_SYNC = 1
_LAST, _SHARED = 0x1, 0x2000
_BATCH = 512
_WHOLE = 2**64 - 1
_SECTOR = 512

# fiemap: begin, length, flags, extents found, extents asked for, reserved; then the extents, each:
# begin in the file, begin on the disk, length, reserved, flags, reserved.
_REQUEST = struct.Struct("=2Q4I")
_EXTENT = struct.Struct("=3Q16xI12x")

_NO_FIEMAP = frozenset({errno.EOPNOTSUPP, errno.ENOTTY})


@dataclass(frozen=True, slots=True)
class Shares:
    """Bytes that are `allocated` in all, and of those the ones `shared` with another file."""

    allocated: int
    shared: int


def shares(fd: int) -> Shares:
    """What an open file holds, once all that was written to it is on the disk.

    Where the filesystem does not tell (no FIEMAP), nothing is shared.
    """
    allocated = shared = 0
    try:
        for length, flags in _extents(fd):
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


def _extents(fd: int) -> Iterator[tuple[int, int]]:
    """(bytes, flags) of each extent, in order."""
    answer = ctypes.create_string_buffer(_REQUEST.size + _BATCH * _EXTENT.size)
    begin = 0
    while True:
        _REQUEST.pack_into(answer, 0, begin, _WHOLE - begin, _SYNC, 0, _BATCH, 0)
        # Not fcntl.ioctl, which holds the interpreter's lock, here until the file is written out.
        libc.call("ioctl", fd, ctypes.c_ulong(_FIEMAP), answer)
        count = _REQUEST.unpack_from(answer)[3]
        places = range(_REQUEST.size, _REQUEST.size + count * _EXTENT.size, _EXTENT.size)
        found = [_EXTENT.unpack_from(answer, place) for place in places]
        yield from ((length, flags) for _, _, length, flags in found)
        if not found or found[-1][3] & _LAST:
            return
        begin = found[-1][0] + found[-1][2]
