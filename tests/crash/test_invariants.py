"""Each invariant can fail: plants every kind of thing that a crash may leave, and sees it told."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from convoy_py.linux import btrfs, freeze, mounts
from convoy_py.state.records import encode
from convoy_py.state.store import Store
from tests.crash import verbs
from tests.crash.conftest import FLAGS
from tests.crash.contents import CANARY
from tests.crash.crash_points import CrashPoints
from tests.crash.invariants import StillFrozen, check
from tests.crash.scene import Model
from tests.crash.volumes import CONTENT, KINDS, Stage, bring
from tests.harness import Daemon

pytestmark = pytest.mark.root


@dataclass
class Host:
    """A daemon with volumes, one of them mounted, snapshots and a full trash, and its model."""

    daemon: Daemon
    model: Model
    until_the_end: ExitStack

    @property
    def volumes(self) -> Path:
        return self.daemon.root / "volumes"

    @property
    def run(self) -> Path:
        return self.daemon.run_dir

    @contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """Where all of a volume's image can be seen."""
        self.daemon.mount(name, "test")
        yield self.run / "mounts" / name
        self.daemon.unmount(name, "test")


@pytest.fixture
def host(daemon: Daemon, crash_points: CrashPoints) -> Iterator[Host]:
    daemon.flags = (*FLAGS, "--trash-keep=24h")
    daemon.start(crash_points.launch)
    bring(daemon, "directory", KINDS["directory"], Stage.READY)
    bring(daemon, "image", KINDS["ext4"], Stage.READY)
    bring(daemon, "mounted", KINDS["ext4"], Stage.MOUNTED)
    bring(daemon, "btrfs", KINDS["btrfs"], Stage.READY)
    bring(daemon, "removed", KINDS["directory"], Stage.READY)
    for name in ("directory", "image", "btrfs"):
        verbs.snapshot(daemon, name, "s")
    daemon.remove("removed")
    names = ("directory", "image", "mounted", "btrfs")
    model = Model(
        dict.fromkeys(names, CONTENT),
        {"mounted"},
        snapshots=dict.fromkeys(("directory@s", "image@s", "btrfs@s"), CONTENT),
        trash={"removed"},
    )
    with ExitStack() as stack:
        yield Host(daemon, model, stack)


def _file(place: str) -> Callable[[Host], object]:
    """Plants a file below the daemon's folder."""

    def plant(host: Host) -> None:
        (host.daemon.folder / place).write_bytes(b"{")

    return plant


def _folder(place: str) -> Callable[[Host], object]:
    return lambda host: (host.daemon.folder / place).mkdir()


def _stray_mount(host: Host) -> None:
    (host.run / "mounts/stray").mkdir()
    mounts.mount("tmpfs", host.run / "mounts/stray", "tmpfs", ())


def _foreign_loop_device(host: Host) -> None:
    image = host.volumes / "image/image"
    subprocess.run(["losetup", "--find", "--read-only", str(image)], check=True)


def _child(host: Host) -> None:
    # Started by somebody else, but at work on what is the daemon's.
    child = subprocess.Popen(["tail", "-f", host.daemon.root / "lock"], stdout=subprocess.DEVNULL)
    host.until_the_end.callback(child.wait)
    host.until_the_end.callback(child.kill)


def _deaf_socket(host: Host) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(host.daemon.folder / "old.sock"))


def _broken_filesystem(host: Host) -> None:
    with (host.volumes / "image/image").open("r+b") as image:
        os.pwrite(image.fileno(), bytes(4096), 4096)  # the group descriptors


def _frozen(host: Host) -> None:
    mountpoint = host.run / "mounts/mounted"
    host.until_the_end.callback(freeze.thaw, mountpoint)
    freeze.freeze(mountpoint)


def _snapshot_inside(host: Host) -> None:
    """A subvolume beside the snapshots, as of one whose record was lost."""
    with host.mounted("btrfs") as mountpoint:
        btrfs.create_subvolume(mountpoint / "snapshots/other")


def _file_of_a_user(host: Host) -> None:
    (host.volumes / "directory/data/.restore-0123").write_bytes(b"half")


def _longer_image(host: Host) -> None:
    """As one that was made longer, and recorded, but whose filesystem was not."""
    record = Store(host.daemon.root).read("image")
    spec = record.spec.model_copy(update={"size": 64 << 20})
    os.truncate(host.volumes / "image/image", 64 << 20)
    record = record.model_copy(update={"spec": spec})
    (host.volumes / "image/volume.json").write_bytes(encode(record))
    host.daemon.stop()
    host.daemon.start()


def _unreadable_record(host: Host) -> None:
    (host.volumes / "directory/volume.json").write_bytes(b"{")


def _broken_volume(host: Host) -> None:
    _unreadable_record(host)
    host.daemon.stop()
    host.daemon.start()


