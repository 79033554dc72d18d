"""What two maps of blocks tell of a change: every one, and no more than there is."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.linux import changes, extents
from convoy_py.linux.extents import Part

# Where each block of a file lies: a place on the disk, in blocks, None for a hole, -1 if vague.
_PLACES = st.lists(st.one_of(st.none(), st.integers(-1, 12)), max_size=12)
_BLOCK = 4096


def parts(places: list[int | None]) -> list[Part]:
    """As the kernel tells them, block by block or put together."""
    found: list[Part] = []
    for number, place in enumerate(places):
        if place is None:
            continue
        at = None if place < 0 else place * _BLOCK
        part = Part(number * _BLOCK, (number + 1) * _BLOCK, at)
        if found and found[-1].end == part.begin and extents._goes_on(found[-1], part):
            found[-1] = found[-1]._replace(end=part.end)
        else:
            found.append(part)
    return found


def blocks(ranges: list[tuple[int, int]]) -> set[int]:
    return {at // _BLOCK for begin, end in ranges for at in range(begin, end, _BLOCK)}


@given(old=_PLACES, new=_PLACES, moved=st.sets(st.integers(0, 12)))
def test_block_is_the_same_where_both_have_it_at_one_place(
    old: list[int | None], new: list[int | None], moved: set[int]
) -> None:
    """That has not changed itself, if it is a place in two images."""
    length = max(len(old), len(new))
    before, now = (places + [None] * (length - len(places)) for places in (old, new))
    changed = {
        number
        for number, (a, b) in enumerate(zip(before, now, strict=True))
        if a != b or a == -1 or a in moved
    }
    image = changes._merged(iter([(n * _BLOCK, (n + 1) * _BLOCK) for n in sorted(moved)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extents, "parts", {1: parts(old), 2: parts(new)}.get)
        found = changes.between(1, 2, list(image))
    assert found is not None
    assert blocks(found) == changed
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))


def test_moved_blocks_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file may have got the place that the old one had when it was looked at first."""
    maps = [parts([7]), parts([7]), parts([3]), parts([3]), parts([7]), parts([3])]
    monkeypatch.setattr(extents, "parts", lambda _: maps.pop(0))
    assert changes.between(1, 2) == [(0, _BLOCK)]
    assert maps == []


def test_blocks_that_never_stand_still_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    places = iter(range(1000))
    monkeypatch.setattr(extents, "parts", lambda _: parts([next(places)]))
    assert changes.between(1, 2) is None


def test_filesystem_that_tells_nothing_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extents, "parts", lambda _: None)
    assert changes.between(1, 2) is None
