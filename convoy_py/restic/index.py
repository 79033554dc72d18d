"""Which blob lies where: the files that say so, and all of them in little memory."""

import json
import re
import struct
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from convoy_py.restic import unpacked
from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.packs import Blob, BlobKind, Pack
from convoy_py.restic.seal import OVERHEAD, MasterKey
from convoy_py.restic.stores.base import Kind, Store

_RECORD = struct.Struct("<32sIIII")  # id, number of the pack, offset, length, plain length
_ID = re.compile(r"[0-9a-f]{64}")
_ID_SIZE = 32
_FORMS = {kind.value: (kind, kind.largest, kind.largest_sealed) for kind in BlobKind}
_FRESH = 16_384  # blobs in a dict, at 250 bytes each, until they are sorted in


_Parts = dict[BlobKind, list[bytearray]]


def encode(packs: Iterable[Pack]) -> bytes:
    """The JSON of an index file; all blobs of a pack stand in one."""
    listed = [
        {"id": pack.id.hex(), "blobs": [_fields(blob) for blob in pack.blobs]} for pack in packs
    ]
    return json.dumps({"packs": listed}, separators=(",", ":")).encode()


def decode(fields: Any) -> Iterator[Pack]:
    """The packs of a parsed index file; what only `packs_to_delete` has does not exist for us."""
    for name, blobs in _listed(fields):
        entries = ((kind, _RECORD.unpack(record)) for kind, record in _entries(blobs, 0))
        yield Pack(name, [Blob(kind, of, *place) for kind, (of, _, *place) in entries])


def load_file(store: Store, master: MasterKey, name: str) -> list[Pack]:
    """The packs of one index file."""
    try:
        return list(decode(unpacked.load(store, master, Kind.INDEX, name)))
    except Damaged as error:
        raise _of_file(name, error) from None


def _refuse(error: Damaged) -> None:
    raise error


