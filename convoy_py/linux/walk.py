"""A walk through a tree of folders that others may be changing: no link followed, no way out."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy_py.linux import mounts, pulse
from convoy_py.linux.descriptors import closing, opened

# To read a tree shall not write to it, which to keep times of access would be.
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME | os.O_CLOEXEC

_LEFT_OUT = (errno.ENOENT, errno.ENOTDIR, errno.EXDEV)


class Walk:
    """A position in a tree, never outside the mount where it began.

    Has two descriptors open however deep it goes: users nest folders deeper than descriptors, path
    names and Python's stack reach. It owns the descriptor it is given.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._top = os.dup(fd)
        self._mount = mounts.mount_id(fd)
        self._way = [("", _identity(fd))]

    @classmethod
    def at(cls, path: Path) -> "Walk":
        """Begin in the folder `path`, the last part of which is not followed."""
        return cls(os.open(path, FOLDER))

    def __enter__(self) -> "Walk":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        os.close(self._top)

    @property
    def depth(self) -> int:
        """How many folders below its beginning it stands."""
        return len(self._way) - 1

    def path(self, name: str = "") -> str:
        """The path of `name`, or of the folder itself, as seen from the beginning."""
        names = [name for name, _ in self._way[1:]]
        return "/".join([*names, name] if name else names)

    def down(self, name: str) -> None:
        """Go into a folder; EXDEV if something is mounted there."""
        below = os.open(name, FOLDER, dir_fd=self.fd)
        if not self.reaches(below):
            os.close(below)
            raise mounted_here(name)
        self._way.append((name, _identity(below)))
        self._move(below)

    def up(self) -> None:
        """Go back; ESTALE if the folder was moved meanwhile, so that `..` is another."""
        above = os.open("..", FOLDER, dir_fd=self.fd)
        if _identity(above) != self._way[-2][1]:
            os.close(above)
            raise OSError(errno.ESTALE, "a folder was moved while it was being read")
        self._way.pop()
        self._move(above)

    def climb(self, depth: int) -> None:
        """Go back up to `depth`; where folders were moved, to the lowest still in its place."""
        while self.depth > depth:
            try:
                self.up()
            except OSError as error:
                if error.errno not in (errno.ESTALE, errno.ENOENT):
                    raise
                self._again(depth)
                return

    def open_path(self, name: str) -> int:
        """An O_PATH descriptor of whatever `name` is, which does nothing to it."""
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)

    def reaches(self, fd: int) -> bool:
        """Whether `fd` lies on the mount where the walk began."""
        return mounts.mount_id(fd) == self._mount

    def _again(self, depth: int) -> None:
        """Go the same way from the beginning, as far as `depth` and as it is still the same."""
        way = self._way[1 : depth + 1]
        del self._way[1:]
        self._move(os.dup(self._top))
        for step in way:
            try:
                self.down(step[0])
            except OSError as error:
                if error.errno not in _LEFT_OUT:
                    raise
                return
            if self._way[-1] != step:
                self.up()
                return

    def _move(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd


def mounted_here(name: str) -> OSError:
    """The error for a folder or file on which something is mounted."""
    return OSError(errno.EXDEV, "something is mounted here", name)


def every(walk: Walk) -> Iterator[tuple[str, os.stat_result]]:
    """The folder where `walk` begins, as ".", and all that is in it; a file once for all its links.

    Each with its name in the folder where `walk` has come to. Leaves out what is mounted within,
    and what vanishes meanwhile.
    """
    pending: list[list[str]] = []
    seen: set[tuple[int, int]] = set()
    entered = True
    while True:
        if entered:
            yield ".", os.fstat(walk.fd)
            others, folders = _listing(walk.fd)
            for name, found in others:
                if found.st_nlink > 1:
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                yield name, found
            pending.append(folders)
        if pending[-1]:
            entered = _entered(walk, pending[-1].pop())
        elif walk.depth:
            entered = False
            walk.climb(walk.depth - 1)
            del pending[walk.depth + 1 :]
        else:
            return


@contextmanager
def regular(folder: int, name: str) -> Iterator[int]:
    """A regular file, open for reading; FileNotFoundError if another kind has taken its name."""
    with opened(name, os.O_PATH | os.O_NOFOLLOW, folder=folder) as found:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise FileNotFoundError(errno.ENOENT, "it is no regular file any more", name)
        with closing(reopened(found)) as fd:
            yield fd


def reopened(found: int) -> int:
    """Open for reading a file that an O_PATH descriptor pins, and known to be regular.

    Not by its name: to open a device can do harm, and a container may make one at any moment.
    """
    return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC)


@contextmanager
def named(path: Callable[[], Path]) -> Iterator[None]:
    """Let errors name the file at `path`, told when one comes, instead of what they name."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path())) from error


def _listing(folder: int) -> tuple[list[tuple[str, os.stat_result]], list[str]]:
    """(name and stat of what is no folder, the names of the folders)."""
    others, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            pulse.beat()
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                with suppress(FileNotFoundError):
                    others.append((entry.name, entry.stat(follow_symlinks=False)))
    return others, folders


def _entered(walk: Walk, name: str) -> bool:
    try:
        walk.down(name)
    except OSError as error:
        if error.errno in _LEFT_OUT:
            return False
        raise
    return True


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
