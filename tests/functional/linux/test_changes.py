"""Backups that read only what changed, whatever was done to files: not a byte is missed."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from convoy_py.linux import changes, trees
from convoy_py.linux.changes import Hook
from convoy_py.restic.repository import Repository
from tests.archiving import archived, ignore, restored, restored_image
from tests.fakes_restic import NOW, QUICK, MemoryStore
from tests.functional.linux.snapshotted import (
    IMAGES,
    KIB,
    MIB,
    SEED,
    VOLUMES,
    Ext4,
    Folder,
    Image,
    MakeVolume,
    Subvolume,
    Volume,
    Writer,
    run,
)

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("CHANGES_ROUNDS", "6"))


@pytest.mark.parametrize(("kind", "host"), VOLUMES)
def test_every_backup_is_what_the_snapshot_was(
    kind: type[Volume],
    host: str,
    make_volume: MakeVolume,
    tmp_path: Path,
) -> None:
    volume = make_volume(kind, host)
    repository = Repository.create(MemoryStore(), "secret", NOW, QUICK)
    writer = Writer(volume, SEED)
    old = volume.snapshot()
    tree = archived(repository, old).tree
    read = held = 0
    for _ in range(ROUNDS):
        writer.work()
        new = volume.snapshot()
        with volume.changes(old, new) as hook:
            found = archived(repository, new, previous=tree, changes=hook)
        assert found.tree == tree or hook is not changes.unchanged
        tree = found.tree
        read, held = read + found.counters.bytes_read, held + found.counters.bytes_processed
        target = tmp_path / "target"
        target.mkdir()
        restored(repository, tree, target)
        trees.verify(new, target, ignore)
        shutil.rmtree(target)
        volume.drop(old)
        old = new
    volume.drop(old)
    assert 0 < read < held / 2


@pytest.mark.parametrize(("kind", "host"), IMAGES)
def test_every_raw_backup_is_the_image_of_the_snapshot(
    kind: type[Image],
    host: str,
    make_volume: MakeVolume,
    tmp_path: Path,
) -> None:
    """To the byte, with its holes; and of what it has, little is read."""
    volume = make_volume(kind, host)
    repository = Repository.create(MemoryStore(), "secret", NOW, QUICK)
    writer = Writer(volume, SEED)
    old = volume.snapshot()
    tree = archived(repository, old.parent / "image").tree
    read = whole = 0
    for _ in range(ROUNDS):
        writer.work()
        new = volume.snapshot()
        before, image = old.parent / "image", new.parent / "image"
        with changes.of_files(before, image) as hook:
            found = archived(repository, image, previous=tree, changes=hook)
        tree = found.tree
        read, whole = read + found.counters.bytes_read, whole + image.stat().st_blocks * 512
        target = tmp_path / "target"
        restored_image(repository, tree, target)
        run("cmp", image, target)
        assert target.stat().st_blocks * 512 <= image.stat().st_blocks * 512 + MIB
        target.unlink()
        volume.drop(old)
        old = new
    volume.drop(old)
    assert 0 < read < whole / 2


def test_images_that_share_no_blocks_are_read_whole(
    make_volume: MakeVolume,
) -> None:
    volume = make_volume(Ext4, "ext4")
    Writer(volume, SEED)
    old, new = volume.snapshot(), volume.snapshot()
    with changes.of_files(old.parent / "image", new.parent / "image") as hook:
        assert told(hook, new.parent, "image") is None
    for snapshot in (old, new):
        volume.drop(snapshot)


@pytest.mark.parametrize(("kind", "host"), VOLUMES)
def test_nothing_is_read_where_nothing_changed(
    kind: type[Volume], host: str, make_volume: MakeVolume
) -> None:
    """But for files so small that btrfs keeps them among what it knows of them."""
    volume = make_volume(kind, host)
    repository = Repository.create(MemoryStore(), "secret", NOW, QUICK)
    Writer(volume, SEED)
    old, new = volume.snapshot(), volume.snapshot()
    tree = archived(repository, old).tree
    with volume.changes(old, new) as hook:
        found = archived(repository, new, previous=tree, changes=hook)
    assert found.tree == tree
    assert found.counters.bytes_read <= (4 * KIB if host == "btrfs" else 0)
    is_told = isinstance(volume, Image) and not volume.by_times
    assert (hook is changes.unchanged) is is_told
    for snapshot in (old, new):
        volume.drop(snapshot)


@pytest.mark.parametrize("kind", [Folder, Subvolume])
def test_what_lies_among_the_metadata_is_read(kind: type[Volume], make_volume: MakeVolume) -> None:
    """btrfs tells one place for all small files, and one for all of a compressed piece."""
    volume = make_volume(kind, "btrfs")
    small, squeezed = volume.live / "small", volume.live / "squeezed"
    squeezed.touch()
    run("chattr", "+c", squeezed)
    for path, old in ((small, b"a" * 100), (squeezed, b"a" * MIB)):
        path.write_bytes(old)
    before = volume.snapshot()
    for path in (small, squeezed):
        times = path.stat()
        path.write_bytes(path.read_bytes().replace(b"a", b"b"))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = volume.snapshot()
    with volume.changes(before, after) as hook:
        assert told(hook, after, "small") == [(0, 4 * KIB)]
        assert told(hook, after, "squeezed") == [(0, MIB)]
    for snapshot in (before, after):
        volume.drop(snapshot)


def test_same_place_of_another_disk_is_not_the_same(
    scratch: Path, make_image: Callable[..., Path], attach_and_mount: Callable[..., object]
) -> None:
    """Two disks that are alike but for what is in a file."""
    image = make_image("xfs")
    other = image.with_name("other")
    shutil.copyfile(image, other)
    for disk, data in ((image, b"a"), (other, b"b")):
        folder = scratch / f"on-{disk.name}"
        attach_and_mount("xfs", disk, folder)
        (folder / "tree").mkdir()
        (folder / "tree/file").write_bytes(data * MIB)
        os.sync()
    old, new = (scratch / f"on-{disk.name}/tree" for disk in (image, other))
    with changes.of_trees(old, new) as hook:
        assert told(hook, new, "file") is None
    for top in (old, new):
        run("mount", "-o", "remount,ro", top.parent)
    with changes.of_images(old, new, old / "file", new / "file") as hook:
        assert hook is not changes.unchanged


def told(hook: Hook, tree: Path, name: str) -> Sequence[tuple[int, int]] | None:
    with (tree / name).open("rb") as file:
        return hook(name.encode(), file.fileno(), os.fstat(file.fileno()))
