"""Room that is kept for a full disk: given up piece by piece, and made again."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.errors import HostFull, NoSpace, NotFound
from convoy_py.linux import files
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
    "error", [OSError(errno.EIO, ""), NotFound("x"), HostFull("a wish", needs=1)], ids=repr
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
