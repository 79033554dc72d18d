"""What is mounted anywhere, while that changes: told whole, or not at all."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event

import pytest

from convoy_py.linux import namespaces
from convoy_py.linux.namespaces import Shown
from tests.fakes_kernel import WatchedLock

FIRST, SECOND = Shown("8:1", "", 1, 7), Shown("8:1", "", 2, 8)


@pytest.fixture(autouse=True)
def may_see_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "_sees_all", lambda: True)


def test_namespace_that_was_made_meanwhile_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its number is lower than that at which the look was."""
    looks = iter([[2], [1, 2], [1, 2]])
    monkeypatch.setattr(namespaces, "_namespaces", lambda: iter(next(looks)))
    monkeypatch.setattr(namespaces, "_mounts", lambda number, _: {1: [FIRST], 2: [SECOND]}[number])
    assert namespaces.shown_anywhere() == [SECOND, FIRST]


def test_namespaces_that_come_without_end_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = count()
    monkeypatch.setattr(namespaces, "_namespaces", lambda: iter([next(numbers)]))
    monkeypatch.setattr(namespaces, "_mounts", lambda *_: [FIRST])
    with pytest.raises(BlockingIOError):
        namespaces.shown_anywhere()


@pytest.mark.parametrize("gone", [1, 100])
def test_mount_that_goes_meanwhile_is_looked_for_again(
    gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few times; the rest of its namespace is told, or nothing."""
    times = iter(range(gone))

    def mounts_of(*_: object) -> list[Shown]:
        if next(times, None) is not None:
            raise FileNotFoundError
        return [FIRST]

    monkeypatch.setattr(namespaces, "_namespaces", lambda: iter([1]))
    monkeypatch.setattr(namespaces, "_mounts", mounts_of)
    if gone == 1:
        assert namespaces.shown_anywhere() == [FIRST]
    else:
        with pytest.raises(FileNotFoundError):
            namespaces.shown_anywhere()


def test_what_never_changes_of_a_mount_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of a btrfs does; and what is gone is forgotten."""
    listed, asked = [2, 3, 4], list[int]()

    class Told:
        def __init__(self, _: int, mount: int, wanted: int) -> None:
            if not wanted & namespaces._MNT_BASIC:
                asked.append(mount)
            self.parent = 1
            self.is_btrfs = mount == 4
            self.device, self.source, self.root = f"8:{mount}", "", f"/{len(asked)}"

    def page(_: int, below: int, *__: int) -> tuple[int, ...]:
        return (1,) if below == namespaces._LSMT_ROOT else tuple(listed)

    monkeypatch.setattr(namespaces, "_known", {})
    monkeypatch.setattr(namespaces, "_namespaces", lambda: iter([1]))
    monkeypatch.setattr(namespaces, "_Told", Told)
    monkeypatch.setattr(namespaces, "_page", page)
    for _ in range(2):
        assert [each.device for each in namespaces.shown_anywhere()] == ["8:2", "8:3", "8:4"]
    assert asked == [2, 3, 4, 4]
    root = namespaces.shown_anywhere()[0]
    assert root.root != root.root  # folders are renamed
    listed.remove(3)
    namespaces.shown_anywhere()
    assert namespaces._known.keys() == {2}


def test_who_asks_while_another_looks_shares_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that one: what was mounted before the question must be in the answer."""
    begun, go_on, looks = Event(), Event(), list[list[Shown]]()

    def look() -> list[Shown]:
        looks.append([FIRST] if looks else [])
        begun.set()
        assert go_on.wait(10)
        return looks[-1]

    turn = WatchedLock()
    monkeypatch.setattr(namespaces, "_turn", turn)
    monkeypatch.setattr(namespaces, "_look", look)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(namespaces.shown_anywhere)
        assert begun.wait(10)
        others = []
        for _ in range(2):
            turn.awaited.clear()
            others.append(pool.submit(namespaces.shown_anywhere))
            assert turn.awaited.wait(10)
        go_on.set()
        assert first.result() == []
        assert [other.result() for other in others] == [[FIRST], [FIRST]]
    assert len(looks) == 2
    assert namespaces.shown_anywhere() == [FIRST]
    assert len(looks) == 3
