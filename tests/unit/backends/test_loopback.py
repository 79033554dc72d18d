"""Volumes in images: how they are mounted, let go and measured."""

import os
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.backends.loopback import Loopback
from convoy_py.backends.loopback import image as images
from convoy_py.errors import (
    Corrupt,
)
from convoy_py.linux import filesystems, loop, mounts, reflink
from convoy_py.linux.filesystems import Space
from convoy_py.models.filesystem import Filesystem
from tests.unit.backends.conftest import SIZE, MakePlace
from tests.unit.backends.fake_devices import Devices
from tests.unit.backends.fake_images import Host

EXT4, XFS, BTRFS = Filesystem.EXT4, Filesystem.XFS, Filesystem.BTRFS


# Mounted


@pytest.fixture
def mounted(devices: Devices, host: Host, monkeypatch: pytest.MonkeyPatch) -> Devices:
    """What is mounted shows there, with what lies in it."""

    def mount(place: Place, mountpoint: Path, options: list[str]) -> None:
        host.calls.append(f"mount {','.join(options)}")
        devices.mount_at(mountpoint, devices.add(place))

    def unmount(mountpoint: Path) -> bool:
        host.calls.append("unmount")
        devices.mounts.clear()
        devices.attached.clear()
        return True

    monkeypatch.setattr(images, "mount", mount)
    monkeypatch.setattr(mounts, "unmount_unless_busy", unmount)
    monkeypatch.setattr(mounts, "unmount", unmount)
    monkeypatch.setattr(mounts, "is_mountpoint", lambda path: bool(devices.mounted_at(path)))
    monkeypatch.setattr(loop, "retire", lambda device: host.calls.append(f"retire {device.path}"))
    monkeypatch.setattr(loop, "detach", lambda device: host.calls.append(f"detach {device.path}"))
    return devices


def test_an_image_is_mounted_once(
    loopback: Loopback, image: MakePlace, host: Host, mounted: Devices
) -> None:
    volume = image(mount_options=("noexec",))
    loopback.exposed(volume).mkdir(parents=True)
    for _ in range(2):
        loopback.mount(volume)
    assert host.calls == ["mount nosuid,nodev,noexec"]


