"""The folder into which is restored: what nodes tell is made in it, and nothing anywhere else.

All is made by its bare name in an open folder that was made here, and must not be there before. No
link is followed, and each folder gets its owner, its mode and its times last.
"""

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from convoy_py.restic import modes, quoting, xattrs
from convoy_py.restic.errors import Damaged
from convoy_py.restic.folders import Position, closing, names, opened
from convoy_py.restic.nodes import Node

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_FORMATS = {
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "dev": stat.S_IFBLK,
    "chardev": stat.S_IFCHR,
}
_PIECE = 64 << 10  # of a file, that becomes a hole if it is zeros
_ZEROS = bytes(_PIECE)


@dataclass(slots=True)
class Restored:
    """What was done so far. A file counts its bytes with holes, and once for all its names."""

    files: int = 0  # names of all that is no folder
    dirs: int = 0
    bytes: int = 0


class Target:
    """An empty folder, and the place in it where one stands. What failed is left as it is.

    A further name can only be made from one that is there, which may lie anywhere. So a file that
    is to have several is made on a shelf, a folder at hand, by a number, and then given its names.
    """

    def __init__(self, folder: Path) -> None:
        self.restored = Restored()
        self._folder = folder
        self._position = Position(folder)
        self._top = os.dup(self._position.fd)
        self._name = b""  # in the folder where the position is
        self._file = -1  # the one that is being written
        self._end = 0  # of what was written of it
        self._shelf = f".links-{secrets.token_hex(8)}"
        self._shelf_fd = -1

    def close(self) -> None:
        for fd in (self._file, self._shelf_fd, self._top):
            if fd >= 0:
                os.close(fd)
        self._position.close()

    def path(self) -> bytes:
        """What errors are about."""
        return os.fsencode(self._folder / os.fsdecode(self._position.path(self._name)))

    def enter(self, node: Node) -> None:
        """Make a folder and go into it."""
        self._name = node.name
        os.mkdir(node.name, 0o700, dir_fd=self._position.fd)
        self._position.down(node.name)
        self._name = b""

    def leave(self, node: Node) -> None:
        """Complete the folder, and go back."""
        self._name = b""
        _give(self._position.fd, node)
        self._position.up()
        self.restored.dirs += 1

    def finish(self, node: Node) -> None:
        """Complete the top."""
        self._name = b""
        if self._shelf_fd >= 0:
            for left in names(self._shelf_fd):  # what has names that are elsewhere
                os.unlink(left, dir_fd=self._shelf_fd)
            os.rmdir(self._shelf, dir_fd=self._top)
        _give(self._top, node)
        self.restored.dirs += 1

    def make(self, node: Node, number: int = 0) -> None:
        """Make what is no folder and no regular file; on the shelf, if it has a number."""
        folder, name = self._place(node, number)
        if node.type == "symlink":
            os.symlink(node.target, name, dir_fd=folder)
        else:
            os.mknod(name, _FORMATS[node.type] | 0o600, node.device, dir_fd=folder)
        with closing(opened(folder, name, os.O_PATH | os.O_NOFOLLOW)) as fd:
            _give(fd, node)
        self.restored.files += not number

    def begin(self, node: Node, number: int = 0) -> None:
        """Make a regular file; on the shelf, if it has a number."""
        folder, name = self._place(node, number)
        self._file = os.open(name, _NEW, 0o600, dir_fd=folder)
        self._end = 0

    def fill(self, name: bytes, size: int) -> None:
        """Go on with a regular file that is there, `size` bytes long and all zeros."""
        self._name = name
        self._file = opened(self._position.fd, name, os.O_WRONLY | os.O_NOFOLLOW)
        there = os.fstat(self._file).st_size
        if there != size:
            raise Damaged(f"{quoting.quoted(name)} has {size} bytes in the snapshot, not {there}")

    def write(self, data: bytes, at: int) -> None:
        """Write what is no zeros."""
        view = memoryview(data)
        begin = 0  # of what is still to be written
        for piece in range(0, len(data), _PIECE):
            if view[piece : piece + _PIECE] == _ZEROS:
                self._write(view[begin:piece], at + begin)
                begin = piece + _PIECE
        self._write(view[begin:], at + begin)
        self.restored.bytes += len(data)

    def skip(self, length: int) -> None:
        """Leave a hole."""
        self.restored.bytes += length

    def end(self, node: Node, number: int = 0) -> None:
        """Complete the file: what was not written of it is a hole."""
        fd, self._file = self._file, -1
        with closing(fd):
            if self._end < node.size:
                os.ftruncate(fd, node.size)
            _give(fd, node)
        self.restored.files += not number

    def name(self, node: Node, number: int, *, last: bool) -> None:
        """Give what is on the shelf a name.

        At no time it has one more than it had: it may have been as many as there can be.
        """
        self._name = node.name
        shelf, folder = self._shelf_fd, self._position.fd
        if last:
            os.rename(b"%d" % number, node.name, src_dir_fd=shelf, dst_dir_fd=folder)
        else:
            os.link(
                b"%d" % number,
                node.name,
                src_dir_fd=shelf,
                dst_dir_fd=folder,
                follow_symlinks=False,
            )
        self.restored.files += 1

    def _place(self, node: Node, number: int) -> tuple[int, bytes]:
        self._name = node.name
        if not number:
            return self._position.fd, node.name
        if self._shelf_fd < 0:
            os.mkdir(self._shelf, 0o700, dir_fd=self._top)
            self._shelf_fd = opened(self._top, self._shelf.encode(), os.O_DIRECTORY)
        return self._shelf_fd, b"%d" % number

    def _write(self, rest: memoryview, at: int) -> None:
        while rest:
            done = os.pwrite(self._file, rest, at)
            rest, at = rest[done:], at + done
            self._end = at


def _give(fd: int, node: Node) -> None:
    """Owner, xattrs, mode, times: each may be changed by those before it."""
    # What is open as a path alone is reached by a path, which takes several times as long.
    place = fd if node.type in ("file", "dir") else f"/proc/self/fd/{fd}"
    found = os.fstat(fd)
    if (found.st_uid, found.st_gid) != (node.uid, node.gid):
        os.chown(place, node.uid, node.gid)
    xattrs.give(place, node.xattrs)
    if node.type != "symlink":
        os.chmod(place, stat.S_IMODE(modes.to_linux(node.mode)))  # noqa: PTH101 - no path as a rule
    os.utime(place, ns=(node.atime, node.mtime))
