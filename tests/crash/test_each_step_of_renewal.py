"""Kills what gives an image a fresh inode, within each of its steps, and cuts the power after it.

It is a process of its own, for the daemon has no verb for it yet; the daemon is who comes next.
"""

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash import renews
from tests.crash.conftest import FLAGS
from tests.crash.crash_points import CrashPoints
from tests.crash.disks import Disk, daemon_on, settled
from tests.crash.invariants import check
from tests.crash.operations import NEW, OPERATIONS, clear, with_snapshots
from tests.crash.scene import Model
from tests.crash.test_each_step_of_snapshots import SEED, chosen_of
from tests.crash.test_power_cut import Host
from tests.crash.volumes import CONTAINER, KINDS
from tests.harness import Daemon

pytestmark = pytest.mark.root


@pytest.mark.parametrize(("kind", "fs"), [("ext4", "host"), ("xfs", "xfs")])
def test_a_crash_at_any_step_leaves_before_or_after(
    tmp_path: Path, crash_points: CrashPoints, tell: Callable[[str], None], kind: str, fs: str
) -> None:
    """The volume's content is whole in either case; after it, what it was is a snapshot."""
    with daemon_on(tmp_path, fs, [*FLAGS, "--trash-keep=0"]) as daemon:
        daemon.start(crash_points.launch)
        settled(daemon)
        renewal = Renewal(daemon, crash_points, kind)
        steps = renewal.steps()
        chosen = chosen_of(steps, random.Random(f"{SEED}-renewal-{kind}-{fs}"))
        found = [renewal.crash(step, at) for step, at in chosen]
    assert {"os.mkdir", "os.rename", "fsync"} <= set(steps)
    assert set(found) == {True, False}
    tell(
        f"fresh inode of {kind} on {fs}: {len(found)} crashes survived, {sum(found)} when it was "
        f"done, of {len(steps)} steps (CRASH_SEED={SEED})"
    )


class Renewal:
    """A fresh inode for one kind of volume, again and again; the daemon runs before and after."""

    def __init__(self, daemon: Daemon, points: CrashPoints, kind: str) -> None:
        self._daemon = daemon
        self._points = points
        self._kind = KINDS[kind]

    def steps(self) -> list[str]:
        """What it changes when nothing interrupts it."""
        before = self._begin()
        self._points.watch()
        assert self._act() == 0
        self._points.disarm()
        steps = self._points.trace()
        self._end(done(before))
        return steps

    def crash(self, step: str, at: int) -> bool:
        """Kill it before its `at`-th step of a kind, and look; whether it was done."""
        before = self._begin()
        self._points.arm(step, at)
        assert self._act() == -signal.SIGKILL
        assert self._points.disarm()
        return self._end(done(before), before) is not before

    def _begin(self) -> Model:
        model = OPERATIONS["snapshot-unmounted"].begin(self._daemon, self._kind)
        assert self._daemon.stop() == 0
        return model

    def _act(self) -> int:
        return renewed(self._daemon, self._points)

    def _end(self, *models: Model) -> Model:
        self._daemon.start(self._points.launch)
        found = check(self._daemon, *models)
        clear(self._daemon)
        return found


def renewed(daemon: Daemon, points: CrashPoints) -> int:
    """Give the volume `v` a fresh inode; the exit code."""
    program = [sys.executable, renews.__file__, daemon.root, daemon.run_dir, *points.files, "v"]
    return subprocess.run(list(map(str, program)), check=False).returncode


def done(before: Model) -> Model:
    """The model, once what the volume was is a snapshot."""
    return with_snapshots(before, **{renews.LOST.replace("-", "_"): NEW})


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_a_power_cut_undoes_nothing_of_it(
    tmp_path: Path, crash_points: CrashPoints, fs: str
) -> None:
    """All of it is on the disk when it has answered."""
    disk = Disk(tmp_path, fs, 512)
    host = Host(disk, Daemon(tmp_path, *FLAGS, root=disk.at / "root"))
    daemon = host.daemon
    try:
        daemon.start(crash_points.launch)
        before = OPERATIONS["snapshot-unmounted"].begin(daemon, KINDS["ext4"])
        assert daemon.stop() == 0
        assert renewed(daemon, crash_points) == 0
        host.cut_power()
        daemon.start(crash_points.launch)
        daemon.mount("v", CONTAINER)
        daemon.unmount("v", CONTAINER)
        check(daemon, done(before))
    finally:
        daemon.clean()
        daemon.let_go()
