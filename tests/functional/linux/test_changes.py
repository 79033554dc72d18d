"""Backups that read only what changed, whatever was done to files: not a byte is missed."""

import os
import random
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import ClassVar

import pytest

from convoy_py.linux import btrfs, changes, files, reflink, trees
from convoy_py.linux.changes import Hook
from convoy_py.restic.repository import Repository
from tests.archiving import archived, ignore, restored, restored_image
from tests.fakes_restic import NOW, QUICK, MemoryStore

pytestmark = pytest.mark.root

KIB = 1 << 10
MIB = 1 << 20
ROUNDS = int(os.environ.get("CHANGES_ROUNDS", "6"))
SEED = int(os.environ.get("CHANGES_SEED", "1"))


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


class Volume(ABC):
    """Files that are written, `live`, and snapshots of them, each with what it needs to be told."""

    by_times: ClassVar[bool] = False

    def __init__(self, scratch: Path, host: Path) -> None:
        self.scratch, self.host = scratch, host
        self.live = host / "live"
        self.count = 0

    @abstractmethod
    def snapshot(self) -> Path:
        """The data as it is now, which nobody writes."""

    def changes(self, old: Path, new: Path) -> AbstractContextManager[Hook]:
        return changes.of_trees(old, new)

    def are_alike(self, old: Path, new: Path) -> bool:
        """Whether it is known of all at once that nothing changed."""
        return False

    def drop(self, snapshot: Path) -> None:
        files.remove_tree(snapshot.parent)


class Folder(Volume):
    """Copied file by file."""

    def __init__(self, scratch: Path, host: Path) -> None:
        super().__init__(scratch, host)
        self.live.mkdir()

    def snapshot(self) -> Path:
        self.count += 1
        target = self.host / f"snapshot-{self.count}/data"
        target.mkdir(parents=True)
        trees.copy(self.live, target, ignore)
        return target


class CopiedFolder(Folder):
    by_times = True


class Subvolume(Volume):
    """A snapshot of btrfs."""

    def __init__(self, scratch: Path, host: Path) -> None:
        super().__init__(scratch, host)
        btrfs.create_subvolume(self.live)

    def snapshot(self) -> Path:
        self.count += 1
        target = self.host / f"snapshot-{self.count}/data"
        target.parent.mkdir()
        btrfs.snapshot(self.live, target, read_only=True)
        return target


class Image(Volume):
    """A copy of the whole image, frozen for that, mounted with nothing to be replayed."""

    fs: ClassVar[str]
    options: ClassVar[str]

    def __init__(self, scratch: Path, host: Path) -> None:
        super().__init__(scratch, host)
        self.image = host / "image"
        with self.image.open("wb") as file:
            file.truncate(320 * MIB)
        run(f"mkfs.{self.fs}", "-q", self.image)
        self.live.mkdir()
        run("mount", "-o", "loop", self.image, self.live)

    def snapshot(self) -> Path:
        self.count += 1
        home = self.host / f"snapshot-{self.count}"
        (home / "data").mkdir(parents=True)
        copy = home / "image"
        run("fsfreeze", "-f", self.live)
        try:
            with self.image.open("rb") as source, copy.open("wb") as target:
                reflink.copy(source.fileno(), target.fileno(), ignore)
        finally:
            run("fsfreeze", "-u", self.live)
        more = ",nouuid" if self.fs == "xfs" else ""
        run("mount", "-o", f"loop{more}", copy, home / "data")  # replays the journal
        run("umount", home / "data")
        run("mount", "-o", f"loop,ro,{self.options}", copy, home / "data")
        return home / "data"

    def changes(self, old: Path, new: Path) -> AbstractContextManager[Hook]:
        return changes.of_images(old, new, *self.images(old, new))

    def are_alike(self, old: Path, new: Path) -> bool:
        return changes.are_alike(old, new, *self.images(old, new))

    def images(self, *snapshots: Path) -> list[Path]:
        return [snapshot.parent / "image" for snapshot in snapshots]

    def drop(self, snapshot: Path) -> None:
        run("umount", snapshot)
        super().drop(snapshot)


class Ext4(Image):
    fs, options = "ext4", "noload"


class Xfs(Image):
    fs, options = "xfs", "norecovery,nouuid"


class CopiedExt4(Ext4):
    by_times = True


VOLUMES = [
    pytest.param(volume, host, id=f"{volume.__name__} on {host}")
    for volume, host in [
        (Folder, "xfs"),
        (Folder, "btrfs"),
        (Subvolume, "btrfs"),
        (Ext4, "xfs"),
        (Ext4, "btrfs"),
        (Xfs, "xfs"),
        (CopiedFolder, "ext4"),
        (CopiedExt4, "ext4"),
    ]
]


