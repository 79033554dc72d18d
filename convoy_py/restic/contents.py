"""The content of a file becomes blobs: what is no hole, and may have changed, is read."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from convoy_py.restic import quoting
from convoy_py.restic.chunks import (
    CHUNK,
    RUN,
    Holes,
    Kept,
    Range,
    chunk_size,
    folded,
    unfolded,
    zero_id,
)
from convoy_py.restic.errors import SourceChanged
from convoy_py.restic.nodes import Node
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.writer import Writer


@dataclass(slots=True)
class Counters:
    """What was done so far. A file counts its bytes with holes, and once for all its names."""

    files_new: int = 0  # all that is no folder
    files_changed: int = 0
    files_unmodified: int = 0
    dirs_new: int = 0
    dirs_changed: int = 0
    dirs_unmodified: int = 0
    bytes_processed: int = 0
    bytes_read: int = 0
    # As restic counts what a snapshot has, and again for `rewrite`: regular files alone, those
    # beside the folder too, and their bytes as often as they have names.
    total_files: int = 0
    total_bytes: int = 0

    def count(self, node: Node, before: Node | None) -> bool:
        """One more; whether it is just what it was."""
        is_same = node == before
        kind = "dirs" if node.type == "dir" else "files"
        how = "new" if before is None else "unmodified" if is_same else "changed"
        setattr(self, f"{kind}_{how}", getattr(self, f"{kind}_{how}") + 1)
        if node.type == "file":
            self.count_total(node)
        return is_same

    def count_total(self, file: Node) -> None:
        self.total_files += 1
        self.total_bytes += file.size


Tell = Callable[[Counters], None]
"""Is called for every file, folder and chunk that is read; what it raises stops the work."""


class Contents:
    """Stores what files hold, and counts it."""

    def __init__(self, repository: Repository, writer: Writer, tell: Tell) -> None:
        self.counters = Counters()
        self._index = repository.index
        self._writer = writer
        self._tell = tell
        self._zeros: set[int] = set()  # the lengths that were stored

    def store(
        self,
        path: Callable[[], bytes],
        fd: int,
        size: int,
        previous: Node | None,
        changed: Sequence[Range],
    ) -> list[bytes]:
        """The blobs of an open file; `path` tells it to errors.

        It has what the `previous` node tells, but for the ranges `changed` and what is beyond;
        without one all is read, as it is where a blob of that content is missing.
        """
        kept = Kept((), 0, ())
        if previous is not None and previous.content is not None:
            if not changed and previous.size == size and self.has(previous.content, size):
                self.counters.bytes_processed += size
                return previous.content
            ids = unfolded(previous.content, previous.size, self._length)
            kept = Kept(ids or (), previous.size if ids else 0, changed)
        return self._folded([*self._chunks(path, fd, size, kept)], size)

    def _chunks(self, path: Callable[[], bytes], fd: int, size: int, kept: Kept) -> Iterator[bytes]:
        holes, length = Holes(fd), chunk_size(size)
        for begin in range(0, size, length):
            end = min(begin + length, size)
            name = kept.chunk(begin, end)
            if name is None:
                is_hole = size > length and holes.has(begin, end)  # to ask takes as long as to read
                name = self._zero(end - begin) if is_hole else self._read(path, fd, begin, end)
            self.counters.bytes_processed += end - begin
            yield name

    def _folded(self, ids: list[bytes], size: int) -> list[bytes]:
        content = folded(ids, size)
        if content is not ids:
            for length in (CHUNK, RUN):
                if zero_id(length) in content:
                    self._zero(length)
        return content

    def _read(self, path: Callable[[], bytes], fd: int, begin: int, end: int) -> bytes:
        data = os.pread(fd, end - begin, begin)
        while len(data) < end - begin:
            more = os.pread(fd, end - begin - len(data), begin + len(data))
            if not more:
                raise changed(path(), "became shorter")
            data += more
        self.counters.bytes_read += len(data)
        self._tell(self.counters)
        return self._writer.save(BlobKind.DATA, data)

    def _zero(self, length: int) -> bytes:
        if length not in self._zeros:
            self._writer.save(BlobKind.DATA, bytes(length))
            self._zeros.add(length)
        return zero_id(length)

    def has(self, content: Sequence[bytes], size: int) -> bool:
        """Whether all of these blobs are there, and so many bytes together."""
        for name in content:
            length = self._length(name)
            if length is None:
                return False
            size -= length
        return size == 0

    def _length(self, name: bytes) -> int | None:
        return self._index.size(BlobKind.DATA, name)


def changed(path: bytes, how: str) -> SourceChanged:
    """The error for a file that somebody writes while it is read."""
    return SourceChanged(
        f"{quoting.quoted(path)} {how} while it was read: somebody writes where nobody should, so "
        "this would be no backup of one moment"
    )
