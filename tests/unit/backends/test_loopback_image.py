"""One image: which device is its own, how it is mounted, and when it is let go."""

import errno
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends.loopback import image as one
from convoy_py.errors import ConvoyError, Corrupt, NoSpace, OperationFailed
from convoy_py.linux import files, filesystems, loop
from convoy_py.models.filesystem import Filesystem
from tests.unit.backends.conftest import SIZE, UUID, MakePlace
from tests.unit.backends.fake_devices import Devices

BTRFS = Filesystem.BTRFS


# Words


@pytest.mark.parametrize(
    ("fs", "of_snapshot", "inside", "read_only"),
    [
        (Filesystem.EXT4, False, False, False),
        (Filesystem.EXT4, True, False, True),
        (BTRFS, False, False, False),
        (BTRFS, True, True, False),
    ],
)
def test_a_snapshot_of_btrfs_lies_inside_and_any_other_in_an_image_of_its_own(
    image: MakePlace, fs: Filesystem, of_snapshot: bool, inside: bool, read_only: bool
) -> None:
    volume = image(fs=fs)
    found = image("s", volume) if of_snapshot else volume
    assert (one.is_inside(found), one.is_read_only(found)) == (inside, read_only)
    home = volume.home if inside else found.home
    assert one.path(found) == home / "image"


