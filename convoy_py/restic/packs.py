"""Packs: sealed blobs of one kind one after the other, and a sealed header that lists them."""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from convoy_py.restic import compression
from convoy_py.restic.errors import Damaged
from convoy_py.restic.seal import OVERHEAD, MasterKey
from convoy_py.restic.stores.base import Piece

TARGET = 16 << 20  # bytes; a pack that reaches it is full
_MOST_BLOBS = 50_000  # in a pack, whose header has to stay below 16 MiB
_LARGEST_HEADER = 16 << 20
_LENGTH = struct.Struct("<I")
_PLAIN = struct.Struct("<BI32s")
_COMPRESSED = struct.Struct("<BII32s")


class BlobKind(Enum):
    """What a blob is, in the words of indexes; the two kinds share no pack and no id."""

    DATA = "data"
    TREE = "tree"

    def __init__(self, value: str) -> None:
        # Bytes of one at most: restic and we cut at 8 MiB, rustic where it is told to; 3 million
        # chunks of one file make a tree of 205 MiB.
        self.largest = (512 if value == "tree" else 128) << 20
        self.largest_sealed = self.largest + self.largest // 128  # what zstd makes no smaller


_TYPES = {(BlobKind.DATA, False): 0, (BlobKind.TREE, False): 1}
_TYPES |= {(BlobKind.DATA, True): 2, (BlobKind.TREE, True): 3}
_KINDS = {number: kind for (kind, _), number in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class Blob:
    """Where a blob lies in its pack, in bytes; `plain_length` is of a compressed one, else 0."""

    kind: BlobKind
    id: bytes
    offset: int
    length: int  # sealed
    plain_length: int = 0

    def __post_init__(self) -> None:
        kind = self.kind
        if not OVERHEAD < self.length <= kind.largest_sealed or self.plain_length > kind.largest:
            raise Damaged("a blob is empty or far too long")

    @property
    def size(self) -> int:
        """The number of plain bytes."""
        return self.plain_length or self.length - OVERHEAD

    @property
    def entry_size(self) -> int:
        """Bytes that its pack's header has of it."""
        return (_COMPRESSED if self.plain_length else _PLAIN).size

    def open(self, master: MasterKey, sealed: Piece) -> bytes:
        """The plain bytes of what was read from its place; Damaged if they are any other."""
        try:
            plain = master.open(sealed)
            if self.plain_length:
                plain = compression.decompress(plain, self.plain_length)
        except Damaged as error:
            raise Damaged(f"{self.kind.value} blob {self.id.hex()}: {error}") from None
        if len(plain) != self.size or hashlib.sha256(plain).digest() != self.id:
            raise Damaged(f"{self.kind.value} blob {self.id.hex()}: its bytes are others")
        return plain


@dataclass(frozen=True, slots=True)
class Pack:
    """The blobs of one pack, as an index lists them."""

    id: bytes
    blobs: list[Blob]

    @property
    def size(self) -> int:
        """Of its file, in bytes."""
        blobs = sum(blob.length + blob.entry_size for blob in self.blobs)
        return blobs + OVERHEAD + _LENGTH.size

    def check(self, master: MasterKey, stored: Piece) -> None:
        """Damaged unless the bytes of its file are right: hash, header, and each blob."""
        view = memoryview(stored)
        if hashlib.sha256(view).digest() != self.id:
            raise Damaged("its bytes do not hash to its name")
        if read_file(master, view) != sorted(self.blobs, key=lambda blob: blob.offset):
            raise Damaged("its header lists other blobs than the index")
        for blob in self.blobs:
            blob.open(master, view[blob.offset : blob.offset + blob.length])


@dataclass(slots=True)
class PackFile:
    """A pack in the making: pieces that are never joined in memory. Not for several threads."""

    kind: BlobKind
    target: int = TARGET
    size: int = 0  # of the sealed blobs so far
    blobs: list[Blob] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)

    def add(self, name: bytes, sealed: bytes, plain_length: int) -> None:
        """Append a blob; `plain_length` is 0 for one that is not compressed."""
        self.blobs.append(Blob(self.kind, name, self.size, len(sealed), plain_length))
        self.pieces.append(sealed)
        self.size += len(sealed)

    @property
    def full(self) -> bool:
        return self.size >= self.target or len(self.blobs) >= _MOST_BLOBS

    def finish(self, master: MasterKey) -> Pack:
        """Append the header; now `pieces` are the whole file."""
        header = master.seal(b"".join(map(_entry, self.blobs)))
        self.pieces += [header, _LENGTH.pack(len(header))]
        name = hashlib.sha256()
        for piece in self.pieces:
            name.update(piece)
        return Pack(name.digest(), self.blobs)


def read_file(master: MasterKey, stored: Piece) -> list[Blob]:
    """The blobs that the header of a whole pack lists; Damaged unless its size fits them."""
    view = memoryview(stored)
    end = len(view) - _LENGTH.size
    if end < 0:
        raise Damaged("a pack is too short for its header")
    (length,) = _LENGTH.unpack(view[end:])
    if not OVERHEAD < length <= min(end, _LARGEST_HEADER):
        raise Damaged("a pack tells an impossible length of its header")
    blobs = list(_entries(master.open(view[end - length : end])))
    if sum(blob.length for blob in blobs) != end - length:
        raise Damaged("a pack has another size than its header tells")
    return blobs


def _entry(blob: Blob) -> bytes:
    number = _TYPES[blob.kind, bool(blob.plain_length)]
    if blob.plain_length:
        return _COMPRESSED.pack(number, blob.length, blob.plain_length, blob.id)
    return _PLAIN.pack(number, blob.length, blob.id)


def _entries(header: bytes) -> Iterator[Blob]:
    place = offset = 0
    while place < len(header):
        form = _COMPRESSED if header[place] in (2, 3) else _PLAIN
        if header[place] not in _KINDS or place + form.size > len(header):
            raise Damaged("the header of a pack has an entry of no known form")
        number, length, *plain_length, name = form.unpack_from(header, place)
        yield Blob(_KINDS[number], name, offset, length, *plain_length)
        place += form.size
        offset += length
