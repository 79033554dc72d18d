"""Kills the daemon before each thing that an operation changes on the host, one after the other."""

import signal
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from tests.crash.crash_points import CrashPoints
from tests.crash.disks import settled
from tests.crash.invariants import check
from tests.crash.scene import Model
from tests.crash.volumes import (
    CONTENT,
    KINDS,
    OPERATIONS,
    Operation,
    Stage,
    bring,
    take_away,
)
from tests.harness import Daemon, Unanswered

pytestmark = pytest.mark.root

NAME = "v"
# A sweep that meets fewer kinds of steps than these does not see what it is meant to interrupt.
STEPS = {
    "create": {"os.mkdir", "fsync", "open", "write", "os.rename"},
    "mount": {"os.mkdir", "mount", "open", "write", "os.rename"},
    "unmount": {"os.remove", "umount2", "os.rmdir"},
    "remove": {"os.rename", "fsync", "os.remove", "os.rmdir"},
    "forget": {"os.rename", "fsync"},
    "adopt": {"open", "write", "fsync", "os.rename", "os.remove"},
}
STEPS_OF_IMAGES = {
    "create": {"subprocess.Popen", "communicate", "ioctl", "mount", "umount2"},
    "mount": {"ioctl"},
    "adopt": {"subprocess.Popen", "communicate", "mount", "umount2"},
}
# Reserved blocks make a difference here only.
CASES = [
    pytest.param(kind, operation, id=f"{operation.name}-{kind}")
    for kind in KINDS
    for operation in OPERATIONS
    if kind != "ext4-reserved" or operation.name in ("create", "mount")
]


@pytest.mark.parametrize(("kind", "operation"), CASES)
def test_a_crash_at_any_step_leaves_all_or_nothing(
    daemon: Daemon,
    crash_points: CrashPoints,
    tell: Callable[[str], None],
    kind: str,
    operation: Operation,
) -> None:
    """Whatever step it dies at, the next start tidies up and a repeat succeeds."""
    daemon.start(crash_points.launch)
    settled(daemon)
    steps = Counter(_steps(daemon, crash_points, kind, operation))
    crashes = Counter(
        step
        for step, total in steps.items()
        for at in range(1, total + 1)
        if _crash(daemon, crash_points, kind, operation, step, at)
    )
    images = STEPS_OF_IMAGES.get(operation.name, set()) if kind != "directory" else set()
    assert STEPS[operation.name] | images <= crashes.keys()
    # Of ioctls, which are repeated when others want a loop device too, there may be fewer.
    assert {**crashes, "ioctl": 0} == {**steps, "ioctl": 0}
    tell(f"{operation.name} {kind}: {crashes.total()} crashes survived")


def _steps(daemon: Daemon, points: CrashPoints, kind: str, operation: Operation) -> list[str]:
    """What an uninterrupted operation changes, one after the other."""
    options = KINDS[kind]
    bring(daemon, NAME, options, operation.before)
    points.watch()
    operation.act(daemon, NAME, options)
    points.disarm()
    take_away(daemon, NAME, operation.after)
    return points.trace()


def _crash(
    daemon: Daemon, points: CrashPoints, kind: str, operation: Operation, step: str, at: int
) -> bool:
    """Interrupt one operation before its `at`-th step of a kind and recover; False: it had none."""
    options = KINDS[kind]
    acknowledged = bring(daemon, NAME, options, operation.before)
    points.arm(step, at)
    answered = _act(daemon, operation, options)
    if crashed := points.disarm():
        assert daemon.gone() == -signal.SIGKILL
        daemon.start(points.launch)
        check(daemon, _afterwards(operation) if answered else _between(operation, acknowledged))
        operation.act(daemon, NAME, options)
    check(daemon, _afterwards(operation))
    take_away(daemon, NAME, operation.after)
    return crashed


def _act(daemon: Daemon, operation: Operation, options: Mapping[str, str]) -> bool:
    try:
        operation.act(daemon, NAME, options)
    except Unanswered:
        return False
    return True


def _between(operation: Operation, acknowledged: Model) -> Model:
    """What may be after a crash: all of before or all of after, and in either case the data."""
    content = {} if operation.before is Stage.ABSENT else {NAME: CONTENT}
    return Model(content, acknowledged.held, unsure={NAME}, swaying={NAME})


def _afterwards(operation: Operation) -> Model:
    content = b"" if operation.before is Stage.ABSENT else CONTENT
    there = operation.after in (Stage.READY, Stage.MOUNTED)
    held = {NAME} if operation.after is Stage.MOUNTED else set()
    return Model({NAME: content} if there else {}, held)
