"""Repositories with something in them to prune, and what has to be true of them at any time."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from convoy_py.restic import checker
from convoy_py.restic.nodes import Node, encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.pruner import carry_out
from convoy_py.restic.repository import Repository
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.stores.base import Store
from convoy_py.restic.surplus import Plan, plan
from convoy_py.restic.writer import Writer
from tests.fakes_restic import new_snapshot

Files = Mapping[bytes, bytes]


def ignore(*_: object) -> None:
    """Lets the work go on."""


def backed_up(
    repository: Repository, files: Files, *, pack_size: int = 3000, host: str = "host"
) -> Snapshot:
    """A snapshot of one folder with these files in it, each of which is one blob."""
    with Writer(repository, pack_size=pack_size) as writer:
        nodes = [
            Node(name, "file", size=len(data), content=[writer.save(BlobKind.DATA, data)])
            for name, data in sorted(files.items())
        ]
        inner = writer.save(BlobKind.TREE, encode_tree(nodes))
        top = writer.save(BlobKind.TREE, encode_tree([Node(b"data", "dir", subtree=inner)]))
        return writer.commit(replace(new_snapshot(top), hostname=host))


def files_of(repository: Repository, name: str) -> dict[bytes, bytes]:
    """The files of a snapshot, by its id or the start of it: by name, wherever they lie."""
    found = {}
    way = [repository.snapshot(name).tree]
    while way:
        for node in repository.read_tree(way.pop()):
            if node.subtree:
                way.append(node.subtree)
            elif node.type == "file":
                data = (repository.read_blob(BlobKind.DATA, blob) for blob in node.content or ())
                found[node.name] = b"".join(data)
    return found


def some_files(chance: random.Random, count: int = 6) -> dict[bytes, bytes]:
    return {b"%d" % n: chance.randbytes(chance.randrange(1, 2000)) for n in range(count)}


def pruned(repository: Repository, guard: Callable[[], None] = ignore) -> Plan:
    """Planned and carried out, with nobody else there."""
    planned = plan(repository, ignore)
    carry_out(repository, planned, guard, ignore)
    return planned


def problems(store: Store, password: str = "right") -> list[str]:
    """What is wrong with a repository, once all of it was read."""
    return list(checker.check(Repository.open(store, password), ignore, 100))


def assert_whole(store: Store, expected: Mapping[str, Files]) -> None:
    """Nothing is wrong, and these snapshots are what they were."""
    assert problems(store) == []
    repository = Repository.open(store, "right")
    for name, files in expected.items():
        assert files_of(repository, name) == files


def with_garbage(
    repository: Repository, chance: random.Random, rounds: int = 6
) -> dict[str, Files]:
    """Backups that share something, of which every other is deleted; those that stay."""
    files = some_files(chance)
    kept: dict[str, Files] = {}
    for round_ in range(rounds):
        files = {**files, **dict(list(some_files(chance).items())[: chance.randrange(1, 5)])}
        snapshot = backed_up(repository, files)
        if round_ % 2:
            kept[snapshot.id] = dict(files)
        else:
            repository.delete_snapshot(snapshot.id)
    return kept


def indexed(repository: Repository) -> set[str]:
    """The packs that an index names."""
    repository.reload_index()
    return {pack.hex() for _, pack, _ in repository.index.blobs()}


def blobs(repository: Repository) -> Iterable[bytes]:
    repository.reload_index()
    return [blob.id for _, _, blob in repository.index.blobs()]
