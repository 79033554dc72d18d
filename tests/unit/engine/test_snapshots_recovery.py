"""What a killed daemon leaves of snapshots, the next one takes over or takes away."""

import asyncio
import json
import uuid
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import BrokenVolume, OperationFailed
from convoy_py.linux import freeze
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options, State
from tests.fakes_engine import Engine

DOCKER = "100:1"


@pytest.fixture
async def db(engine: Engine) -> Engine:
    """With a volume `db` and its snapshot `a`."""
    await engine.volumes.create("db", Options(fs=Filesystem.EXT4, size=4096))
    engine.write("db", "data")
    await engine.snapshots.create(["db"], "a", Progress())
    return engine


def _half_taken(engine: Engine) -> None:
    """What a daemon leaves that is killed while it copies."""
    home = engine.host.snapshot_store.stage("db", str(uuid.uuid4()))
    (home / "data").mkdir()


async def _swept(engine: Engine) -> Engine:
    await engine.snapshots.sweep(engine.recovery.half_taken)
    await asyncio.to_thread(engine.recovery.sweep)
    return engine


async def test_a_half_taken_snapshot_is_taken_away(db: Engine) -> None:
    """It was never told of; the whole ones stay."""
    _half_taken(db)
    after = db.restarted()
    assert [view.name for view in after.snapshots.views()] == ["a"]
    await _swept(after)
    assert after.left() == []
    assert after.read("db@a") == "data"


async def test_a_half_deleted_snapshot_is_deleted(db: Engine) -> None:
    """It has no name any more, so it is not told of as one without data."""
    _, place = db.entries.get("db@a").usable()
    home = db.host.snapshot_store.unname(place.home, place.uuid)
    after = db.restarted()
    assert after.snapshots.views() == []
    await _swept(after)
    assert after.kernel.count("withdraw", home.name) == 1
    assert after.left() == []
    assert after.restarted().snapshots.views() == []


async def test_without_the_notes_of_what_is_frozen_no_daemon_starts(db: Engine) -> None:
    """What an earlier one froze would stand still for good."""
    notes = db.folder / "run" / "frozen"
    notes.rmdir()
    notes.touch()
    with pytest.raises(FileExistsError):
        db.restarted()


async def test_what_is_swept_is_looked_after_by_its_volumes_lock(db: Engine) -> None:
    """A rename that came first has moved it: it goes all the same."""
    _half_taken(db)
    after = db.restarted()
    await after.volumes.rename("db", "sql")
    await after.snapshots.sweep(after.recovery.half_taken)
    assert after.left() == []
    assert after.read("sql@a") == "data"


async def test_what_went_with_its_volume_is_not_looked_for(db: Engine) -> None:
    """A Remove that came before the sweep."""
    _half_taken(db)
    after = db.restarted()
    await after.volumes.remove("db")
    await _swept(after)
    assert after.left() == []


async def test_a_sweep_that_fails_is_tried_again(db: Engine) -> None:
    """At the next start; nobody is told of an error meanwhile."""
    _half_taken(db)
    after = db.restarted()
    ((_, home),) = after.half_taken()
    after.kernel.failures["withdraw", home.name] = OperationFailed("its image is gone")
    await _swept(after)
    assert after.left() == [home.name]
    after.kernel.failures.clear()
    assert (await _swept(after.restarted())).left() == []


async def test_of_a_broken_volume_the_folder_goes(db: Engine) -> None:
    """What may lie inside its image goes with that."""
    _half_taken(db)
    (db.store.home("db") / "volume.json").write_text("{}")
    after = await _swept(db.restarted())
    assert after.left() == []
    assert after.volumes.get("db").state is State.BROKEN


async def test_mounted_snapshots_are_taken_over(db: Engine) -> None:
    """Those that are held; others are unmounted, and none after a reboot."""
    await db.snapshots.create(["db"], "b", Progress())
    for name in ("db@a", "db@b"):
        await db.uses.mount(name, "container", DOCKER)
    db.references.save("db@b", db.references.none())
    after = db.restarted()
    assert after.volumes.get("db@a").state is State.MOUNTED
    assert after.volumes.get("db@a").references == 1
    await after.janitor.look()
    assert list(after.kernel.mounted) == [after.mountpoint("db@a")]
    booted = after.rebooted()
    assert booted.volumes.get("db@a").references == 0
    await booted.uses.mount("db@a", "container", DOCKER)


async def test_a_snapshot_whose_record_is_damaged_is_one_broken_snapshot(db: Engine) -> None:
    """Told with the file and the reason; not mounted; deleted when someone says so."""
    path = db.store.home("db") / "snapshots" / "a" / "snapshot.json"
    path.write_bytes(path.read_bytes()[:-20])
    after = db.restarted()
    (view,) = after.snapshots.views("db")
    assert view.reason.startswith(str(path))
    assert (view.created, view.way, view.size) == (None, None, None)
    assert after.volumes.get("db").state is State.READY
    with pytest.raises(BrokenVolume, match="db@a is broken"):
        await after.uses.mount("db@a", "container", DOCKER)
    with pytest.raises(BrokenVolume):
        await after.snapshots.rollback("db", "a", Progress())
    await after.snapshots.delete("db@a")
    assert after.snapshots.views() == []
    assert after.left() == []


async def test_snapshots_that_cannot_be_listed_are_one_broken_volume(db: Engine) -> None:
    """The daemon starts, and serves the others."""
    await db.volumes.create("web", Options())
    folder = db.store.home("db") / "snapshots"
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("not a folder")
    after = db.restarted()
    view = after.volumes.get("db")
    assert view.state is State.BROKEN
    assert f"its snapshots cannot be read: Not a directory: {folder}" in view.reason
    assert after.volumes.get("web").state is State.READY


async def test_what_was_frozen_is_thawed_at_the_start(
    db: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody is answered; the note is gone."""
    mountpoint = db.mountpoint("db")
    note = db.folder / "run" / "frozen" / "note.json"
    note.write_text(json.dumps([str(mountpoint)]))
    thawed: list[Path] = []

    def thaw(path: Path) -> bool:
        thawed.append(path)
        return True

    monkeypatch.setattr(freeze, "_thawed_if_mounted", thaw)
    db.restarted()
    assert thawed == [mountpoint]
    assert not note.exists()


async def test_volumes_of_a_backend_that_is_off_keep_their_snapshots(db: Engine) -> None:
    """On the disk: they are there again when it is on."""
    db.killed()
    after = Engine(db.folder, db.kernel)
    backends, after.host.backends = after.host.backends, {}
    after.start()
    assert "its backend fake is not on" in after.volumes.get("db").reason
    with pytest.raises(BrokenVolume):
        await after.snapshots.create(["db"], "b", Progress())
    last = after.restarted()
    assert backends
    assert last.read("db@a") == "data"
