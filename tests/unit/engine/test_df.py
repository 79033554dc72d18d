"""`convoy df`: where the host's bytes are, measured without a lock and without a lie."""

import asyncio
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import OperationFailed
from convoy_py.linux import filesystems
from convoy_py.linux.filesystems import Space
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from convoy_py.wire.space import VolumeSpace
from tests.fakes_engine import Engine


def _frees(volume: VolumeSpace) -> dict[str, int | None]:
    """What deleting each snapshot would give back."""
    return {each.name: each.frees for each in volume.snapshots}


@pytest.fixture
async def db(engine: Engine) -> Engine:
    """With a measured sparse volume `db` that has a snapshot `a`, and one `web` without."""
    await engine.volumes.create("web", Options())
    await engine.volumes.create("db", Options(size=4096, fs=Filesystem.EXT4, sparse=True))
    await engine.snapshots.create(["db"], "a", Progress())
    await engine.janitor.sample()
    return engine


async def test_every_volume_has_its_account(db: Engine) -> None:
    """By name: what was promised, is used, allocated, shared, and could be had back."""
    first, second = await db.space.df()
    assert (first.name, second.name) == ("db", "web")
    assert (first.promised, first.used, first.allocated, first.shared) == (4096, 1, 3, 2)
    assert first.reclaimable == 2
    assert _frees(first) == {"a": 1}
    assert (second.promised, second.reclaimable, _frees(second)) == (0, None, {})


async def test_a_mounted_image_is_asked_what_is_used_in_it(
    db: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other: a folder's filesystem is the host's, and what nobody has mounted is not there."""
    for name in ("image", "idle"):
        await db.volumes.create(name, Options(size=4096, fs=Filesystem.EXT4, sparse=True))
    for name in ("image", "web"):
        await db.uses.mount(name, "container", "1:1")
    asked: list[Path] = []

    def space(path: Path) -> Space:
        asked.append(path)
        return Space(size=4096, used=2, available=4000)

    monkeypatch.setattr(filesystems, "space", space)
    found = {account.name: account.used for account in await db.space.df()}
    assert found == {"db": 1, "idle": 1, "image": 2, "web": 1}
    assert asked == [db.mountpoint("image") / "exposed"]


async def test_of_what_is_reserved_nothing_can_be_had_back(engine: Engine) -> None:
    await engine.volumes.create("db", Options(size=4096, fs=Filesystem.EXT4, sparse=False))
    await engine.janitor.sample()
    (account,) = await engine.space.df()
    assert (account.allocated, account.used, account.reclaimable) == (3, 1, None)


async def test_what_cannot_be_read_is_unknown(db: Engine) -> None:
    """It costs the others nothing; a broken volume is listed as well."""
    for name in ("db", "db@a"):
        db.kernel.failures["shares", name] = OperationFailed("Input/output error")
    (db.store.home("web") / "volume.json").write_text("{}")
    after = db.restarted()
    first, second = await after.space.df()
    assert (first.allocated, first.shared, _frees(first)) == (None, None, {"a": None})
    assert (second.name, second.promised, second.allocated) == ("web", None, None)


async def test_it_waits_for_no_lock(db: Engine) -> None:
    """Nor does anybody wait for it."""
    gate = db.kernel.gate("mount", "db")
    mounting = asyncio.create_task(db.uses.mount("db", "container", "1:1"))
    await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(60):
        assert len(await db.space.df()) == 2
    gate.open()
    await mounting


async def test_what_goes_away_meanwhile_is_no_failure(
    db: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is told."""

    def gone(place: object) -> None:
        raise FileNotFoundError(str(Path("gone")))

    monkeypatch.setattr(db.backend, "shares", gone)
    assert [account.shared for account in await db.space.df()] == [None, None]


async def test_volume_whose_storage_hangs_has_no_answer(
    db: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others have theirs; the next report does not ask it again before it answered."""
    monkeypatch.setattr(db.blocking, "_patience", 0.1)
    gate = db.kernel.gate("shares", "db")
    asked = db.kernel.count("shares", "db")
    for _ in range(2):
        first, second = await db.space.df()
        assert (first.note, first.promised, first.used, _frees(first)) == (
            "no answer",
            4096,
            None,
            {"a": None},
        )
        assert (second.note, second.allocated) == ("", 3)
    assert db.kernel.count("shares", "db") == asked + 1
    gate.open()
    async with asyncio.timeout(60):
        while (await db.space.df())[0].note:
            pass
