"""Locks by restic's rules: who excludes whom, waiting, refreshing, losing, what a crash leaves."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from convoy_py.restic import locks as module
from convoy_py.restic import unpacked
from convoy_py.restic.errors import Locked, LockLost, StoreFailed
from convoy_py.restic.locks import Lock, Locks
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind
from tests.fakes_restic import FakeClock, MemoryStore

MINUTES = 60.0
MASTER = MasterKey.new()
Take = Callable[[Locks], Lock]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def locks(store: MemoryStore, clock: FakeClock) -> Locks:
    return Locks(store, MASTER, host="here/convoy", clock=clock)


def sealed(**fields: object) -> bytes:
    return unpacked.encode(MASTER, json.dumps(fields).encode())


def fields_of(store: MemoryStore) -> list[dict[str, object]]:
    return [unpacked.load(store, MASTER, *key) for key in store.files]


def put(store: MemoryStore, data: bytes) -> str:
    name = hashlib.sha256(data).hexdigest()
    store.write(Kind.LOCK, name, [data])
    return name


def foreign(clock: FakeClock, *, exclusive: bool, age: float = 0) -> bytes:
    """The file of a lock of somebody else, with a time as restic writes it."""
    time = f"{clock.now() - timedelta(seconds=age):%Y-%m-%dT%H:%M:%S}.123456789Z"
    return sealed(time=time, exclusive=exclusive, hostname="there", username="u", pid=7)


@pytest.mark.parametrize(
    ("first", "second", "excluded"),
    [
        (Locks.shared, Locks.shared, False),
        (Locks.shared, Locks.exclusive, True),
        (Locks.exclusive, Locks.shared, True),
        (Locks.exclusive, Locks.exclusive, True),
    ],
)
def test_only_shared_locks_lie_beside_one_another(
    locks: Locks, store: MemoryStore, first: Take, second: Take, excluded: bool
) -> None:
    with first(locks):
        if excluded:
            with pytest.raises(Locked):
                second(locks)
            assert len(store.files) == 1
        else:
            with second(locks):
                assert len(store.files) == 2
    assert not store.files


def test_who_holds_it_and_since_when_is_told(
    locks: Locks, store: MemoryStore, clock: FakeClock
) -> None:
    put(store, foreign(clock, exclusive=True, age=90))
    told = r"locked exclusively by u@there \(process 7\) since 2026-07-01 12:28:45\+00:00, 90 s ago"
    with pytest.raises(Locked, match=told):
        locks.shared()


def test_a_lock_is_as_restic_reads_it(locks: Locks, store: MemoryStore) -> None:
    with locks.exclusive():
        ((kind, _),) = store.files
        (fields,) = fields_of(store)
    assert kind is Kind.LOCK
    assert fields["exclusive"] is True
    assert fields["hostname"] == "here/convoy"
    assert fields["time"] == "2026-07-01T12:30:15.123456+00:00"
    assert {"username", "pid", "uid", "gid"} < fields.keys()


def test_another_is_waited_for(locks: Locks, store: MemoryStore, clock: FakeClock) -> None:
    name = put(store, foreign(clock, exclusive=True))
    clock.meanwhile = lambda: (
        store.files.pop((Kind.LOCK, name), b"") if len(clock.slept) == 3 else b""
    )
    with replace(locks, wait=3 * MINUTES).shared() as lock:
        lock.check()
    assert clock.slept[0] < clock.slept[1] < clock.slept[2]


def test_waiting_has_its_limit(locks: Locks, store: MemoryStore, clock: FakeClock) -> None:
    put(store, foreign(clock, exclusive=True))
    with pytest.raises(Locked):
        replace(locks, wait=3 * MINUTES).shared()
    assert sum(clock.slept) == pytest.approx(3 * MINUTES)


def test_of_two_that_lock_at_the_same_moment_none_goes_on(
    locks: Locks, store: MemoryStore, clock: FakeClock
) -> None:
    """The other one's lock appears after ours was written, where nothing was seen before."""
    clock.meanwhile = lambda: put(store, foreign(clock, exclusive=False))
    with pytest.raises(Locked, match="u@there"):
        locks.exclusive()
    assert [fields["hostname"] for fields in fields_of(store)] == ["there"]


