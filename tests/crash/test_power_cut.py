"""Cuts the power of the host's filesystem: what was not synced is lost, what was acknowledged not.

And of images alone, while they are written to, by copies.

`xfs_io -c shutdown` stops a mounted filesystem at once, its log included, so after the next mount
it is as after a power cut: data and names that were not synced are gone.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from subprocess import run

import pytest

from tests.crash.conftest import FLAGS
from tests.crash.crash_points import CrashPoints
from tests.crash.cuts import Cut
from tests.crash.disks import Disk
from tests.crash.invariants import check
from tests.crash.operations import OPERATIONS
from tests.crash.scene import Model
from tests.crash.tracing import injected
from tests.crash.volumes import CONTAINER, CONTENT, KINDS, Stage, bring
from tests.harness import Daemon, clean, eventually
from tests.holding import attached_below

pytestmark = pytest.mark.root

_IMAGES = ("ext4", "btrfs")


@dataclass(frozen=True)
class Host:
    """A filesystem with the root of a daemon in it, which can lose its power."""

    disk: Disk
    daemon: Daemon

    def cut_power(self) -> None:
        """Stop the filesystem and the daemon, take away what is mounted, mount it anew."""
        run(["xfs_io", "-x", "-c", "shutdown", str(self.disk.at)], check=True)
        self.daemon.kill()
        clean(self.daemon.run_dir)
        eventually(lambda: not attached_below(self.daemon.root), "the images are let go")
        self.disk.unmount()
        self.disk.mount()


@pytest.fixture(params=["ext4", "xfs"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    disk = Disk(tmp_path, request.param, 512)
    host = Host(disk, Daemon(tmp_path, *FLAGS, root=disk.at / "root"))
    yield host
    host.daemon.clean()
    host.daemon.let_go()


def test_a_power_cut_loses_nothing_that_was_acknowledged(host: Host) -> None:
    """Volumes that were made are there with their synced data, those removed are not."""
    daemon = host.daemon
    daemon.start()
    model = Model()
    for kind in _IMAGES:
        model.volumes |= bring(daemon, kind, KINDS[kind], Stage.MOUNTED).volumes
        model.volumes |= bring(daemon, f"{kind}-idle", KINDS[kind], Stage.READY).volumes
    for number in range(20):
        bring(daemon, f"d{number}", KINDS["directory"], Stage.READY)
        model.volumes[f"d{number}"] = CONTENT
    for number in range(0, 20, 4):
        daemon.remove(f"d{number}")
        del model.volumes[f"d{number}"]
    daemon.create("last", backend="directory")
    model.volumes["last"] = b""
    host.cut_power()
    daemon.start()
    # Until then a filesystem's own log still awaits its replay, and a check takes that for damage.
    for kind in _IMAGES:
        daemon.mount(kind, CONTAINER)
        daemon.unmount(kind, CONTAINER)
    check(daemon, model)


@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        ("snapshot", "directory"),
        ("snapshot", "ext4"),
        ("snapshot", "btrfs"),
        ("snapshot-group", "ext4"),
        ("snapshot-delete", "directory"),
        ("rollback", "directory"),
        ("rollback", "ext4"),
        ("clone", "directory"),
        ("clone-snapshot", "ext4"),
        ("rename", "directory"),
        ("remove", "directory"),
        ("trash-restore-as", "directory"),
        ("resize-unmounted", "ext4"),
        ("convert-to-image", "directory"),
        ("convert-to-folder", "ext4"),
        ("restore-file", "directory"),
        ("restore-file-unmounted", "ext4"),
    ],
)
def test_a_power_cut_undoes_nothing_that_was_acknowledged(
    host: Host, crash_points: CrashPoints, verb: str, kind: str
) -> None:
    """What a verb came to is there as soon as it has answered."""
    daemon, operation = host.daemon, OPERATIONS[verb]
    daemon.flags = (*FLAGS, "--trash-keep=24h")
    daemon.start(crash_points.launch)
    before = operation.begin(daemon, KINDS[kind])
    operation.act(daemon)
    host.cut_power()
    daemon.start(crash_points.launch)
    for name in daemon.listed():  # to replay what logs they have
        daemon.mount(name, CONTAINER)
        daemon.unmount(name, CONTAINER)
    check(daemon, replace(operation.outcomes(before)[-1], held=set()))


def test_a_power_cut_does_lose_what_was_not_synced(host: Host) -> None:
    """The test above can fail: where fsync(2) only pretends, acknowledged volumes are lost."""
    daemon = host.daemon
    daemon.start()
    names = {f"d{number}" for number in range(5)}
    with ExitStack() as stack:
        stack.enter_context(injected(daemon, "fsync,syncfs", "retval=0"))
        for name in names:
            daemon.create(name, backend="directory")
        host.cut_power()
    daemon.start()
    assert names - daemon.listed().keys()


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_what_was_synced_is_in_every_copy_that_is_cut_off_under_load(
    tmp_path: Path, fs: str
) -> None:
    """And its filesystem is whole, once the journal is replayed: `cuts.py` does that for long."""
    cut = Cut(tmp_path, fs)

    def all_have_written(steps: int) -> bool:
        return all(work.synced > steps for work in works)

    with cut.under_load() as works:
        for steps in (10, 60):
            eventually(partial(all_have_written, steps), "all have written")
            assert cut.lost(works) == []
