"""Copies of an image that are cut off under load, and what must be in them: all that was synced.

As a program it does so for as many cuts as are wanted: `python -m tests.crash.cuts --cuts 500`.
"""

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from convoy_py.linux import files, filesystems, loop, mounts, reflink
from convoy_py.linux.descriptors import closing as shut
from convoy_py.linux.descriptors import opened
from tests.harness import eventually

_MIB = 1 << 20
_BLOCK = 4096
_IMAGE, _HOST = 320 * _MIB, 2048 * _MIB
_PAGES = 64


class Work:
    """One kind of writing, in steps that end with a sync: the last that was begun, and synced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun = self.synced = 0

    def step(self, number: int) -> None:
        raise NotImplementedError

    def found(self, folder: Path, synced: int, begun: int) -> bool:
        """Whether a copy has all that was synced, and nothing that was not begun in its place."""
        raise NotImplementedError

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.begun += 1
            self.step(self.begun)
            self.synced = self.begun


def _written(path: Path, data: bytes, at: int = 0, flags: int = 0) -> None:
    with shut(os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)) as fd:
        os.pwrite(fd, data, at)
        os.fsync(fd)


def _synced(folder: Path) -> None:
    with opened(folder, os.O_DIRECTORY) as fd:
        os.fsync(fd)


def _block(number: int) -> bytes:
    return number.to_bytes(8, "big") * (_BLOCK // 8)


class Appends(Work):
    """Files that grow by a block; each is full at some time, and the one before the last goes."""

    each = 500

    def step(self, number: int) -> None:
        file, block = divmod(number, self.each)
        _written(self.folder / f"{file}", _block(number), block * _BLOCK)
        if not block:
            (self.folder / f"{file - 2}").unlink(missing_ok=True)

    def found(self, folder: Path, synced: int, begun: int) -> bool:
        file, block = divmod(synced, self.each)
        data = (folder / f"{file}").read_bytes()
        first = 1 if not file else 0
        return all(
            data[at * _BLOCK :][:_BLOCK] == _block(file * self.each + at)
            for at in range(first, block + 1)
        )


class Overwrites(Work):
    """Blocks of a file that is there, in turn."""

    def step(self, number: int) -> None:
        _written(self.folder / "file", _block(number), number * 7 % _PAGES * _BLOCK)

    def found(self, folder: Path, synced: int, begun: int) -> bool:
        data = (folder / "file").read_bytes()
        return all(
            data[step * 7 % _PAGES * _BLOCK :][:_BLOCK] == _block(step)
            for step in range(max(1, begun - _PAGES + 1), synced + 1)
        )


class Replacements(Work):
    """A file written anew beside it, and renamed into place."""

    def step(self, number: int) -> None:
        _written(self.folder / "new", _block(number) * (number % 5 + 1), flags=os.O_TRUNC)
        (self.folder / "new").rename(self.folder / "file")
        _synced(self.folder)

    def found(self, folder: Path, synced: int, begun: int) -> bool:
        data = (folder / "file").read_bytes()
        return data in (_block(step) * (step % 5 + 1) for step in range(synced, begun + 1))


class Files(Work):
    """Files and folders that are made, linked, renamed and removed."""

    def step(self, number: int) -> None:
        made, folder = self.folder / f"made-{number}", self.folder / f"folder-{number % 40}"
        _written(made, _block(number))
        folder.mkdir(exist_ok=True)
        (folder / f"{number}").hardlink_to(made)
        made.rename(self.folder / f"{number}")
        (self.folder / f"{number - 30}").unlink(missing_ok=True)
        (self.folder / f"folder-{(number - 30) % 40}" / f"{number - 30}").unlink(missing_ok=True)
        for each in (folder, self.folder / f"folder-{(number - 30) % 40}", self.folder):
            if each.exists():
                _synced(each)

    def found(self, folder: Path, synced: int, begun: int) -> bool:
        kept = range(max(1, begun - 29), synced + 1)
        gone = range(max(1, synced - 60), synced - 29)
        return all(
            (folder / f"{step}").read_bytes() == _block(step)
            and (folder / f"folder-{step % 40}" / f"{step}").stat().st_nlink == 2
            for step in kept
        ) and not any((folder / f"{step}").exists() for step in gone)


class Truncations(Work):
    """Files that are cut short, written again, and have blocks reserved that are cut off."""

    files = 8

    def step(self, number: int) -> None:
        file = self.folder / f"{number % self.files}"
        with shut(os.open(file, os.O_RDWR | os.O_CREAT, 0o600)) as fd:
            os.ftruncate(fd, number % 3 * _BLOCK)
            os.posix_fallocate(fd, 0, 20 * _BLOCK)
            os.pwrite(fd, _block(number) * 4, number % 16 * _BLOCK)
            os.ftruncate(fd, (number % 16 + 4) * _BLOCK)
            os.fsync(fd)

    def found(self, folder: Path, synced: int, begun: int) -> bool:
        return all(
            (folder / f"{step % self.files}").read_bytes()[step % 16 * _BLOCK :] == _block(step) * 4
            for step in range(max(1, begun - self.files + 1), synced + 1)
        )


class Database(Work):
    """Transactions of SQLite with a write-ahead log, each of them synced."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._database: sqlite3.Connection | None = None

    def run(self, stop: threading.Event) -> None:
        with closing(sqlite3.connect(self.folder / "db", isolation_level=None)) as self._database:
            self._database.execute("pragma journal_mode=wal")
            self._database.execute("pragma synchronous=full")
            self._database.execute("create table t (n integer primary key, data blob)")
            super().run(stop)

    def step(self, number: int) -> None:
        assert self._database is not None
        self._database.execute("insert into t values (?, ?)", (number, _block(number)[:800]))

    def found(self, folder: Path, synced: int, begun: int) -> bool:
        with closing(sqlite3.connect(folder / "db")) as database:
            ((count,),) = database.execute("select count(*) from t where n <= ?", (synced,))
            ((whole,),) = database.execute("pragma integrity_check")
        return bool(count == synced and whole == "ok")


