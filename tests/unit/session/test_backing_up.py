"""Whose backup stands for an image that nobody wrote to: our own, as it was made."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.linux import changes
from convoy_py.models.session import Backup, Data, Source
from convoy_py.restic.locks import Locks
from convoy_py.restic.repository import Repository
from convoy_py.restic.restorer import find
from convoy_py.restic.snapshots import Snapshot
from convoy_py.session.backing_up import BackingUp
from convoy_py.session.speech import Speech
from tests.fakes_restic import NOW, FakeClock, MemoryStore, new_repository


@pytest.fixture
def repository() -> Repository:
    return new_repository(MemoryStore())


def _backed_up(repository: Repository, folder: Path, uuid: str, base: str = "") -> Snapshot:
    """A backup of what is in a folder, as if an image showed it, and so did the base."""

    def data(uuid: str) -> Data:
        return Data(uuid=uuid, path=folder, image=folder / "file")

    source = Source(
        volume="db",
        volume_id="id",
        created=NOW,
        data=data(uuid),
        bases=(data(base),) if base else (),
        description="{}",
    )
    speech = Speech(io.StringIO(), io.StringIO())
    locks = Locks(repository.store, repository.master_key, remember=lambda _: None)
    with locks.shared() as lock:
        done = BackingUp(repository, "host", lock, speech, FakeClock()).run(
            Backup(sources=(source,))
        )
    assert done.problems == ()
    return repository.read_snapshot(done.backups[0].id)


def _rewritten(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, original=snapshot.id)


def _of_another_version(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, program_version="convoy-py 0.0.1")


@pytest.mark.parametrize(
    ("parent", "are_alike", "is_read"),
    [
        (lambda snapshot: snapshot, True, False),
        (lambda snapshot: snapshot, False, True),
        (_rewritten, True, True),
        (_of_another_version, True, True),
    ],
    ids=["alike", "not alike", "rewritten by a restic", "of another version"],
)
def test_folder_is_read_but_where_all_is_as_it_was(
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parent: Callable[[Snapshot], Snapshot],
    *,
    are_alike: bool,
    is_read: bool,
) -> None:
    (tmp_path / "file").write_bytes(b"before")
    first = _backed_up(repository, tmp_path, "one")
    repository.delete_snapshot(first.id)
    repository.save_snapshot(replace(parent(first), id=""))
    monkeypatch.setattr(changes, "are_alike", lambda *_: are_alike)
    (tmp_path / "file").write_bytes(b"afterwards")
    second = _backed_up(repository, tmp_path, "two", base="one")
    assert (find(repository, second.tree, [b"data", b"file"]).size == 10) is is_read
    assert second.summary["total_files_processed"] == 2
