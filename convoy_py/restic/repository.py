"""A repository, opened: its snapshots, its index, and the blobs that they lead to."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from convoy_py.restic import keyfiles, snapshots, unpacked
from convoy_py.restic.config import Config
from convoy_py.restic.errors import (
    AlreadyThere,
    Damaged,
    NoRepository,
    NotFound,
    RepositoryError,
    StoreFailed,
    WrongPassword,
)
from convoy_py.restic.index import Index
from convoy_py.restic.keyfiles import Scrypt
from convoy_py.restic.nearby import Nearby
from convoy_py.restic.nodes import Node, decode_tree
from convoy_py.restic.packs import Blob, BlobKind
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.stores.base import Kind, Store

_GAP = 256 << 10  # bytes that are cheaper to read than to ask for once more
_LARGEST_RANGE = 16 << 20


@dataclass(frozen=True, slots=True)
class Range:
    """A part of a pack that is read at once, and the blobs in it, in order."""

    pack: bytes
    blobs: list[Blob]

    @property
    def offset(self) -> int:
        return self.blobs[0].offset

    @property
    def length(self) -> int:
        return self.blobs[-1].offset + self.blobs[-1].length - self.offset


class Repository:
    """Reading is safe from several threads; the key stays in memory and is shown nowhere."""

    def __init__(self, store: Store, master_key: MasterKey, config: Config) -> None:
        self.store = store
        self.master_key = master_key
        self.id = config.id
        self._index: Index | None = None
        self._nearby = Nearby(store)

    @classmethod
    def create(
        cls,
        store: Store,
        password: str,
        now: datetime,
        scrypt: Scrypt | None = None,
        host: str = "",
    ) -> Self:
        """A new one, empty; AlreadyThere if anything of one is there. `now` has a zone.

        What was cut off between its key and its config is continued by who has the password.
        """
        store.prepare()
        for kind in (Kind.CONFIG, Kind.SNAPSHOT, Kind.INDEX, Kind.PACK):
            if _any_of(store, kind):
                raise AlreadyThere(f"{store.location}: there is a repository, or a part of one")
        key, master = "", _left_by_another_try(store, password)
        if master is None:
            master = MasterKey.new()
            key = keyfiles.add(store, master, password, now, scrypt, host)
        config = Config.new()
        # Last, and it alone makes a repository of what is there: of two at once, one wins.
        try:
            store.write(Kind.CONFIG, "", [config.encode(master)], create=True)
        except AlreadyThere:
            with suppress(Damaged):  # who won may have continued what this one began
                return cls.unlock(store, master)
            with suppress(StoreFailed):  # the same password may open it, and then nothing else
                if key:
                    store.delete(Kind.KEY, key)
            raise
        return cls(store, master, config)

    @classmethod
    def open(cls, store: Store, password: str) -> Self:
        """The one that is there; NoRepository or WrongPassword otherwise. Takes up to a second."""
        return cls.unlock(store, keyfiles.find(store, password))

    @classmethod
    def unlock(cls, store: Store, master_key: MasterKey) -> Self:
        """The one that is there, by its key, which costs nothing."""
        try:
            stored = store.read(Kind.CONFIG, "")
        except NotFound:
            raise NoRepository(f"{store.location}: no repository, for there is no config") from None
        return cls(store, master_key, Config.decode(master_key, stored))

    @property
    def index(self) -> Index:
        """Where the blobs are; read when first asked for, Damaged if it is not whole."""
        if self._index is None:
            self.reload_index()
            assert self._index
        return self._index

    def reload_index(self, damaged: Callable[[Damaged], None] | None = None) -> None:
        """Follow what others wrote and deleted; `damaged` as in `Index.load`.

        Needed once the lock is held, before a blob is trusted to be there; nobody reads meanwhile.
        """
        index = self._index or Index()
        if damaged:
            index.load(self.store, self.master_key, damaged)
        else:
            index.load(self.store, self.master_key)
        self._index = index

    def snapshots(self) -> list[Snapshot]:
        """All, the oldest first; one that cannot be read is Damaged."""
        names = [name for name, _ in self.store.list(Kind.SNAPSHOT)]
        found = []
        for name in names:
            try:
                found.append(self.read_snapshot(name))
            except NotFound:  # deleted since they were listed
                continue
        return sorted(found, key=lambda snapshot: (snapshot.time, snapshot.id))

    def snapshot(self, prefix: str) -> Snapshot:
        """By its id, or the beginning of it if no other begins so."""
        return self.read_snapshot(unpacked.find(self.store, Kind.SNAPSHOT, prefix))

    def read_snapshot(self, name: str) -> Snapshot:
        """By its whole id."""
        fields = unpacked.load(self.store, self.master_key, Kind.SNAPSHOT, name)
        return snapshots.decode(name, fields)

    def save_snapshot(self, snapshot: Snapshot) -> Snapshot:
        """With its id, durable; all that it needs is there. The caller has a lock."""
        plain = snapshots.encode(snapshot)
        name = unpacked.save(self.store, self.master_key, Kind.SNAPSHOT, plain)
        return replace(snapshot, id=name)

    def delete_snapshot(self, name: str) -> None:
        """The caller has the exclusive lock; what it alone needed stays until a prune."""
        self.store.delete(Kind.SNAPSHOT, name)

    def read_tree(self, name: bytes) -> list[Node]:
        """What a folder holds, by name."""
        try:
            return decode_tree(self._tree(name))
        except Damaged as error:
            raise Damaged(f"tree {name.hex()}: {error}") from None

    def read_blob(self, kind: BlobKind, name: bytes) -> bytes:
        """The plain bytes, which hash to that name; from another copy, if one is broken."""
        failure: RepositoryError = NotFound(f"no pack has the {kind.value} blob {name.hex()}")
        for pack, blob in self.index.places(kind, name):
            try:
                sealed = self.store.read_range(Kind.PACK, pack.hex(), blob.offset, blob.length)
                return blob.open(self.master_key, sealed)
            except (Damaged, NotFound, StoreFailed) as error:
                failure = error
        raise failure

    def ranges(self, places: Iterable[tuple[bytes, Blob]]) -> list[Range]:
        """What to read for blobs at these places of the index, each once, in few pieces.

        About 300 bytes of memory a blob, so thousands at a time rather than all of a large file.
        """
        packs: dict[bytes, list[Blob]] = {}
        for pack, blob in {blob.id: (pack, blob) for pack, blob in places}.values():
            packs.setdefault(pack, []).append(blob)
        return [Range(pack, blobs) for pack, found in packs.items() for blobs in together(found)]

    def read_range(self, part: Range) -> Iterator[tuple[bytes, bytes]]:
        """Id and plain bytes of each blob of a range; what is broken there is looked for elsewhere.

        Damaged, NotFound or StoreFailed once a blob has no whole copy.
        """
        try:
            read = self.store.read_range(Kind.PACK, part.pack.hex(), part.offset, part.length)
        except (NotFound, StoreFailed):
            read = b""  # every blob by itself, then, for the pack may be there in part
        for blob in part.blobs:
            start = blob.offset - part.offset
            yield blob.id, self._opened(blob, memoryview(read)[start : start + blob.length])

    def read_blobs(self, kind: BlobKind, names: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Id and plain bytes of each of these blobs, once, in the order in which they lie."""
        for part in self.ranges(self.index.place(kind, name) for name in names):
            yield from self.read_range(part)

    def _tree(self, name: bytes) -> bytes:
        pack, blob = self.index.place(BlobKind.TREE, name)
        try:
            sealed = self._nearby.read(pack, self.index.end(pack), blob)
            return blob.open(self.master_key, sealed)
        except (Damaged, NotFound, StoreFailed):
            return self.read_blob(BlobKind.TREE, name)

    def _opened(self, blob: Blob, sealed: memoryview) -> bytes:
        try:
            return blob.open(self.master_key, sealed)
        except Damaged:
            return self.read_blob(blob.kind, blob.id)


def together(blobs: Iterable[Blob]) -> Iterator[list[Blob]]:
    """Blobs of one pack, in groups that are read at once."""
    ordered = sorted(blobs, key=lambda blob: blob.offset)
    group = [ordered[0]]
    for blob in ordered[1:]:
        end = group[-1].offset + group[-1].length
        length = blob.offset + blob.length - group[0].offset
        if blob.offset - end > _GAP or length > _LARGEST_RANGE:
            yield group
            group = []
        group.append(blob)
    yield group


def _left_by_another_try(store: Store, password: str) -> MasterKey | None:
    """The key of a repository that has nothing else yet; None where there is none."""
    try:
        return keyfiles.find(store, password)
    except NoRepository:
        return None
    except (WrongPassword, Damaged):
        raise AlreadyThere(
            f"{store.location}: there is no config, but the key of a repository, which another "
            "password opens: it is being made just now, or that was cut off, and it holds nothing"
        ) from None


def _any_of(store: Store, kind: Kind) -> bool:
    if kind is not Kind.CONFIG:
        return next(iter(store.list(kind)), None) is not None
    try:
        store.read(kind, "")
    except NotFound:
        return False
    return True
