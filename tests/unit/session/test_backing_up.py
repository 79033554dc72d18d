"""Whose backup stands for an image that nobody wrote to: our own, as it was made."""

import io
from collections.abc import Callable
from contextlib import nullcontext
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


def _not_known(*_: object) -> None:
    """A Hook that never tells what changed."""


@pytest.mark.parametrize(
    ("parent", "hook", "is_read"),
    [
        (lambda snapshot: snapshot, changes.unchanged, False),
        (lambda snapshot: snapshot, _not_known, True),
        (_rewritten, changes.unchanged, True),
        (_of_another_version, changes.unchanged, True),
    ],
    ids=["unchanged", "changed", "rewritten by a restic", "of another version"],
)
def test_folder_is_read_but_where_all_is_as_it_was(
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parent: Callable[[Snapshot], Snapshot],
    hook: changes.Hook,
    *,
    is_read: bool,
) -> None:
    (tmp_path / "file").write_bytes(b"before")
    first = _backed_up(repository, tmp_path, "one")
    repository.delete_snapshot(first.id)
    repository.save_snapshot(replace(parent(first), id=""))
    monkeypatch.setattr(changes, "of_images", lambda *_: nullcontext(hook))
    (tmp_path / "file").write_bytes(b"afterwards")
    second = _backed_up(repository, tmp_path, "two", base="one")
    assert (find(repository, second.tree, [b"data", b"file"]).size == 10) is is_read
    assert second.summary["total_files_processed"] == 2
