"""From a folder to trees: what it holds becomes blobs, of which nothing unchanged is read again.

All that is stored depends on the content of the folder alone: not on inode numbers, times of access
or the order in which a filesystem lists names. So what did not change makes no new blob.
"""

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from convoy_py.restic import contents, modes, xattrs
from convoy_py.restic.chunks import CHUNK, Range
from convoy_py.restic.contents import Contents, Counters, Tell
from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.folders import Position, closing, entries, named, opened, reading
from convoy_py.restic.nodes import Node, encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.writer import Writer

DATA = b"data"
"""The name under which the folder stands in its tree, for a root has no owner of its own."""

IMAGE = b"image"
"""The name under which a file stands there that was stored instead of a folder."""

Changes = Callable[[bytes, int, os.stat_result], Sequence[Range] | None]
"""Tells which bytes of a file may be others than when the previous tree was made.

Is given the path below the top, the open file and its stat. Ranges in order, none where nothing
changed; None where nobody knows, and all is read. So is what is beyond the end that it had before.
"""

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFBLK: "dev",
    stat.S_IFCHR: "chardev",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
_DEVICES = ("dev", "chardev")
_AHEAD = 16  # files that are open at a time, for the disk to bring them together
_DEVICE_ID = 1  # a constant, for a loop device changes its number from mount to mount


@dataclass(frozen=True, slots=True)
class Archived:
    """What became of a folder. The blobs are durable once the writer has committed."""

    tree: bytes
    counters: Counters


def archive(
    top: Path,
    beside: Mapping[bytes, bytes],
    repository: Repository,
    writer: Writer,
    tell: Tell,
    *,
    previous: bytes | None = None,
    changes: Changes | None = None,
) -> Archived:
    """Store a folder in which nobody writes, as `data`, and small files `beside` it, by name.

    `previous` is the tree that this made of an earlier state of it; `changes` are asked about the
    files that it has, and have to compare with just that state. Follows no link. Raises
    SourceChanged if somebody writes after all; OSError, naming the file: EXDEV if something is
    mounted in it, which hides what it has.
    """
    with Position(top) as position:
        work = _Archive(position, repository, writer, tell, changes)
        with named(lambda: os.fsencode(top / os.fsdecode(work.path()))):
            return work.run(beside, previous)


def archive_file(
    file: Path,
    beside: Mapping[bytes, bytes],
    repository: Repository,
    writer: Writer,
    tell: Tell,
    *,
    previous: bytes | None = None,
    changes: Changes | None = None,
) -> Archived:
    """Store a regular file in which nobody writes, as `image`; all else is as with `archive`.

    What of the `previous` tree is no `image` counts for nothing.
    """
    with Position(file.parent) as position:
        work = _Archive(position, repository, writer, tell, changes)
        with named(lambda: os.fsencode(file)):
            return work.run_file(os.fsencode(file.name), beside, previous)


@dataclass(slots=True)
class _Folder:
    """A folder on its way, and what it was in the previous tree."""

    node: Node
    before: Node | None
    previous: Mapping[bytes, Node]
    pending: list[tuple[bytes, bool]]  # as folders.entries tells of them, the next one last
    opened: deque[tuple[bytes, bool, int]] = field(default_factory=deque)  # the same, each open
    nodes: list[Node] = field(default_factory=list)
    is_same: bool = True  # so far, to what it was


@dataclass(slots=True)
class _Linked:
    node: Node
    names_left: int


