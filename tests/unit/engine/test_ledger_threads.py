"""The ledger's sums come out right whenever another thread comes in between."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from convoy_py.engine.memory import ledger as module
from convoy_py.engine.memory.ledger import Ledger
from convoy_py.errors import NoSpace
from tests.fakes_kernel import WatchedLock

GIB = 2**30
Change = Callable[[Ledger], object]


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> WatchedLock:
    """Of all ledgers that are made; the host has 10 GiB to promise once."""
    host = SimpleNamespace(f_blocks=100, f_bavail=10, f_frsize=GIB)
    monkeypatch.setattr(os, "statvfs", lambda _: host)
    lock = WatchedLock()
    monkeypatch.setattr(module, "Lock", lambda: lock)
    return lock


def _promise(name: str) -> Change:
    def change(ledger: Ledger) -> None:
        with ledger.promise(name, 6 * GIB, preallocated=False):
            pass

    return change


def _extend(ledger: Ledger) -> None:
    with ledger.extend("old", 6 * GIB, preallocated=False):
        pass


def _extend_in_vain(ledger: Ledger) -> None:
    with suppress(RuntimeError), ledger.extend("old", GIB, preallocated=False):
        raise RuntimeError


def _room(size: int) -> Change:
    def change(ledger: Ledger) -> None:
        with ledger.room("a", size * GIB):
            pass

    return change


def _keep_room(ledger: Ledger) -> None:
    """Have room for a copy that goes on."""
    room = ledger.room("b", 6 * GIB)
    room.__enter__()
    kept.append(room)


def _tell(ledger: Ledger) -> None:
    told.append(ledger.space().promised)


kept: list[object] = []
told: list[int] = []


CHANGES: dict[str, Change] = {
    "promise": _promise("a"),
    "extend": _extend,
    "extend_in_vain": _extend_in_vain,
    "record": lambda ledger: ledger.record("old", 3 * GIB, 0),
    "rename": lambda ledger: ledger.rename("old", "a"),
    "forget": lambda ledger: ledger.forget("old"),
    "room": _room(2),
    "keep_room": _keep_room,
}
OTHERS: dict[str, Change] = {
    "promise": _promise("b"),
    "record": lambda ledger: ledger.record("b", 2 * GIB, 0),
    "keep_room": _keep_room,
    "tell": _tell,
}


def _ledger() -> Ledger:
    ledger = Ledger(Path("/"), overcommit=1.0, reserve=0)
    ledger.record("old", GIB, 0)
    return ledger


def _done(change: Change, ledger: Ledger) -> bool:
    try:
        change(ledger)
    except NoSpace:
        return False
    return True


def _outcome(ledger: Ledger, one: bool, other: bool) -> tuple[object, ...]:
    """Who got what was asked for and took it, what is outstanding, for how many GiB is room."""
    takers = ledger.takers()
    left = max(size for size in range(11) if _done(_room(size), ledger))
    kept.clear()
    said = [size for size in told if size < GIB]  # nobody gave that back
    told.clear()
    return one, other, takers, ledger.space().promised, left, *said


def _interrupted(one: Change, other: Change, lock: WatchedLock, at: int) -> Any:
    """The outcome if `other` begins at the `at`-th step of the interpreter in `one`; None if late.

    It goes on until it is done, or has to wait for the lock.
    """
    ledger, steps = _ledger(), 0
    seen: list[bool] = []

    def meanwhile() -> None:
        seen.append(_done(other, ledger))
        lock.awaited.set()

    thread = threading.Thread(target=meanwhile)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        if frame.f_code.co_filename != module.__file__:
            return None
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        if event == "opcode" and steps == at:
            thread.start()
            assert lock.awaited.wait(10)
        return trace

    lock.awaited.clear()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        done = _done(one, ledger)
    finally:
        sys.settrace(before)
    if steps < at:
        return None
    thread.join(10)
    return _outcome(ledger, done, seen[0])


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("one", CHANGES)
def test_two_threads_come_to_what_one_after_the_other_comes_to(
    lock: WatchedLock, one: str, other: str
) -> None:
    """At whichever step the second comes in: no sum is lost, no byte promised twice."""
    expected = set()
    for first, second, turned in ((one, other, False), (other, one, True)):
        ledger = _ledger()
        changes = (OTHERS[first], CHANGES[second]) if turned else (CHANGES[first], OTHERS[second])
        found = [_done(change, ledger) for change in changes]
        expected.add(_outcome(ledger, *(reversed(found) if turned else found)))
    at = 0
    while (outcome := _interrupted(CHANGES[one], OTHERS[other], lock, at := at + 1)) is not None:
        assert outcome in expected, f"at step {at}"
    assert at > 10
