"""Every combination of what is recorded, mounted and held has its repair."""

import itertools

import pytest

from convoy_py.engine.upkeep.plan import PLAN, Observed, Repair, plan


def test_the_table_is_complete() -> None:
    """No combination was forgotten."""
    combinations = itertools.product((True, False), repeat=3)
    assert set(PLAN) == {Observed(recorded=r, mounted=m, held=h) for r, m, h in combinations}


@pytest.mark.parametrize(
    ("recorded", "mounted", "held", "repair"),
    [
        (True, True, True, Repair.ADOPT),
        (True, True, False, Repair.UNMOUNT),
        (True, False, True, Repair.DROP),
        (False, True, True, Repair.STRANGER),
        (False, False, True, Repair.DROP),
    ],
)
def test_a_name_gets_the_repair_of_its_combination(
    recorded: bool, mounted: bool, held: bool, repair: Repair
) -> None:
    """A live mount is adopted, a reference without a mount is dropped."""
    names = {"v"}
    none: set[str] = set()
    assert plan(
        names if recorded else none, names if mounted else none, names if held else none
    ) == {"v": repair}


def test_what_needs_nothing_is_left_out() -> None:
    """A thousand idle volumes are no work."""
    assert plan({"a", "b"}, set(), set()) == {}
