"""Whether a folder is what a tree tells: each name, byte, owner, mode, time, attribute and link."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from convoy_py.restic import modes, quoting, xattrs
from convoy_py.restic.archive import node_of
from convoy_py.restic.folders import Position, closing, named, names, opened, reading
from convoy_py.restic.nodes import Node
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository

_PIECE = 1 << 20

Tell = Callable[[int], None]
"""Is told the bytes that were compared, often; what it raises stops the work."""


def differences(repository: Repository, folder: Node, place: Path, tell: Tell) -> Iterator[str]:
    """What is not as the node `folder` tells of it, each file in one line; nobody writes there.

    The bytes are read from `place` and hashed: those of the repository are not read again. Labels
    of security modules are the host's own, and times of access are not compared.
    """
    with Position(place) as position:
        proof = _Proof(repository, position, tell)
        with named(lambda: os.fsencode(place / os.fsdecode(proof.path()))):
            yield from proof.differences(folder)


def differs(repository: Repository, node: Node, file: Path, tell: Tell) -> Iterator[str]:
    """The same of the bytes of one regular file alone, in which nobody writes."""
    with Position(file.parent) as position:
        proof = _Proof(repository, position, tell)
        with (
            named(lambda: os.fsencode(file)),
            closing(reading(position.fd, os.fsencode(file.name))) as fd,
        ):
            for way in proof.content(node, fd):
                yield f"{quoting.quoted(node.name)}: {way}"


@dataclass(slots=True)
class _Links:
    """Files of several names: as which inode each was found, and the other way round."""

    found: dict[tuple[int, int], int] = field(default_factory=dict)
    meant: dict[int, tuple[int, int]] = field(default_factory=dict)


class _Proof:
    def __init__(self, repository: Repository, position: Position, tell: Tell) -> None:
        self._repository = repository
        self._position = position
        self._tell = tell
        self._name = b""
        self._bytes = 0
        self._links = _Links()
        self._read: set[tuple[int, int]] = set()  # files of several names, by both inodes

    def path(self) -> bytes:
        return self._position.path(self._name)

    def differences(self, top: Node) -> Iterator[str]:
        yield from self._told(self._ways(top, self._position.fd))
        pending = [self._nodes(top)]
        yield from self._more(pending[-1])
        while pending:
            if not pending[-1]:
                pending.pop()
                if pending:
                    self._position.up()
                continue
            node = pending[-1].pop()
            self._name = node.name
            ways = self._entry(node)
            yield from self._told(ways)
            if node.type == "dir" and not {"gone", "type"} & set(ways):
                self._position.down(node.name)
                self._name = b""
                pending.append(self._nodes(node))
                yield from self._more(pending[-1])

    def _nodes(self, folder: Node) -> list[Node]:
        """What is to be in a folder, the next one last."""
        if folder.subtree is None:
            return []
        return self._repository.read_tree(folder.subtree)[::-1]

    def _more(self, nodes: list[Node]) -> Iterator[str]:
        """What is in the folder and not to be there."""
        for name in sorted({*names(self._position.fd)} - {node.name for node in nodes}):
            self._name = name
            yield from self._told(["not in the backup"])
        self._name = b""

    def _told(self, ways: list[str]) -> Iterator[str]:
        if ways:
            yield f"{quoting.quoted(self.path()) or '.'}: {', '.join(ways)}"

    def _entry(self, node: Node) -> list[str]:
        """In which ways what is there is not as it is to be."""
        folder, name = self._position.fd, node.name
        try:
            fd = opened(folder, name, os.O_PATH | os.O_NOFOLLOW)
        except FileNotFoundError:
            return ["gone"]
        with closing(fd):
            if node.type != "file" or not stat.S_ISREG(os.fstat(fd).st_mode):
                return self._ways(node, fd)
        with closing(reading(folder, name)) as fd:
            return self._ways(node, fd)

    def _ways(self, node: Node, fd: int) -> list[str]:
        status = os.fstat(fd)
        found = node_of(node.name, fd, status)
        self._tell(self._bytes)
        if found.type != node.type:
            return ["type"]
        ways = [way for way, is_same in self._compared(node, found, fd, status) if not is_same]
        if node.type == "file" and not self._is_known(node, status) and "size" not in ways:
            ways += self.content(node, fd)
        return ways

    def _compared(
        self, node: Node, found: Node, fd: int, status: os.stat_result
    ) -> Iterator[tuple[str, bool]]:
        yield "owner", (node.uid, node.gid) == (found.uid, found.gid)
        yield "time", node.mtime == found.mtime
        yield "attributes", xattrs.of_users(node.xattrs) == xattrs.of_users(found.xattrs)
        if node.type == "symlink":
            yield "target", node.target == os.fsencode(os.readlink("", dir_fd=fd))
        else:
            yield "mode", _mode(node) == _mode(found)
        if node.type == "file":
            yield "size", node.size == status.st_size
        if node.type in ("dev", "chardev"):
            yield "device", node.device == status.st_rdev
        if node.links > 1 and node.inode:
            yield "links", self._are_linked(node, status)

    def _are_linked(self, node: Node, status: os.stat_result) -> bool:
        """Whether it is the same file as its other names, and as no others."""
        key, links = (node.inode, node.device_id), self._links
        return (
            links.found.setdefault(key, status.st_ino) == status.st_ino
            and links.meant.setdefault(status.st_ino, key) == key
        )

    def _is_known(self, node: Node, status: os.stat_result) -> bool:
        """Whether it was read already, under another name."""
        if node.links < 2 or not node.inode:
            return False
        key = node.inode, status.st_ino
        known = key in self._read
        self._read.add(key)
        return known

    def content(self, node: Node, fd: int) -> Iterator[str]:
        """Tells the first chunk of a file that has other bytes."""
        at = 0
        for name in node.content or ():
            length = self._repository.index.place(BlobKind.DATA, name)[1].size
            digest = hashlib.sha256()
            for piece in _pieces(fd, at, length):
                digest.update(piece)
                self._bytes += len(piece)
                self._tell(self._bytes)
            if digest.digest() != name:
                yield f"content from byte {at} on"
                return
            at += length
        if at != node.size:
            yield f"content: {at} bytes are in the backup"


def _mode(node: Node) -> int:
    return stat.S_IMODE(modes.to_linux(node.mode))


def _pieces(fd: int, at: int, length: int) -> Iterator[bytes]:
    while length > 0 and (piece := os.pread(fd, min(length, _PIECE), at)):
        yield piece
        at, length = at + len(piece), length - len(piece)
