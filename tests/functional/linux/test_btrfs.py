"""Btrfs subvolumes, snapshots and quotas on a real btrfs."""

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from convoy_py.linux import btrfs, files, filesystems, loop

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
    (host / "link").symlink_to("volume")
    (host / "file").touch()
    found = {name for name in os.listdir(host) if btrfs.is_subvolume(host / name)}
    assert found == {"volume"}
    assert not btrfs.is_subvolume(scratch)
    with pytest.raises(FileNotFoundError):
        btrfs.is_subvolume(host / "missing")
    assert (btrfs.is_btrfs(host / "folder"), btrfs.is_btrfs(scratch)) == (True, False)
    with pytest.raises(FileExistsError):
        btrfs.create_subvolume(host / "volume")


def test_snapshot_has_all_that_was_written_and_nothing_later(host: Path) -> None:
    """Written or synced, open or closed: it is in; what comes later is not, and it is writable."""
    btrfs.create_subvolume(host / "volume")
    write(host / "volume" / "synced", MIB)
    with (host / "volume" / "open").open("wb", buffering=0) as file:
        file.write(b"before")
        btrfs.snapshot(host / "volume", host / "snapshot", read_only=False)
        file.write(b"after")
    assert (host / "snapshot" / "open").read_bytes() == b"before"
    synced = [(host / name / "synced").read_bytes() for name in ("volume", "snapshot")]
    assert synced[0] == synced[1]
    (host / "snapshot" / "open").write_bytes(b"own")
    assert (host / "volume" / "open").read_bytes() == b"beforeafter"


def test_snapshot_is_on_the_disk_when_it_was_made(
    host: Path, scratch: Path, tag: str, attach_and_mount: Callable[..., loop.LoopDevice]
) -> None:
    """Were the power cut right after it, the snapshot would be there whole; what was not synced
    after it is not."""
    btrfs.create_subvolume(host / "volume")
    (host / "volume" / "file").write_bytes(b"x" * MIB)
    btrfs.snapshot(host / "volume", host / "snapshot", read_only=True)
    (host / "volume" / "later").touch()
    (attached,) = loop.attached(tag, scratch)
    (image,) = (p for p in scratch.iterdir() if p.stat().st_ino == attached.inode)
    subprocess.run(["cp", "--sparse=always", image, scratch / "cut"], check=True)
    filesystems.new_identity("btrfs", scratch / "cut", str(uuid4()))
    attach_and_mount("btrfs", scratch / "cut", scratch / "other")
    assert (scratch / "other" / "snapshot" / "file").read_bytes() == b"x" * MIB
    assert not (scratch / "other" / "volume" / "later").exists()


def test_snapshot_takes_the_place_of_nothing(host: Path) -> None:
    """What is there stays; and only a subvolume has snapshots."""
    btrfs.create_subvolume(host / "volume")
    (host / "taken").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        btrfs.snapshot(host / "volume", host / "taken", read_only=True)
    assert (host / "taken").read_bytes() == b"x"
    (host / "folder").mkdir()
    with pytest.raises(OSError, match="Invalid"):
        btrfs.snapshot(host / "folder", host / "new", read_only=True)
    assert not (host / "new").exists()


def test_read_only_snapshot_refuses_changes_until_it_may_take_them(host: Path) -> None:
    """Made so, or later, and back."""
    btrfs.create_subvolume(host / "volume")
    (host / "volume" / "file").write_bytes(b"x")
    btrfs.snapshot(host / "volume", host / "snapshot", read_only=True)
    with pytest.raises(OSError, match="Read-only"):
        (host / "snapshot" / "file").write_bytes(b"y")
    btrfs.set_read_only(host / "snapshot", on=False)
    (host / "snapshot" / "file").write_bytes(b"y")
    btrfs.set_read_only(host / "snapshot", on=True)
    with pytest.raises(OSError, match="Read-only"):
        (host / "snapshot" / "new").touch()


def test_nested_subvolumes_are_found(host: Path) -> None:
    """However many there are, and in folders too; but those in others, and neighbours, are not
    listed. A snapshot has none of them."""
    nest(host / "volume")
    btrfs.create_subvolume(host / "neighbour")
    children = [f"child{number}-{'x' * 60}" for number in range(100)]
    assert btrfs.nested(host / "volume") == sorted([*children, "a folder/deeper/below"])
    assert btrfs.nested(host / "volume" / "a folder" / "deeper" / "below") == ["lowest"]
    assert btrfs.nested(host / "neighbour") == []
    btrfs.snapshot(host / "volume", host / "snapshot", read_only=True)
    assert btrfs.nested(host / "snapshot") == []
    assert list((host / "snapshot" / children[0]).iterdir()) == []


def test_bytes_that_a_snapshot_alone_holds(host: Path) -> None:
    """None without quotas; nothing while all is shared; what the volume overwrote since then."""
    btrfs.create_subvolume(host / "volume")
    assert btrfs.exclusive(host / "volume") is None
    btrfs.enable_quota(host)
    btrfs.create_subvolume(host / "counted")
    write(host / "counted" / "file", 8 * MIB)
    btrfs.snapshot(host / "counted", host / "snapshot", read_only=True)
    files.sync_filesystem(host)
    assert btrfs.exclusive(host / "snapshot") in range(MIB)
    (host / "counted" / "file").unlink()
    files.sync_filesystem(host)
    assert btrfs.exclusive(host / "snapshot") in range(8 * MIB, 9 * MIB)


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
