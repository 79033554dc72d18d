"""How fast the free space falls, from look to look."""

from collections.abc import Mapping

import pytest

from convoy_py.engine.memory.pace import WINDOW_SECONDS, Pace

NOBODY: Mapping[float, tuple[int, int]] = {}


def _looks(
    *looks: tuple[float, int], takers: Mapping[float, tuple[int, int]] = NOBODY
) -> list[float]:
    """What each says, at so many seconds, of so many bytes free; `takers` from when on."""
    pace, taking, found = Pace(), (0, 0), []
    for now, free in looks:
        taking = takers.get(now, taking)
        found.append(pace.look(now, free, taking))
    return found


def test_it_is_known_at_the_third_look() -> None:
    """Two steps: the greater may be a file that was set aside at once."""
    assert _looks((0, 100), (1, 90), (2, 80)) == [0, 0, 10]


def test_two_looks_at_once_say_nothing() -> None:
    assert _looks((0, 100), (0, 90), (0, 80), (1, 70), (2, 60)) == [0, 0, 0, 0, 10]


def test_what_rises_hides_nothing_and_one_leap_is_no_pace() -> None:
    assert _looks((0, 100), (1, 90), (2, 500), (3, 490))[-1] == pytest.approx(5)
    assert _looks((0, 100), (1, 100), (2, 10))[-1] == 0


def test_it_is_forgotten_after_a_while() -> None:
    assert (
        _looks((0, 100), (1, 90), (2, 80), (2 + WINDOW_SECONDS, 80), (3 + WINDOW_SECONDS, 80))[-1]
        == 0
    )


@pytest.mark.parametrize(("begun", "ended"), [((30, 0), (30, 30)), ((30, 0), (60, 60))])
def test_what_the_daemon_takes_does_not_count(
    begun: tuple[int, int], ended: tuple[int, int]
) -> None:
    """As long as it is at it nobody knows what others write: they go on as before."""
    looks = ((0, 100), (1, 90), (2, 80), (3, 40), (4, 20))
    assert _looks(*looks, takers={3: begun, 4: ended})[-2:] == [10, 10]
