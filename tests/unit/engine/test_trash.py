"""The trash: a mistaken Remove loses nothing, and nothing stays longer than it may."""

import asyncio
import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    AlreadyExists,
    Corrupt,
    InvalidName,
    NoSpace,
    NotFound,
    OperationFailed,
    StillRunning,
    VolumeProtected,
)
from convoy_py.linux import files
from convoy_py.models.volume import Options, State
from tests.fakes_engine import DAY, NOW, Engine, Gate

DOCKER = "100:1"


async def _removed(engine: Engine, name: str, text: str) -> None:
    """Make a volume with something in it, and remove it a minute later."""
    await engine.volumes.create(name, Options(size=4096))
    engine.write(name, text)
    engine.pass_time(60)
    await engine.volumes.remove(name)


async def test_a_removed_volume_can_be_had_back(keeping: Engine) -> None:
    """With its data, its snapshots and its options, and mounted as before; also a day later."""
    await keeping.volumes.create("db", Options(size=4096, uid=7))
    keeping.write("db", "old")
    await keeping.snapshots.create(["db"], "a", Progress())
    keeping.write("db", "new")
    # What it takes is measured again.
    before = keeping.volumes.get("db").model_copy(update={"usage": None})
    await keeping.volumes.remove("db")
    assert keeping.volumes.views() == []
    assert (await keeping.daemon.space()).promised == 0
    after = keeping.restarted()
    (removed,) = after.trash.views()
    assert (removed.name, removed.snapshots, removed.backend) == ("db", ("a",), "fake")
    assert removed.removed is not None
    assert removed.until is not None
    assert removed.until.timestamp() == removed.removed.timestamp() + DAY == NOW + DAY
    assert await after.trash.restore("db") == before
    assert (after.read("db"), after.read("db@a")) == ("new", "old")
    assert (await after.daemon.space()).promised == 4096
    assert after.trash.views() == []
    await after.uses.mount("db@a", "container", DOCKER)
    assert after.restarted().volumes.get("db@a").state is State.MOUNTED


async def test_a_volume_can_be_removed_for_good(keeping: Engine) -> None:
    """Past the trash, with all that it was."""
    await keeping.volumes.create("db", Options())
    await keeping.volumes.remove("db", to_trash=False)
    await keeping.settled()
    assert keeping.trash.views() == []
    assert list(keeping.store.trash.iterdir()) == []


async def test_a_new_volume_of_the_same_name_starts_empty(keeping: Engine) -> None:
    """The old one comes back under another name, with its snapshots."""
    await keeping.volumes.create("db", Options())
    await keeping.snapshots.create(["db"], "a", Progress())
    keeping.write("db", "old")
    await keeping.volumes.remove("db")
    await keeping.volumes.create("db", Options())
    assert (keeping.read("db"), keeping.volumes.get("db").snapshots) == ("", ())
    with pytest.raises(AlreadyExists, match="`convoy trash restore db --as OTHER`"):
        await keeping.trash.restore("db")
    view = await keeping.trash.restore("db", "db-old")
    assert (view.name, view.snapshots[0].volume) == ("db-old", "db-old")
    assert keeping.read("db-old") == "old"
    after = keeping.restarted()
    assert after.read("db-old@a") == ""
    await after.uses.mount("db-old@a", "container", DOCKER)


async def test_of_several_the_last_comes_back(keeping: Engine) -> None:
    """Any other by its key."""
    for text in ("first", "second", "third"):
        await _removed(keeping, "db", text)
    first, second, _ = keeping.trash.views()
    await keeping.trash.restore("db")
    assert keeping.read("db") == "third"
    await keeping.trash.restore(first.key, "one")
    assert keeping.read("one") == "first"
    assert [view.key for view in keeping.trash.views()] == [second.key]


async def test_what_is_not_there_is_told(keeping: Engine) -> None:
    """And a bad name is refused."""
    with pytest.raises(NotFound, match="no db in the trash; `convoy trash list`"):
        await keeping.trash.restore("db")
    with pytest.raises(NotFound):
        await keeping.trash.purge("db")
    await _removed(keeping, "db", "x")
    with pytest.raises(InvalidName):
        await keeping.trash.restore("db", "../x")


async def test_two_who_restore_the_same_get_it_once(keeping: Engine) -> None:
    """Under one of the names; and a purge beside it does not destroy it."""
    await _removed(keeping, "db", "x")
    results = await asyncio.gather(
        keeping.trash.restore("db", "one"),
        keeping.trash.restore("db", "two"),
        keeping.trash.purge("db"),
        return_exceptions=True,
    )
    assert isinstance(results[1], NotFound)
    assert results[2] == []
    assert [view.name for view in keeping.volumes.views()] == ["one"]
    assert keeping.read("one") == "x"


