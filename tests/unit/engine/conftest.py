"""An engine over a fake backend, in a folder of its own; nothing outside of it is looked at."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs.repositories import Secret
from convoy_py.linux import files, freeze, mounts
from convoy_py.linux.holders import Census
from convoy_py.models.volume import Options
from convoy_py.restic.stores.local import LocalStore
from tests.fakes_engine import DAY, Engine, FakeKernel
from tests.fakes_restic import new_repository
from tests.forked_sessions import forked
from tests.unit.engine.sharing import joined


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    kernel = FakeKernel()
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power fails here
    monkeypatch.setattr(files, "set_immutable", lambda _, *, on: None)  # for root alone
    monkeypatch.setattr(freeze, "frozen", kernel.freeze)
    monkeypatch.setattr(mounts, "table", kernel.table)
    monkeypatch.setattr(mounts, "is_mountpoint", kernel.mounted.__contains__)
    monkeypatch.setattr(Census, "take", classmethod(lambda cls: cls({}, b"")))
    return kernel


@pytest.fixture(autouse=True)
def nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What the janitor stumbles over, though nobody ordered that, is a failure of the test."""
    yield
    told = [record for record in caplog.get_records("call") if record.name == "convoy.janitor"]
    assert [record for record in told if record.exc_info] == []


@pytest.fixture(autouse=True)
def forked_sessions() -> Iterator[None]:
    """To load the modules of a session takes four times as long as what it does here."""
    with forked():
        yield


@pytest.fixture
def keeping(engine: Engine, kernel: FakeKernel, tmp_path: Path) -> Engine:
    """The same, but for a trash that keeps what is removed for a day."""
    engine.killed()
    return Engine(tmp_path, kernel, trash_keep=DAY).start()


@pytest.fixture
def engine(kernel: FakeKernel, tmp_path: Path) -> Iterator[Engine]:
    """Started, without a volume."""
    yield Engine(tmp_path, kernel).start()
    for gate in kernel.gates.values():
        gate.open()
    for daemon in kernel.daemons:
        daemon.killed()


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Engine, Engine]]:
    """Two hosts of one root."""
    with joined(tmp_path, monkeypatch, 2) as (one, other):
        yield one, other


@pytest.fixture
def password(tmp_path: Path) -> Secret:
    """A file with a password, as a user has it."""
    file = tmp_path / "password"
    file.write_text("canary-0123456789\n")
    return Secret(str(file))


@pytest.fixture
async def backed(engine: Engine, tmp_path: Path, password: Secret) -> Engine:
    """An engine with the repository `offsite`, and a volume `db` with something in it."""
    location = str(tmp_path / "repository")
    new_repository(LocalStore(Path(location)), Path(password.file).read_text().strip())
    await engine.repositories.add("offsite", location, password, Secret(), Progress())
    await engine.volumes.create("db", Options(size=8192))
    engine.write("db", "one")
    return engine
