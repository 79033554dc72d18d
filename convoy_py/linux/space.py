"""The free space of a filesystem: how much there is, and that of what was deleted given back."""

import fcntl
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

from convoy_py.linux import btrfs, libc
from convoy_py.linux.descriptors import opened

_XFS_MAGIC = 0x58465342
_FREE_EOFBLOCKS = 0x8080583A
_EOF_ARGS = struct.Struct("=2I3I4xQ96x")
_VERSION, _WAIT = 1, 1

_WAITING = (b"Dirty:", b"Writeback:")

# Seconds between two looks at btrfs's cleaner.
_LOOK_SECONDS = 0.1


def free(folder: Path) -> int:
    """Bytes that may be written to the filesystem of `folder`, beside what is being written.

    Btrfs counts what waits to be written or committed only half a minute later, when it is.
    """
    found = os.statvfs(folder)
    return max(0, found.f_bavail * found.f_frsize - btrfs.unwritten(folder))


def in_memory() -> int:
    """Bytes of files, on whatever filesystem, that are in memory and not yet written out."""
    with Path("/proc/meminfo").open("rb") as lines:
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(_WAITING))


def given_back(folder: Path, limit: float) -> bool:
    """Wait until `free` knows of all that was deleted; False if that takes over `limit` seconds.

    Btrfs deletes a subvolume in the background, half a minute later, and then commits it; XFS
    frees the blocks of a file after its name has gone. Both are told to do it now.
    """
    with opened(folder, os.O_DIRECTORY) as fd:
        if libc.filesystem_magic(fd) == _XFS_MAGIC:
            with suppress(OSError):  # an older one is done already
                fcntl.ioctl(
                    fd, _FREE_EOFBLOCKS, bytearray(_EOF_ARGS.pack(_VERSION, _WAIT, *[0] * 4))
                )
        if not btrfs.is_btrfs(fd):
            return True
        end = time.monotonic() + limit
        btrfs.clean(fd)
        while btrfs.is_cleaning(fd):
            if time.monotonic() >= end:
                return False
            time.sleep(_LOOK_SECONDS)
            btrfs.clean(fd)  # again: it slept on if nothing was ready to be cleaned yet
        btrfs.clean(fd)  # what was cleaned is free once it is committed
        return True
