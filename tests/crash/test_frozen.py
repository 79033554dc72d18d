"""A filesystem that is frozen for a snapshot is thawed, whatever becomes of the daemon."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event

import pytest

from convoy_py.linux import freeze
from tests import holding
from tests.crash import verbs
from tests.crash.contents import write_canary
from tests.crash.invariants import check
from tests.crash.scene import Model
from tests.crash.tracing import injected, waits_in
from tests.crash.volumes import CONTAINER, KINDS
from tests.harness import Daemon, Refused, Unanswered, eventually
from tests.noise import noise

pytestmark = pytest.mark.root

# The root lies on a filesystem without reflinks: the image is copied while it is frozen.
_COPY = "copy_file_range"
_COPY_NUMBER = {"x86_64": 326, "aarch64": 285}[os.uname().machine]
_SLOWLY = "delay_enter=300000"  # microseconds
CONTENT = noise(48 << 20)


@pytest.fixture
def daemon(daemon: Daemon) -> Iterator[Daemon]:
    """The same, started, with a mounted image; in the end nothing of it is frozen."""
    daemon.flags = (*daemon.flags, "--freeze-limit=5m")
    daemon.start()
    daemon.create("v", **{**KINDS["ext4"], "size": "100M"})
    write_canary(daemon.mount("v", CONTAINER), CONTENT)
    try:
        yield daemon
    finally:
        freeze.thaw(daemon.run_dir / "mounts/v")


def _stopped_midway(daemon: Daemon, pool: ThreadPoolExecutor) -> "Future[None]":
    """A snapshot that is being copied when SIGSTOP comes, so that the volume stays frozen."""
    while True:
        snapshot = pool.submit(verbs.snapshot, daemon, "v", "s")
        eventually(partial(_is_copying_or_done, daemon, snapshot), "it is being copied")
        daemon.signal(signal.SIGSTOP)
        if _is_copying(daemon):
            return snapshot
        daemon.signal(signal.SIGCONT)  # it came too late
        snapshot.result()
        verbs.delete_snapshot(daemon, "v@s")


def _is_copying_or_done(daemon: Daemon, snapshot: "Future[None]") -> bool:
    return _is_copying(daemon) or snapshot.done()


def _is_copying(daemon: Daemon) -> bool:
    """Whether a volume is frozen and a copy of its image has begun."""
    notes = list((daemon.run_dir / "frozen").glob("*.json"))
    return bool(notes) and any((daemon.root / "volumes/v/snapshots").glob(".new-*/image"))


@contextmanager
def _writer(daemon: Daemon) -> Iterator[Callable[[], float]]:
    """Somebody who writes and syncs all the time; when, by the monotonic clock, was the last."""
    last, ended = [0.0], Event()

    def write() -> None:
        with (daemon.run_dir / "mounts/v/data/log").open("wb", buffering=0) as file:
            while not ended.is_set():
                file.write(b"line\n")
                os.fsync(file.fileno())
                last[0] = time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            yield lambda: last[0]
        finally:
            ended.set()
            freeze.thaw(daemon.run_dir / "mounts/v")
            writing.result()
            (daemon.run_dir / "mounts/v/data/log").unlink()


def _waits(last: Callable[[], float]) -> None:
    """Assert that a writer stands still."""
    eventually(lambda: time.monotonic() - last() > 0.5, "the writer waits")


def _goes_on(last: Callable[[], float], act: Callable[[], object]) -> float:
    """Do something; the seconds until a writer that stood still goes on."""
    begun = time.monotonic()
    act()
    eventually(lambda: last() > begun, "the writer goes on")
    return last() - begun


def test_writers_go_on_soon_after_the_daemon_was_killed(
    daemon: Daemon, tell: Callable[[str], None]
) -> None:
    """Nobody has to start it again for that; then nothing is left of the snapshot."""
    with _writer(daemon) as last, ThreadPoolExecutor(1) as pool:
        snapshot = _stopped_midway(daemon, pool)
        _waits(last)
        took = _goes_on(last, daemon.kill)
        with pytest.raises(Unanswered):
            snapshot.result()
    daemon.start()
    check(daemon, Model({"v": CONTENT}, {"v"}))
    verbs.snapshot(daemon, "v", "s")
    check(daemon, Model({"v": CONTENT}, {"v"}, snapshots={"v@s": CONTENT}))
    tell(f"a killed daemon's volume was thawed after {took:.2f} s")


def test_what_nobody_thawed_is_thawed_by_the_next_daemon(daemon: Daemon) -> None:
    """Also if the watchdog was killed with the daemon, as by what kills a whole control group."""
    with _writer(daemon) as last, ThreadPoolExecutor(1) as pool:
        _stopped_midway(daemon, pool)
        os.kill(_watchdog(daemon), signal.SIGKILL)
        daemon.kill()
        _waits(last)
        daemon.start()
        _goes_on(last, daemon.listed)
    check(daemon, Model({"v": CONTENT}, {"v"}))


def test_writers_wait_no_longer_than_the_limit_for_a_daemon_that_hangs(daemon: Daemon) -> None:
    """What was copied by then is no snapshot, and the daemon, when it wakes up, says so."""
    assert daemon.stop() == 0
    daemon.flags = (*daemon.flags, "--freeze-limit=1s")
    daemon.start()
    with _writer(daemon) as last, ThreadPoolExecutor(1) as pool:
        snapshot = _stopped_midway(daemon, pool)
        _waits(last)
        _goes_on(last, lambda: None)
        daemon.signal(signal.SIGCONT)
        with pytest.raises(Refused, match="setting freeze_limit"):
            snapshot.result()
    check(daemon, Model({"v": CONTENT}, {"v"}))


def test_sigterm_ends_a_copy_and_leaves_nothing_of_it(
    daemon: Daemon, tell: Callable[[str], None]
) -> None:
    """The job is cut off at its next step: exit code 0, and writers go on."""
    with _writer(daemon) as last, ThreadPoolExecutor(1) as pool:
        with injected(daemon, _COPY, _SLOWLY):
            snapshot = pool.submit(verbs.snapshot, daemon, "v", "s")
            eventually(lambda: waits_in(daemon.pid, _COPY_NUMBER), "it is being copied")
            began = time.monotonic()
            assert daemon.stop() == 0
            took = time.monotonic() - began
        _goes_on(last, lambda: None)
        with pytest.raises((Refused, Unanswered)):
            snapshot.result()
    # It has tidied up by itself: no start was needed for that.
    assert list((daemon.root / "volumes/v/snapshots").iterdir()) == []
    assert list((daemon.run_dir / "frozen").iterdir()) == []
    daemon.start()
    check(daemon, Model({"v": CONTENT}, {"v"}))
    tell(f"SIGTERM during a copy: it ended after {took:.2f} s")


def _watchdog(daemon: Daemon) -> int:
    """The pid of the daemon's watchdog, which alone names a mountpoint of its."""
    mountpoint = f"\0{daemon.run_dir}/mounts/".encode()
    (found,) = (pid for pid in holding.pids() if mountpoint in holding.command_line(pid))
    return found