@pytest.fixture
def make_volume(
    scratch: Path, make_image: Callable[..., Path], attach_and_mount: Callable[..., object]
) -> Iterator[Callable[[type[Volume], str], Volume]]:
    """A volume on a host filesystem of some kind, with room for a few copies."""
    hosts = []

    def make(kind: type[Volume], fs: str) -> Volume:
        host = scratch / "host"
        attach_and_mount(fs, make_image(fs, 1200 * MIB), host)
        hosts.append(host)
        return kind(scratch, host)

    yield make
    for host in hosts:
        for mounted in [*host.glob("*/data"), host / "live"]:
            with suppress(subprocess.CalledProcessError):
                run("umount", mounted)


class Writer:
    """Does by chance what programs do to files."""

    def __init__(self, volume: Volume, seed: int) -> None:
        self.volume = volume
        self.top = volume.live
        self.random = random.Random(seed)
        for number in range(6):
            self._new(f"file-{number}", self.random.choice([100, 3 * KIB, 700 * KIB, 4 * MIB]))
        (self.top / "folder").mkdir()
        self._new("folder/file", 2 * MIB)

    def work(self) -> None:
        """A few changes; most files stay as they are."""
        ways = [
            *(self.overwrite, self.overwrite, self.rewrite_the_same, self.append, self.cut_off),
            *(self.punch, self.zero, self.reserve, self.collapse, self.insert, self.grow),
            *(self.replace, self.exchange, self.copy, self.link, self.map, self.move_blocks),
        ]
        for way in self.random.choices(ways, k=self.random.randint(1, 4)):
            path = self.random.choice(sorted(p for p in self.top.rglob("*") if p.is_file()))
            with suppress(subprocess.CalledProcessError):  # not every filesystem can all
                way(path)
        os.sync() if self.random.random() < 0.3 else None

    def overwrite(self, path: Path) -> None:
        with path.open("r+b") as file:
            for _ in range(self.random.randint(1, 5)):
                file.seek(self._place(path))
                file.write(self.random.randbytes(self.random.choice([1, 100, 4 * KIB, 70 * KIB])))

    def rewrite_the_same(self, path: Path) -> None:
        data = path.read_bytes()
        with path.open("r+b") as file:
            file.write(data)

    def append(self, path: Path) -> None:
        with path.open("ab") as file:
            file.write(self.random.randbytes(self.random.choice([1, 4 * KIB, 600 * KIB])))

    def cut_off(self, path: Path) -> None:
        os.truncate(path, self._place(path))

    def grow(self, path: Path) -> None:
        """By a hole, after bytes were cut off."""
        size = path.stat().st_size
        os.truncate(path, self._place(path))
        os.truncate(path, size + self.random.choice([0, 0, 5, 600 * KIB]))

    def punch(self, path: Path) -> None:
        self._fallocate(path, "-p")

    def zero(self, path: Path) -> None:
        self._fallocate(path, "-z")

    def reserve(self, path: Path) -> None:
        self._fallocate(path, "-n")

    def collapse(self, path: Path) -> None:
        self._fallocate(path, "-c")

    def insert(self, path: Path) -> None:
        self._fallocate(path, "-i")

    def replace(self, path: Path) -> None:
        """By another file of the same length and, where blocks tell, with the same times."""
        before, new = path.stat(), path.with_name("new")
        new.write_bytes(self.random.randbytes(before.st_size))
        if not self.volume.by_times:
            os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.rename(path)

    def exchange(self, path: Path) -> None:
        other = self.top / "file-0"
        if other.exists() and path != other:
            files.exchange(path, other)

    def copy(self, path: Path) -> None:
        """With the same blocks, where the filesystem can."""
        run("cp", "--reflink=auto", path, self.top / f"copy-{self.random.randint(0, 3)}")

    def link(self, path: Path) -> None:
        name = self.top / f"folder/name-{self.random.randint(0, 2)}"
        name.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            os.link(path, name)

    def map(self, path: Path) -> None:
        """Written through memory."""
        if path.stat().st_size:
            import mmap

            with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
                memory[self._place(path) % len(memory)] = self.random.randrange(256)

    def move_blocks(self, path: Path) -> None:
        """Defragmented, which changes places and not a byte."""
        os.sync()
        fs = subprocess.run(
            ["stat", "-f", "-c", "%T", path], check=True, capture_output=True, text=True
        ).stdout.strip()
        match fs:
            case "btrfs":
                run("btrfs", "filesystem", "defragment", path)
            case "xfs":
                run("xfs_fsr", path)
            case _:
                run("e4defrag", path)

    def _new(self, name: str, size: int) -> None:
        (self.top / name).write_bytes(self.random.randbytes(size))

    def _place(self, path: Path) -> int:
        return self.random.randint(0, path.stat().st_size)

    def _fallocate(self, path: Path, how: str) -> None:
        at, length = (self.random.randint(0, 200) * 4 * KIB for _ in range(2))
        run("fallocate", how, "-o", at, "-l", length + 4 * KIB, path)


