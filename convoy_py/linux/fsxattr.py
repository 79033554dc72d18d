"""What a filesystem keeps about a file beside its mode: its project, and how it gets its blocks."""

import fcntl
import struct
from typing import NamedTuple

_GET, _SET = 0x801C581F, 0x401C5820
_FSXATTR = struct.Struct("=5I8s")


class Attributes(NamedTuple):
    """struct fsxattr; sizes in bytes, which `flags` say the use of."""

    flags: int
    extent_size: int
    extents: int
    project: int
    cow_extent_size: int
    pad: bytes


def read(fd: int) -> Attributes:
    """Those of an open file or folder. Raises OSError where there are none: ENOTTY, EOPNOTSUPP."""
    return Attributes._make(_FSXATTR.unpack(fcntl.ioctl(fd, _GET, bytes(_FSXATTR.size))))


def write(fd: int, attributes: Attributes) -> None:
    """Change them to these, but for the number of extents, which is only told."""
    fcntl.ioctl(fd, _SET, _FSXATTR.pack(*attributes))
