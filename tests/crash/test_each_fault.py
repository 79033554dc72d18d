"""Lets each verb fail at every call from its point of no return on, once and for good.

Whatever fails, and with whatever errno: nothing is lost, the daemon tells what is so, and Mount
works without a restart and after one. With `FAULTS=all` each call meets each fault, without it a
sample of them meets one: `CRASH_SEED` chooses the same again.
"""

import errno
import itertools
import os
import random
import re
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.models.names import AT
from convoy_py.models.volume import State
from tests.crash import offsite
from tests.crash.backup_operations import BACKUP_OPERATIONS
from tests.crash.conftest import FLAGS
from tests.crash.contents import read_canary
from tests.crash.crash_points import CrashPoints
from tests.crash.disks import daemon_on, settled
from tests.crash.invariants import check
from tests.crash.operations import OPERATIONS, Operation, clear
from tests.crash.scene import Model, Scene
from tests.crash.volumes import KINDS
from tests.harness import Daemon, Refused, eventually

_INSPECTOR = "faults"
_UNREAD = "its snapshots cannot be read"
SAMPLE = 6  # calls of each verb
SAMPLE_OF_SESSIONS = 2  # of one that starts processes, each of which takes its second
ALL = os.environ.get("FAULTS") == "all"
# All of them take as long as they do: of sessions an hour each.
pytestmark = [pytest.mark.root, *([pytest.mark.timeout(0)] if ALL else [])]
SEED = os.environ.get("CRASH_SEED") or secrets.token_hex(4)
_FAULTS = tuple(itertools.product((errno.EIO, errno.ENOSPC), (False, True)))
# The janitor would change things, too, while they are counted.
_FLAGS = (*FLAGS, "--trash-keep=24h", "--janitor-interval=3600", "--usage-interval=3600")
# What a refusal says where something was done all the same.
_TOLD = (
    "a power cut may undo",
    "is converted",
    "from the next start",
)
_OF_SNAPSHOT_FILE = "session:os.rename .*/repository/snapshots/"
_OF_NOTE = r"os.rename .*\.w\.json\."
_OF_DELETED = "session:os.remove .*/repository/snapshots/"
# What is the point of no return of each verb, and which that matches is it.
_FIRST, _LAST = 0, -1
CASES = (
    ("convert-to-image", "directory", "host", "renameat2", _FIRST),
    ("convert-to-folder", "ext4", "btrfs", "renameat2", _FIRST),
    ("rollback", "directory", "host", "renameat2", _FIRST),
    ("rollback", "directory", "btrfs", "renameat2", _FIRST),
    ("rollback", "ext4", "xfs", "renameat2", _FIRST),
    ("rollback", "btrfs", "host", "renameat2", _FIRST),
    ("restore-file", "directory", "host", "os.rename", _LAST),
    ("restore-folder", "directory", "btrfs", "renameat2", _FIRST),
    ("restore-folder", "ext4", "xfs", "renameat2", _FIRST),
    ("clone", "directory", "host", "os.rename", _LAST),
    ("clone", "ext4", "xfs", "os.rename", _LAST),
    ("adopt", "directory", "host", "os.rename", _FIRST),
    ("mount-private", "directory", "btrfs", "os.rename", _FIRST),
    ("rename", "directory", "host", "os.rename", _FIRST),
    ("remove", "directory", "host", "os.rename", _FIRST),
    ("purge", "directory", "host", "os.rename", _FIRST),
    ("trash-restore", "directory", "host", "os.rename", _FIRST),
    ("trash-restore-as", "directory", "host", "os.rename", _FIRST),
    ("snapshot", "directory", "btrfs", "os.rename", _FIRST),
    ("snapshot-group", "directory", "host", "os.rename", _FIRST),
    ("snapshot-delete", "directory", "host", "os.rename", _FIRST),
    ("snapshot-delete", "btrfs", "host", "os.rename", _FIRST),
    ("resize-unmounted", "ext4", "host", "os.rename", _FIRST),
    ("protect", "directory", "host", "os.rename", _FIRST),
    ("backup", "directory", "host", _OF_SNAPSHOT_FILE, _FIRST),
    ("backup", "directory", "btrfs", _OF_SNAPSHOT_FILE, _FIRST),
    ("backup", "ext4", "xfs", _OF_SNAPSHOT_FILE, _FIRST),
    ("create-of-backup", "directory", "host", _OF_NOTE, _FIRST),
    ("create-of-backup", "ext4", "xfs", _OF_NOTE, _FIRST),
    ("create-of-raw-backup", "ext4", "host", _OF_NOTE, _FIRST),
    ("restore-new", "directory", "host", "os.rename", _LAST),
    ("restore-new", "ext4", "xfs", "os.rename", _LAST),
    ("restore-file-of-backup", "directory", "btrfs", "os.rename", _LAST),
    ("restore-in-place", "directory", "btrfs", "renameat2", _FIRST),
    ("restore-in-place", "ext4", "host", "renameat2", _FIRST),
    ("backup-raw", "ext4", "host", _OF_SNAPSHOT_FILE, _FIRST),
    ("restore-raw-new", "ext4", "xfs", "os.rename", _LAST),
    ("restore-raw-in-place", "ext4", "host", "renameat2", _FIRST),
    ("backup-protect", "directory", "host", _OF_SNAPSHOT_FILE, _FIRST),
    ("backup-delete", "directory", "host", _OF_DELETED, _FIRST),
    ("forget", "directory", "host", _OF_DELETED, _FIRST),
    ("repository-add", "directory", "host", "session:open .*/repository/config", _FIRST),
    ("repository-remove", "directory", "host", "os.remove", _FIRST),
)


