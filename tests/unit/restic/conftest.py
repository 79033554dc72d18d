"""A repository in memory, and folders that go into it and come back."""

from pathlib import Path

import pytest

from convoy_py.restic.repository import Repository
from tests import everything
from tests.fakes_restic import NOW, QUICK, MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    return Repository.create(store, "secret", NOW, QUICK)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with everything in it that users without privileges can make."""
    top = tmp_path / "source"
    everything.of_users(top)
    return top


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder
