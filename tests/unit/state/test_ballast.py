"""Room that is kept for a full disk: given up piece by piece, and made again."""

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from convoy_py.errors import HostFull, NoSpace, NotFound
from convoy_py.linux import btrfs, files
from convoy_py.state.ballast import PIECES, Ballast
from tests.fakes_kernel import WatchedLock


@pytest.fixture
def ballast(tmp_path: Path) -> Ballast:
    ballast = Ballast(tmp_path)
    ballast.fill()
    return ballast


def _failing(times: int, error: Exception) -> Callable[[], str]:
    left = iter(range(times))

    def call() -> str:
        if next(left, None) is not None:
            raise error
        return "done"

    return call


def _pieces(folder: Path) -> int:
    return len(list((folder / "ballast").iterdir()))


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, ""), OSError(errno.EDQUOT, ""), NoSpace("full")], ids=repr
)
def test_no_more_is_given_up_than_is_needed(
    tmp_path: Path, ballast: Ballast, error: Exception
) -> None:
    assert ballast.relieve(_failing(3, error)) == "done"
    assert _pieces(tmp_path) == PIECES - 3
    ballast.fill()
    assert _pieces(tmp_path) == PIECES


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, ""),
        NotFound("x"),
        HostFull("a wish", needs=1),
        files.Unsettled(errno.ENOSPC, "it is done, and not to be done again"),
    ],
    ids=repr,
)
def test_nothing_is_given_up_for_another_error(
    tmp_path: Path, ballast: Ballast, error: Exception
) -> None:
    with pytest.raises(type(error)):
        ballast.relieve(_failing(1, error))
    assert _pieces(tmp_path) == PIECES


def test_when_nothing_is_left_the_error_is_told(tmp_path: Path, ballast: Ballast) -> None:
    with pytest.raises(NoSpace):
        ballast.relieve(_failing(PIECES + 1, NoSpace("full")))
    assert _pieces(tmp_path) == 0


@dataclass
class _Host:
    """What a filesystem says of itself."""

    f_files: int
    f_favail: int


@pytest.mark.parametrize(
    ("inodes", "has_room", "made"),
    [
        (_Host(f_files=1000, f_favail=1000), True, True),
        (_Host(f_files=1000, f_favail=100), True, False),
        (_Host(f_files=0, f_favail=0), True, True),  # one that does not count them
        (_Host(f_files=1000, f_favail=1000), False, False),
    ],
)
def test_it_is_made_where_there_is_plenty_of_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inodes: _Host, has_room: bool, made: bool
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: inodes)
    monkeypatch.setattr(files, "has_room", lambda folder, size: has_room)
    Ballast(tmp_path).fill()
    assert (tmp_path / "ballast").exists() is made


def test_while_nothing_is_missing_no_room_is_tried_out(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes blocks for a moment."""

    def tried(folder: Path, size: int) -> bool:
        raise AssertionError

    monkeypatch.setattr(files, "has_room", tried)
    ballast.fill()


@pytest.mark.parametrize("on_btrfs", [True, False])
def test_a_piece_is_on_the_disk_with_its_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_btrfs: bool
) -> None:
    """Which is as much as its blocks, where it has its own room."""
    metadata: Counter[str] = Counter()
    synced: list[str] = []

    def called(fd: int) -> str:
        return str(Path(f"/proc/self/fd/{fd}").readlink().relative_to(tmp_path))

    monkeypatch.setattr(btrfs, "is_btrfs", lambda _: on_btrfs)
    monkeypatch.setattr(
        os, "setxattr", lambda fd, name, value: metadata.update({called(fd): len(value)})
    )
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(called(fd)))
    Ballast(tmp_path).fill()
    assert synced == [f"ballast/{number}/1" for number in range(PIECES)]
    assert [size > 0.9 * 2**20 for size in metadata.values()] == [on_btrfs] * PIECES * on_btrfs


def test_half_a_piece_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where room runs out meanwhile, the next look makes it."""
    allocate, calls = os.posix_fallocate, count()

    def full(fd: int, offset: int, length: int) -> None:
        if next(calls) > 2 and length < 64 * 2**20:
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(fd, offset, length)

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        Ballast(tmp_path).fill()
    assert _pieces(tmp_path) == 2
    assert "no ballast" in caplog.text
    Ballast(tmp_path).fill()
    assert _pieces(tmp_path) == PIECES


def test_two_that_fill_make_each_piece_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The one waits for the other: neither finds what the other is just making."""
    ballast, lock = Ballast(tmp_path), WatchedLock()
    monkeypatch.setattr(ballast, "_lock", lock)

    def fill() -> None:
        ballast.fill()
        lock.awaited.set()

    other = threading.Thread(target=fill)

    def allocate(fd: int, offset: int, length: int) -> None:
        if other.ident is None:
            other.start()
            assert lock.awaited.wait(10)
        os.ftruncate(fd, length)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    ballast.fill()
    other.join(10)
    assert _pieces(tmp_path) == PIECES
    assert caplog.records == []


def test_two_that_need_room_give_up_a_piece_each(
    tmp_path: Path,
    ballast: Ballast,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not the same one, which would give room once."""
    lock, remove = WatchedLock(), files.remove_tree
    monkeypatch.setattr(ballast, "_lock", lock)

    def relieve() -> None:
        ballast.relieve(_failing(1, NoSpace("full")))
        lock.awaited.set()

    other = threading.Thread(target=relieve)

    def slow(path: Path) -> None:
        if other.ident is None:
            other.start()
            assert lock.awaited.wait(10)
        remove(path)

    monkeypatch.setattr(files, "remove_tree", slow)
    ballast.relieve(_failing(1, NoSpace("full")))
    other.join(10)
    assert _pieces(tmp_path) == PIECES - 2
    assert not [each for each in caplog.messages if "cannot be given up" in each]
