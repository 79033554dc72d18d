"""Who holds a volume: every answer is compared with what the kernel does after our unmount."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux import holders, loop, mounts
from convoy_py.linux.holders import Census

pytestmark = pytest.mark.root

MakeImage = Callable[..., Path]
AttachAndMount = Callable[..., loop.LoopDevice]
Detaches = Callable[[loop.LoopDevice], bool]
InNamespace = Callable[..., int]


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_leaked_mount_is_a_holder(
    fs: str,
    shared_folder: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
    in_namespace: InNamespace,
    detaches: Detaches,
) -> None:
    """A namespace that was made private with our mount in it holds the device after we let go,
    and is named, with a process in it, before and after."""
    ours = shared_folder / "volume"
    device = attach_and_mount(fs, make_image(fs), ours)
    pid = in_namespace("private")

    for _ in range(2):
        (holder,) = Census.take().of_device(device.path, ours)
        assert (holder.pid, holder.command, holder.mountpoint) == (pid, "sh", str(ours))
        assert str(holder) == f"process {pid} (sh) at {ours}"
        if mounts.find(ours):
            mounts.unmount(ours)
    assert loop.is_attached(device)

    subprocess.run(["nsenter", "-t", str(pid), "-m", "umount", ours], check=True)
    assert Census.take().of_device(device.path, ours) == []
    assert detaches(device)


@pytest.mark.parametrize("propagation", ["unchanged", "slave"])
@pytest.mark.parametrize("fs", ["ext4", "btrfs"])
def test_copy_that_goes_with_ours_is_no_holder(
    *,
    fs: str,
    propagation: str,
    shared_folder: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
    in_namespace: InNamespace,
    detaches: Detaches,
) -> None:
    """A namespace to which our folder propagates loses the mount when we do."""
    pid = in_namespace(propagation)
    ours = shared_folder / "volume"
    device = attach_and_mount(fs, make_image(fs), ours)
    assert any(m.mountpoint == str(ours) for m in mounts.table(pid))
    assert Census.take().of_device(device.path, ours) == []
    mounts.unmount(ours)
    assert detaches(device)


def test_slave_of_a_slave_is_no_holder(
    shared_folder: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
    in_namespace: InNamespace,
    detaches: Detaches,
) -> None:
    """Propagation is followed through a namespace in between."""
    share = f"mount --make-shared {shared_folder}"
    nested = f"{share} && unshare -m --propagation slave sh -c 'echo ready; read _'"
    in_namespace("slave", f"{nested} & {share}")
    ours = shared_folder / "volume"
    device = attach_and_mount("ext4", make_image("ext4"), ours)
    assert Census.take().of_device(device.path, ours) == []
    mounts.unmount(ours)
    assert detaches(device)


def test_mount_seen_through_another_path_is_no_holder(
    scratch: Path,
    shared_folder: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
    detaches: Detaches,
) -> None:
    """A managed plugin's mount shows on the host below another path; that copy goes with it."""
    in_plugin = scratch / "plugin"
    in_plugin.mkdir()
    mounts.bind(shared_folder, in_plugin, ())
    ours = in_plugin / "volume"
    device = attach_and_mount("ext4", make_image("ext4"), ours)
    assert mounts.find(shared_folder / "volume") is not None
    assert Census.take().of_device(device.path, ours) == []
    mounts.unmount(ours)
    assert detaches(device)


@pytest.mark.parametrize("kind", ["--make-private", "--make-slave", "--make-shared"])
def test_bind_mount_elsewhere_is_a_holder(
    kind: str,
    scratch: Path,
    shared_folder: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
    detaches: Detaches,
) -> None:
    """What a container has of a volume is a holder, however it propagates, even of a folder in
    it."""
    ours, theirs = shared_folder / "volume", scratch / "theirs"
    device = attach_and_mount("ext4", make_image("ext4"), ours)
    theirs.mkdir()
    (ours / "data").mkdir()
    mounts.bind(ours / "data", theirs, ())
    subprocess.run(["mount", kind, theirs], check=True)
    assert [h.mountpoint for h in Census.take().of_device(device.path, ours)] == [str(theirs)]
    mounts.unmount(ours)
    assert loop.is_attached(device)
    mounts.unmount(theirs)
    assert detaches(device)


def test_second_mount_beside_ours_is_a_holder(
    shared_folder: Path, make_image: MakeImage, attach_and_mount: AttachAndMount
) -> None:
    """A whole copy in the same shared folder, but at another place in it, does not go with ours."""
    ours, theirs = shared_folder / "volume", shared_folder / "copy"
    device = attach_and_mount("ext4", make_image("ext4"), ours)
    theirs.mkdir()
    mounts.bind(ours, theirs, ())
    assert [h.mountpoint for h in Census.take().of_device(device.path, ours)] == [str(theirs)]
    mounts.unmount(ours)
    assert loop.is_attached(device)


def test_folder_is_held_by_mounts_of_it_and_of_what_is_in_it(
    scratch: Path, shared_folder: Path
) -> None:
    """Not by our own mount, by mounts of a folder of a similar name or by the one it lies on."""
    volume, similar, ours = scratch / "volume", scratch / "volume2", shared_folder / "volume"
    theirs = [scratch / name for name in ("whole", "part", "other")]
    for folder in (volume, volume / "in it", similar, ours, *theirs):
        folder.mkdir()
    for source, target in zip((volume, volume / "in it", similar), theirs, strict=True):
        mounts.bind(source, target, ())
    mounts.bind(volume, ours, ("nosuid",))
    found = Census.take().of_folder(volume, ours)
    assert sorted(h.mountpoint for h in found) == sorted(map(str, theirs[:2]))
    assert Census.take().of_folder(scratch / "none", ours) == []


def test_who_keeps_a_mount_busy_is_named(
    scratch: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
) -> None:
    """A process that works in the mount, or has a file of it open, is named when unmount is
    refused."""
    ours = scratch / "volume"
    attach_and_mount("ext4", make_image("ext4"), ours)
    assert holders.of_open_files(ours) == []
    with (ours / "open").open("wb"):
        with pytest.raises(OSError, match="busy"):
            mounts.unmount(ours)
        assert [h.pid for h in holders.of_open_files(ours)] == [os.getpid()]
    mounts.unmount(ours)


_THREAD = """
import ctypes, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
CLONE_FS, CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x200, 0x20000, 4096, 16384, 1 << 18
def work():
    assert libc.unshare(CLONE_FS | CLONE_NEWNS) == 0
    assert libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
    assert libc.mount(sys.argv[1].encode(), sys.argv[2].encode(), None, MS_BIND, None) == 0
    print("bound", flush=True)
    sys.stdin.read()
threading.Thread(target=work).start()
"""


def test_a_thread_with_a_namespace_of_its_own_is_a_holder(tmp_path: Path) -> None:
    """Docker copies files in such a thread; its process as a whole sees no mount of the volume."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _THREAD, str(data), str(elsewhere)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "bound\n"
        (holder,) = Census.take().of_folder(data, tmp_path / "mountpoint")
        assert holder.mountpoint == str(elsewhere)
        process.communicate()
    assert Census.take().of_folder(data, tmp_path / "mountpoint") == []