@pytest.mark.parametrize(("kind", "host"), VOLUMES)
def test_every_backup_is_what_the_snapshot_was(
    kind: type[Volume],
    host: str,
    make_volume: Callable[[type[Volume], str], Volume],
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
        assert found.tree == tree or not volume.are_alike(old, new)
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


@pytest.mark.parametrize(
    ("kind", "host"),
    [(Ext4, "xfs"), (Ext4, "btrfs"), (Xfs, "xfs")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_raw_backup_is_the_image_of_the_snapshot(
    kind: type[Image],
    host: str,
    make_volume: Callable[[type[Volume], str], Volume],
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
    make_volume: Callable[[type[Volume], str], Volume],
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
    kind: type[Volume], host: str, make_volume: Callable[[type[Volume], str], Volume]
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
    assert volume.are_alike(old, new) is (isinstance(volume, Image) and not volume.by_times)
    for snapshot in (old, new):
        volume.drop(snapshot)


def _write_a_byte(top: Path) -> None:
    """With the times of before."""
    file = top / "file-1"
    times = file.stat()
    with file.open("r+b") as opened:
        byte = opened.read(1)
        opened.seek(0)
        opened.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


_CHANGES: list[Callable[[Path], object]] = [
    _write_a_byte,
    lambda top: (top / "file-1").chmod(0o4711),
    lambda top: os.chown(top / "file-1", 1, 2),
    lambda top: os.setxattr(top / "file-1", "user.x", b"y"),
    lambda top: os.utime(top / "file-1", (1, 1)),
    lambda top: (top / "file-1").rename(top / "file-2"),
    lambda top: os.link(top / "file-0", top / "linked"),
    lambda top: (top / "broken").symlink_to("nowhere"),
    lambda top: (top / "empty").touch(),
    lambda top: (top / "new").mkdir(),
    lambda top: os.mknod(top / "fifo", 0o010600),
    lambda top: (top / "empty").unlink(),
    lambda top: top.chmod(0o711),
]


@pytest.mark.parametrize(
    ("kind", "host"),
    [(Ext4, "xfs"), (Ext4, "btrfs"), (Xfs, "xfs")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_images_are_alike_until_anything_changes(
    kind: type[Image], host: str, make_volume: Callable[[type[Volume], str], Volume]
) -> None:
    """That they were mounted meanwhile is no change."""
    volume = make_volume(kind, host)
    assert isinstance(volume, Image)
    Writer(volume, SEED)
    old = volume.snapshot()
    run("umount", volume.live)
    run("mount", "-o", "loop", volume.image, volume.live)
    new = volume.snapshot()
    assert volume.are_alike(old, new)
    assert not changes.are_alike(old, new / "folder", *volume.images(old, new))
    for number, change in enumerate(_CHANGES):
        volume.drop(old)
        old = new
        change(volume.live)
        new = volume.snapshot()
        assert not volume.are_alike(old, new), number
    for snapshot in (old, new):
        volume.drop(snapshot)


def test_what_may_be_in_memory_alone_is_not_alike(
    make_volume: Callable[[type[Volume], str], Volume],
) -> None:
    """Of a file that was written the image knows nothing yet."""
    volume = make_volume(Xfs, "xfs")
    (volume.live / "file").write_bytes(b"before")
    old, new = volume.snapshot(), volume.snapshot()
    run("umount", new)
    run("mount", "-o", "loop,nouuid", new.parent / "image", new)
    with (new / "file").open("r+b") as file:
        file.write(b"after")
    assert not volume.are_alike(old, new)
    for snapshot in (old, new):
        volume.drop(snapshot)


@pytest.mark.parametrize("kind", [Folder, Subvolume])
def test_what_lies_among_the_metadata_is_read(
    kind: type[Volume], make_volume: Callable[[type[Volume], str], Volume]
) -> None:
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
    assert not changes.are_alike(old, new, old / "file", new / "file")


def told(hook: Hook, tree: Path, name: str) -> Sequence[tuple[int, int]] | None:
    with (tree / name).open("rb") as file:
        return hook(name.encode(), file.fileno(), os.fstat(file.fileno()))