@pytest.mark.parametrize("take", [Locks.shared, Locks.exclusive])
def test_one_that_is_half_an_hour_old_goes_if_it_is_in_the_way(
    locks: Locks, store: MemoryStore, clock: FakeClock, take: Take
) -> None:
    """Gone, and not only passed over: a restic that wakes up looks whether its own is there."""
    put(store, foreign(clock, exclusive=take is Locks.shared, age=31 * MINUTES))
    with take(locks):
        assert [fields["hostname"] for fields in fields_of(store)] == ["here/convoy"]


def test_one_a_little_younger_counts(locks: Locks, store: MemoryStore, clock: FakeClock) -> None:
    put(store, foreign(clock, exclusive=True, age=29 * MINUTES))
    with pytest.raises(Locked):
        locks.shared()


def test_an_old_one_that_is_not_in_the_way_stays(
    locks: Locks, store: MemoryStore, clock: FakeClock
) -> None:
    name = put(store, foreign(clock, exclusive=False, age=31 * MINUTES))
    with locks.shared():
        assert (Kind.LOCK, name) in store.files


def test_empty_ones_do_not_count(locks: Locks, store: MemoryStore) -> None:
    put(store, b"")
    with locks.exclusive():
        assert len(store.files) == 2


@pytest.mark.parametrize(
    "data",
    [b"not sealed", sealed(), sealed(time="2026-07-01T12:00:00", exclusive=False)],
    ids=["not sealed", "empty", "without a zone"],
)
def test_one_that_stays_unreadable_excludes_everybody(
    locks: Locks, store: MemoryStore, clock: FakeClock, data: bytes
) -> None:
    name = put(store, data)
    with pytest.raises(Locked, match=name[:8]):
        locks.shared()
    assert clock.slept == [5, 10, 20]


def test_one_that_is_not_what_was_written_is_unreadable(
    locks: Locks, store: MemoryStore, clock: FakeClock
) -> None:
    store.write(Kind.LOCK, "0" * 64, [foreign(clock, exclusive=False)])
    with pytest.raises(Locked, match="00000000"):
        locks.shared()


def test_one_that_is_just_being_written_is_read_again(
    locks: Locks, store: MemoryStore, clock: FakeClock
) -> None:
    data = foreign(clock, exclusive=False)
    name = put(store, data)
    store.files[(Kind.LOCK, name)] = data[:20]
    clock.meanwhile = lambda: store.write(Kind.LOCK, name, [data])
    with locks.shared():
        assert clock.slept == [5, pytest.approx(0.2)]


def test_refreshing_writes_the_new_one_first(locks: Locks, store: MemoryStore) -> None:
    with locks.shared() as lock:
        (old,) = store.files
        calls: list[str] = []
        store.before = lambda verb, kind, name: calls.append(verb)
        lock.refresh()
        assert [call for call in calls if call != "read"] == ["write", "delete"]
        assert len(store.files) == 1
        assert old not in store.files