async def test_a_restore_that_fails_leaves_it_in_the_trash(
    keeping: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its place among the others, oldest first."""
    for name in ("a", "b"):
        await _removed(keeping, name, name)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "durable_replace", fail)
        with pytest.raises(NoSpace):
            await keeping.trash.restore("a")
    assert [view.name for view in keeping.trash.views()] == ["a", "b"]
    await keeping.trash.restore("a")
    assert keeping.read("a") == "a"


async def test_purging_is_for_good(keeping: Engine) -> None:
    """One by its name, then all; told by their keys."""
    for name in ("a", "b", "b", "c"):
        await _removed(keeping, name, name)
    keys = [view.key for view in keeping.trash.views()]
    assert await keeping.trash.purge("b") == keys[1:3]
    assert await keeping.trash.purge() == [keys[0], keys[3]]
    assert await keeping.trash.purge() == []
    assert list(keeping.store.trash.iterdir()) == []


async def test_purging_much_does_not_wait_for_each(
    keeping: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names are gone at once, the data in the background."""
    for number in range(30):
        await _removed(keeping, f"v{number}", "x")
    gates = []

    def slow(place: Place) -> None:
        gates.append(place.name)
        keeping.kernel.gate("slow", "v").pass_through()
        files.remove_tree(place.home)

    monkeypatch.setattr(keeping.backend, "destroy", slow)
    async with asyncio.timeout(60):
        assert len(await keeping.trash.purge()) == 30
    assert keeping.trash.views() == []
    keeping.kernel.gate("slow", "v").open()
    await keeping.settled()
    assert len(gates) == 30
    assert keeping.left() == []


async def test_who_waits_for_a_purge_is_told_of_what(
    keeping: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name that was given."""
    gate = Gate()
    monkeypatch.setattr(keeping.backend, "destroy", lambda _: gate.pass_through())
    for name in ("a", "b"):
        await _removed(keeping, name, name)
    monkeypatch.setattr(keeping.operations, "time_limit", 0.01)
    for name in ("a", ""):
        with pytest.raises(StillRunning, match=f"{name or '--all'}: purge is still running"):
            await keeping.trash.purge(name)
    gate.open()
    await keeping.settled()


async def test_what_was_kept_for_its_time_goes(keeping: Engine) -> None:
    """Each by its own clock."""
    await _removed(keeping, "a", "a")
    await _removed(keeping, "b", "b")
    keeping.pass_time(DAY - 60 - 1)
    await keeping.trash.expire()
    assert len(keeping.trash.views()) == 2
    keeping.pass_time(1)
    await keeping.trash.expire()
    assert [view.name for view in keeping.trash.views()] == ["b"]
    assert [view.name for view in keeping.restarted().trash.views()] == ["b"]


@pytest.mark.parametrize("year", [2036, 2020])
async def test_a_wall_clock_that_is_set_purges_nothing(keeping: Engine, year: int) -> None:
    """Ahead or back, before a restart or after it: its time is up when so much has passed."""
    await _removed(keeping, "a", "a")
    keeping.pass_time(60)
    keeping.wall.now = datetime(year, 7, 8, tzinfo=UTC).timestamp()
    await keeping.trash.expire()
    (view,) = keeping.trash.views()
    assert view.until is not None
    assert view.until.timestamp() == keeping.wall.now + DAY - 60
    (note,) = keeping.trash.notes()
    assert f"to {year}-07-08 00:00 UTC" in note
    after = keeping.restarted()
    after.wall.now = keeping.wall.now
    await after.trash.expire()
    after.pass_time(DAY - 61)
    await after.trash.expire()
    assert [view.name for view in after.trash.views()] == ["a"]
    after.pass_time(1)
    await after.trash.expire()
    assert after.trash.views() == []


@pytest.mark.parametrize(("ahead", "told"), [(59, 0), (60, 60)])
async def test_its_end_is_told_by_the_clock_as_it_is_set(
    keeping: Engine, ahead: int, told: int
) -> None:
    """What is not more than such clocks differ by does not show."""
    await _removed(keeping, "a", "a")
    keeping.wall.now += ahead
    (view,) = keeping.trash.views()
    assert view.until is not None
    assert view.until.timestamp() == NOW + 60 + DAY + told


async def test_removed_before_the_clock_was_set_right(keeping: Engine) -> None:
    """A host without a battery begins in 2020; minutes later NTP says that it is 2026."""
    keeping.wall.now = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    await _removed(keeping, "a", "a")
    keeping.wall.now = NOW
    await keeping.trash.expire()
    await _removed(keeping, "b", "b")
    first, second = keeping.trash.views()
    assert (first.name, second.name) == ("a", "b")
    assert first.until is not None
    assert second.until is not None
    assert (second.until - first.until).total_seconds() == 60
    keeping.pass_time(DAY - 60)
    await keeping.trash.expire()
    assert [view.name for view in keeping.trash.views()] == ["b"]


async def test_a_night_without_power_is_no_time_to_look(keeping: Engine) -> None:
    """Nobody knows whether it was a night, or the clock was set: what was off does not count."""
    await _removed(keeping, "a", "a")
    keeping.killed()
    keeping.kernel.boottime.now = 5.0
    after = keeping.rebooted()
    after.wall.now = NOW + 10 * DAY
    await after.trash.expire()
    assert [view.name for view in after.trash.views()] == ["a"]
    after.pass_time(DAY)
    await after.trash.expire()
    assert after.trash.views() == []


async def test_what_an_older_daemon_removed_ages_from_now_on(keeping: Engine) -> None:
    """It noted the wall clock alone; the oldest goes first still, and after its time all do."""
    for name in ("b", "a"):
        await _removed(keeping, name, name)
    for home, hour in zip(sorted(keeping.store.trash.iterdir()), (5, 4), strict=True):
        (home / "removed.json").write_text(f'{{"removed": "2026-01-01T{hour:02}:00:00Z"}}')
    after = keeping.restarted()
    assert [view.name for view in after.trash.views()] == ["b", "a"]
    after.pass_time(DAY / 2)
    again = after.restarted()
    again.pass_time(DAY / 2 - 1)
    await again.trash.expire()
    assert len(again.trash.views()) == 2
    again.pass_time(1)
    await again.trash.expire()
    assert again.trash.views() == []


async def test_with_no_time_to_keep_nothing_is_kept(engine: Engine) -> None:
    """A Remove deletes at once; what an earlier setting kept goes with the next look."""
    await engine.volumes.create("db", Options())
    await engine.volumes.remove("db")
    assert engine.trash.views() == []
    assert list(engine.store.trash.iterdir()) == []


async def test_what_cannot_be_read_is_listed_and_left_to_people(keeping: Engine) -> None:
    """Neither restored nor purged by itself; by hand it can be."""
    await _removed(keeping, "bad", "x")
    await _removed(keeping, "old", "x")
    (home,) = keeping.store.trash.glob("bad.*")
    (home / "volume.json").write_text("{}")
    (home / "removed.json").write_text("{}")
    after = keeping.restarted()
    view = after.trash.views()[-1]
    assert (view.name, view.backend, view.removed, view.until) == ("bad", "", None, None)
    with pytest.raises(Corrupt, match=r"bad\..* has no record that can be read"):
        await after.trash.restore("bad")
    after.pass_time(10 * DAY)
    await after.trash.expire()
    assert [view.name for view in after.trash.views()] == ["bad"]
    await after.trash.purge("bad")
    assert list(after.store.trash.iterdir()) == []


async def test_a_purge_that_fails_keeps_it_in_the_list(
    keeping: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there still, and says so."""
    await _removed(keeping, "a", "a")

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail)
        with pytest.raises(OperationFailed, match="Read-only"):
            await keeping.trash.purge()
    assert [view.name for view in keeping.trash.views()] == ["a"]
    assert keeping.restarted().trash.views()[0].name == "a"


async def test_a_protected_volume_is_not_removed(keeping: Engine) -> None:
    """Until it is told otherwise; also after a restart, and without its data being kept."""
    await keeping.volumes.create("db", Options())
    assert (await keeping.volumes.protect("db", on=True)).protected
    after = keeping.restarted()
    for keep_data in (False, True):
        with pytest.raises(VolumeProtected, match="`convoy protect db --off`"):
            await after.volumes.remove("db", keep_data=keep_data)
    assert not (await after.volumes.protect("db", on=False)).protected
    await after.volumes.remove("db")


async def test_protecting_a_volume_in_use_disturbs_nobody(keeping: Engine) -> None:
    """It stays mounted, and its snapshots stay what they are."""
    await keeping.volumes.create("db", Options())
    await keeping.snapshots.create(["db"], "a", Progress())
    for name in ("db", "db@a"):
        await keeping.uses.mount(name, "container", DOCKER)
    await keeping.volumes.protect("db", on=True)
    assert keeping.volumes.get("db@a").references == 1
    for name in ("db", "db@a"):
        await keeping.uses.unmount(name, "container")
    assert keeping.kernel.mounted == {}
