"""From trees to a folder: restored into an empty one, from blobs that are read as they lie.

Trees are not trusted: what no backup of a folder can hold is Damaged.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from convoy_py.restic import quoting
from convoy_py.restic.chunks import ZEROS, zero_id
from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.folders import named
from convoy_py.restic.nodes import Node
from convoy_py.restic.packs import Blob, BlobKind
from convoy_py.restic.repository import Range, Repository
from convoy_py.restic.target import Restored, Target

_BATCH = 12 << 20  # plain bytes that are fetched together; two batches are in memory
_BATCH_STEPS = 10_000
_THREADS = 4
_LONGEST_NAME = 255
_LAST_ID = (1 << 32) - 2  # the next one is to say: none
_LONGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tree may be at most; what is more is Damaged."""

    entries: int = 100_000_000
    depth: int = 50_000
    bytes: int = _LONGEST  # of files, without long holes


Tell = Callable[[Restored], None]
"""Is called for every file, folder and blob; what it raises stops the work."""


def find(repository: Repository, tree: bytes, path: Sequence[bytes]) -> Node:
    """What lies at a path, which is not empty, below a tree; NotFound."""
    for depth in range(len(path) - 1):
        below = _named(repository.read_tree(tree), path, depth).subtree
        assert below is not None
        tree = below
    return _named(repository.read_tree(tree), path, len(path) - 1)


def restore(
    repository: Repository,
    folder: Node,
    target: Path,
    tell: Tell,
    *,
    only: Sequence[bytes] = (),
    devices: bool = False,
    limits: Limits = Limits(),
) -> Restored:
    """Make the empty `target` what the node `folder` was; it is for the caller to sync it.

    Of the files in it `only` what lies at that path, and the folders on the way. Unless `devices`
    may be made, one is Damaged. Whatever is raised, `target` is not complete, and has to be thrown
    away: Damaged, NotFound, StoreFailed, and OSError, which names the file.
    """
    walk = _Walk(repository, limits, only, devices=devices)
    steps = chain(walk.steps(folder), [_Step(lambda place, _: place.finish(folder))])
    return _done(repository, steps, target, tell)


def restore_file(repository: Repository, node: Node, file: Path, tell: Tell) -> Restored:
    """Write what the regular file `node` holds into a file of its size that is all zeros.

    Nothing else of the node counts. It is for the caller to sync it, and to throw it away if
    anything is raised, as by `restore`.
    """
    if node.type != "file":
        raise Damaged(f"{_shown([node.name])} is no file")
    walk = _Walk(repository, Limits(), (), devices=False)
    begin = _Step(lambda place, _: place.fill(os.fsencode(file.name), node.size))
    return _done(repository, chain([begin], walk.content(node)), file.parent, tell)


def _done(repository: Repository, steps: Iterator["_Step"], folder: Path, tell: Tell) -> Restored:
    """Do all steps in a folder, with the blobs that each needs."""
    place = Target(folder)
    pool = ThreadPoolExecutor(_THREADS, "fetch")
    try:
        with named(place.path):
            for batch, blobs in _fetched(repository, pool, _batches(steps)):
                for step in batch:
                    step.do(place, blobs)
                    tell(place.restored)
                del blobs  # before more are fetched
    finally:
        pool.shutdown(cancel_futures=True)
        place.close()
    return place.restored


_Blobs = Mapping[bytes, bytes]


class _Step(NamedTuple):
    """Something to be done at the target, with a blob that must be at hand then."""

    do: Callable[[Target, _Blobs], None]
    place: tuple[bytes, Blob] | None = None  # the pack, and where in it


@dataclass(slots=True)
class _Linked:
    """A file that has not all of its names yet, and its number on the shelf."""

    number: int
    names_left: int


