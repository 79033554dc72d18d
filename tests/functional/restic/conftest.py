"""A folder for a repository, and the real restic on it, each version of it."""

from pathlib import Path

import pytest

from convoy_py.restic.stores.local import LocalStore
from tests.restic import BINARIES, Restic


@pytest.fixture(params=BINARIES)
def restic(request: pytest.FixtureRequest, tmp_path: Path) -> Restic:
    return Restic(request.param, tmp_path / "repository")


@pytest.fixture
def store(restic: Restic) -> LocalStore:
    return LocalStore(restic.repository)
