"""Kills the daemon within each verb on snapshots, clones, sizes and the trash.

At every step that changes a name, a device or a filesystem, and at a sample of the others, such as
each write: `CRASH_SAMPLE` sets how many of these, or `all`; `CRASH_SEED` chooses the same again.
"""

import os
import random
import secrets
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.conftest import FLAGS
from tests.crash.crash_points import CrashPoints
from tests.crash.disks import daemon_on, settled
from tests.crash.invariants import check, died_or_tidied, tidied
from tests.crash.operations import OPERATIONS, Operation, clear
from tests.crash.scene import Model
from tests.crash.volumes import KINDS
from tests.harness import Daemon, Refused, Unanswered

pytestmark = pytest.mark.root

# What decides whether a crash leaves the state before or after.
_DECISIVE = ("os.rename", "renameat2", "fsync", "syncfs", "ioctl")
SAMPLE = os.environ.get("CRASH_SAMPLE", "3")
SEED = os.environ.get("CRASH_SEED") or secrets.token_hex(4)
# Those combinations that go different ways: see the table in docs/snapshots.md.
CASES = (
    ("snapshot", "directory", "host"),
    ("snapshot", "directory", "xfs"),
    ("snapshot", "directory", "btrfs"),
    ("snapshot", "ext4", "host"),
    ("snapshot", "ext4", "xfs"),
    ("snapshot", "ext4", "btrfs"),
    ("snapshot", "btrfs", "host"),
    ("snapshot-unmounted", "xfs", "xfs"),
    ("snapshot-unmounted", "btrfs", "host"),
    ("snapshot-group", "ext4", "xfs"),
    ("snapshot-delete", "directory", "btrfs"),
    ("snapshot-delete", "ext4", "xfs"),
    ("snapshot-delete", "btrfs", "host"),
    ("rollback", "directory", "host"),
    ("rollback", "directory", "btrfs"),
    ("rollback", "ext4", "xfs"),
    ("rollback", "btrfs", "host"),
    ("clone", "directory", "host"),
    ("clone", "ext4", "xfs"),
    ("clone", "btrfs", "host"),
    ("clone-snapshot", "directory", "btrfs"),
    ("clone-snapshot", "xfs", "xfs"),
    ("clone-snapshot", "btrfs", "host"),
    ("rename", "directory", "host"),
    ("rename", "btrfs", "host"),
    ("remove", "ext4", "host"),
    ("trash-restore", "directory", "host"),
    ("trash-restore-as", "ext4", "host"),
    ("purge", "directory", "btrfs"),
    ("purge", "ext4", "host"),
    ("resize", "xfs", "host"),
    ("resize", "btrfs", "host"),
    ("resize-unmounted", "ext4", "host"),
    ("resize-unmounted", "xfs", "host"),
    ("convert-to-image", "directory", "host"),
    ("convert-to-folder", "ext4", "btrfs"),
    ("mount-private", "directory", "btrfs"),
    ("mount-private", "ext4", "xfs"),
    ("unmount-private", "ext4", "xfs"),
    ("mount-snapshot", "ext4", "xfs"),
    ("mount-snapshot", "btrfs", "host"),
    ("restore-file", "directory", "host"),
    ("restore-file", "btrfs", "host"),
    ("restore-file-unmounted", "ext4", "host"),
    ("protect", "directory", "host"),
)


@pytest.mark.parametrize(
    ("verb", "kind", "host"), [pytest.param(*case, id="-".join(case)) for case in CASES]
)
def test_a_crash_at_any_step_leaves_before_or_after(
    tmp_path: Path,
    crash_points: CrashPoints,
    tell: Callable[[str], None],
    verb: str,
    kind: str,
    host: str,
) -> None:
    """Whatever step it dies at, the next start tidies up and a repeat succeeds."""
    operation = OPERATIONS[verb]
    with daemon_on(tmp_path, host, [*FLAGS, "--trash-keep=24h"]) as daemon:
        daemon.start(crash_points.launch)
        settled(daemon)
        attempt = Attempt(daemon, crash_points, operation, kind)
        # The shorter of two: what the janitor completes beside it is not the verb's.
        steps = min(attempt.steps(), attempt.steps(), key=len)
        assert operation.steps <= set(steps)
        chosen = chosen_of(steps, random.Random(f"{SEED}-{verb}-{kind}-{host}"))
        crashes = sum(attempt.crash(step, at) for step, at in chosen)
    # Of ioctls, which are repeated when others want a loop device too, there may be fewer.
    assert crashes >= len(chosen) - steps.count("ioctl")
    tell(
        f"{verb} {kind} on {host}: {crashes} crashes survived, of {len(steps)} steps "
        f"(CRASH_SEED={SEED})"
    )


def chosen_of(steps: list[str], chance: random.Random) -> list[tuple[str, int]]:
    """The steps to die at: which of its kind each is, counted from 1."""
    seen: Counter[str] = Counter()
    every = []
    for step in steps:
        seen[step] += 1
        every.append((step, seen[step]))
    if SAMPLE == "all":
        return every
    others = [each for each in every if each[0] not in _DECISIVE]
    sample = set(chance.sample(others, min(int(SAMPLE), len(others))))
    return [each for each in every if each[0] in _DECISIVE or each in sample]


class Attempt:
    """One operation on one kind of volume, again and again."""

    def __init__(
        self, daemon: Daemon, points: CrashPoints, operation: Operation, kind: str
    ) -> None:
        self._daemon = daemon
        self._points = points
        self._operation = operation
        self._kind = {**KINDS[kind], **({"size": "256M"} if kind == "btrfs" else {})}

    def steps(self) -> list[str]:
        """What it changes when it is not interrupted, one after the other."""
        before = self._operation.begin(self._daemon, self._kind)
        self._points.watch()
        self._operation.act(self._daemon)
        *_, done = self._operation.outcomes(before)
        tidied(self._daemon, done)
        self._points.disarm()
        steps = self._points.trace()
        check(self._daemon, done)
        clear(self._daemon)
        check(self._daemon, Model())
        return steps

    def crash(self, step: str, at: int) -> bool:
        """Interrupt it before its `at`-th step of a kind and recover; False: it had none."""
        daemon, operation = self._daemon, self._operation
        before = operation.begin(daemon, self._kind)
        *undone, done = operation.outcomes(before)
        self._points.arm(step, at)
        answered = self._acts()
        if answered:  # what it does after that counts, too
            died_or_tidied(daemon, done)
        if crashed := self._points.disarm():
            assert daemon.gone() == -signal.SIGKILL
            daemon.start(self._points.launch)
            found = check(daemon, done, *([] if answered else undone))
            self._again(is_done=found is done)
        check(daemon, done, *(operation.repeated(before) if crashed else ()))
        clear(daemon)
        return crashed

    def _acts(self) -> bool:
        try:
            self._operation.act(self._daemon)
        except Unanswered:
            return False
        return True

    def _again(self, *, is_done: bool) -> None:
        """Repeat what was interrupted: that succeeds, or is refused for it is done."""
        if (refusal := self._refusal()) is not None:
            assert is_done, refusal
            assert self._operation.refused, refusal
            assert self._operation.refused in refusal

    def _refusal(self) -> str | None:
        try:
            self._operation.act(self._daemon)
        except Refused as error:
            return str(error)
        return None
