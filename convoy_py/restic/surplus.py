"""What a prune would do with each pack: keep it, delete it, or pack anew what is needed of it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from convoy_py.restic.errors import Damaged, RepositoryError
from convoy_py.restic.index import Index
from convoy_py.restic.needed import Needed, Tell
from convoy_py.restic.packs import TARGET, Blob, BlobKind, Pack
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind

# restic's rules: unneeded bytes of a hundred that may stay; a pack of less than so many bytes is
# small, and small ones are packed together once there are so many.
_MOST_UNNEEDED = 5
_SMALL = TARGET // 25
_FEW = 10
_EMPTY = Pack(b"", []).size


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The names of the files of a repository; of packs with their sizes in bytes."""

    snapshots: frozenset[str]
    indexes: frozenset[str]
    packs: Mapping[str, int]

    @classmethod
    def of(cls, repository: Repository) -> "Listed":
        store = repository.store
        return cls(
            snapshots=frozenset(name for name, _ in store.list(Kind.SNAPSHOT)),
            indexes=frozenset(name for name, _ in store.list(Kind.INDEX)),
            packs=dict(store.list(Kind.PACK)),
        )


@dataclass(slots=True)
class _Content:
    """What is in a pack, in bytes; what is needed and has a better copy elsewhere is not needed."""

    kinds: set[BlobKind] = field(default_factory=set)
    size: int = _EMPTY  # of the file
    needed: int = 0  # of sealed blobs
    unneeded: int = 0

    @property
    def is_small(self) -> bool:
        return self.size < _SMALL

    @property
    def is_mixed(self) -> bool:
        return len(self.kinds) > 1

    @property
    def has_trees(self) -> bool:
        return BlobKind.TREE in self.kinds


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to become of a repository that has these files; true as long as it has no others."""

    listed: Listed
    needed: Needed
    copies: Mapping[int, bytes]  # of blobs with several: the pack of the one that counts
    deleted: frozenset[bytes]  # packs in an index of which nothing is needed
    repacked: frozenset[bytes]
    unindexed: frozenset[str]  # packs that no index has: what was cut off left them
    repacked_bytes: int  # in packs to be repacked, needed or not
    freed_bytes: int
    unneeded_bytes: int  # that stay

    @property
    def gone(self) -> frozenset[bytes]:
        """The packs that are not to be in an index any more."""
        return self.deleted | self.repacked

    @property
    def is_empty(self) -> bool:
        return not (self.gone or self.unindexed)

    def takes(self, number: int, pack: bytes) -> bool:
        """Whether this copy of a blob is the one that has to stay, wherever it lies then."""
        return number in self.needed and self.copies.get(number, pack) == pack


def plan(repository: Repository, tell: Tell) -> Plan:
    """Walks through all trees; whoever carries it out has the exclusive lock by then.

    Damaged if anything at all cannot be read or has another size than the index tells.
    """
    snapshots = frozenset(name for name, _ in repository.store.list(Kind.SNAPSHOT))
    # After the snapshots, which it has to know all about, and before the packs, which it names.
    repository.reload_index()
    if repository.index.marking:
        raise RepositoryError(
            "rustic has marked packs of this repository, to delete them later: `rustic prune` is "
            "to finish that"
        )
    needed = Needed(repository)
    needed.add(snapshots, tell)
    packs = dict(repository.store.list(Kind.PACK))
    listed = Listed(snapshots=snapshots, indexes=repository.index.files, packs=packs)
    if packs and not snapshots:
        raise RepositoryError(
            "there is no snapshot, so all data would go: if nothing of it is wanted any more, "
            "delete the repository itself"
        )
    contents, copies = _contents(repository, needed)
    _check_sizes(contents, listed)
    return _decided(listed, needed, copies, contents)


def sizes_of(index: Index) -> dict[bytes, int]:
    """How many bytes the file of each pack has to have."""
    sizes: dict[bytes, int] = defaultdict(lambda: _EMPTY)
    for _, places in _by_number(index):
        for pack, blob in places:
            sizes[pack] += blob.length + blob.entry_size
    return sizes


def _contents(
    repository: Repository, needed: Needed
) -> tuple[dict[bytes, _Content], dict[int, bytes]]:
    """What is in each pack; and of the needed blobs with several copies the pack of one of them."""
    found: dict[bytes, _Content] = {}
    several: list[tuple[int, list[tuple[bytes, int]]]] = []
    for number, places in _by_number(repository.index):
        for pack, blob in places:
            content = found.setdefault(pack, _Content())
            content.kinds.add(blob.kind)
            content.size += blob.length + blob.entry_size
            if number not in needed or len(places) > 1:
                content.unneeded += blob.length
            else:
                content.needed += blob.length
        if number in needed and len(places) > 1:
            several.append((number, [(pack, blob.length) for pack, blob in places]))
    return found, dict(_chosen(found, several))


def _by_number(index: Index) -> Iterator[tuple[int, list[tuple[bytes, Blob]]]]:
    for number, group in groupby(index.blobs(), itemgetter(0)):
        # A pack may stand in two indexes: who was cut off had written the new one already.
        yield number, list(dict.fromkeys((pack, blob) for _, pack, blob in group))


def _chosen(
    contents: dict[bytes, _Content], several: list[tuple[int, list[tuple[bytes, int]]]]
) -> Iterator[tuple[int, bytes]]:
    """Of copies the one that stays: in the pack that has the most else that is needed."""
    for number, places in several:
        pack, length = max(places, key=lambda place: (contents[place[0]].needed, place[0]))
        contents[pack].needed += length
        contents[pack].unneeded -= length
        yield number, pack


def _check_sizes(contents: dict[bytes, _Content], listed: Listed) -> None:
    for pack, content in contents.items():
        size = listed.packs.get(pack.hex())
        if size is None:
            raise Damaged(f"data/{pack.hex()}: the pack is in an index, and is not there")
        if size != content.size:
            raise Damaged(
                f"data/{pack.hex()}: the pack has {size} bytes, and its index tells {content.size}"
            )


def _decided(
    listed: Listed, needed: Needed, copies: dict[int, bytes], contents: dict[bytes, _Content]
) -> Plan:
    deleted = {pack for pack, content in contents.items() if not content.needed}
    unindexed = listed.packs.keys() - {pack.hex() for pack in contents}
    unneeded = sum(each.unneeded for pack, each in contents.items() if pack not in deleted)
    total = sum(content.needed for content in contents.values())
    most = total * _MOST_UNNEEDED // (100 - _MOST_UNNEEDED)
    repacked = set()
    freed = repacked_bytes = 0
    for pack in _candidates({p: c for p, c in contents.items() if p not in deleted}):
        content = contents[pack]
        if content.has_trees or content.is_small or unneeded > most:
            repacked.add(pack)
            repacked_bytes += content.size
            unneeded -= content.unneeded
            freed += content.unneeded
    freed += sum(contents[pack].size for pack in deleted)
    return Plan(
        listed=listed,
        needed=needed,
        copies=copies,
        deleted=frozenset(deleted),
        repacked=frozenset(repacked),
        unindexed=frozenset(unindexed),
        repacked_bytes=repacked_bytes,
        freed_bytes=freed + sum(listed.packs[name] for name in unindexed),
        unneeded_bytes=unneeded,
    )


def _candidates(contents: dict[bytes, _Content]) -> list[bytes]:
    """What may be packed anew, the most worthwhile first."""
    small = [p for p, c in contents.items() if not (c.unneeded or c.is_mixed) and c.is_small]
    found = [p for p, c in contents.items() if c.unneeded or c.is_mixed]
    # What is packed anew ends in a small pack of each kind.
    if len(small) + len(BlobKind) * bool(found) >= _FEW:
        found += small

    def worth(pack: bytes) -> tuple[bool, bool, float]:
        content = contents[pack]
        return content.has_trees, content.is_small, content.unneeded / content.size

    return sorted(found, key=worth, reverse=True)