PLANTED: dict[str, tuple[Callable[[Host], object], str]] = {
    "unreadable record": (_unreadable_record, "record of directory"),
    "broken volume": (_broken_volume, "directory is broken"),
    "vanished volume": (
        lambda host: shutil.rmtree(host.volumes / "directory"),
        "directory is listed only",
    ),
    "lost volume": (
        lambda host: host.model.volumes.update(other=b""),
        "other was acknowledged and is gone",
    ),
    "resurrected volume": (
        lambda host: host.model.volumes.pop("directory"),
        "directory was removed, or never made, and is there",
    ),
    "lost snapshot": (
        lambda host: host.model.snapshots.update({"image@t": b""}),
        "image@t was acknowledged and is gone",
    ),
    "resurrected snapshot": (
        lambda host: host.model.snapshots.pop("directory@s"),
        "directory@s was removed, or never made, and is there",
    ),
    "unreadable record of a snapshot": (
        _file("root/volumes/directory/snapshots/s/snapshot.json"),
        "record of directory@s",
    ),
    "vanished snapshot": (
        lambda host: shutil.rmtree(host.volumes / "directory/snapshots/s"),
        "directory@s is listed only",
    ),
    "changed snapshot": (
        lambda host: (host.volumes / "directory/snapshots/s/data" / CANARY).write_bytes(b"other"),
        "directory@s holds b'other'",
    ),
    "half-taken snapshot": (
        _folder("root/volumes/directory/snapshots/.new-1"),
        "left behind: .*/.new-1",
    ),
    "snapshot inside without a record": (_snapshot_inside, "left behind: .*/snapshots/other"),
    "private clone": (
        lambda host: (host.volumes / "image/clones/0123").mkdir(parents=True),
        "image#0123 is the private clone of a mount that is over",
    ),
    "half-restored file": (_file_of_a_user, "left behind in directory: .restore-0123"),
    "volume that has not grown": (_longer_image, "image has 67108864 bytes, its filesystem"),
    "unprotected volume": (
        lambda host: host.model.protected.add("image"),
        "image is not protected",
    ),
    "other option": (
        lambda host: host.model.status.update(image={"size": 1}),
        "image has size 16777216, it should be 1",
    ),
    "lost from the trash": (
        lambda host: host.model.trash.add("image"),
        "image was removed and is not in the trash",
    ),
    "strange in the trash": (
        lambda host: host.model.trash.clear(),
        "removed is in the trash, but was not removed",
    ),
    "in neither place": (
        lambda host: host.model.moving.add("other"),
        "other is neither listed nor in the trash",
    ),
    "note of a freeze": (_file("run/frozen/0123.json"), "left behind: .*/0123.json"),
    "half-made volume": (_folder("root/volumes/.new-1"), "left behind: .*/.new-1"),
    "half-deleted volume": (_folder("root/trash/rm-1"), "left behind: .*/rm-1"),
    "temporary record": (_file("root/volumes/image/.volume.json.1"), "left behind: .*json.1"),
    "temporary references": (_file("run/references/.image.json.1"), "left behind: .*json.1"),
    "stray mountpoint": (_folder("run/mounts/.new-1"), "left behind: .*/.new-1"),
    "stray file": (_file("root/core"), "left behind: .*/core"),
    "stray mount": (_stray_mount, "mounted, without a volume: .*/stray"),
    "stacked mounts": (
        lambda host: mounts.mount("tmpfs", host.run / "mounts/mounted", "tmpfs", ()),
        "mounted 2 times",
    ),
    "vanished mount": (
        lambda host: mounts.unmount(host.run / "mounts/mounted"),
        "mounted is (said to be mounted|held only)",
    ),
    "mount without references": (
        lambda host: (host.run / "references/mounted.json").unlink(),
        "mounted is mounted only",
    ),
    "references without mount": (
        lambda host: shutil.copy(
            host.run / "references/mounted.json", host.run / "references/image.json"
        ),
        "image is held only",
    ),
    "lost references": (
        lambda host: host.model.held.add("image"),
        "image is not held, against what was acknowledged",
    ),
    "loop device": (_foreign_loop_device, "2 loop devices are attached for 1 mounted images"),
    "process": (_child, "process [0-9]+: tail"),
    "socket": (_deaf_socket, "nobody listens on .*/old.sock"),
    "damaged filesystem": (_broken_filesystem, "\nimage: .*e2fsck"),
    "changed data": (
        lambda host: (host.volumes / "directory/data" / CANARY).write_bytes(b"other"),
        "directory holds b'other'",
    ),
    "lost data": (
        lambda host: (host.volumes / "directory/data" / CANARY).unlink(),
        "directory holds b''",
    ),
    "lost folder": (
        lambda host: shutil.rmtree(host.volumes / "directory/data"),
        "directory cannot be used",
    ),
}


def test_a_sound_host_passes(host: Host) -> None:
    """Nothing is told of a daemon that has only done what it was asked."""
    check(host.daemon, host.model)


@pytest.mark.parametrize("planted", PLANTED)
def test_what_a_crash_may_leave_is_told(host: Host, planted: str) -> None:
    """Each thing that should not be is named."""
    plant, told = PLANTED[planted]
    check(host.daemon, host.model)
    plant(host)
    with pytest.raises(AssertionError, match=told):
        check(host.daemon, host.model, patience=0)


def test_a_frozen_filesystem_is_told_at_once_and_thawed(host: Host) -> None:
    """Whoever waits for it would wait forever, the tests too."""
    _frozen(host)
    with pytest.raises(StillFrozen, match="mounts/mounted"):
        check(host.daemon, host.model)
    check(host.daemon, host.model)
