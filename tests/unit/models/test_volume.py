"""What follows from a volume's spec."""

import pytest

from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Spec, Usage

MIB = 2**20


@pytest.mark.parametrize(
    ("fs", "size", "inodes", "asked", "expected"),
    [
        (Filesystem.EXT4, 64, 1000, 128, 1000),  # still one group of blocks
        (Filesystem.EXT4, 64, 1000, 129, 2012),
        (Filesystem.EXT4, 1024, 1000, 128, 114),
        (Filesystem.XFS, 300, 1000, 600, 2000),
        (Filesystem.XFS, 300, 1000, 301, 1004),
        (Filesystem.XFS, 300, None, 600, None),
        (None, 300, 1000, 600, 1000),  # a directory's is a quota of its own
        (None, None, 1000, 600, 1000),
    ],
)
def test_the_limit_of_files_follows_the_size(
    fs: Filesystem | None, size: int | None, inodes: int | None, asked: int, expected: int | None
) -> None:
    """As growing an image gives it more."""
    spec = Spec(backend="x", fs=fs, size=size and size * MIB, inodes=inodes)
    assert spec.inodes_at(asked * MIB) == expected
    # An image is a whole number of blocks.
    assert spec.inodes_at(asked * MIB + 4095) == expected


@pytest.mark.parametrize(
    ("used", "allocated", "expected"), [(5, 9, 5), (None, 9, 9), (None, None, 0)]
)
def test_what_there_is_to_copy(used: int | None, allocated: int | None, expected: int) -> None:
    """What cannot be seen without a mount is no more than what it occupies."""
    assert Usage(used=used, allocated=allocated, sampled=0.0).content == expected
