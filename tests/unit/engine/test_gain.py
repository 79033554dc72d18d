"""What a purge gives back, by who has which blocks."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convoy_py.engine.memory import gain
from convoy_py.engine.memory.gain import Gain, among_themselves, measure
from convoy_py.linux.extents import Footprint, Range

GAIN = Gain({frozenset("a"): 10, frozenset("b"): 20, frozenset("ab"): 100, frozenset("c"): 50})


def test_blocks_go_when_all_that_have_them_go() -> None:
    """Not before."""
    assert [GAIN.of(keys) for keys in ("", "a", "b", "ab", "ac", "abc")] == [
        0,
        10,
        20,
        130,
        60,
        180,
    ]
    assert [GAIN.without("a").of(keys) for keys in ("b", "bc")] == [120, 170]


@pytest.mark.parametrize(
    ("order", "missing", "chosen"),
    [
        ("abc", 0, ""),
        ("abc", 10, "a"),
        ("abc", 11, "b"),
        ("abc", 31, "ab"),
        ("cab", 31, "c"),
        ("abc", 131, "abc"),
        ("abc", 180, "abc"),
        ("abc", 181, ""),
        ("ab", 131, ""),
    ],
)
def test_none_goes_that_need_not(order: str, missing: int, chosen: str) -> None:
    """The newest stay; and all do, if all would not do."""
    assert GAIN.choose(list(order), missing) == list(chosen)


@pytest.mark.parametrize(
    ("held", "living", "groups"),
    [
        ([((0, 8), "a")], [], {}),
        ([((0, 8), "a"), ((0, 8), "a")], [], {"a": 8}),
        ([((0, 8), "a"), ((4, 12), "b")], [], {"ab": 4}),
        ([((0, 8), "a"), ((8, 12), "b")], [], {}),
        ([((0, 8), "a"), ((0, 8), "b")], [(2, 4)], {"ab": 6}),
        ([((0, 8), "a"), ((0, 8), "b"), ((0, 4), "c")], [], {"abc": 4, "ab": 4}),
        ([((0, 8), "a"), ((0, 8), "b"), ((0, 8), "c")], [], {"abc": 8}),
    ],
)
def test_shared_blocks_belong_to_all_that_have_them(
    held: list[tuple[Range, str]], living: list[Range], groups: dict[str, int]
) -> None:
    """Those of one alone are also something's that is not known; the living's never go."""
    found = among_themselves(held, living)
    assert dict(found) == {frozenset(keys): size for keys, size in groups.items()}


@pytest.mark.parametrize(("living", "size"), [([], 8), ([(0, 8)], 0), (TimeoutError(), 0)])
def test_what_is_not_certain_does_not_count(
    monkeypatch: pytest.MonkeyPatch, living: list[Range] | Exception, size: int
) -> None:
    """As when it gets late, or the disk fails, before all of the living are seen."""

    def seen(folder: Path, is_late: Callable[[], bool]) -> Iterator[Range]:
        if isinstance(living, Exception):
            raise living
        return iter(living)

    def footprint(home: Path, is_late: Callable[[], bool]) -> Footprint:
        if home == Path("broken"):
            raise OSError("it cannot be read")
        return Footprint(own=1, shared=[(0, 8)])

    monkeypatch.setattr(gain, "shared_ranges", seen)
    monkeypatch.setattr(gain, "footprint", footprint)
    found = measure({"a": Path("x"), "b": Path("y"), "c": Path("broken")}, [Path("volumes")])
    assert found.of("abc") == 2 + size