@pytest.mark.parametrize("case", [pytest.param(case, id="-".join(case[:3])) for case in CASES])
def test_after_a_fault_it_is_before_or_after_and_told(
    tmp_path: Path,
    crash_points: CrashPoints,
    tell: Callable[[str], None],
    case: tuple[str, str, str, str, int],
) -> None:
    """Whichever call fails: the data is there under its name, or where it was said to be."""
    verb, kind, host, turn, which = case
    with daemon_on(tmp_path, host, _FLAGS) as daemon:
        daemon.start(crash_points.launch)
        settled(daemon)
        attempt = Attempt(daemon, crash_points, {**OPERATIONS, **BACKUP_OPERATIONS}[verb], kind)
        steps = attempt.steps()  # what each changes is told, too
        chance = random.Random(f"{SEED}-{verb}-{kind}-{host}")
        chosen, faults = _from_turn(steps, turn, which), 0
        if not ALL:
            sample = SAMPLE_OF_SESSIONS if verb in BACKUP_OPERATIONS else SAMPLE
            chosen = chance.sample(chosen, min(sample, len(chosen)))
        for step, at in chosen:
            for error, lasting in _FAULTS if ALL else [chance.choice(_FAULTS)]:
                faults += attempt.fail(step, at, error, lasting=lasting)
    assert faults
    tell(f"{verb} {kind} on {host}: {faults} faults survived (CRASH_SEED={SEED})")