class _Walk:
    """What there is to do, in order, for trees that are read as it comes to them."""

    def __init__(
        self, repository: Repository, limits: Limits, only: Sequence[bytes], *, devices: bool
    ) -> None:
        self._repository = repository
        self._limits = limits
        self._only = only
        self._devices = devices
        self._entries = 0
        self._bytes = 0
        self._way: list[Node] = []
        self._linked: dict[tuple[int, int], _Linked] = {}
        self._numbers = 0

    def steps(self, top: Node) -> Iterator[_Step]:
        pending = [self._nodes(top)]
        while True:
            node = next(pending[-1], None)
            if node is None:
                pending.pop()
                if not self._way:
                    return
                yield _left(self._way.pop())
            elif node.type == "dir":
                self._way.append(node)
                pending.append(self._nodes(node))
                yield _entered(node)
            else:
                yield from self._file(node)

    def _nodes(self, folder: Node) -> Iterator[Node]:
        """What of a folder is to be restored; links after all else."""
        depth = len(self._way)
        if folder.subtree is None:
            raise self._damaged("is a folder without a tree")
        if depth > self._limits.depth:
            raise self._damaged(f"is nested more than {self._limits.depth} folders deep")
        nodes = self._repository.read_tree(folder.subtree)
        if depth < len(self._only):
            nodes = [_named(nodes, self._only, depth)]
        self._entries += len(nodes)
        if self._entries > self._limits.entries:
            raise self._damaged(f"makes it more than {self._limits.entries} files")
        return map(self._checked, sorted(nodes, key=lambda node: node.type == "symlink"))

    def _file(self, node: Node) -> Iterator[_Step]:
        if node.links < 2 or not node.inode:
            yield from self._made(node, 0)
            return
        key = node.inode, node.device_id
        linked = self._linked.get(key)
        if linked is None:
            self._numbers += 1
            linked = self._linked[key] = _Linked(self._numbers, node.links)
            yield from self._made(node, linked.number)
        linked.names_left -= 1
        if not linked.names_left:
            del self._linked[key]
        yield _given_name(node, linked.number, last=not linked.names_left)

    def _made(self, node: Node, number: int) -> Iterator[_Step]:
        if node.type != "file":
            yield _Step(lambda target, _: target.make(node, number))
            return
        yield _Step(lambda target, _: target.begin(node, number))
        yield from self.content(node)
        yield _Step(lambda target, _: target.end(node, number))

    def content(self, node: Node) -> Iterator[_Step]:
        """What a regular file holds, for one that is open and all zeros."""
        at = 0
        for name in node.content or ():
            place = self._repository.index.place(BlobKind.DATA, name)
            if at + place[1].size > node.size:
                break
            yield self._piece(place, at)
            at += place[1].size
        else:
            if at == node.size:
                return
        raise self._damaged(f"has not the {node.size} bytes that are told", node)

    def _piece(self, place: tuple[bytes, Blob], at: int) -> _Step:
        name, length = place[1].id, place[1].size
        if length in ZEROS and name == zero_id(length):
            return _Step(lambda target, _: target.skip(length))
        self._bytes += length
        if self._bytes > self._limits.bytes:
            raise self._damaged(f"makes it more than {self._limits.bytes} bytes")
        return _Step(lambda target, blobs: target.write(blobs[name], at), place)

    def _checked(self, node: Node) -> Node:
        """The node, if there can be such a file."""
        if node.type in ("dev", "chardev") and not self._devices:
            raise self._damaged("is a device, and none may be made", node)
        possible = (
            len(node.name) <= _LONGEST_NAME
            and max(node.uid, node.gid) <= _LAST_ID
            and node.size <= _LONGEST
            and (node.target != b"") == (node.type == "symlink")
            and not any(b"\0" in name for name in (node.target, *node.xattrs))
        )
        if not possible:
            raise self._damaged("is no file that can be made", node)
        return node

    def _damaged(self, why: str, *nodes: Node) -> Damaged:
        path = [node.name for node in (*self._way, *nodes)]
        return Damaged(f"{_shown(path) or 'the snapshot'} {why}")


def _named(nodes: Sequence[Node], path: Sequence[bytes], depth: int) -> Node:
    """Of a folder that is so deep, what lies on the way of the path; NotFound."""
    for node in nodes:
        if node.name == path[depth]:
            if depth < len(path) - 1 and node.subtree is None:
                raise NotFound(f"in the snapshot {_shown(path[: depth + 1])} is no folder")
            return node
    raise NotFound(f"the snapshot has no {_shown(path[: depth + 1])}")


def _entered(node: Node) -> _Step:
    return _Step(lambda target, _: target.enter(node))


def _left(node: Node) -> _Step:
    return _Step(lambda target, _: target.leave(node))


def _given_name(node: Node, number: int, *, last: bool) -> _Step:
    return _Step(lambda target, _: target.name(node, number, last=last))


def _batches(steps: Iterator[_Step]) -> Iterator[list[_Step]]:
    """So many at a time that their blobs fit into memory."""
    batch: list[_Step] = []
    size = 0
    for step in steps:
        batch.append(step)
        size += step.place[1].size if step.place else 0
        if size >= _BATCH or len(batch) >= _BATCH_STEPS:
            yield batch
            batch, size = [], 0
    yield batch


def _fetched(
    repository: Repository, pool: ThreadPoolExecutor, batches: Iterator[list[_Step]]
) -> Iterator[tuple[list[_Step], _Blobs]]:
    """Each batch with its blobs, while those of the next are being read."""
    ahead: tuple[list[_Step], list[Future[_Read]]] | None = None
    for steps in batches:
        parts = repository.ranges(step.place for step in steps if step.place)
        reads = [pool.submit(_read, repository, part) for part in parts]
        if ahead is not None:
            yield ahead[0], _blobs(ahead[1])
        ahead = steps, reads
    if ahead is not None:
        yield ahead[0], _blobs(ahead[1])


_Read = list[tuple[bytes, bytes]]


def _read(repository: Repository, part: Range) -> _Read:
    return list(repository.read_range(part))


def _blobs(reads: Sequence[Future[_Read]]) -> _Blobs:
    return {name: data for read in reads for name, data in read.result()}


def _shown(path: Sequence[bytes]) -> str:
    return quoting.quoted(b"/".join(path))
