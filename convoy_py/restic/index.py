"""Which blob lies where: the files that say so, and all of them in little memory."""

import json
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from convoy_py.restic import unpacked
from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.packs import Blob, BlobKind, Pack
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind, Store

_RECORD = struct.Struct("<32sIIII")  # id, number of the pack, offset, length, plain length
_ID = 32
_NUMBERS = range(1 << 32)
_FRESH = 16_384  # blobs in a dict, at 250 bytes each, until they are sorted in


def encode(packs: Iterable[Pack]) -> bytes:
    """The JSON of an index file; all blobs of a pack stand in one."""
    listed = [
        {"id": pack.id.hex(), "blobs": [_fields(blob) for blob in pack.blobs]} for pack in packs
    ]
    return json.dumps({"packs": listed}, separators=(",", ":")).encode()


def decode(fields: Any) -> Iterator[Pack]:
    """The packs of a parsed index file; what only `packs_to_delete` has does not exist for us."""
    match fields:
        case {"packs": list(packs)}:
            return map(_pack, packs)
        case {"packs": None}:
            return iter(())
        case _:
            raise Damaged("an index has no list of packs")


def load_file(store: Store, master: MasterKey, name: str) -> list[Pack]:
    """The packs of one index file."""
    try:
        return list(decode(unpacked.load(store, master, Kind.INDEX, name)))
    except Damaged as error:
        raise Damaged(f"index/{name}: {error}") from None


def _refuse(error: Damaged) -> None:
    raise error


class Index:
    """All blobs of a repository, at about 48 bytes each; 4 µs for a look-up.

    Sorted records in bytes, in 256 parts by the first byte of the id, and beside them the last few
    thousand in a dict. Not for several threads that add; looking up beside one that adds is safe.
    """

    def __init__(self) -> None:
        self._clear()

    def __contains__(self, key: tuple[BlobKind, bytes]) -> bool:
        return key in self._fresh or next(self._sorted(*key), None) is not None

    @property
    def count(self) -> int:
        """The number of blobs, copies counted."""
        sorted_in = sum(len(part) for parts in self._parts.values() for part in parts)
        return (sorted_in + sum(map(len, self._fresh.values()))) // _RECORD.size

    def places(self, kind: BlobKind, name: bytes) -> Iterator[tuple[bytes, Blob]]:
        """Pack and place of each copy of a blob; none if there is no such blob."""
        fresh = self._fresh.get((kind, name), b"")
        for record in (*_records(fresh), *self._sorted(kind, name)):
            _, pack, offset, length, plain_length = _RECORD.unpack(record)
            yield self._packs[pack], Blob(kind, name, offset, length, plain_length)

    def place(self, kind: BlobKind, name: bytes) -> tuple[bytes, Blob]:
        """Pack and place of a copy of a blob, or NotFound."""
        for found in self.places(kind, name):
            return found
        raise NotFound(f"no pack has the {kind.value} blob {name.hex()}")

    def _add(self, packs: Iterable[Pack]) -> None:
        for pack in packs:
            number = len(self._packs)
            self._packs.append(pack.id)
            if any(blob.kind is BlobKind.TREE for blob in pack.blobs):
                ends = [blob.offset + blob.length for blob in pack.blobs]
                self._ends[pack.id] = max(self._ends.get(pack.id, 0), *ends)
            for blob in pack.blobs:
                key = blob.kind, blob.id
                place = number, blob.offset, blob.length, blob.plain_length
                self._fresh[key] = self._fresh.get(key, b"") + _RECORD.pack(blob.id, *place)
            if len(self._fresh) >= _FRESH:
                self._sort()

    def end(self, pack: bytes) -> int:
        """Where the last blob ends, of a pack of trees."""
        return self._ends[pack]

    def load(
        self, store: Store, master: MasterKey, damaged: Callable[[Damaged], None] = _refuse
    ) -> None:
        """Read the index files that are not here yet; begin anew if one that is here has gone.

        `damaged` is told once of each that cannot be read, and may raise: without it, blobs that
        are there seem to be missing. A restore and a backup may go on so, whoever deletes may not.
        """
        names = frozenset(name for name, _ in store.list(Kind.INDEX))
        if not self._files <= names:
            self._clear()
        for name in sorted(names - self._files):
            try:
                self.add_file(name, load_file(store, master, name))
            except NotFound:
                continue  # deleted since: what it had, a newer one has
            except Damaged as error:
                damaged(error)
                self._files |= {name}
        self._sort()

    def add_file(self, name: str, packs: Iterable[Pack]) -> None:
        """What the index file of that name says."""
        self._add(packs)
        self._files |= {name}

    def _clear(self) -> None:
        self._files: frozenset[str] = frozenset()  # that were read, or are known to be broken
        self._parts = {kind: [b""] * 256 for kind in BlobKind}
        self._packs: list[bytes] = []
        self._ends: dict[bytes, int] = {}  # of packs of trees, which are few
        self._fresh: dict[tuple[BlobKind, bytes], bytes] = {}

    def _sort(self) -> None:
        """Sort the fresh ones in."""
        fresh: dict[tuple[BlobKind, int], list[bytes]] = {}
        for (kind, name), found in self._fresh.items():
            fresh.setdefault((kind, name[0]), []).extend(_records(found))
        for (kind, first), records in fresh.items():
            records.extend(_records(self._parts[kind][first]))
            self._parts[kind][first] = b"".join(sorted(records))
        self._fresh = {}

    def _sorted(self, kind: BlobKind, name: bytes) -> Iterator[bytes]:
        part = self._parts[kind][name[0]]
        size = _RECORD.size
        count = len(part) // size
        i = bisect_left(range(count), name, key=lambda i: part[i * size : i * size + _ID])
        while i < count and part.startswith(name, i * size):
            yield part[i * size : (i + 1) * size]
            i += 1


def _records(joined: bytes) -> Iterator[bytes]:
    return (joined[i : i + _RECORD.size] for i in range(0, len(joined), _RECORD.size))


def _fields(blob: Blob) -> dict[str, Any]:
    fields = {
        "id": blob.id.hex(),
        "type": blob.kind.value,
        "offset": blob.offset,
        "length": blob.length,
    }
    return fields | {"uncompressed_length": blob.plain_length} if blob.plain_length else fields


def _pack(fields: Any) -> Pack:
    match fields:
        case {"id": str(name), "blobs": list(blobs)}:
            return Pack(_id(name), [_blob(blob) for blob in blobs])
        case _:
            raise Damaged("an index has what is no pack")


def _blob(fields: Any) -> Blob:
    match fields:
        case {
            "id": str(name),
            "type": "data" | "tree" as kind,
            "offset": int(offset),
            "length": int(length),
        }:
            plain_length = fields.get("uncompressed_length", 0)
            if all(type(n) is int and n in _NUMBERS for n in (offset, length, plain_length)):
                return Blob(BlobKind(kind), _id(name), offset, length, plain_length)
        case _:
            pass
    raise Damaged("an index has what is no blob")


def _id(text: str) -> bytes:
    try:
        name = bytes.fromhex(text)
    except ValueError:
        name = b""
    if len(name) != _ID:
        raise Damaged("an index has what is no id")
    return name
