"""What a storage is believed: how long a file can be, and how many of a kind there can be.

No storage is trusted: what is more than restic, rustic or we ever write is not taken to its end,
lest it fill the memory.
"""

import struct
from collections.abc import Iterator

from convoy_py.restic.errors import Damaged, StoreFailed
from convoy_py.restic.stores.base import Kind, Piece, is_id, path_of

# The bytes of one file, as it is stored and as it is without compression.
LARGEST: dict[Kind, int] = {
    Kind.CONFIG: 64 << 10,  # 200 bytes, and settings of rustic's
    Kind.KEY: 64 << 10,  # 500 bytes
    Kind.LOCK: 1 << 20,  # 300 bytes
    Kind.SNAPSHOT: 16 << 20,  # 1 KiB, and whatever paths and patterns restic was given
    Kind.INDEX: 256 << 20,  # 25 MiB, of 150 000 blobs; before 0.18 restic wrote larger ones
    Kind.PACK: 1 << 30,  # 128 MiB for restic at most; rustic's grow with the repository
}
# Files of one kind. Who keeps all names of a million has some 250 MB of them.
MOST: dict[Kind, int] = {
    Kind.CONFIG: 1,
    Kind.KEY: 10_000,
    Kind.LOCK: 100_000,  # a restic that is killed again and again leaves one each time
    Kind.SNAPSHOT: 1_000_000,
    Kind.INDEX: 1_000_000,
    Kind.PACK: 4_000_000,  # 64 TiB, as a rule
}
_LISTED = struct.Struct("<32sQ")


def too_long(kind: Kind, name: str) -> Damaged:
    """What is raised for a file that no program can have written."""
    most = f"{LARGEST[kind]} bytes that a file there can have"
    return Damaged(f"{path_of(kind, name)}: it has more than the {most}")


def check_length(kind: Kind, name: str, length: int) -> None:
    """Damaged if no file of the kind has so many bytes."""
    if length > LARGEST[kind]:
        raise too_long(kind, name)


class Gathered:
    """The bytes of one answer, as they come."""

    def __init__(self, most: int, error: Exception) -> None:
        """Of more than `most` the `error` is raised."""
        self._left = most
        self._error = error
        self._pieces: list[Piece] = []

    def add(self, piece: Piece) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise self._error
        self._pieces.append(piece)

    def whole(self) -> bytes:
        return b"".join(self._pieces)


def too_many(kind: Kind, location: str) -> StoreFailed:
    """What is raised where a storage lists more files than there can be."""
    return StoreFailed(
        f"{location} lists more than {MOST[kind]} {kind.value}: no repository has so many"
    )


def counted(
    kind: Kind, location: str, found: Iterator[tuple[str, int]]
) -> Iterator[tuple[str, int]]:
    """What is found, or `too_many`."""
    for number, each in enumerate(found):
        if number == MOST[kind]:
            raise too_many(kind, location)
        yield each


class Listing:
    """Names and sizes as a storage tells them, in 40 bytes each; what bears no id is left out."""

    def __init__(self, kind: Kind, location: str) -> None:
        self._kind = kind
        self._location = location
        self._told = 0
        self._kept = bytearray()

    def add(self, name: str, size: int) -> None:
        """Raises `too_many`, of which those without an id are some; ValueError for no size."""
        self._told += 1
        if self._told > MOST[self._kind]:
            raise too_many(self._kind, self._location)
        if is_id(name):
            try:
                self._kept += _LISTED.pack(bytes.fromhex(name), size)
            except struct.error:
                raise ValueError(f"{size} is no size of a file") from None

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for name, size in _LISTED.iter_unpack(self._kept):
            yield name.hex(), size