def _from_turn(steps: Sequence[str], turn: str, which: int) -> list[tuple[str, int]]:
    """The steps from the point of no return on: which of its kind each is, counted from 1."""
    seen: Counter[str] = Counter()
    every = []
    for line in steps:
        step = line.split()[0]
        seen[step] += 1
        every.append((step, seen[step]))
    turns = [number for number, line in enumerate(steps) if re.match(turn, line)]
    return every[turns[which] :]


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
        """What it does when nothing fails, one call after the other."""
        before = self._operation.begin(self._daemon, self._kind)
        self._points.watch(looks=True)
        self._operation.act(self._daemon)
        self._points.disarm()
        steps = self._points.lines()
        check(self._daemon, self._operation.outcomes(before)[-1])
        clear(self._daemon)
        return steps

    def fail(self, step: str, at: int, error: int, *, lasting: bool) -> bool:
        """Let its `at`-th step of a kind fail, and look at what is; False: it had none."""
        daemon, operation = self._daemon, self._operation
        before = operation.begin(daemon, self._kind)
        *undone, done = operation.outcomes(before)
        log = daemon.log.stat().st_size
        self._points.arm(step, at, error, lasting=lasting)
        refusal = self._refusal()
        failed = self._points.disarm()
        try:
            more = _partly(before) if "from the next start" in refusal else ()
            found = usable(daemon, *(undone if refusal else ()), *more, done)
            if refusal and found is done and not operation.unanswered:
                assert any(told in refusal for told in _TOLD), refusal
            if self._forgot(log):
                done = replace(done, swaying=done.swaying | done.held)
            daemon.kill()
            daemon.start(self._points.launch)
            if check(daemon, done, *(undone if refusal else ())) is not done:
                assert not self._refusal(), "a repeat is refused"
                check(daemon, done, *operation.repeated(before))
        except AssertionError as wrong:
            how = "from then on" if lasting else "once"
            wrong.add_note(f"at {step} {at}, {os.strerror(error)} {how}; told: {refusal}")
            raise
        clear(daemon)
        return failed

    def _forgot(self, since: int) -> bool:
        """Whether it was told, in the log, that the next daemon may not know who holds what."""
        return b"references not recorded" in self._daemon.log.read_bytes()[since:]

    def _refusal(self) -> str:
        try:
            self._operation.act(self._daemon)
        except Refused as error:
            return str(error)
        return ""


def _partly(before: Model) -> list[Model]:
    """A group of which one has its name, which is told."""
    return [
        replace(before, snapshots={f"{name}@t": content})
        for name, content in before.volumes.items()
    ]


def usable(daemon: Daemon, *models: Model) -> Model:
    """The first of the models that is what the daemon tells, and what a Mount of each finds."""
    found: list[str] = []

    def settled() -> list[Model]:
        found.clear()
        for model in models:
            wrong = list(_wrong(daemon, model))
            if not wrong:
                return [model]
            found.extend(["wrong:", *wrong])
        return []

    try:
        return eventually(settled, "the daemon is usable")[0]
    except AssertionError:
        log = daemon.log.read_text().splitlines()[-10:]
        raise AssertionError("\n".join([*found, "the end of the log:", *log])) from None


def _wrong(daemon: Daemon, model: Model) -> list[str]:
    scene = Scene.take(daemon, model)
    wrong: list[str] = []
    if any(_UNREAD in daemon.get(name)["Status"].get("reason", "") for name in scene.listed):
        return wrong  # which it tells, and the next start reads them
    names = [key.rpartition(".")[0] for key in scene.trash]
    for told, wanted, what in (
        (set(scene.listed), set(model.volumes), "listed"),
        (set(scene.modelled.values()), set(model.snapshots), "snapshots"),
        (set(names), model.trash, "in the trash"),
        (offsite.listed(daemon), model.repositories, "repositories"),
    ):
        if told != wanted:
            wrong.append(f"{what}: {sorted(told)}, it should be {sorted(wanted)}")
    if (found := offsite.contents(daemon)) != model.backups:
        wrong.append(f"backups: {len(found)}, it should be {len(model.backups)}")
    contents = {name: model.volumes.get(name) for name in scene.listed}
    contents |= {real: model.snapshots.get(name) for real, name in scene.modelled.items()}
    for name, content in contents.items():
        if _content(daemon, name) not in (content, None):
            wrong.append(f"{name} does not hold what it should")
    return wrong


def _content(daemon: Daemon, name: str) -> bytes | None:
    """What a Mount finds; None of a volume of private clones, which may need a new one.

    And of a volume that is yet to be restored, for which the state must change, and of a snapshot
    whose record could not be read: that is told, and the next start does the one and reads the
    other.
    """
    status = daemon.get(name)["Status"]
    if AT in name and status["state"] == State.BROKEN:
        return None
    if status["state"] == State.RESTORING or "its restore from" in status.get("reason", ""):
        return None
    if "per_mount" in status.get("options", {}):
        return None
    content = read_canary(daemon.mount(name, _INSPECTOR))
    daemon.unmount(name, _INSPECTOR)
    return content
