"""What FIEMAP tells of a file, in batches, and where it tells nothing."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux import extents, files, libc
from convoy_py.linux.extents import Shares

KIB = 1 << 10
SHARED, INLINE = extents._SHARED, extents._INLINE

Fiemap = Callable[[list[int]], list[int]]


@pytest.fixture
def fiemap(monkeypatch: pytest.MonkeyPatch) -> Fiemap:
    """Has a file consist of pieces of 4 KiB with these flags; where each look at it began."""

    def fiemap(flags: list[int]) -> list[int]:
        looks: list[int] = []

        def ioctl(_fd: int, _request: int, answer: bytearray) -> int:
            begin, _, _, _, most, _ = extents._REQUEST.unpack_from(answer)
            looks.append(begin)
            numbers = range(begin // (4 * KIB), len(flags))[:most]
            extents._REQUEST.pack_into(answer, 0, begin, 0, 0, len(numbers), most, 0)
            for at, number in enumerate(numbers):
                last = extents._LAST if number == len(flags) - 1 else 0
                extents._EXTENT.pack_into(
                    answer,
                    extents._REQUEST.size + at * extents._EXTENT.size,
                    *(number * 4 * KIB, (100 + number) * 4 * KIB, 4 * KIB, flags[number] | last),
                )
            return 0

        monkeypatch.setattr(fcntl, "ioctl", ioctl)
        return looks

    return fiemap


@pytest.mark.parametrize(
    ("flags", "found", "looks"),
    [
        ([], Shares(0, 0), [0]),
        ([0], Shares(4 * KIB, 0), [0]),
        ([SHARED, 0, SHARED], Shares(12 * KIB, 8 * KIB), [0]),
        ([0] * 16, Shares(64 * KIB, 0), [0]),
        ([0] * 17, Shares(68 * KIB, 0), [0, 64 * KIB]),
        ([SHARED] * 33, Shares(132 * KIB, 132 * KIB), [0, 64 * KIB, 128 * KIB]),
    ],
)
def test_extents_are_counted_with_no_look_more_than_needed(
    fiemap: Fiemap, flags: list[int], found: Shares, looks: list[int]
) -> None:
    looked = fiemap(flags)
    assert extents.shares(0) == found
    assert looked == looks


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOTTY, errno.EIO])
def test_filesystem_that_tells_nothing_shares_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A disk that fails is an error."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    (tmp_path / "file").write_bytes(b"x")
    with (tmp_path / "file").open("rb") as file, monkeypatch.context() as patch:
        monkeypatch.setattr(files, "regular_files", lambda _: iter([file.fileno()]))
        allocated = os.fstat(file.fileno()).st_blocks * 512
        patch.setattr(fcntl, "ioctl", refuse)
        if number == errno.EIO:
            with pytest.raises(OSError, match="Input/output error"):
                extents.shares(file.fileno())
            with pytest.raises(OSError, match="Input/output error"):
                list(extents.shared_ranges(tmp_path, bool))
        else:
            assert extents.shares(file.fileno()) == Shares(allocated, 0)
            assert list(extents.shared_ranges(tmp_path, bool)) == []


def test_footprint_is_told_from_what_others_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fiemap: Fiemap
) -> None:
    """What lies among the metadata takes no block; when it gets late, that is all."""
    fiemap([SHARED, 0, INLINE, 0])
    begin = 100 * 4 * KIB
    monkeypatch.setattr(extents, "can_share", lambda _: True)
    monkeypatch.setattr(files, "regular_files", lambda _: iter([0, 0]))
    for is_late, times in ((lambda: False, 2), (lambda: True, 1)):
        found = extents.footprint(tmp_path, is_late)
        assert found.own == 8 * KIB * times
        assert found.shared == [(begin, begin + 4 * KIB)] * times
    assert len(list(extents.shared_ranges(tmp_path, lambda: False))) == 2
    with pytest.raises(TimeoutError):
        list(extents.shared_ranges(tmp_path, lambda: True))


def test_footprint_where_nothing_is_shared_is_all_that_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libc, "filesystem_magic", lambda _: 0xEF53)
    monkeypatch.setattr(files, "disk_usage", lambda *_: (5, 8))
    assert extents.footprint(tmp_path, bool) == extents.Footprint(own=8)
