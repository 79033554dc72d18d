"""A renamed volume is the same volume: nothing stays behind under the old name."""

import asyncio
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    AlreadyExists,
    BrokenVolume,
    InvalidName,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.models.volume import Options
from tests.fakes_engine import Engine, FakeKernel, holder

DOCKER = "100:1"


@pytest.fixture
async def db(engine: Engine) -> Engine:
    """With a volume `db`, what is in it, and a snapshot `a`."""
    await engine.volumes.create("db", Options(size=4096))
    engine.write("db", "data")
    await engine.snapshots.create(["db"], "a", Progress())
    return engine


async def test_it_takes_all_of_it_along(db: Engine) -> None:
    """Data, snapshots and their mountpoints, options, and what the host promised."""
    before = db.volumes.get("db")
    view = await db.volumes.rename("db", "sql")
    assert (view.created, view.spec) == (before.created, before.spec)
    assert [snapshot.volume for snapshot in view.snapshots] == ["sql"]
    with pytest.raises(VolumeNotFound):
        db.volumes.get("db")
    assert await db.uses.mount("sql@a", "container", DOCKER) == str(
        db.mountpoint("sql@a") / "exposed"
    )
    within = db.entries.get("sql@a").usable()[1].within
    assert within is not None
    assert (within.name, within.home) == ("sql", db.store.home("sql"))
    assert (await db.daemon.space()).promised == 4096
    after = db.restarted()
    assert after.volumes.get("sql").spec == before.spec
    assert (after.read("sql"), after.read("sql@a")) == ("data", "data")
    await after.uses.unmount("sql@a", "container")
    await after.volumes.remove("sql")
    assert (await after.daemon.space()).promised == 0


async def test_the_promise_goes_along_until_the_last(db: Engine) -> None:
    """A volume that is renamed and removed has none left under either name."""
    await db.volumes.rename("db", "sql")
    await db.volumes.remove("sql")
    assert (await db.daemon.space()).promised == 0


async def test_the_old_name_is_free(db: Engine) -> None:
    """For a new volume, which begins empty, and has none of the snapshots."""
    await db.volumes.rename("db", "sql")
    await db.volumes.create("db", Options())
    assert (db.read("db"), db.volumes.get("db").snapshots) == ("", ())
    with pytest.raises(AlreadyExists, match="volume sql exists already"):
        await db.volumes.rename("db", "sql")
    await db.volumes.rename("sql", "sql2")
    after = db.restarted()
    assert (after.read("db"), after.read("sql2")) == ("", "data")


async def test_data_that_is_kept_under_the_new_name_stays(db: Engine) -> None:
    """The rename is refused, and the volume is what it was; also after a restart."""
    await db.volumes.create("sql", Options())
    db.write("sql", "kept")
    await db.volumes.remove("sql", keep_data=True)
    with pytest.raises(AlreadyExists, match=r"there is a folder .*/sql already"):
        await db.volumes.rename("db", "sql")
    after = db.restarted()
    assert after.read("db") == "data"
    await after.volumes.create("sql", Options(), adopt=True)
    assert after.read("sql") == "kept"


async def test_what_cannot_be_renamed_says_why(db: Engine) -> None:
    """One in use, one that is broken, one that is not there; and a bad name."""
    await db.uses.mount("db", "container", DOCKER)
    db.clock.now += 100
    db.kernel.holders["db"] = [holder()]
    with pytest.raises(VolumeInUse, match="container 0123456789ab"):
        await db.volumes.rename("db", "sql")
    with pytest.raises(InvalidName):
        await db.volumes.rename("db", "sql@a")
    with pytest.raises(VolumeNotFound):
        await db.volumes.rename("web", "sql")
    (db.store.home("db") / "volume.json").write_text("{}")
    with pytest.raises(BrokenVolume):
        await db.restarted().volumes.rename("db", "sql")


async def test_what_cannot_be_looked_at_is_not_renamed(db: Engine) -> None:
    """Its backend is off, and who uses it cannot be told."""
    db.killed()
    without = Engine(db.folder, db.kernel)
    without.host.backends = {}
    with pytest.raises(BrokenVolume):
        await without.start().volumes.rename("db", "sql")
    assert without.store.load().keys() == {"db"}


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_rename_that_was_cut_off_is_before_or_after(
    db: Engine, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """The record is written, then the folder is renamed: each in between is one whole volume."""
    move = db.store.move

    def killed(home: Path, target: Path) -> None:
        if cut == "after":
            move(home, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(db.store, "move", killed)
    record = db.entries.get("db").volume_record()
    with pytest.raises(KeyboardInterrupt):
        db.store.rename(record, "sql")
    after = db.restarted()
    (view,) = after.volumes.views()
    assert view.name == ("db" if cut == "before" else "sql")
    assert view.reason == ""
    assert after.read(view.name) == "data"
    await after.volumes.rename(view.name, "third")
    assert after.restarted().read("third@a") == "data"


async def test_one_of_two_at_once_wins(db: Engine, kernel: FakeKernel) -> None:
    """There is one volume afterwards, under one of the names."""
    results = await asyncio.gather(
        db.volumes.rename("db", "one"), db.volumes.rename("db", "two"), return_exceptions=True
    )
    assert isinstance(results[1], VolumeNotFound)
    assert [view.name for view in db.volumes.views()] == ["one"]
    assert kernel.count("create", "one") == 0


async def test_swapping_names_both_ways_at_once_ends(db: Engine) -> None:
    """Neither waits for the other: both names are taken."""
    await db.volumes.create("web", Options())
    async with asyncio.timeout(60):
        results = await asyncio.gather(
            db.volumes.rename("db", "web"),
            db.volumes.rename("web", "db"),
            return_exceptions=True,
        )
    assert [type(result) for result in results] == [AlreadyExists] * 2
