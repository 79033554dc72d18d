"""Room that is kept for a full disk: given up piece by piece, and made again."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.errors import HostFull, NoSpace, NotFound
from convoy_py.state.ballast import PIECES, Ballast


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
