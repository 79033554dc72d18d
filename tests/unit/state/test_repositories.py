"""Repositories on disk: known by their record, with nothing left of what has none."""

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.errors import Unsettled
from convoy_py.linux import files
from convoy_py.state.records import Repository
from convoy_py.state.repositories import RepositoryStore
from convoy_py.state.store import Store

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECORD = Repository(name="offsite", location="/srv/backups", id="ab" * 32, created=CREATED)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RepositoryStore]:
    records = Store(tmp_path)
    records.open("a test")
    yield RepositoryStore(records)
    records.close()


def _there(store: RepositoryStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_secrets_go_with_the_record_that_needed_them(store: RepositoryStore) -> None:
    store.save(RECORD.model_copy(update={"keeps_credentials": True}), "word", "A=b")
    store.note_locks("offsite", ("cd" * 32,))
    store.save(RECORD.model_copy(update={"password_file": "/etc/word"}))
    assert _there(store) == ["offsite.json", "offsite.locks"]
    store.forget("offsite")
    assert _there(store) == []
    store.forget("offsite")


def test_what_has_no_record_is_swept(store: RepositoryStore) -> None:
    """As a crash leaves it; what belongs to one that cannot be read stays."""
    store.save(RECORD, "word")
    left = ("other.password", "other.credentials", "other.locks", ".offsite.password.0123")
    for name in left:
        (store.folder / name).write_text("a secret")
    (store.folder / "broken.json").write_text("{")
    (store.folder / "broken.password").write_text("a secret")
    store.sweep()
    assert _there(store) == ["broken.json", "broken.password", "offsite.json", "offsite.password"]
    assert store.load() == {"offsite": RECORD}


def test_it_is_forgotten_with_its_record_whatever_fails_then(
    store: RepositoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(RECORD, "word")

    def fails(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(files, "fsync_dir", fails)
    with pytest.raises(Unsettled):
        store.forget("offsite")
    assert store.find("offsite") is None
