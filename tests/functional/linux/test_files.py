"""Files where mounts, full disks and flags come in."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from convoy_py.linux import files, mounts

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def small_host(scratch: Path) -> Path:
    """A filesystem of 8 MiB."""
    host = scratch / "host"
    host.mkdir()
    mounts.mount("tmpfs", host, "tmpfs", ("size=8m",))
    return host


@pytest.mark.parametrize("kind", ["other filesystem", "same filesystem"])
def test_tree_with_a_mount_in_it_is_left_alone(scratch: Path, kind: str) -> None:
    """Removal is refused before anything is deleted, and names the mountpoint."""
    tree, inside, outside = scratch / "tree", scratch / "tree/a/mounted", scratch / "outside"
    inside.mkdir(parents=True)
    outside.mkdir()
    (tree / "file").touch()
    if kind == "other filesystem":
        mounts.mount("tmpfs", inside, "tmpfs", ())
    else:
        mounts.bind(outside, inside, ())
    (inside / "precious").touch()
    with pytest.raises(OSError, match=str(inside)) as caught:
        files.remove_tree(tree)
    assert caught.value.errno == errno.EBUSY
    assert (inside / "precious").exists()
    assert (tree / "file").exists()
    mounts.unmount(inside)
    files.remove_tree(tree)
    assert not tree.exists()


@pytest.mark.parametrize("kind", ["other filesystem", "same filesystem"])
def test_removal_never_crosses_into_a_mount_that_comes_later(
    scratch: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount that the first look missed is not emptied."""
    inside, outside = scratch / "tree/mounted", scratch / "outside"
    inside.mkdir(parents=True)
    outside.mkdir()
    if kind == "other filesystem":
        mounts.mount("tmpfs", inside, "tmpfs", ())
    else:
        mounts.bind(outside, inside, ())
    (inside / "precious").touch()
    with monkeypatch.context() as patch:
        patch.setattr(mounts, "below", lambda _path: [])
        with pytest.raises(OSError, match="mounted") as caught:
            files.remove_tree(scratch / "tree")
    assert caught.value.errno == errno.EXDEV
    assert (inside / "precious").exists()


def test_usage_stays_on_its_filesystem(scratch: Path) -> None:
    """What is mounted within does not count."""
    tree = scratch / "tree"
    (tree / "mounted").mkdir(parents=True)
    before = files.disk_usage(tree)[0]
    mounts.mount("tmpfs", tree / "mounted", "tmpfs", ())
    (tree / "mounted" / "file").write_bytes(b"x" * MIB)
    assert files.disk_usage(tree)[0] < before


def test_reservation_that_runs_out_of_space_leaves_nothing(
    small_host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the space that seemed free is gone on the way, every block is given back."""
    seen = os.fstatvfs

    def optimistic(fd: int) -> os.statvfs_result:
        found = list(seen(fd))
        found[4] *= 100
        return os.statvfs_result(found)

    with (small_host / "file").open("wb") as file, monkeypatch.context() as patch:
        patch.setattr(os, "fstatvfs", optimistic)
        with pytest.raises(OSError, match="No space"):
            files.allocate(file.fileno(), 9 * MIB)
    assert os.statvfs(small_host).f_bavail == os.statvfs(small_host).f_blocks


def test_immutable_folder_refuses_root_until_it_is_freed(scratch: Path) -> None:
    """The flag stops even root from creating a file, and can be taken back."""
    folder = scratch / "guarded"
    folder.mkdir()
    assert files.set_immutable(folder, on=True)
    try:
        with pytest.raises(PermissionError):
            (folder / "file").touch()
    finally:
        assert files.set_immutable(folder, on=False)
    (folder / "file").touch()


def test_filesystem_without_the_flag_says_so(scratch: Path) -> None:
    """Where there is no such flag the answer is False, not an error."""
    (scratch / "ram").mkdir()
    mounts.mount("ramfs", scratch / "ram", "ramfs", ())
    assert files.set_immutable(scratch / "ram", on=True) is False


@pytest.mark.parametrize("flag", ["+i", "+a"])
def test_what_users_guarded_is_removed(scratch: Path, flag: str) -> None:
    """A flag on a file, on a folder or on the tree itself keeps nothing from being deleted."""
    tree = scratch / "tree"
    for folder in ("folder", "empty"):
        (tree / folder).mkdir(parents=True)
    for file in ("folder/file", "file"):
        (tree / file).touch()
    guarded = [*tree.rglob("*"), tree]
    subprocess.run(["chattr", flag, *guarded], check=True)
    try:
        files.remove_tree(tree)
        assert not tree.exists()
    finally:
        subprocess.run(["chattr", "-f", "-R", "-ia", tree], check=False)
