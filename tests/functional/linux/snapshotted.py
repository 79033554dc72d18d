"""Volumes that programs write to, of which snapshots are taken without the engine."""

import os
import random
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import ClassVar

import pytest

from convoy_py.linux import btrfs, changes, files, reflink, trees
from convoy_py.linux.changes import Hook
from tests.archiving import ignore

KIB = 1 << 10
MIB = 1 << 20
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


MakeVolume = Callable[[type[Volume], str], Volume]
"""Makes one on a host filesystem of some kind, with room for a few copies."""

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
IMAGES = [
    pytest.param(image, host, id=f"{image.__name__} on {host}")
    for image, host in [(Ext4, "xfs"), (Ext4, "btrfs"), (Xfs, "xfs")]
]


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
