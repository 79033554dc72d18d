"""Kills the daemon within its start, while it puts right what earlier crashes left."""

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from uuid import uuid4

import pytest

from convoy_py.linux import mounts
from convoy_py.models.names import clone_name
from convoy_py.state.records import encode
from convoy_py.state.store import Store
from convoy_py.state.trash import trash_key
from tests.crash import verbs
from tests.crash.conftest import FLAGS
from tests.crash.crash_points import CrashPoints
from tests.crash.disks import settled
from tests.crash.invariants import check, died_or_tidied, tidied
from tests.crash.operations import clear
from tests.crash.scene import Model
from tests.crash.volumes import CONTAINER, CONTENT, KINDS, Stage, bring
from tests.harness import PATIENCE, Daemon, Unanswered, eventually

pytestmark = pytest.mark.root

Mess = Callable[[Daemon, CrashPoints], Model]


def _of_volumes(daemon: Daemon, points: CrashPoints) -> Model:
    """Half made, half deleted, half mounted."""
    daemon.start(points.launch)
    settled(daemon)
    clear(daemon)
    for name in ("made", "mounted", "gone"):
        bring(daemon, name, KINDS["ext4"], Stage.MOUNTED)
    daemon.unmount("gone", CONTAINER)
    points.arm("umount2", 1)
    with pytest.raises(Unanswered):
        daemon.create("half", **KINDS["ext4"])
    assert daemon.gone() == -signal.SIGKILL
    points.disarm()
    (daemon.root / "volumes/gone").rename(daemon.root / "trash/rm-0123")
    (daemon.run_dir / "references/mounted.json").unlink()
    (daemon.run_dir / "references/.mounted.json.0123").write_bytes(b"{")
    (daemon.run_dir / "mounts/stray").mkdir(mode=0)
    return Model({"made": CONTENT, "mounted": CONTENT}, {"made"})


def _of_snapshots(daemon: Daemon, points: CrashPoints) -> Model:
    """Half taken inside an image, one of a group, half restored, half converted, half recorded."""
    daemon.start(points.launch)
    settled(daemon)
    clear(daemon)
    bring(daemon, "image", KINDS["btrfs"], Stage.MOUNTED)
    for name in ("folder", "other"):
        bring(daemon, name, KINDS["directory"], Stage.READY)
    verbs.snapshot_group(daemon, ["folder", "other"], "s")
    snapshots = daemon.root / "volumes/other/snapshots"
    uuid = json.loads((snapshots / "s/snapshot.json").read_bytes())["snapshot"]["uuid"]
    points.arm("os.rename", 2)  # before it has its name
    with pytest.raises(Unanswered):
        verbs.snapshot(daemon, "image", "half")
    assert daemon.gone() == -signal.SIGKILL
    points.disarm()
    (snapshots / "s").rename(snapshots / f".new-{uuid}")
    home = daemon.root / "volumes/folder"
    (home / ".volume.json.0123").write_bytes(b"{")
    (home / "restoring.json").write_text(json.dumps({"path": ".restore-0123"}))
    (home / "data/.restore-0123").write_bytes(b"half")
    record = Store(daemon.root).read("other").model_copy(update={"uuid": str(uuid4())})
    replaced = home.with_name(f".new-0123.{trash_key(record)}")
    shutil.copytree(daemon.root / "volumes/other/data", replaced / "data")
    (replaced / "volume.json").write_bytes(encode(record))
    (replaced / "removed.json").write_text('{"removed": "2026-01-02T03:04:05Z"}')
    private = clone_name("folder", CONTAINER)
    (daemon.run_dir / "mounts" / private).mkdir(mode=0)
    return Model(
        dict.fromkeys(("image", "folder", "other"), CONTENT),
        {"image"},
        snapshots={"folder@s": CONTENT, "other@s": CONTENT},
        trash={"other"},
    )


MESSES: dict[str, tuple[Mess, set[str]]] = {
    "volumes": (_of_volumes, {"umount2", "os.remove", "os.rmdir", "os.mkdir"}),
    "snapshots": (_of_snapshots, {"os.rename", "os.remove", "os.rmdir", "ioctl", "fsync"}),
}


@pytest.mark.parametrize("mess", MESSES)
def test_a_crash_at_any_step_of_recovery_is_recovered_from(
    daemon: Daemon, crash_points: CrashPoints, tell: Callable[[str], None], mess: str
) -> None:
    """A daemon that dies while it tidies up what a crash left is succeeded by one that does it."""
    daemon.flags = (*FLAGS, "--trash-keep=10000d")
    make, kinds = MESSES[mess]
    steps = Counter(_recover(daemon, crash_points, make))
    crashes = Counter(
        step
        for step, total in steps.items()
        for at in range(1, total + 1)
        if _crash(daemon, crash_points, make, step, at)
    )
    assert kinds <= crashes.keys()
    tell(f"recovery of {mess}: {crashes.total()} crashes survived")


def _recover(daemon: Daemon, points: CrashPoints, make: Mess) -> list[str]:
    """Start on a mess; the kinds of what is done then."""
    model = make(daemon, points)
    points.watch()
    daemon.start(points.launch)
    tidied(daemon, model)
    steps = points.trace()
    points.disarm()
    check(daemon, model)
    assert daemon.stop() == 0
    return steps


def _crash(daemon: Daemon, points: CrashPoints, make: Mess, step: str, at: int) -> bool:
    """Die before the `at`-th step of a kind, start again; False: this time there were fewer.

    What somebody looks into just then is unmounted once more.
    """
    model = make(daemon, points)
    points.arm(step, at)
    daemon.process = points.launch(daemon.arguments(), daemon.log)
    died_or_tidied(daemon, model)
    if is_reached := points.disarm():
        assert daemon.gone() == -signal.SIGKILL
    else:
        assert daemon.stop() == 0
    daemon.start(points.launch)
    tidied(daemon, model)
    check(daemon, model)
    assert daemon.stop() == 0
    return is_reached


def test_what_somebody_looks_into_is_swept_once_they_have_left(daemon: Daemon) -> None:
    """A program that goes through all mounts does so just when the daemon unmounts."""
    daemon.start()
    settled(daemon)
    assert daemon.stop() == 0
    home, half_made = daemon.root / "volumes/.new-0123", daemon.run_dir / "mounts/.new-0123"
    for folder in (home, half_made):
        folder.mkdir()
    subprocess.run(["mount", "--bind", home, half_made], check=True)
    looking = os.open(half_made, os.O_RDONLY | os.O_DIRECTORY)
    try:
        daemon.start()
        eventually(lambda: b"it is tried again" in daemon.log.read_bytes(), "the sweep fails")
        assert mounts.is_mountpoint(half_made)
    finally:
        os.close(looking)
    check(daemon, Model(), patience=PATIENCE)