WORKS: Sequence[Callable[[Path], Work]] = (
    Appends,
    Overwrites,
    Replacements,
    Files,
    Truncations,
    Database,
)


class Cut:
    """A host that can share blocks, and on it an image under load, of which copies are cut."""

    def __init__(self, folder: Path, fs: str = "ext4", *, fast_commit: bool = False) -> None:
        """`fast_commit` is of ext4 alone, whose images we make without."""
        self.folder, self._fs, self._fast_commit = folder, fs, fast_commit

    @contextmanager
    def under_load(self) -> Iterator[Sequence[Work]]:
        """The works that go on in a new image while the block runs."""
        with ExitStack() as stack:
            host = self.folder / "host"
            stack.enter_context(self._mounted(self.folder / "disk", host, "xfs", _HOST))
            data = self.folder / "data"
            stack.enter_context(self._mounted(host / "image", data, self._fs, _IMAGE))
            works, stop = [], threading.Event()
            for number, kind in enumerate(WORKS):
                folder = data / f"{number}"
                folder.mkdir()
                works.append(kind(folder))
            files.sync_filesystem(data)
            threads = [threading.Thread(target=work.run, args=(stop,)) for work in works]
            for thread in threads:
                thread.start()
            try:
                yield works
            finally:
                stop.set()
                for thread in threads:
                    thread.join()

    def lost(self, works: Sequence[Work]) -> list[str]:
        """Cut one copy, replay its journal by a mount, compare and check it: what is wrong."""
        image, seen = self.folder / "host/cut", self.folder / "cut"
        synced = [work.synced for work in works]
        with opened(self.folder / "host/image") as source, image.open("xb") as target:
            reflink.clone(source, target.fileno())
        begun = [work.begun for work in works]
        wrong: list[str] = []
        try:
            with _attached(image, seen, self._fs):
                for number, work in enumerate(works):
                    try:
                        found = work.found(seen / f"{number}", synced[number], begun[number])
                    except (OSError, sqlite3.Error) as error:
                        found, wrong = False, [*wrong, str(error)]
                    if not found:
                        name = type(work).__name__
                        wrong.append(f"{name}: {synced[number]} synced, {begun[number]} begun")
            filesystems.check(self._fs, image)
        except OSError as error:  # it cannot be mounted, or is damaged
            wrong.append(str(error))
        finally:
            image.unlink()
        return wrong

    @contextmanager
    def _mounted(self, image: Path, at: Path, fs: str, size: int) -> Iterator[None]:
        with image.open("xb") as file:
            file.truncate(size)
        filesystems.make(fs, image, size, uuid=str(uuid.uuid4()))
        if self._fast_commit and image.parent != self.folder:
            subprocess.run(["tune2fs", "-O", "fast_commit", image], check=True, capture_output=True)
        try:
            with _attached(image, at, fs):
                yield
        finally:
            image.unlink()


@contextmanager
def _attached(image: Path, at: Path, fs: str) -> Iterator[None]:
    at.mkdir()
    try:
        with opened(image, os.O_RDWR) as fd:
            device, descriptor = loop.attach(fd, tag="cuts")
        with shut(descriptor):
            mounts.mount(device.path, at, fs, filesystems.mount_data(fs, discard=True))
        try:
            yield
        finally:
            eventually(lambda: mounts.unmount_unless_busy(at), f"{at} is let go")
            eventually(lambda: not loop.find(image), "the device is let go")
    finally:
        at.rmdir()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Cut as often as is asked for, a new load for each fifty; tell what was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--fs", choices=("ext4", "xfs", "btrfs"), default="ext4")
    parser.add_argument("--fast-commit", action="store_true", help="ext4 with fast commits")
    parser.add_argument("--in", dest="folder", default="/dev/shm")
    given = parser.parse_args(arguments)
    lost = done = steps = 0
    while done < given.cuts:
        with tempfile.TemporaryDirectory(prefix="cuts-", dir=given.folder) as name:
            cut = Cut(Path(name), given.fs, fast_commit=given.fast_commit)
            with cut.under_load() as works:
                for _ in range(min(50, given.cuts - done)):
                    time.sleep(random.uniform(0.05, 0.6))
                    wrong = cut.lost(works)
                    for line in wrong:
                        _say(f"cut {done}: {line}")
                    lost += bool(wrong)
                    done += 1
            steps = sum(work.synced for work in works)
        _say(f"{done} cuts, {lost} found wrong; {steps} steps in the last load")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
