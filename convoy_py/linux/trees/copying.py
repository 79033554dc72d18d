"""Copies of trees with all that files bear, while others may be changing them."""

import errno
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from convoy_py.linux import files, reflink
from convoy_py.linux.descriptors import closing, opened
from convoy_py.linux.reflink import Step
from convoy_py.linux.trees.attributes import Attributes
from convoy_py.linux.walk import FOLDER, Walk, every, mounted_here, named, regular, reopened

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_AS_IT_IS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Tree:
    """What was copied: names of `files` (all that is no folder), `folders` below the top, `bytes`.

    Bytes are those of regular files, without their holes, each file once. What was seen and gone
    before it could be read is not copied but counted: `vanished`.
    """

    files: int
    folders: int
    bytes: int
    vanished: int


def copy(source: Path, target: Path, step: Step, *, durable: bool = True) -> Tree:
    """Copy all that is in `source` into the empty folder `target`, which becomes like it.

    Kept are owners, modes, extended attributes, times, hard links within the tree, holes, special
    files and chattr's +i and +a; blocks are shared where they can be. No link is followed on
    either side, whoever renames meanwhile. Nested btrfs subvolumes are copied as folders. `step`
    is told the bytes, adding up to `measure`, and is called for every folder and file, so that it
    can stop the work. Unless it need not be `durable`, the copy survives a power cut on return; a
    failed one is left as it is.

    Raises OSError, which names the file: EXDEV if something is mounted in `source`, EOPNOTSUPP
    if the other filesystem cannot keep what a file bears.
    """
    with Walk.at(source) as origin, Walk.at(target) as place:
        work = Copy(origin, place, step, source)
        guards = work.folder()
        files.set_guards(place.fd, guards)
    if durable:
        files.sync_filesystem(target)
    return Tree(work.files, work.folders, work.bytes, work.vanished)


def measure(source: Path) -> tuple[int, int]:
    """(files, bytes that `copy` will tell its `step`), if the tree stays as it is."""
    count = content = 0
    with Walk.at(source) as walk:
        for _, found in every(walk):
            if stat.S_ISREG(found.st_mode):
                count, content = count + 1, content + files.content(found)
    return count, content


@dataclass(slots=True)
class _Folder:
    """A folder on its way: what it bears, and the names of the folders in it still to be copied."""

    attributes: Attributes
    guards: int
    is_nocow: bool
    pending: list[str]

    @classmethod
    def of(cls, fd: int) -> "_Folder":
        attributes = Attributes.of(fd, os.fstat(fd))
        return cls(attributes, files.guards(fd), files.is_nocow(fd), [])

    def give(self, fd: int) -> None:
        """Make the copy, which has got its content, like this folder, but for the guards."""
        if self.is_nocow:
            files.set_nocow(fd)
        self.attributes.give(fd)


@dataclass(slots=True)
class _Shelved:
    """A file of several names: the one that it bears until it has them all."""

    number: str
    names_left: int
    guards: int


