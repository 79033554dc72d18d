"""Images that are alike but for what a mount writes: nothing else of them may differ."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.linux import superblocks

_BLOCK = 4096
_GROUP, _START, _LENGTH, _BITS = 10, (2 << 4) + 3, 4, 4
_LOG = range((2 * _GROUP + 3) * _BLOCK, (2 * _GROUP + 3 + _LENGTH) * _BLOCK)
_SIZE = _LOG.stop + 2 * _BLOCK
# As the kernel's headers have them: s_mtime, s_wtime, s_mnt_count, s_last_mounted, ...
_EXT4 = [
    (0x2C, 4),
    (0x30, 4),
    (0x34, 2),
    (0x88, 64),
    (0x178, 8),
    (0x274, 1),
    (0x275, 1),
    (0x3FC, 4),
]
_EXT4_MAY = {1024 + at + n for at, length in _EXT4 for n in range(length)}
_XFS_MAY = {*range(224, 228), *range(240, 248), *_LOG}


@pytest.fixture
def images(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two that are the same, of an xfs whose log lies in the third of its groups."""
    whole = bytearray(os.urandom(_SIZE))
    struct.pack_into(">I", whole, 4, _BLOCK)
    struct.pack_into(">Q", whole, 48, _START)
    struct.pack_into(">I", whole, 84, _GROUP)
    struct.pack_into(">I", whole, 96, _LENGTH)
    whole[124] = _BITS
    opened = []
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(whole)
        opened.append(os.open(tmp_path / name, os.O_RDWR))
    yield opened[0], opened[1]
    for fd in opened:
        os.close(fd)


@pytest.mark.parametrize(("fs", "may"), [("ext4", _EXT4_MAY), ("xfs", _XFS_MAY)])
def test_no_byte_may_differ_but_those_of_a_mount(
    images: tuple[int, int], fs: str, may: set[int]
) -> None:
    old, new = images
    for at in [*range(_BLOCK), *(edge + n for edge in (_LOG.start, _LOG.stop) for n in (-1, 0))]:
        (was,) = os.pread(new, 1, at)
        os.pwrite(new, bytes([was ^ 1]), at)
        assert superblocks.are_alike(fs, old, new, [(0, _BLOCK), (_BLOCK, _SIZE)]) is (at in may), (
            at
        )
        os.pwrite(new, bytes([was]), at)


def test_log_that_lies_elsewhere_hides_nothing(images: tuple[int, int]) -> None:
    for image in images:
        os.pwrite(image, bytes(8), 48)
    os.pwrite(images[1], b"other", 3 * _BLOCK)
    assert not superblocks.are_alike("xfs", *images, [(0, _SIZE)])


def test_other_filesystem_is_not_alike(images: tuple[int, int]) -> None:
    assert not superblocks.are_alike("btrfs", *images, [])


def test_much_that_moved_is_not_read(images: tuple[int, int]) -> None:
    assert not superblocks.are_alike("ext4", *images, [(0, 2 << 20)])
