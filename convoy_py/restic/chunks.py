"""How contents are cut: chunks of a fixed length at fixed places, and long runs of zeros as one.

Where nothing else is said, a chunk is CHUNK bytes long. restic leaves holes in what it restores
only where one of a file's blobs is a CHUNK of zeros. So the first run of zeros is made of those.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from functools import lru_cache

CHUNK = 512 << 10
_LARGE, _LARGE_ABOVE = 1 << 20, 256 << 30  # a list of the chunks should not get too long
RUN = 8 << 20
ZEROS = (CHUNK, _LARGE, RUN)  # the lengths of zeros that no file ends with

Range = tuple[int, int]
"""Bytes of a file: begin, and the first that is beyond."""


def chunk_size(size: int) -> int:
    """The length of all chunks but the last of a file with `size` bytes."""
    return CHUNK if size <= _LARGE_ABOVE else _LARGE


@lru_cache(maxsize=64)
def zero_id(length: int) -> bytes:
    """The id of a blob of so many zeros."""
    return hashlib.sha256(bytes(length)).digest()


def folded(ids: list[bytes], size: int) -> list[bytes]:
    """The content of a file of which these are the chunks, each aligned run of zeros as one.

    Depends on the bytes alone, not on where they are holes.
    """
    chunk = chunk_size(size)
    zero, count = zero_id(chunk), RUN // chunk
    if zero not in ids:
        return ids
    run, content = [zero] * count, list[bytes]()
    of_run = [zero_id(CHUNK)] * (RUN // CHUNK)
    for first in range(0, len(ids), count):
        part = ids[first : first + count]
        if part == run:
            content += of_run
            of_run = [zero_id(RUN)]
        else:
            content += part
    return content


def unfolded(
    content: Sequence[bytes], size: int, length_of: Callable[[bytes], int | None]
) -> list[bytes] | None:
    """The chunks of a file that was cut as above; None if it was not, or a blob is not there.

    `length_of` a blob is None then.
    """
    chunk = chunk_size(size)
    ids: list[bytes] = []
    end = 0
    for blob in content:
        length = length_of(blob)
        if length is None:
            return None
        begin, end = end, end + length
        if begin % chunk == 0 and end == min(begin + chunk, size):
            ids.append(blob)
        elif length in ZEROS and blob == zero_id(length):
            ids += [zero_id(chunk)] * (end // chunk - len(ids))
        else:
            return None
    return ids if end == size and len(ids) == -(-size // chunk) else None


class Holes:
    """Where an open file has no data; asked for places that only grow."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begin = self._end = 0  # of the data that was found last

    def has(self, begin: int, end: int) -> bool:
        """Whether all of these bytes are zeros that need not be read."""
        if begin >= self._end:
            try:
                self._begin = os.lseek(self._fd, begin, os.SEEK_DATA)
                self._end = os.lseek(self._fd, self._begin, os.SEEK_HOLE)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                self._begin = self._end = 1 << 63  # only a hole is left
        return self._begin >= end


class Kept:
    """Chunks of what a file held before that hold the same now; asked for places that only grow."""

    def __init__(self, ids: Sequence[bytes], size: int, changed: Sequence[Range]) -> None:
        """`ids` are the chunks of a file of `size`; `changed`, in order, is what may be others."""
        self._ids = ids
        self._size = size
        self._chunk = chunk_size(size)
        self._changed = changed
        self._next = 0

    def chunk(self, begin: int, end: int) -> bytes | None:
        """The id of just these bytes; None if they have to be looked at."""
        if end > self._size or end - begin != min(self._chunk, self._size - begin):
            return None
        while self._next < len(self._changed) and self._changed[self._next][1] <= begin:
            self._next += 1
        if self._next < len(self._changed) and self._changed[self._next][0] < end:
            return None
        return self._ids[begin // self._chunk]