class Copy:
    """A copy on its way: two positions, moved in step, and what it has counted.

    `files` counts names, `folders` those below the top, `bytes` the content of regular files, each
    once; `vanished` what was seen and gone before it could be read.
    """

    def __init__(self, source: Walk, target: Walk, step: Step, top: Path) -> None:
        """`top` is the path of the source, for errors to name the file that they are about."""
        self.files = self.folders = self.bytes = self.vanished = 0
        self._source = source
        self._target = target
        self._step = step
        self._top = top
        self._name = ""
        # A name can only be made from another, which may lie anywhere: so files of several names
        # are kept at hand in one folder, each as the number by which it came.
        self._shelf = -1
        self._shelved: dict[tuple[int, int], _Shelved] = {}
        self._numbers = 0

    def folder(self) -> int:
        """Make the folder where `target` stands a copy of that where `source` does.

        Both stand at their beginning, and `target` is empty. Returned is what `files.guards` tells
        of the source, for the caller to set: a guarded folder cannot be renamed.
        """
        with named(self._path), closing(os.dup(self._target.fd)) as top:
            shelf = f".links-{secrets.token_hex(8)}"
            os.mkdir(shelf, 0o700, dir_fd=top)
            with opened(shelf, FOLDER, folder=top) as self._shelf:
                copied = self._contents()
                self._clear_shelf()
            os.rmdir(shelf, dir_fd=top)
            copied.give(top)
        return copied.guards

    def _path(self) -> Path:
        return self._top / self._source.path(self._name)

    def _contents(self) -> _Folder:
        way = [self._entries()]
        while True:
            if way[-1].pending:
                if self._down(way[-1].pending.pop()):
                    way.append(self._entries())
            elif self._source.depth:
                self._source.climb(self._source.depth - 1)
                while len(way) > self._source.depth + 1:
                    self._leave(way.pop())
            else:
                return way[0]

    def _down(self, name: str) -> bool:
        self._step(0)
        self._name = name
        try:
            self._source.down(name)
        except (FileNotFoundError, NotADirectoryError):
            self.vanished += 1
            return False
        self._name = ""
        os.mkdir(name, 0o700, dir_fd=self._target.fd)
        self._target.down(name)
        self.folders += 1
        return True

    def _leave(self, folder: _Folder) -> None:
        self.vanished += len(folder.pending)  # where the folder was moved away
        folder.give(self._target.fd)
        files.set_guards(self._target.fd, folder.guards)
        self._target.up()

    def _entries(self) -> _Folder:
        """Copy all in the folder that is no folder."""
        folder = _Folder.of(self._source.fd)
        with os.scandir(self._source.fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folder.pending.append(entry.name)
                else:
                    self._name = entry.name
                    self._entry(entry.name, entry.inode())
        self._name = ""
        return folder

    def _entry(self, name: str, inode: int) -> None:
        try:
            source = self._source.open_path(name)
        except FileNotFoundError:
            self.vanished += 1
            return
        try:
            found = os.fstat(source)
            # What a folder tells of a file is true of the one beneath a mount.
            if found.st_ino != inode and not self._source.reaches(source):
                raise mounted_here(name)
            if stat.S_ISDIR(found.st_mode):
                self.vanished += 1
                return
            self.files += 1
            if found.st_nlink > 1:
                self._link(source, found, name)
            else:
                set_guards(self._target.fd, name, self._file(source, found, self._target.fd, name))
        finally:
            os.close(source)

    def _file(self, source: int, found: os.stat_result, folder: int, name: str) -> int:
        if stat.S_ISREG(found.st_mode):
            self.bytes += files.content(found)
        return file(source, found, folder, name, self._step)

    def _link(self, source: int, found: os.stat_result, name: str) -> None:
        """Give the copy of a file with several names one more, and copy it for the first."""
        key = found.st_dev, found.st_ino
        one = self._shelved.get(key)
        if one is None:
            self._numbers += 1
            number = str(self._numbers)
            guards = self._file(source, found, self._shelf, number)
            one = self._shelved[key] = _Shelved(number, found.st_nlink, guards)
        one.names_left -= 1
        if one.names_left or one.guards:
            os.link(
                one.number,
                name,
                src_dir_fd=self._shelf,
                dst_dir_fd=self._target.fd,
                follow_symlinks=False,
            )
        else:
            # Not one name more than in the source: there may be just as many as can be.
            os.rename(one.number, name, src_dir_fd=self._shelf, dst_dir_fd=self._target.fd)
            del self._shelved[key]

    def _clear_shelf(self) -> None:
        """Let go of what is guarded, and can get no name after that, or has names elsewhere."""
        for one in self._shelved.values():
            if one.guards:
                with regular(self._shelf, one.number) as fd:
                    os.unlink(one.number, dir_fd=self._shelf)
                    files.set_guards(fd, one.guards)
            else:
                os.unlink(one.number, dir_fd=self._shelf)


def file(source: int, found: os.stat_result, folder: int, name: str, step: Step) -> int:
    """Make `name` in an open folder a copy of a file of any kind; a folder it must not be.

    `source` is an O_PATH descriptor of it, `found` its stat. Returned is what `files.guards` tells
    of the source, for the caller to set: a guarded file can be neither renamed nor linked.
    """
    if stat.S_ISREG(found.st_mode):
        return _regular(source, found, folder, name, step)
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink("", dir_fd=source), name, dir_fd=folder)
    else:
        os.mknod(name, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev, dir_fd=folder)
    with closing(os.open(name, _AS_IT_IS, dir_fd=folder)) as target:
        if stat.S_IFMT(os.fstat(target).st_mode) != stat.S_IFMT(found.st_mode):
            raise OSError(errno.ESTALE, "the copy was replaced while it was being made", name)
        Attributes.of(_magic(source), found).give(_magic(target))
    step(0)
    return 0


def set_guards(folder: int, name: str, guards: int) -> None:
    """Guard a file in an open folder as another is guarded of which `file` told."""
    if guards:
        with regular(folder, name) as fd:
            files.set_guards(fd, guards)


def _regular(found_at: int, found: os.stat_result, folder: int, name: str, step: Step) -> int:
    with (
        closing(reopened(found_at)) as source,
        closing(os.open(name, _NEW, 0o600, dir_fd=folder)) as target,
    ):
        told = reflink.scaled(step, found.st_size, files.content(found))
        reflink.copy(source, target, told)
        Attributes.of(source, found).give(target)
        return files.guards(source)


def _magic(fd: int) -> str:
    return f"/proc/self/fd/{fd}"