class Index:
    """All blobs of a repository, at about 48 bytes each; 4 µs for a look-up.

    Sorted records in bytes, in 256 parts by the first byte of the id, and beside them the last few
    thousand in a dict. Not for several threads that add; looking up beside one that adds is safe.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._files: frozenset[str] = frozenset()  # that were read, or are known to be broken
        self._parts = {kind: [b""] * 256 for kind in BlobKind}
        self._bases: dict[BlobKind, list[int]] = {}  # the number of the first blob of each part
        self._packs: list[bytes] = []
        self._ends: dict[bytes, int] = {}  # of packs of trees, which are few
        self._fresh: dict[tuple[BlobKind, bytes], bytes] = {}
        self.marking: set[str] = set()  # files in which rustic marks packs that it will delete

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

    def size(self, kind: BlobKind, name: bytes) -> int | None:
        """The bytes of a blob as it was saved; None if there is no such blob."""
        for _, blob in self.places(kind, name):
            return blob.size
        return None

    def end(self, pack: bytes) -> int:
        """Where the last blob ends, of a pack of trees."""
        return self._ends[pack]

    @property
    def files(self) -> frozenset[str]:
        """The names of the index files that it is made of."""
        return self._files

    def number(self, kind: BlobKind, name: bytes) -> int:
        """A number below `count` of its own for each blob, which its copies share; or NotFound.

        True from `settle` on until the index changes.
        """
        part = self._parts[kind][name[0]]
        i = _first(part, name)
        if not part.startswith(name, i * _RECORD.size):
            raise NotFound(f"no pack has the {kind.value} blob {name.hex()}")
        return self._bases[kind][name[0]] + i

    def blobs(self) -> Iterator[tuple[int, bytes, Blob]]:
        """Number, pack and place of each copy of each blob, a blob at a time; after `settle`."""
        for kind, parts in self._parts.items():
            for first, part in enumerate(parts):
                base, number, before = self._bases[kind][first], 0, b""
                for i, record in enumerate(_records(part)):
                    name, pack, offset, length, plain_length = _RECORD.unpack(record)
                    if name != before:
                        number, before = base + i, name
                    yield number, self._packs[pack], Blob(kind, name, offset, length, plain_length)

    def load(
        self,
        store: Store,
        master: MasterKey,
        damaged: Callable[[Damaged], None] = _refuse,
        *,
        but: Collection[str] = (),
    ) -> None:
        """Read the index files that are not here yet; begin anew if one that is here has gone.

        `damaged` is told once of each that cannot be read, and may raise: without it, blobs that
        are there seem to be missing. A restore and a backup may go on so, whoever deletes may not.
        `but` are files that are taken for gone.
        """
        names = frozenset(name for name, _ in store.list(Kind.INDEX) if name not in but)
        if not self._files <= names:
            self._clear()
        added = _no_parts()
        try:
            for name in sorted(names - self._files):
                try:
                    self._load_file(name, unpacked.load(store, master, Kind.INDEX, name), added)
                except NotFound:
                    continue  # deleted since: what it had, a newer one has
                except Damaged as error:
                    damaged(_of_file(name, error))
                self._files |= {name}
        finally:
            self._merge(added)

    def add_file(self, name: str, packs: Iterable[Pack]) -> None:
        """What the index file of that name says, which was written just now."""
        for pack in packs:
            number = self._add_pack(pack.id)
            for blob in pack.blobs:
                place = number, blob.offset, blob.length, blob.plain_length
                key, record = (blob.kind, blob.id), _RECORD.pack(blob.id, *place)
                self._fresh[key] = self._fresh.get(key, b"") + record
                self._note_end(blob.kind, record)
        self._files |= {name}
        if len(self._fresh) >= _FRESH:
            self.settle()

    def settle(self) -> None:
        """Sort in what was added; needed for the numbers of blobs."""
        added = _no_parts()
        for (kind, blob_id), records in self._fresh.items():
            added[kind][blob_id[0]] += records
        self._merge(added)
        self._fresh = {}

    def _load_file(self, file: str, fields: Any, added: _Parts) -> None:
        if isinstance(fields, dict) and fields.get("packs_to_delete"):
            self.marking.add(file)
        for name, blobs in _listed(fields):
            for kind, record in _entries(blobs, self._add_pack(name)):
                added[kind][record[0]] += record
                self._note_end(kind, record)

    def _add_pack(self, name: bytes) -> int:
        self._packs.append(name)
        return len(self._packs) - 1

    def _note_end(self, kind: BlobKind, record: bytes) -> None:
        if kind is BlobKind.TREE:
            _, number, offset, length, _ = _RECORD.unpack(record)
            pack = self._packs[number]
            self._ends[pack] = max(self._ends.get(pack, 0), offset + length)

    def _merge(self, added: _Parts) -> None:
        """Sort records in, which gives all blobs other numbers."""
        for kind, parts in added.items():
            for first, new in enumerate(parts):
                if new:
                    records = [*_records(self._parts[kind][first]), *_records(bytes(new))]
                    self._parts[kind][first] = b"".join(sorted(records))
        base = 0
        for kind, sorted_in in self._parts.items():
            self._bases[kind] = []
            for part in sorted_in:
                self._bases[kind].append(base)
                base += len(part) // _RECORD.size

    def _sorted(self, kind: BlobKind, name: bytes) -> Iterator[bytes]:
        part = self._parts[kind][name[0]]
        size = _RECORD.size
        i = _first(part, name)
        while part.startswith(name, i * size):
            yield part[i * size : (i + 1) * size]
            i += 1


def _first(part: bytes, name: bytes) -> int:
    """Where in a part the records of that id begin, or would."""
    size = _RECORD.size
    count = len(part) // size
    return bisect_left(range(count), name, key=lambda i: part[i * size : i * size + _ID_SIZE])


def _no_parts() -> _Parts:
    return {kind: [bytearray() for _ in range(256)] for kind in BlobKind}


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


def _listed(fields: Any) -> Iterator[tuple[bytes, list[Any]]]:
    """Id and blobs of each pack of a parsed index file."""
    match fields:
        case {"packs": list(packs)}:
            pass
        case {"packs": None}:
            packs = []
        case _:
            raise Damaged("an index has no list of packs")
    for pack in packs:
        match pack:
            case {"id": str(name), "blobs": list(blobs)} if _ID.fullmatch(name):
                yield bytes.fromhex(name), blobs
            case _:
                raise Damaged("an index has what is no pack")


def _entries(blobs: list[Any], pack: int) -> Iterator[tuple[BlobKind, bytes]]:
    """Kind and record of each blob of a pack that has this number."""
    try:
        for blob in blobs:
            kind, largest, sealed = _FORMS[blob["type"]]
            yield kind, _record(blob, pack, largest, sealed)
    except (AttributeError, KeyError, TypeError, ValueError, struct.error):
        raise Damaged("an index has what is no blob") from None


def _record(blob: dict[str, Any], pack: int, largest: int, sealed: int) -> bytes:
    """To open a large repository is to call this; the types are looked at by what it calls.

    `largest` are the plain bytes that it can have, `sealed` those in the pack.
    """
    length, plain_length = blob["length"], blob.get("uncompressed_length", 0)
    name = bytes.fromhex(blob["id"])
    if len(name) != _ID_SIZE or not OVERHEAD < length <= sealed or plain_length > largest:
        raise ValueError
    return _RECORD.pack(name, pack, blob["offset"], length, plain_length)


def _of_file(name: str, error: Damaged) -> Damaged:
    return Damaged(f"index/{name}: {str(error).removeprefix(f'index/{name}: ')}")
