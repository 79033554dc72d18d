"""Kills the daemon, or the session that works for it, within each verb on repositories and backups.

At a sample of all steps: `CRASH_SAMPLE` sets how many of each verb, or `all`; `CRASH_SEED` chooses
the same again.
"""

import os
import random
import secrets
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash import offsite
from tests.crash.backup_operations import BACKUP_OPERATIONS
from tests.crash.conftest import FLAGS
from tests.crash.crash_points import CrashPoints
from tests.crash.disks import daemon_on, settled
from tests.crash.faulty_session import SESSION
from tests.crash.invariants import check
from tests.crash.operations import Operation, clear
from tests.crash.verbs import job
from tests.crash.volumes import KINDS
from tests.harness import PATIENCE, Daemon, Refused, Unanswered

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

SAMPLE = os.environ.get("CRASH_SAMPLE", "2")
SEED = os.environ.get("CRASH_SEED") or secrets.token_hex(4)


@pytest.mark.parametrize("verb", BACKUP_OPERATIONS)
def test_a_kill_at_any_step_leaves_before_or_after(
    tmp_path: Path, crash_points: CrashPoints, tell: Callable[[str], None], verb: str
) -> None:
    """Whichever of the two dies: the daemon tells what is so, and a repeat succeeds."""
    with daemon_on(tmp_path, "btrfs", [*FLAGS, "--trash-keep=24h"]) as daemon:
        daemon.start(crash_points.launch)
        settled(daemon)
        attempt = Attempt(daemon, crash_points, BACKUP_OPERATIONS[verb])
        steps = attempt.steps()
        kills = sum(attempt.kill(step, at) for step, at in _chosen(steps, verb))
        assert kills
    tell(f"{verb}: {kills} kills survived, of {len(steps)} steps (CRASH_SEED={SEED})")


def _chosen(steps: list[str], verb: str) -> list[tuple[str, int]]:
    """The steps to die at, half of them the daemon's where it has so many: which of its kind."""
    seen: Counter[str] = Counter()
    every = []
    for step in steps:
        seen[step] += 1
        every.append((step, seen[step]))
    if SAMPLE == "all":
        return every
    chance = random.Random(f"{SEED}-{verb}")
    chance.shuffle(every)
    ours = [each for each in every if not each[0].startswith(SESSION)]
    theirs = [each for each in every if each not in ours]
    mixed = [each for pair in zip(theirs, ours, strict=False) for each in pair]
    return [*mixed, *theirs[len(ours) :], *ours[len(theirs) :]][: int(SAMPLE)]


class Attempt:
    """One operation, again and again."""

    def __init__(self, daemon: Daemon, points: CrashPoints, operation: Operation) -> None:
        self._daemon = daemon
        self._points = points
        self._operation = operation

    def steps(self) -> list[str]:
        """What both change when nobody is killed, one after the other."""
        before = self._operation.begin(self._daemon, KINDS["directory"])
        self._points.watch()
        self._operation.act(self._daemon)
        self._points.disarm()
        check(self._daemon, self._operation.outcomes(before)[-1])
        clear(self._daemon)
        return self._points.trace()

    def kill(self, step: str, at: int) -> bool:
        """Have one die before its `at`-th step of a kind and look at what is; False: it did not."""
        daemon, operation = self._daemon, self._operation
        before = operation.begin(daemon, KINDS["directory"])
        *undone, done = operation.outcomes(before)
        self._points.arm(step, at)
        refusal = self._acts()
        killed = self._points.disarm()
        try:
            if killed and not step.startswith(SESSION):
                assert daemon.gone() == -signal.SIGKILL
                daemon.start(self._points.launch)
            # A restore that was cut off goes on in the background.
            models = (done, *(undone if refusal else ()))
            if check(daemon, *models, patience=PATIENCE) is not done:
                assert not self._acts(), "a repeat is refused"
                check(daemon, done, *operation.repeated(before))
            if offsite.NAME in offsite.listed(daemon):
                job(daemon, "GET", "/v1/backups")
            assert not before.repositories or not offsite.locks(daemon)
        except AssertionError as wrong:
            wrong.add_note(f"killed at {step} {at}; told: {refusal}")
            raise
        clear(daemon)
        return killed

    def _acts(self) -> str:
        """Why it did not succeed, as far as it was told."""
        try:
            self._operation.act(self._daemon)
        except (Refused, Unanswered) as error:
            return str(error) or "no answer"
        return ""
