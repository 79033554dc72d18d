"""Ends a filesystem on the spot: what was acknowledged stays, nothing is written from then on.

For who may not write any more, and cannot be waited for: the device may hang, and programs may have
files open. The filesystem stays mounted until they let go of it.
"""

import errno
import fcntl
import struct
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath

from convoy_py.linux import descriptors, loop, mounts
from convoy_py.linux.walk import FOLDER

_SHUTDOWN = 0x8004587D
# Not even its log is written out: what lies there is what was acknowledged, and is replayed.
_NO_LOG_FLUSH = struct.pack("=I", 2)

# What a filesystem answers that cannot, as btrfs of Linux 6.18.
_CANNOT = (errno.ENOTTY, errno.EOPNOTSUPP)
REFUSED = {"btrfs": "btrfs cannot be shut down by this kernel; use fs=ext4 or fs=xfs"}


def shut_down(folder: int | Path) -> None:
    """Have every later write, fsync and create in the image that is mounted there fail with EIO.

    Of ext4 it waits for the device, and takes effect before a write that hangs is acknowledged.
    May be repeated, which may raise EIO. Raises OSError: EINVAL, with nothing done, if no image is
    mounted right there, for a filesystem of the host would be lost until it is mounted anew;
    EOPNOTSUPP where it cannot be, and then writers go on.
    """
    with _opened(folder) as fd:
        mount, at = mounts.position(fd)
        # What lies there with nothing mounted may be on an image, too: the root's.
        if loop.number_of(mount.source) is None or at != PurePosixPath("/"):
            told = "only the filesystem of an image that is mounted there can be shut down"
            raise OSError(errno.EINVAL, told, str(folder))
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _NO_LOG_FLUSH)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            told = REFUSED.get(mount.fstype, f"{mount.fstype} cannot be shut down by this kernel")
            raise OSError(errno.EOPNOTSUPP, told, str(folder)) from error


def _opened(folder: int | Path) -> AbstractContextManager[int]:
    return nullcontext(folder) if isinstance(folder, int) else descriptors.opened(folder, FOLDER)
