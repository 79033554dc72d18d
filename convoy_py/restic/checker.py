"""Whether a repository is whole: all that its snapshots need is in an index, and in its packs."""

import math
from collections.abc import Callable, Iterator

from convoy_py.restic.errors import Damaged, NotFound, StoreFailed
from convoy_py.restic.index import load_file
from convoy_py.restic.packs import BlobKind, Pack
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind

Tell = Callable[[int, int], None]
"""Is told how many packs and trees were looked at, and of how many; what it raises stops it."""


def check(repository: Repository, tell: Tell, read_data: int = 0) -> Iterator[str]:
    """What is wrong, each in one line; of the packs it reads `read_data` of a hundred whole.

    The caller holds a lock, so that nobody deletes meanwhile. Which packs are read is a matter of
    their names, evenly: the same percentage reads the same ones again.
    """
    packs, problems = _indexed(repository)
    yield from problems
    sizes = dict(repository.store.list(Kind.PACK))
    yield from _missing(packs, sizes)
    chosen = [pack for pack in packs.values() if _is_chosen(pack.id, read_data)]
    yield from _broken(repository, chosen, sizes, tell)
    yield from _Trees(repository, tell).problems()


def _indexed(repository: Repository) -> tuple[dict[str, Pack], list[str]]:
    """Every pack that an index has, by its name; and the indexes that cannot be read."""
    packs: dict[str, Pack] = {}
    problems = []
    for name, _ in repository.store.list(Kind.INDEX):
        try:
            for pack in load_file(repository.store, repository.master_key, name):
                packs[pack.id.hex()] = pack
        except (Damaged, NotFound) as error:
            problems.append(str(error))
    return packs, problems


def _missing(packs: dict[str, Pack], sizes: dict[str, int]) -> Iterator[str]:
    for name, pack in packs.items():
        size = sizes.get(name)
        if size is None:
            yield f"data/{name}: the pack is in an index, and is not there"
        elif size != pack.size:
            yield f"data/{name}: the pack has {size} bytes, and its index tells {pack.size}"


def _is_chosen(name: bytes, part: int) -> bool:
    return int.from_bytes(name[:4], "big") < math.ceil(part * 2**32 / 100)


def _broken(
    repository: Repository, packs: list[Pack], sizes: dict[str, int], tell: Tell
) -> Iterator[str]:
    for done, pack in enumerate(packs):
        tell(done, len(packs))
        name = pack.id.hex()
        if sizes.get(name) != pack.size:
            continue  # told already
        try:
            stored = repository.store.read_range(Kind.PACK, name, 0, pack.size)
            pack.check(repository.master_key, stored)
        except (Damaged, NotFound, StoreFailed) as error:
            yield f"data/{name}: {error}"


class _Trees:
    """A walk through all trees of all snapshots, each of them once."""

    def __init__(self, repository: Repository, tell: Tell) -> None:
        self._repository = repository
        self._tell = tell
        self._seen: set[bytes] = set()
        self._missing: set[bytes] = set()  # data blobs that were told

    def problems(self) -> Iterator[str]:
        names = [name for name, _ in self._repository.store.list(Kind.SNAPSHOT)]
        for done, name in enumerate(names):
            self._tell(done, len(names))
            try:
                snapshot = self._repository.read_snapshot(name)
            except NotFound:
                continue  # deleted since they were listed
            except Damaged as error:
                yield str(error)
                continue
            for problem in self._below(snapshot.tree):
                yield f"snapshot {name[:8]}: {problem}"

    def _below(self, top: bytes) -> Iterator[str]:
        way = [top]
        while way:
            tree = way.pop()
            if tree in self._seen:
                continue
            self._seen.add(tree)
            try:
                nodes = self._repository.read_tree(tree)
            except (Damaged, NotFound, StoreFailed) as error:
                yield str(error)
                continue
            for node in nodes:
                for blob in node.content or ():
                    if (
                        blob not in self._missing
                        and (BlobKind.DATA, blob) not in self._repository.index
                    ):
                        self._missing.add(blob)
                        yield f"no pack has the data blob {blob.hex()}"
                if node.subtree is not None:
                    way.append(node.subtree)