@pytest.mark.parametrize(
    ("grows_from", "found", "sound"),
    [
        (None, SIZE, True),
        (None, SIZE - 1, False),
        (None, SIZE + 1, False),
        (SIZE // 2, SIZE // 2, True),
        (SIZE // 2, SIZE - 1, True),
        (SIZE // 2, SIZE, True),
        (SIZE // 2, SIZE // 2 - 1, False),
        (SIZE // 2, SIZE + 1, False),
    ],
)
def test_an_image_is_as_long_as_is_recorded(
    image: MakePlace, grows_from: int | None, found: int, sound: bool
) -> None:
    """One that is to grow may be anything in between."""
    volume = image(grows_from=grows_from)
    os.truncate(volume.home / "image", found)
    if sound:
        one.check(volume)
        return
    with pytest.raises(Corrupt, match=f"has {found} bytes, recorded are {SIZE}"):
        one.check(volume)


def test_a_missing_image_is_corrupt(image: MakePlace) -> None:
    volume = image()
    (volume.home / "image").unlink()
    with pytest.raises(Corrupt, match="is missing"):
        one.check(volume)


# Mounted


@pytest.mark.parametrize(
    ("fs", "of_snapshot", "root", "other", "ours"),
    [
        (Filesystem.EXT4, False, "/", False, True),
        (Filesystem.EXT4, False, "/", True, False),
        (BTRFS, False, f"/snapshots/{UUID}", False, False),
        (BTRFS, True, f"/snapshots/{UUID}", False, True),
        (BTRFS, True, "/", False, False),
    ],
)
def test_only_the_place_itself_is_mounted_there(
    image: MakePlace,
    devices: Devices,
    *,
    fs: Filesystem,
    of_snapshot: bool,
    root: str,
    other: bool,
    ours: bool,
) -> None:
    """By its own image, and the part of it that is to be seen."""
    volume = image(fs=fs)
    found = image("s", volume) if of_snapshot else volume
    assert not one.is_mounted(found)
    devices.mount_at(found.mountpoint, devices.add(image("x") if other else volume), root)
    if ours:
        assert one.is_mounted(found)
        return
    with pytest.raises(OperationFailed, match=r"/dev/loop0 .* is mounted over"):
        one.is_mounted(found)


def test_what_is_no_loop_device_is_foreign(image: MakePlace, devices: Devices) -> None:
    volume = image()
    devices.show(volume)
    devices.attached.clear()
    with pytest.raises(OperationFailed, match="is mounted over"):
        one.is_mounted(volume)


@pytest.mark.parametrize(
    ("tag", "uuid", "ours"),
    [
        (f"convoy:{UUID}", UUID, True),
        ("convoy:another", UUID, False),
        ("convoy:another", "", False),
    ],
)
def test_a_deleted_image_is_known_by_its_tag(
    image: MakePlace, devices: Devices, tag: str, uuid: str, ours: bool
) -> None:
    """A half-made home has none, and none that is another's."""
    volume = replace(image(), uuid=uuid)
    attached = devices.add(volume, tag)
    devices.mount_at(volume.mountpoint, attached)
    one.path(volume).unlink()
    assert one.devices(volume) == ([attached] if ours else [])
    if ours:
        assert one.is_mounted(volume)
        return
    with pytest.raises(OperationFailed, match="is mounted over"):
        one.is_mounted(volume)


@pytest.mark.parametrize(
    ("fs", "sparse", "of_snapshot", "calls"),
    [
        (
            Filesystem.EXT4,
            True,
            False,
            [f"attach convoy:{UUID} rw", "mount /dev/loop9 noexec,discard"],
        ),
        (
            Filesystem.EXT4,
            False,
            False,
            [f"attach convoy:{UUID} rw", "no discards", "mount /dev/loop9 noexec"],
        ),
        (
            Filesystem.EXT4,
            True,
            True,
            [f"attach convoy:{UUID} ro", "mount /dev/loop9 noexec,discard,ro"],
        ),
        (
            Filesystem.EXT4,
            False,
            True,
            [f"attach convoy:{UUID} ro", "mount /dev/loop9 noexec,ro"],
        ),
        (
            BTRFS,
            False,
            True,
            [
                f"attach convoy:{UUID} rw",
                "no discards",
                f"mount /dev/loop9 noexec,ro,subvol=/snapshots/{UUID}",
            ],
        ),
    ],
)
def test_how_an_image_is_mounted(
    image: MakePlace,
    devices: Devices,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fs: Filesystem,
    sparse: bool,
    of_snapshot: bool,
    calls: list[str],
) -> None:
    """What is reserved gives no block back; a snapshot is written by nobody."""
    monkeypatch.setattr(
        filesystems, "mount_data", lambda fs, *, discard: ("discard",) if discard else ()
    )
    volume = image(fs=fs, sparse=sparse)
    found = image("s", volume, sparse=sparse) if of_snapshot else volume
    one.mount(found, found.mountpoint, ("noexec",))
    assert devices.calls == calls


def test_an_image_that_was_cut_is_not_even_attached(image: MakePlace, devices: Devices) -> None:
    volume = image()
    os.truncate(volume.home / "image", SIZE // 2)
    with pytest.raises(Corrupt, match="was cut"):
        one.mount(volume, volume.mountpoint, ())
    assert devices.calls == []


@pytest.mark.parametrize(
    ("number", "room", "error", "told"),
    [
        (errno.EIO, False, NoSpace, "the host is full: make room there, or check it"),
        (errno.EIO, True, Corrupt, "look at the kernel's log, or check it"),
        (errno.EINVAL, False, Corrupt, "look at the kernel's log, or check it"),
    ],
)
def test_why_an_image_cannot_be_mounted_is_told(
    image: MakePlace,
    devices: Devices,
    monkeypatch: pytest.MonkeyPatch,
    *,
    number: int,
    room: bool,
    error: type[ConvoyError],
    told: str,
) -> None:
    devices.refusal = number
    monkeypatch.setattr(files, "has_room", lambda *_: room)
    volume = image()
    with pytest.raises(error, match=rf"cannot be mounted \({os.strerror(number)}\); {told}"):
        one.mount(volume, volume.mountpoint, ())


# Devices


def test_an_image_that_is_live_is_mounted_by_its_device(image: MakePlace, devices: Devices) -> None:
    """Another one would corrupt it."""
    volume = image()
    devices.add(volume)
    one.mount(volume, volume.mountpoint, ())
    assert devices.calls[0] == "reopen /dev/loop0 rw"


@pytest.mark.parametrize(
    ("busy", "vanishing", "mounted"), [(3, 0, True), (0, 3, True), (99, 0, False), (0, 99, False)]
)
def test_a_device_that_comes_or_goes_just_now_is_looked_at_again(
    image: MakePlace, devices: Devices, busy: int, vanishing: int, mounted: bool
) -> None:
    volume = image()
    devices.busy, devices.vanishing = busy, vanishing
    if vanishing:
        devices.add(volume)
        devices.busy = 99
    if mounted:
        one.mount(volume, volume.mountpoint, ())
        assert len(devices.calls) == 2
        return
    with pytest.raises(OperationFailed, match="another process has locked its image"):
        one.mount(volume, volume.mountpoint, ())


def test_a_device_of_someone_else_is_not_taken(image: MakePlace, devices: Devices) -> None:
    volume = image()
    devices.add(volume, "mine")
    with pytest.raises(OperationFailed, match="attached to /dev/loop0 by someone else"):
        one.mount(volume, volume.mountpoint, ())


def test_a_link_in_an_images_place_is_not_followed(
    image: MakePlace, devices: Devices, tmp_path: Path
) -> None:
    volume = image()
    (volume.home / "image").rename(tmp_path / "other")
    (volume.home / "image").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        one.mount(volume, volume.mountpoint, ())
    assert devices.calls == []


# Let go


SNAPSHOT = f"/snapshots/{UUID}"


@pytest.mark.parametrize(
    ("fs", "of_snapshot", "shown", "held"),
    [
        (Filesystem.EXT4, False, "/snapshots/x", True),
        (BTRFS, False, "/", True),
        (BTRFS, False, SNAPSHOT, False),
        (BTRFS, True, "/", False),
        (BTRFS, True, f"{SNAPSHOT}/deep", True),
        (BTRFS, True, "/snapshots/another", False),
    ],
)
def test_who_shows_its_part_of_the_image_holds_it(
    image: MakePlace,
    devices: Devices,
    fs: Filesystem,
    of_snapshot: bool,
    shown: str,
    held: bool,
) -> None:
    """Only in btrfs others than the volume's lie under this name."""
    volume = image(fs=fs)
    found = image("s", volume) if of_snapshot else volume
    devices.hold(devices.add(volume), shown)
    assert bool(one.holders(found, devices.census())) is held


@pytest.mark.parametrize(
    ("fs", "shown", "let_go"),
    [
        (Filesystem.EXT4, [], False),
        (BTRFS, [], False),
        (BTRFS, ["/"], False),
        (BTRFS, [SNAPSHOT], True),
        (BTRFS, ["/", SNAPSHOT], False),
    ],
)
def test_a_device_that_stays_is_that_of_others_or_not_let_go(
    image: MakePlace,
    devices: Devices,
    fs: Filesystem,
    shown: list[str],
    let_go: bool,
) -> None:
    """A snapshot inside keeps its volume's, and is no reason to keep the volume."""
    volume = image(fs=fs)
    attached = devices.add(volume)
    for root in shown:
        devices.hold(attached, root)
    assert one.is_let_go(volume) is let_go


@pytest.mark.parametrize(("looks", "let_go"), [(3, True), (99, False)])
def test_a_device_goes_after_a_moment(
    image: MakePlace,
    devices: Devices,
    monkeypatch: pytest.MonkeyPatch,
    looks: int,
    let_go: bool,
) -> None:
    """Whoever looks at all devices keeps it for that moment; a mount of it is no such look."""
    volume = image()
    attached = devices.add(volume)
    left = iter(range(looks))
    monkeypatch.setattr(loop, "find", lambda _: [attached] if next(left, None) is not None else [])
    assert one.is_let_go(volume) is let_go


def test_what_is_mounted_is_not_waited_for(
    image: MakePlace, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume and its snapshots inside keep the device for each other."""
    volume = image(fs=BTRFS)
    devices.mount_at(Path("/elsewhere"), devices.add(volume), SNAPSHOT)
    monkeypatch.setattr(time, "sleep", pytest.fail)
    devices.hold(devices.attached[0], SNAPSHOT)
    assert one.is_let_go(volume)
    assert one.live_at(volume) == Path("/elsewhere")
    assert one.live_at(image("other")) is None