def test_what_is_to_grow_grows_before_it_is_mounted(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    mounted: Devices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume = image(size=2 * SIZE, grows_from=SIZE)
    loopback.exposed(volume).mkdir(parents=True)
    loopback.mount(volume)
    assert host.calls == ["grow", "mount nosuid,nodev"]


@pytest.mark.parametrize("there", ["nothing", "a file", "a link"])
def test_an_image_without_its_folder_is_unmounted(
    loopback: Loopback, image: MakePlace, host: Host, mounted: Devices, there: str
) -> None:
    """What lies in it is its users', and a link could lead to the host's own."""
    volume = image()
    volume.mountpoint.mkdir(parents=True)
    if there == "a file":
        (volume.mountpoint / "data").touch()
    elif there == "a link":
        (volume.mountpoint / "data").symlink_to(host.top)
    with pytest.raises(Corrupt, match="the folder data is missing in its filesystem"):
        loopback.mount(volume)
    assert host.calls == ["mount nosuid,nodev", "unmount"]


@pytest.mark.parametrize(
    ("spec", "swept"),
    [
        ({"fs": BTRFS}, True),
        ({"fs": BTRFS, "mount_options": ("noexec",)}, True),
        ({"fs": BTRFS, "mount_options": ("ro",)}, False),
        ({"fs": BTRFS, "exposed": "."}, False),
        ({}, False),
    ],
)
def test_what_a_rollback_left_is_swept_where_it_can_be(
    loopback: Loopback,
    image: MakePlace,
    mounted: Devices,
    *,
    spec: dict[str, object],
    swept: bool,
) -> None:
    """And where it is ours."""
    volume = image(**spec)
    (volume.mountpoint / "data").mkdir(parents=True)
    (volume.mountpoint / ".new-0123").mkdir()
    (volume.mountpoint / ".new-0123/file").write_text("old")
    loopback.mount(volume)
    assert (volume.mountpoint / ".new-0123").exists() is not swept


@pytest.mark.parametrize(
    ("sparse", "calls"), [(True, ["unmount"]), (False, ["unmount", "retire /dev/loop0"])]
)
def test_a_device_is_let_go_with_the_mount(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    mounted: Devices,
    *,
    sparse: bool,
    calls: list[str],
) -> None:
    """One that refuses discards is told to take them again, for whoever has it next."""
    volume = image(sparse=sparse)
    mounted.show(volume)
    assert [loopback.unmount(volume) for _ in range(2)] == [True, True]
    assert host.calls == calls


@pytest.mark.parametrize("busy", ["the mount", "the device"])
def test_what_is_held_stays(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    mounted: Devices,
    monkeypatch: pytest.MonkeyPatch,
    busy: str,
) -> None:
    """Nothing is taken from who holds it."""
    volume = image(sparse=False)
    attached = mounted.add(volume)
    if busy == "the mount":
        mounted.mount_at(volume.mountpoint, attached)
        monkeypatch.setattr(mounts, "unmount_unless_busy", lambda _: False)
    assert not loopback.unmount(volume)
    assert host.calls == []


@pytest.mark.parametrize(
    ("of_snapshot", "at_all", "calls"),
    [
        (False, True, ["unmount", "detach /dev/loop0"]),
        (True, True, ["unmount"]),
        (False, False, ["detach /dev/loop0"]),
    ],
)
def test_what_is_half_made_is_taken_down(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    mounted: Devices,
    monkeypatch: pytest.MonkeyPatch,
    *,
    of_snapshot: bool,
    at_all: bool,
    calls: list[str],
) -> None:
    """The device of a snapshot inside is its volume's."""
    volume = image(fs=BTRFS)
    found = image("s", volume) if of_snapshot else volume
    attached = mounted.add(volume)
    if at_all:
        mounted.mount_at(found.mountpoint, attached)
    monkeypatch.setattr(mounts, "unmount", lambda _: host.calls.append("unmount"))
    loopback.abandon(found)
    assert host.calls == calls
    loopback.destroy(volume)
    assert not volume.home.exists()


def test_an_image_that_was_cut_is_told(loopback: Loopback, image: MakePlace) -> None:
    volume = image()
    loopback.check(volume)
    os.truncate(images.path(volume), SIZE // 2)
    with pytest.raises(Corrupt, match="was cut"):
        loopback.check(volume)


# Measured


@pytest.mark.parametrize("inodes", [100, 0])
def test_what_is_mounted_is_measured(
    loopback: Loopback,
    image: MakePlace,
    mounted: Devices,
    monkeypatch: pytest.MonkeyPatch,
    inodes: int,
) -> None:
    """Btrfs has as many inodes as one likes; what lies inside has no blocks for itself."""
    space = Space(size=100, used=30, available=60, inodes=inodes, inodes_free=inodes // 4)
    monkeypatch.setattr(filesystems, "space", lambda _: space)
    volume = image(fs=BTRFS)
    taken = image("s", volume)
    usage = loopback.usage(volume, 0.0)
    assert (usage.size, usage.used, usage.allocated) == (SIZE, None, 0)
    assert loopback.usage(taken, 0.0).allocated is None
    mounted.show(volume)
    parting = loopback.parting_usage(volume, 0.0)
    assert parting is not None
    assert (parting.size, parting.used, parting.available) == (100, 30, 60)
    found = (parting.inodes, parting.inodes_used, parting.inodes_available)
    assert found == ((100, 75, 25) if inodes else (None, None, None))


@pytest.mark.parametrize(
    ("fs", "sparse", "at_all", "ahead"),
    [
        (Filesystem.EXT4, True, True, 40),
        (BTRFS, True, True, 60),
        (Filesystem.EXT4, False, True, None),
        (Filesystem.EXT4, True, False, None),
    ],
)
def test_what_it_holds_beyond_the_host_is_counted(
    loopback: Loopback,
    image: MakePlace,
    mounted: Devices,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fs: Filesystem,
    sparse: bool,
    at_all: bool,
    ahead: int | None,
) -> None:
    """What is reserved has all that it needs; a btrfs tells only later what it was given."""
    space = Space(size=100, used=30, available=60, inodes=0, inodes_free=0)
    monkeypatch.setattr(filesystems, "space", lambda _: space)
    monkeypatch.setattr("convoy_py.linux.space.free", lambda _: 40)
    volume = image(fs=fs, sparse=sparse)
    if at_all:
        mounted.show(volume)
    assert loopback.ahead(volume) == ahead


@pytest.mark.parametrize("reason", [None, "ext4 has no reflinks"])
def test_how_snapshots_come_about_is_told(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    monkeypatch.setattr(reflink, "support", lambda _: reason)
    told = loopback.facts()["snapshots"]
    assert told.startswith("at once, by reflink") if reason is None else told.endswith(reason)