class _Archive:
    def __init__(
        self,
        position: Position,
        repository: Repository,
        writer: Writer,
        tell: Tell,
        changes: Changes | None,
    ) -> None:
        self._name = b""  # in the folder where the position is
        self._position = position
        self._repository = repository
        self._writer = writer
        self._tell = tell
        self._changes = changes
        self._contents = Contents(repository, writer, tell)
        # Files of several names, by inode, until all of them were seen: the node of the first.
        self._linked: dict[int, _Linked] = {}
        self._numbers: set[int] = set()  # that those have in the tree

    def path(self) -> bytes:
        """What it is at, below the top."""
        return self._position.path(self._name)

    def run(self, beside: Mapping[bytes, bytes], previous: bytes | None) -> Archived:
        before = self._nodes(previous)
        top = node_of(DATA, self._position.fd, os.fstat(self._position.fd))
        return self._rooted(self._folder(top, before.get(DATA)), beside)

    def run_file(
        self, name: bytes, beside: Mapping[bytes, bytes], previous: bytes | None
    ) -> Archived:
        before = self._nodes(previous).get(IMAGE)
        self._name = name
        with closing(reading(self._position.fd, name)) as fd:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise contents.changed(name, "was replaced")
            node = self._file(IMAGE, fd, found, before)
        self._count(node, before)
        return self._rooted(node, beside)

    def _rooted(self, top: Node, beside: Mapping[bytes, bytes]) -> Archived:
        counters = self._contents.counters
        tree = rooted(top, beside, self._writer, counters)
        return Archived(tree, counters)

    def _folder(self, top: Node, before: Node | None) -> Node:
        """The node of the folder where the position is, with all that is in it stored."""
        way = [self._entered(top, before)]
        try:
            return self._walked(way)
        finally:
            for _, _, fd in way[-1].opened if way else ():
                os.close(fd)

    def _walked(self, way: list[_Folder]) -> Node:
        while True:
            folder = way[-1]
            self._open_some(folder)
            if folder.opened:
                below = self._entry(folder, *folder.opened.popleft())
                if below is not None:
                    way.append(below)
            else:
                way.pop()
                node = self._left(folder)
                is_same = self._count(node, folder.before)
                if not way:
                    return node
                way[-1].nodes.append(node)
                way[-1].is_same &= is_same
                self._position.up()

    def _entered(self, node: Node, before: Node | None) -> _Folder:
        previous = self._nodes(before.subtree if before is not None else None)
        return _Folder(node, before, previous, entries(self._position.fd)[::-1])

    def _left(self, folder: _Folder) -> Node:
        before, count = folder.before, len(folder.nodes)
        if before is not None and folder.is_same and count == len(folder.previous) > 0:
            folder.node.subtree = before.subtree  # which was read just now: it is there
        else:
            folder.node.subtree = self._tree(folder.nodes)
        return folder.node

    def _open_some(self, folder: _Folder) -> None:
        """Open what comes next: files ahead, for which the disk is asked, or one of anything else.

        When it goes into a folder none is open of those above.
        """
        while folder.pending and len(folder.opened) < _AHEAD:
            name, is_file = folder.pending[-1]
            if folder.opened and not is_file:
                return
            self._name = name
            fd = self._opened(name, is_file)
            folder.opened.append((name, is_file, fd))
            folder.pending.pop()
            if not is_file:
                return
            if name not in folder.previous:  # else it may be that nothing of it is read
                os.posix_fadvise(fd, 0, CHUNK, os.POSIX_FADV_WILLNEED)

    def _opened(self, name: bytes, is_file: bool) -> int:
        try:
            if is_file:
                return reading(self._position.fd, name)
            return opened(self._position.fd, name, os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise OSError(errno.EXDEV, "something is mounted here") from error
            if error.errno == errno.ENOENT:
                raise contents.changed(self.path(), "vanished") from error
            raise

    def _entry(self, folder: _Folder, name: bytes, is_file: bool, fd: int) -> _Folder | None:
        """Store what bears a name; if it is a folder, go into it instead."""
        self._name = name
        with closing(fd):
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode) != is_file:
                raise contents.changed(self.path(), "was replaced")
            before = folder.previous.get(name)
            if stat.S_ISDIR(found.st_mode):
                node = node_of(name, fd, found)
                self._position.down(name)
                self._name = b""
                return self._entered(node, before)
            node = self._file(name, fd, found, before)
        folder.is_same &= self._count(node, before)
        folder.nodes.append(node)
        return None

    def _file(self, name: bytes, fd: int, found: os.stat_result, before: Node | None) -> Node:
        """The node of what is no folder; each file is read for the first of its names."""
        if linked := self._linked.get(found.st_ino):
            linked.names_left -= 1
            if not linked.names_left:
                del self._linked[found.st_ino]
            return replace(linked.node, name=name)
        node = node_of(name, fd, found)
        if found.st_nlink > 1:
            node.inode, node.device_id = self._number(), _DEVICE_ID
            self._linked[found.st_ino] = _Linked(node, found.st_nlink - 1)
        if node.type == "symlink":
            node.target = os.fsencode(os.readlink("", dir_fd=fd))
        elif node.type in _DEVICES:
            node.device = found.st_rdev
        elif node.type == "file":
            node.size = found.st_size
            node.content = self._content(fd, found, before)
        return node

    def _content(self, fd: int, found: os.stat_result, before: Node | None) -> list[bytes]:
        changed = None
        if before is not None and before.type == "file" and self._changes is not None:
            changed = self._changes(self.path(), fd, found)
        previous = before if changed is not None else None
        content = self._contents.store(self.path, fd, found.st_size, previous, changed or ())
        after = os.fstat(fd)
        if (after.st_size, after.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
            raise contents.changed(self.path(), "was written to")
        return content

    def _number(self) -> int:
        """What stands for the inode of a file: the same as long as its first name is the same."""
        digest = hashlib.sha256(self.path()).digest()
        number = int.from_bytes(digest[:7], "big") + 1  # 0 would be left out
        while number in self._numbers:
            number += 1
        self._numbers.add(number)
        return number

    def _tree(self, nodes: list[Node]) -> bytes:
        return self._writer.save(BlobKind.TREE, encode_tree(nodes))

    def _nodes(self, tree: bytes | None) -> Mapping[bytes, Node]:
        """By name; none of a previous tree that is missing or broken: then all is read."""
        if tree is None:
            return {}
        try:
            return {node.name: node for node in self._repository.read_tree(tree)}
        except (NotFound, Damaged):
            return {}

    def _count(self, node: Node, before: Node | None) -> bool:
        """Whether it is just what it was."""
        counters = self._contents.counters
        is_same = counters.count(node, before)
        self._tell(counters)
        return is_same


def rooted(top: Node, beside: Mapping[bytes, bytes], writer: Writer, counters: Counters) -> bytes:
    """The tree of what is stored, and of small files that stand beside it."""
    nodes = [top]
    for name, content in beside.items():
        node = Node(name=name, type="file", mode=0o600, size=len(content), links=1, content=[])
        if content:
            node.content = [writer.save(BlobKind.DATA, content)]
        counters.count_total(node)
        nodes.append(node)
    return writer.save(BlobKind.TREE, encode_tree(nodes))


def node_of(name: bytes, fd: int, found: os.stat_result) -> Node:
    """What any file or folder bears; unless it is a file, `fd` may be an O_PATH descriptor."""
    kind = _TYPES[stat.S_IFMT(found.st_mode)]
    return Node(
        name=name,
        type=kind,
        mode=modes.from_linux(found.st_mode),
        mtime=found.st_mtime_ns,
        atime=found.st_mtime_ns,
        ctime=found.st_mtime_ns,
        uid=found.st_uid,
        gid=found.st_gid,
        links=0 if kind == "dir" else found.st_nlink,
        xattrs=xattrs.of(fd if kind == "file" else f"/proc/self/fd/{fd}"),
    )
