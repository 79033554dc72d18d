"""Btrfs subvolumes and quotas on a real btrfs."""

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux import btrfs, files, loop

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def host(
    scratch: Path,
    make_image: Callable[..., Path],
    attach_and_mount: Callable[..., loop.LoopDevice],
) -> Path:
    """A mounted btrfs."""
    attach_and_mount("btrfs", make_image("btrfs", 256 * MIB), scratch / "mnt")
    return scratch / "mnt"


def test_subvolumes_are_told_from_folders(host: Path, scratch: Path) -> None:
    """A subvolume is one, a folder on btrfs is none."""
    btrfs.create_subvolume(host / "volume")
    (host / "folder").mkdir()
    fd = os.open(host, os.O_RDONLY)
    try:
        assert btrfs.is_subvolume_at(fd, "volume")
        assert not btrfs.is_subvolume_at(fd, "folder")
    finally:
        os.close(fd)
    assert (btrfs.is_btrfs(host / "folder"), btrfs.is_btrfs(scratch)) == (True, False)
    with pytest.raises(FileExistsError):
        btrfs.create_subvolume(host / "volume")


def nest(top: Path) -> None:
    """Subvolumes in subvolumes, in folders, more than one search returns, all with files."""
    btrfs.create_subvolume(top)
    for number in range(100):
        btrfs.create_subvolume(top / f"child{number}-{'x' * 60}")
    (top / "a folder" / "deeper").mkdir(parents=True)
    below = top / "a folder" / "deeper" / "below"
    btrfs.create_subvolume(below)
    btrfs.create_subvolume(below / "lowest")
    (below / "lowest" / "file").write_bytes(b"x")


def test_subvolume_is_deleted_with_those_in_it(host: Path) -> None:
    """However many there are and however they are nested; others stay."""
    nest(host / "volume")
    btrfs.create_subvolume(host / "other")
    btrfs.delete_subvolume(host / "volume")
    assert [p.name for p in host.iterdir()] == ["other"]


@pytest.mark.parametrize("inside", ["volume", "home/volume"])
def test_tree_with_subvolumes_is_measured_and_removed(host: Path, inside: str) -> None:
    """A folder that is or holds subvolumes is counted and goes like any other."""
    (host / inside).parent.mkdir(exist_ok=True)
    nest(host / inside)
    (host / inside / "data").write_bytes(b"x" * MIB)
    assert files.disk_usage(host / inside)[0] > MIB
    files.remove_tree(host / inside.split("/", maxsplit=1)[0])
    assert list(host.iterdir()) == []


def test_limit_bites_and_can_be_lifted(host: Path) -> None:
    """Writing beyond the limit is EDQUOT; a neighbour is not bound; None lifts it."""
    btrfs.enable_quota(host)
    btrfs.enable_quota(host)
    for name in ("volume", "neighbour"):
        btrfs.create_subvolume(host / name)
    btrfs.set_limit(host / "volume", 8 * MIB)
    with pytest.raises(OSError, match="quota"):
        write(host / "volume" / "file", 16 * MIB)
    assert (host / "volume" / "file").stat().st_size <= 8 * MIB
    write(host / "neighbour" / "file", 16 * MIB)
    btrfs.set_limit(host / "volume", None)
    write(host / "volume" / "file", 16 * MIB)


def test_usage_is_what_was_committed(host: Path) -> None:
    """Usage follows the data; without quotas it is an error."""
    btrfs.create_subvolume(host / "volume")
    with pytest.raises(FileNotFoundError):
        btrfs.usage(host / "volume")
    btrfs.enable_quota(host)
    btrfs.create_subvolume(host / "counted")
    write(host / "counted" / "file", 4 * MIB)
    files.sync_filesystem(host)
    assert 4 * MIB <= btrfs.usage(host / "counted") < 5 * MIB


def test_file_without_copy_on_write_is_marked(host: Path, scratch: Path) -> None:
    """The flag is set on btrfs, and asking for it elsewhere does no harm."""
    for folder, expected in ((host, 0x00800000), (scratch, 0)):
        with (folder / "image").open("wb") as file:
            files.set_nocow(file.fileno())
            assert files._flags(file.fileno()) & 0x00800000 == expected


def write(path: Path, size: int) -> None:
    """Write to the disk, so that the quota has its say."""
    with path.open("wb") as file:
        for _ in range(0, size, MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


def test_no_nesting_is_too_deep_to_delete(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users nest subvolumes deeper than descriptors or Python's stack reach, and protect one."""
    btrfs.create_subvolume(host / "volume")
    monkeypatch.chdir(host / "volume")
    for number in range(300):
        btrfs.create_subvolume(Path("n"))
        if number == 150:
            subprocess.run(["btrfs", "property", "set", ".", "ro", "true"], check=True)
        os.chdir("n")
    monkeypatch.undo()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        btrfs.delete_subvolume(host / "volume")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(host.iterdir()) == []
