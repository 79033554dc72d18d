"""What a loopback image can be formatted with, and how large it can be."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


# On disk, see Spec: one more is a new format.
class Filesystem(StrEnum):
    """What a loopback image can be formatted with."""

    EXT4 = "ext4"
    XFS = "xfs"
    BTRFS = "btrfs"


# The smallest and the largest loopback image, in bytes: bounds that a person can read, within those
# that the tools and an ext4 host set (linux/filesystems).
IMAGE_SIZES: Mapping[Filesystem, tuple[int, int]] = MappingProxyType(
    {
        Filesystem.EXT4: (16 * 2**20, 15 * 2**40),
        Filesystem.XFS: (300 * 2**20, 15 * 2**40),
        Filesystem.BTRFS: (128 * 2**20, 15 * 2**40),
    }
)