def test_the_thread_refreshes_it(
    locks: Locks, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESHED", 0.001)
    refreshed = threading.Event()
    store.before = lambda verb, kind, name: refreshed.set() if verb == "delete" else None
    with locks.shared():
        assert refreshed.wait(30)
    assert not store.files


def test_it_tries_again_after_a_failure(
    locks: Locks, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESHED", 0.001)
    monkeypatch.setattr(module, "REFRESHED_AFTER_FAILURE", 0.001)
    failures = iter([StoreFailed("no answer"), ValueError("whatever")])
    refreshed = threading.Event()

    def fail(verb: str, kind: Kind, name: str) -> None:
        if verb == "write" and (failure := next(failures, None)):
            raise failure
        if verb == "delete":
            refreshed.set()

    with locks.shared():
        store.before = fail
        assert refreshed.wait(30)
    assert not store.files


@pytest.mark.parametrize("how", [{"seconds": 22 * MINUTES}, {"seconds": 0, "wall": 22 * MINUTES}])
def test_a_lock_that_was_not_refreshed_is_lost_for_good(
    locks: Locks, store: MemoryStore, clock: FakeClock, how: dict[str, float]
) -> None:
    """By the clock that goes on while the machine sleeps, and by the one that others see."""
    with locks.shared() as lock:
        for _ in range(2):
            clock.passes(21 * MINUTES)
            lock.check()
            lock.refresh()
        clock.passes(**how)
        with pytest.raises(LockLost, match="22 minutes"):
            lock.refresh()
        clock.passes(0, wall=-22 * MINUTES)
        with pytest.raises(LockLost):
            lock.check()
    assert not store.files


def test_setting_the_clock_back_does_not_keep_a_lock(locks: Locks, clock: FakeClock) -> None:
    with locks.shared() as lock:
        clock.passes(22 * MINUTES, wall=-60 * MINUTES)
        with pytest.raises(LockLost):
            lock.check()


def test_a_lock_that_somebody_removed_is_lost(locks: Locks, store: MemoryStore) -> None:
    with locks.shared() as lock:
        locks.remove_all()
        lock.check()
        for look in (lock.confirm, lock.refresh, lock.check):
            with pytest.raises(LockLost, match="somebody removed it"):
                look()
        assert not store.files


def test_a_refresh_that_failed_is_no_removal(locks: Locks, store: MemoryStore) -> None:
    def fail(verb: str, kind: Kind, name: str) -> None:
        if verb == "write":
            raise StoreFailed("no answer")

    with locks.shared() as lock:
        store.before = fail
        with pytest.raises(StoreFailed):
            lock.refresh()
        store.before = lambda verb, kind, name: None
        lock.confirm()
        lock.refresh()
        assert len(store.files) == 1


def test_what_a_crash_may_leave_is_always_remembered(locks: Locks, store: MemoryStore) -> None:
    remembered: set[str] = set()

    def remember(names: Sequence[str]) -> None:
        remembered.clear()
        remembered.update(names)

    def look(verb: str, kind: Kind, name: str) -> None:
        if verb in ("write", "delete"):
            assert set(store.names(Kind.LOCK)) <= remembered
            assert verb == "delete" or name in remembered

    store.before = look
    lock = replace(locks, remember=remember).shared()
    lock.refresh()
    (left,) = remembered
    assert list(store.files) == [(Kind.LOCK, left)]
    assert lock.release()
    assert not remembered


def test_what_could_not_be_removed_stays_remembered(locks: Locks, store: MemoryStore) -> None:
    remembered: list[Sequence[str]] = []

    def fail(verb: str, kind: Kind, name: str) -> None:
        if verb == "delete":
            raise StoreFailed("no answer")

    lock = replace(locks, remember=remembered.append).shared()
    store.before = fail
    assert not lock.release()
    store.before = lambda verb, kind, name: None
    locks.remove_own(remembered[-1])
    assert not store.files


def test_what_a_crash_left_goes_alone(locks: Locks, store: MemoryStore, clock: FakeClock) -> None:
    other = put(store, foreign(clock, exclusive=False))
    left = put(store, foreign(clock, exclusive=True))
    locks.remove_own([left, "0" * 64])
    assert list(store.files) == [(Kind.LOCK, other)]


def test_unlocking_removes_what_is_old(locks: Locks, store: MemoryStore, clock: FakeClock) -> None:
    old = put(store, foreign(clock, exclusive=True, age=31 * MINUTES))
    young = put(store, foreign(clock, exclusive=True))
    assert [found.id for found in locks.remove_stale()] == [old]
    assert list(store.files) == [(Kind.LOCK, young)]


def test_the_host_in_our_locks_is_no_restics() -> None:
    assert re.fullmatch(r".+/convoy", module.this_host())
