"""A backup whose tags were changed, or were about to be, is one backup."""

from dataclasses import replace

import pytest

from convoy_py.models.session import Protect
from convoy_py.restic.errors import StoreFailed
from convoy_py.restic.locks import Locks
from convoy_py.restic.nodes import encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.writer import Writer
from convoy_py.session import forgetting, marks
from tests.fakes_restic import MemoryStore, new_repository, new_snapshot


class Store(MemoryStore):
    """Deletes no snapshot while it is `stuck`."""

    stuck = False

    def delete(self, kind: Kind, name: str) -> None:
        if self.stuck and kind is Kind.SNAPSHOT:
            raise StoreFailed("no route to host")
        super().delete(kind, name)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def repository(store: Store) -> Repository:
    return new_repository(store)


@pytest.fixture
def backup(repository: Repository) -> Snapshot:
    """One of the volume db."""
    with Writer(repository) as writer:
        tree = writer.save(BlobKind.TREE, encode_tree([]))
        return writer.commit(replace(new_snapshot(tree), paths=("/convoy/db",)))


def _protect(repository: Repository, backup: Snapshot, *, on: bool) -> None:
    locks = Locks(repository.store, repository.master_key, remember=lambda _: None)
    with locks.exclusive() as lock:
        forgetting.protect(repository, Protect(backups=(backup.id,), on=on), lock)


def _told(repository: Repository) -> list[tuple[str, bool]]:
    found = marks.backups(repository.snapshots())
    return [(each.id, each.protected) for _, each in found]


def test_a_change_of_its_tags_that_was_cut_off_is_told_once(
    store: Store, repository: Repository, backup: Snapshot
) -> None:
    """As what it has become; the next change, or the same again, takes the other away."""
    store.stuck = True
    with pytest.raises(StoreFailed):
        _protect(repository, backup, on=True)
    assert len(repository.snapshots()) == 2
    assert _told(repository) == [(backup.id, True)]
    assert len(marks.among(repository.snapshots(), repository, backup.id)) == 2
    store.stuck = False
    _protect(repository, backup, on=True)
    assert len(repository.snapshots()) == 1
    assert _told(repository) == [(backup.id, True)]
    _protect(repository, backup, on=False)
    assert _told(repository) == [(backup.id, False)]


def test_what_a_restic_made_of_it_beside_is_another_backup(
    repository: Repository, backup: Snapshot
) -> None:
    """As `rewrite` does, of another host or with other files: it tells whose it was, too."""
    repository.save_snapshot(replace(backup, id="", original=backup.id, hostname="elsewhere"))
    assert len(_told(repository)) == 2
    ours = next(each for each in repository.snapshots() if each.id == backup.id)
    assert marks.among([ours], repository, backup.id) == [ours]
    assert len(marks.among(repository.snapshots(), repository, backup.id)) == 1
