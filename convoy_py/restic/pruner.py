"""Carries out what a plan of a prune says: the one thing here that deletes what may be needed.

What no index names goes first, for on a full disk there may be no room before. Then come new packs,
their index, the indexes without the packs that go; then it is looked whether what will remain is
all there; then the old indexes go, and then the packs. Whenever it ends, and however, every blob
that is needed is in a pack that is there and in an index that is there.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator

from convoy_py.restic import index as indexes
from convoy_py.restic import unpacked
from convoy_py.restic.errors import RepositoryError
from convoy_py.restic.index import Index
from convoy_py.restic.packs import Blob, BlobKind, Pack, PackFile
from convoy_py.restic.repository import Range, Repository, together
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.surplus import Listed, Plan, sizes_of

_INDEX_BLOBS = 50_000  # in one file
_SMALL_INDEX = 32 << 10  # bytes of a file, of which each backup leaves one
_MANY = 10
_INDEXED_AFTER = 1 << 30  # bytes of new packs; what was cut off begins there again

Guard = Callable[[], None]
Tell = Callable[[int, int, str], None]
"""Is told how much is done, of how much, and of what; what it raises stops it."""


def carry_out(repository: Repository, plan: Plan, guard: Guard, tell: Tell) -> None:
    """Under the exclusive lock, of which `guard` tells by LockLost before each change.

    Raises RepositoryError, and then what is not done yet is for the next prune.
    """
    _Pruner(repository, plan, guard, tell).run()


class _Pruner:
    def __init__(self, repository: Repository, plan: Plan, guard: Guard, tell: Tell) -> None:
        self._repository = repository
        self._store = repository.store
        self._plan = plan
        self._guard = guard
        self._tell = tell
        # What there has to be, as far as it is done.
        self._packs = dict(plan.listed.packs)
        self._indexes = set(plan.listed.indexes)

    def run(self) -> None:
        self._check_unchanged()
        self._delete(Kind.PACK, self._plan.unindexed)
        self._write_index(self._repacked(), _INDEXED_AFTER)
        old = self._rewritten()
        self._check_unchanged()
        self._prove_complete(old)
        self._delete(Kind.INDEX, old)
        # A delete that did not happen would leave an index of packs that are not there.
        self._check_unchanged()
        self._delete(Kind.PACK, [pack.hex() for pack in self._plan.gone])

    # Steps

    def _repacked(self) -> Iterator[Pack]:
        """Packs with what is needed of those that are packed anew; durable."""
        files = {kind: PackFile(kind) for kind in BlobKind}
        done = 0
        for part in self._parts():
            self._tell(done, self._plan.repacked_bytes, "packed anew")
            for blob, sealed in self._read(part):
                file = files[blob.kind]
                file.add(blob.id, sealed, blob.plain_length)
                if file.full:
                    files[blob.kind] = PackFile(blob.kind)
                    yield self._write_pack(file)
            done += part.length
        yield from (self._write_pack(file) for file in files.values() if file.blobs)

    def _parts(self) -> Iterator[Range]:
        """What is to be read, pack by pack: each blob once."""
        plan, wanted = self._plan, dict[bytes, dict[int, Blob]]()
        for number, pack, blob in self._repository.index.blobs():
            if pack in plan.repacked and plan.takes(number, pack):
                wanted.setdefault(pack, {})[number] = blob
        for pack, blobs in wanted.items():
            yield from (Range(pack, group) for group in together(blobs.values()))

    def _read(self, part: Range) -> Iterator[tuple[Blob, bytes]]:
        """Blobs as they lie there, sealed; Damaged if one is not what it should be."""
        read = self._store.read_range(Kind.PACK, part.pack.hex(), part.offset, part.length)
        for blob in part.blobs:
            start = blob.offset - part.offset
            sealed = read[start : start + blob.length]
            blob.open(self._repository.master_key, sealed)
            yield blob, sealed

    def _write_pack(self, file: PackFile) -> Pack:
        pack = file.finish(self._repository.master_key)
        self._guard()
        self._store.write(Kind.PACK, pack.id.hex(), file.pieces)
        self._packs[pack.id.hex()] = pack.size
        return pack

    def _rewritten(self) -> list[str]:
        """The indexes that name packs which go, and small ones if many: the rest is in new ones."""
        old: list[str] = []
        small = {name for name, size in self._store.list(Kind.INDEX) if size < _SMALL_INDEX}
        superfluous = small & self._plan.listed.indexes if len(small) >= _MANY else set()

        def staying() -> Iterator[Pack]:
            for name in sorted(self._plan.listed.indexes):
                packs = indexes.load_file(self._store, self._repository.master_key, name)
                if name in superfluous or any(pack.id in self._plan.gone for pack in packs):
                    old.append(name)
                    yield from (pack for pack in packs if pack.id not in self._plan.gone)

        self._write_index(staying())
        return old

    def _write_index(self, packs: Iterable[Pack], most_bytes: float = math.inf) -> None:
        """Of packs that are durable, as they come, in files that are not too large."""
        pending: list[Pack] = []
        blobs = size = 0
        for pack in packs:
            blobs, size = blobs + len(pack.blobs), size + pack.size
            if pending and (blobs > _INDEX_BLOBS or size > most_bytes):
                self._save_index(pending)
                pending, blobs, size = [], len(pack.blobs), pack.size
            pending.append(pack)
        if pending:
            self._save_index(pending)

    def _save_index(self, packs: list[Pack]) -> None:
        self._guard()
        plain = indexes.encode(packs)
        master = self._repository.master_key
        self._indexes.add(unpacked.save(self._store, master, Kind.INDEX, plain))

    def _check_unchanged(self) -> None:
        """Whether the storage lists all that is to be there, and nothing that others have done."""
        listed = Listed(
            snapshots=self._plan.listed.snapshots,
            indexes=frozenset(self._indexes),
            packs=self._packs,
        )
        if Listed.of(self._repository) != listed:
            raise RepositoryError("the repository was changed meanwhile: nothing more is deleted")

    def _prove_complete(self, old: Collection[str]) -> None:
        """Without the old indexes there is still whatever is needed; all is read again."""
        remaining = Index()
        remaining.load(self._store, self._repository.master_key, but=old)
        for pack, size in sizes_of(remaining).items():
            if pack in self._plan.gone or self._packs.get(pack.hex()) != size:
                raise RepositoryError(f"the new index names pack {pack.hex()}, which is not whole")
        for number, _, blob in self._repository.index.blobs():
            if number in self._plan.needed and (blob.kind, blob.id) not in remaining:
                raise RepositoryError(
                    f"the new index has not the {blob.kind.value} blob {blob.id.hex()}"
                )

    def _delete(self, kind: Kind, names: Collection[str]) -> None:
        for done, name in enumerate(names):
            self._tell(done, len(names), f"deleted of {kind.value}")
            self._guard()
            self._store.delete(kind, name)
            self._packs.pop(name, None)
            self._indexes.discard(name)
