"""What differs between two trees of files: for people as changes, for a copy as a refusal."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from convoy_py.linux import files
from convoy_py.linux.reflink import Step, scaled
from convoy_py.linux.trees import attributes
from convoy_py.linux.walk import Walk, named, regular

_BLOCK = 1 << 20

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """One file or folder that is not what it was.

    `path` is relative to the top; `size` the bytes of a regular file afterwards, of a removed one
    before, 0 for all other kinds. `what` tells of a changed one in which ways: "type" (then no
    other is looked for), "content", "target" (of a symbolic link), "mode", "owner", "xattrs", and
    "times" (of change) beside another. Who only touches a file changes nothing.
    """

    kind: Literal["added", "removed", "changed"]
    path: str
    size: int
    what: tuple[str, ...] = ()


def compare(one: Path, other: Path, step: Step, *, content: bool) -> Iterator[Change]:
    """What became of the tree `one` in the tree `other`, by path, name for name.

    A folder comes before what is in it; an added or removed one with all in it. Unless every
    `content` shall be read, that of files with the same size and the same time of change counts as
    the same. `step` is told the bytes read, of one side and without its holes, and is called for
    every file and folder, so that it can stop the work. Trees that are being changed are compared
    as well as that goes. Follows no link; raises OSError (EXDEV) if something is mounted within.
    """
    for found in _differences(one, other, step, content=content):
        what = tuple(way for way in found.what if way != "links")
        if found.kind != "changed" or what not in ((), ("times",)):
            yield Change(found.kind, found.path, found.size, what)


def verify(one: Path, other: Path, step: Step) -> None:
    """Make sure that `other` is a true copy of `one`, every byte, time of change and hard link.

    Raises OSError (EIO) that names the first difference. `step` is called as by `compare`.
    """
    for found in _differences(one, other, step, content=True):
        path = str(other / found.path)
        told = {
            "added": "has what the original has not",
            "removed": "lacks what the original has",
            "changed": f"differs in {', '.join(found.what)}",
        }
        raise OSError(errno.EIO, f"the copy {told[found.kind]}", path)


class _Folder(NamedTuple):
    """A folder on the way: how deep either side stands in it, and the names still to be looked at.

    A side without that folder stays behind, and is none of `sides`.
    """

    depths: tuple[int, int]
    sides: tuple[Walk, ...]
    names: list[str]


def _differences(one: Path, other: Path, step: Step, *, content: bool) -> Iterator[Change]:
    """Those that `compare` tells, and more: "links" among `what`, and "times" alone."""
    with Walk.at(one) as before, Walk.at(other) as after:
        comparison = _Comparison(before, after, step, content=content)
        with named(lambda: one / comparison.path):
            yield from comparison.differences()


class _Comparison:
    """Two positions, moved in step as far as both sides have the same folders."""

    def __init__(self, before: Walk, after: Walk, step: Step, *, content: bool) -> None:
        self.path = ""
        self._before = before
        self._after = after
        self._step = step
        self._content = content
        self._way: list[_Folder] = []
        # Of files with several names: as which one each was found on the other side, and whether
        # the two had the same content.
        self._there: dict[_Identity, _Identity] = {}
        self._back: dict[_Identity, _Identity] = {}
        self._read: dict[tuple[_Identity, _Identity], bool] = {}

    def differences(self) -> Iterator[Change]:
        both = (self._before, self._after)
        yield from self._entry(both, ".")
        while self._way:
            folder = self._way[-1]
            if folder.names:
                yield from self._entry(folder.sides, folder.names.pop())
            else:
                self._leave()

    def _entry(self, sides: tuple[Walk, ...], name: str) -> Iterator[Change]:
        self.path = sides[0].path(name)
        before, after, what = self._looked_at(sides, name)
        if after is None:
            if before is not None:
                yield Change("removed", self.path, _size(before))
        elif before is None:
            yield Change("added", self.path, _size(after))
        elif what:
            yield Change("changed", self.path, _size(after), what)
        having = [
            walk
            for walk, found in ((self._before, before), (self._after, after))
            if found is not None and stat.S_ISDIR(found.st_mode)
        ]
        self._enter([walk for walk in having if _gone_down(walk, name)])

    def _looked_at(
        self, sides: tuple[Walk, ...], name: str
    ) -> tuple[os.stat_result | None, os.stat_result | None, tuple[str, ...]]:
        """Both stats, and in which ways the two differ if both are there."""
        while True:
            self._step(0)
            before = _stat(self._before, name) if self._before in sides else None
            after = _stat(self._after, name) if self._after in sides else None
            if before is None or after is None:
                return before, after, ()
            # It may vanish at any moment; then it is looked for again.
            with suppress(FileNotFoundError):
                return before, after, self._ways(name, before, after)

    def _enter(self, sides: list[Walk]) -> None:
        """Take up the folder into which these sides went."""
        if sides:
            names = set[str]().union(*map(_names, sides))
            depths = self._before.depth, self._after.depth
            self._way.append(_Folder(depths, tuple(sides), sorted(names, reverse=True)))

    def _leave(self) -> None:
        """Go back to the folder above; where folders were moved, to the next that both are in."""
        self._way.pop()
        while self._way:
            before, after = self._way[-1].depths
            self._before.climb(before)
            self._after.climb(after)
            if (self._before.depth, self._after.depth) == (before, after):
                return
            self._way.pop()

    def _ways(self, name: str, before: os.stat_result, after: os.stat_result) -> tuple[str, ...]:
        if _kind(before) != _kind(after):
            return ("type",)
        if not self._content and _untouched(before, after):
            return ()
        same = {
            "content": self._same_content(name, before, after),
            "target": self._same_target(name, before),
            "mode": before.st_mode == after.st_mode,
            "owner": (before.st_uid, before.st_gid) == (after.st_uid, after.st_gid),
            "xattrs": _xattrs(self._before, name) == _xattrs(self._after, name),
            "times": before.st_mtime_ns == after.st_mtime_ns,
            "links": self._same_links(before, after),
        }
        return tuple(way for way, is_same in same.items() if not is_same)

    def _same_target(self, name: str, before: os.stat_result) -> bool:
        if not stat.S_ISLNK(before.st_mode):
            return True
        one, other = (os.readlink(name, dir_fd=w.fd) for w in (self._before, self._after))
        return one == other

    def _same_links(self, before: os.stat_result, after: os.stat_result) -> bool:
        """Whether two names of one file on one side are such on the other, as far as is known."""
        if stat.S_ISDIR(before.st_mode) or before.st_nlink == after.st_nlink == 1:
            return True
        one, other = _identity(before), _identity(after)
        there, back = self._there.setdefault(one, other), self._back.setdefault(other, one)
        return there == other and back == one

    def _same_content(self, name: str, before: os.stat_result, after: os.stat_result) -> bool:
        if not stat.S_ISREG(before.st_mode):
            return True
        if before.st_size != after.st_size:
            return False
        if not self._content and before.st_mtime_ns == after.st_mtime_ns:
            return True
        pair = _identity(before), _identity(after)
        if pair in self._read:
            return self._read[pair]
        with regular(self._before.fd, name) as one, regular(self._after.fd, name) as other:
            step = scaled(self._step, before.st_size, files.content(before))
            is_same = _same_bytes(one, other, before.st_size, step)
        if before.st_nlink > 1:
            self._read[pair] = is_same
        return is_same


def _same_bytes(one: int, other: int, size: int, step: Step) -> bool:
    at = 0
    while at < size:
        if size > _BLOCK:
            data = min(_next_data(one, at, size), _next_data(other, at, size))
            step(data - at)
            at = data
        count = min(_BLOCK, size - at)
        is_same = os.pread(one, count, at) == os.pread(other, count, at)
        step(count)
        if not is_same:
            return False
        at += count
    return True


def _stat(walk: Walk, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=walk.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _names(walk: Walk) -> list[str]:
    with os.scandir(walk.fd) as entries:
        return [entry.name for entry in entries]


def _gone_down(walk: Walk, name: str) -> bool:
    if name == ".":
        return True
    try:
        walk.down(name)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _kind(found: os.stat_result) -> tuple[int, int]:
    """What cannot change but by making the file anew; a device is the device that it is."""
    return stat.S_IFMT(found.st_mode), found.st_rdev


def _untouched(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether it is the same inode of two snapshots, to which nothing was done between them."""
    return (before.st_ino, before.st_ctime_ns, before.st_mtime_ns, before.st_size) == (
        after.st_ino,
        after.st_ctime_ns,
        after.st_mtime_ns,
        after.st_size,
    )


def _xattrs(walk: Walk, name: str) -> dict[str, bytes]:
    """Those that a copy must have, too."""
    found = attributes.xattrs(f"/proc/self/fd/{walk.fd}/{name}", follow_symlinks=False)
    return {name: value for name, value in found.items() if attributes.is_users(name)}


def _next_data(fd: int, at: int, size: int) -> int:
    """Where the next part of the file that is no hole begins; `size` if there is none."""
    try:
        return min(size, os.lseek(fd, at, os.SEEK_DATA))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino


def _size(found: os.stat_result) -> int:
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
