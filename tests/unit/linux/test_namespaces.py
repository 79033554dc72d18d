"""What is mounted anywhere, while that changes: told whole, or not at all."""

from itertools import count

import pytest

from convoy_py.linux import namespaces
from convoy_py.linux.namespaces import Shown

FIRST, SECOND = Shown("8:1", "/first", ""), Shown("8:1", "/second", "")


@pytest.fixture(autouse=True)
def may_see_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "_sees_all", lambda: True)


def test_namespace_that_was_made_meanwhile_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its number is lower than that at which the look was."""
    looks = iter([[2], [1, 2], [1, 2]])
    monkeypatch.setattr(namespaces, "_namespaces", lambda: iter(next(looks)))
    monkeypatch.setattr(namespaces, "_mounts", {1: {FIRST}, 2: {SECOND}}.__getitem__)
    assert namespaces.shown_anywhere() == {FIRST, SECOND}


def test_namespaces_that_come_without_end_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = count()
    monkeypatch.setattr(namespaces, "_namespaces", lambda: iter([next(numbers)]))
    monkeypatch.setattr(namespaces, "_mounts", lambda _: {FIRST})
    with pytest.raises(BlockingIOError):
        namespaces.shown_anywhere()


@pytest.mark.parametrize("gone", [1, 100])
def test_mount_that_goes_meanwhile_is_looked_for_again(
    gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few times; the rest of its namespace is told, or nothing."""
    times = iter(range(gone))

    def mounts_of(_: int) -> set[Shown]:
        if next(times, None) is not None:
            raise FileNotFoundError
        return {FIRST}

    monkeypatch.setattr(namespaces, "_namespaces", lambda: iter([1]))
    monkeypatch.setattr(namespaces, "_mounts", mounts_of)
    if gone == 1:
        assert namespaces.shown_anywhere() == {FIRST}
    else:
        with pytest.raises(FileNotFoundError):
            namespaces.shown_anywhere()
