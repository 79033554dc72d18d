"""Kills the daemon before each thing that an operation changes on the host, one after the other."""

import signal
from collections.abc import Mapping

import pytest

from tests.crash.crash_points import CrashPoints
from tests.crash.invariants import Model, check
from tests.crash.volumes import CONTENT, KINDS, OPERATIONS, Operation, Stage, bring, take_away
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
    "create": {"os.truncate", "subprocess.Popen", "communicate", "ioctl", "mount", "umount2"},
    "mount": {"ioctl"},
    "adopt": {"subprocess.Popen", "communicate", "mount", "umount2"},
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_at_any_step_leaves_all_or_nothing(
    daemon: Daemon, crash_points: CrashPoints, kind: str, operation: Operation
) -> None:
    """Whatever step it dies at, the next start tidies up and a repeat succeeds."""
    daemon.start(crash_points.launch)
    crashed_before: list[str] = []
    uninterrupted = 0
    # Twice, for a loop device that somebody looks at just now is not detached, and saves steps.
    while uninterrupted < 2:
        at = len(crashed_before) + 1
        if step := _crash(daemon, crash_points, KINDS[kind], operation, at):
            crashed_before.append(step)
        uninterrupted = 0 if step else uninterrupted + 1
    expected = set(STEPS[operation.name])
    if kind != "directory":
        expected |= STEPS_OF_IMAGES.get(operation.name, set())
    if kind == "ext4-reserved" and operation.name == "create":
        expected = expected - {"os.truncate"} | {"posix_fallocate"}
    assert expected <= {step.split()[0] for step in crashed_before}
    print(f"{kind} {operation.name}: {len(crashed_before)} crashes")


def _crash(
    daemon: Daemon,
    points: CrashPoints,
    options: Mapping[str, str],
    operation: Operation,
    at: int,
) -> str:
    """Interrupt one operation before its `at`-th step and recover; "" if it has fewer steps."""
    acknowledged = bring(daemon, NAME, options, operation.before)
    points.arm(at)
    try:
        operation.act(daemon, NAME, options)
        step = ""
    except Unanswered:
        assert daemon.gone() == -signal.SIGKILL
        step = points.trace()[-1]
    points.disarm()
    if step:
        daemon.start(points.launch)
        content = {} if operation.before is Stage.ABSENT else {NAME: CONTENT}
        check(daemon, Model(content, acknowledged.held, unsure={NAME}, swaying={NAME}))
        operation.act(daemon, NAME, options)
    check(daemon, _afterwards(operation))
    take_away(daemon, NAME, operation.after)
    return step


def _afterwards(operation: Operation) -> Model:
    content = b"" if operation.before is Stage.ABSENT else CONTENT
    there = operation.after in (Stage.READY, Stage.MOUNTED)
    held = {NAME} if operation.after is Stage.MOUNTED else set()
    return Model({NAME: content} if there else {}, held)
