"""Our locks and those of the real restic respect each other."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from convoy_py.restic.errors import Locked
from convoy_py.restic.locks import Locks, SystemClock
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.stores.local import LocalStore
from tests.fakes_restic import FakeClock, new_repository
from tests.harness import eventually
from tests.restic import Restic


class _Clock(FakeClock):
    """Stands where the real one, by which restic goes, stood a while ago."""

    def __init__(self, ago: timedelta = timedelta()) -> None:
        super().__init__()
        self._now = SystemClock().now() - ago


@pytest.fixture
def repository(store: LocalStore, restic: Restic) -> Repository:
    return new_repository(store, restic.password)


@pytest.fixture
def locks(repository: Repository) -> Locks:
    return Locks(repository.store, repository.master_key, clock=_Clock())


def _refused(restic: Restic, *args: str) -> None:
    with pytest.raises(AssertionError, match="repository is already locked"):
        restic.run(*args)


def test_restic_does_not_prune_while_ours_is_held(restic: Restic, locks: Locks) -> None:
    with locks.shared():
        _refused(restic, "prune")
        _refused(restic, "check")
        restic.run("backup", "--stdin", told="beside it")
    restic.run("prune")


def test_restic_does_not_back_up_beside_our_exclusive_one(restic: Restic, locks: Locks) -> None:
    with locks.exclusive():
        _refused(restic, "backup", "--stdin")


def test_restic_reads_whose_it_is(restic: Restic, locks: Locks) -> None:
    with locks.exclusive():
        (name,) = restic.run("--no-lock", "list", "locks").split()
        told: Any = restic.json("--no-lock", "cat", "lock", name)
    assert told["hostname"] == f"{socket.gethostname()}/convoy"
    assert told["exclusive"] is True


def test_restic_does_not_touch_a_young_one_of_ours(
    restic: Restic, locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor signal the process that holds it, as it does those of its own host."""
    signals: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, frame: signals.append(number))
    try:
        with locks.shared() as lock:
            restic.run("unlock")
            lock.confirm()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not signals


def test_restic_removes_one_that_nobody_refreshed(restic: Restic, locks: Locks) -> None:
    old = replace(locks, clock=_Clock(timedelta(minutes=31)))
    with old.shared():
        restic.run("unlock")
        assert not list(locks.store.list(Kind.LOCK))


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.stdin and not process.stdin.closed:
        process.stdin.write(b"some data")
        process.stdin.close()
    process.wait()


@contextmanager
def _backing_up(restic: Restic, locks: Locks) -> Iterator[subprocess.Popen[bytes]]:
    """A restic that holds its lock until its input ends."""
    command = [restic.binary, "--no-cache", "-q", "-r", str(restic.repository), "backup", "--stdin"]
    environment = {**os.environ, "RESTIC_PASSWORD": restic.password}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        try:
            eventually(lambda: list(locks.store.list(Kind.LOCK)), "restic has its lock")
            yield process
        finally:
            _ended(process)


def test_the_exclusive_one_is_not_had_beside_restics(restic: Restic, locks: Locks) -> None:
    with _backing_up(restic, locks) as process:
        told = rf"by .*@{socket.gethostname()} \(process {process.pid}\)"
        with pytest.raises(Locked, match=told):
            locks.exclusive()
        with locks.shared() as lock:
            lock.check()


def test_restics_is_waited_for(restic: Restic, locks: Locks) -> None:
    clock = _Clock()
    with _backing_up(restic, locks) as process:
        clock.meanwhile = lambda: _ended(process)
        with replace(locks, wait=60, clock=clock).exclusive():
            assert process.returncode == 0
    restic.check()
