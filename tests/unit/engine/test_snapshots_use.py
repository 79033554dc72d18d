"""Snapshots are used like volumes: mounted, held, and deleted only when nobody uses them."""

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    Invalid,
    OperationFailed,
    SnapshotNotFound,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.models.snapshot import Plan, Way
from convoy_py.models.volume import Options, State
from tests.fakes_engine import Engine, holder

DOCKER = "100:1"


async def test_a_snapshot_is_mounted_and_unmounted_by_its_full_name(engine: Engine) -> None:
    """Read-only, counted, over a restart of the daemon; and it is not listed."""
    await engine.volumes.create("db", Options(mount_options=("noatime",)))
    await engine.snapshot("db", "a")
    await engine.volumes.create("db@a", Options())  # as an engine may do before it mounts
    path = await engine.uses.mount("db@a", "container", DOCKER)
    assert path == str(engine.mountpoint("db@a") / "exposed")
    view = engine.restarted().volumes.get("db@a")
    assert (view.state, view.references, view.mountpoint) == (State.MOUNTED, 1, path)
    assert view.spec is not None
    assert view.spec.mount_options == ("noatime", "ro")
    after = engine.kernel.daemons[-1]
    assert isinstance(after, Engine)
    assert [name for name, _ in after.volumes.listing()] == ["db"]
    await after.uses.unmount("db@a", "container")
    assert not after.is_mounted("db@a")


async def test_a_snapshot_is_not_made_or_removed_as_a_volume(engine: Engine) -> None:
    """Each refusal says what to do instead."""
    await engine.volumes.create("db", Options())
    await engine.snapshot("db", "a")
    with pytest.raises(Unsupported, match="`convoy snapshot delete db@a`"):
        await engine.volumes.remove("db@a")
    with pytest.raises(Invalid, match="db@a is a snapshot"):
        await engine.volumes.create("db@a", Options(size=4096))
    with pytest.raises(Invalid, match="`convoy snapshot create`"):
        await engine.volumes.create("db@b", Options())
    assert engine.read("db@a") == ""


async def test_a_snapshot_in_use_keeps_itself_and_its_volume(engine: Engine) -> None:
    """Delete of the one, Remove and rename of the other name who uses it."""
    await engine.volumes.create("db", Options())
    await engine.snapshot("db", "a")
    await engine.uses.mount("db@a", "container", DOCKER)
    engine.clock.now += 100
    engine.kernel.holders["db@a"] = [holder()]
    for change in (
        engine.snapshots.delete("db@a"),
        engine.volumes.remove("db"),
        engine.volumes.rename("db", "x"),
    ):
        with pytest.raises(VolumeInUse, match=r"db@a is in use by container 0123456789ab"):
            await change
    assert engine.is_mounted("db@a")
    assert engine.volumes.get("db@a").references == 1


async def test_snapshots_are_told_oldest_first(engine: Engine) -> None:
    """Those whose record cannot be read come last, and say why."""
    await engine.volumes.create("db", Options())
    for name in ("z", "b", "a", "c"):
        engine.wall.now += 60
        await engine.snapshot("db", name)
    for name in ("b", "c"):
        (engine.host.snapshot_store.home("db", name) / "snapshot.json").write_text("{")
    views = engine.restarted().volumes.get("db").snapshots
    assert [(view.name, view.created is None) for view in views] == [
        ("z", False),
        ("a", False),
        ("b", True),
        ("c", True),
    ]
    assert [bool(view.reason) for view in views] == [False, False, True, True]
    assert not any(view.automatic for view in views)


async def test_a_deleted_snapshot_is_gone(engine: Engine) -> None:
    """From memory and disk; its volume and the others stay."""
    await engine.volumes.create("db", Options())
    for name in ("a", "b"):
        await engine.snapshot("db", name)
    await engine.snapshots.delete("db@a")
    assert [view.name for view in engine.snapshots.views("db")] == ["b"]
    assert engine.left() == []
    with pytest.raises(SnapshotNotFound):
        engine.volumes.get("db@a")
    assert [view.name for view in engine.restarted().snapshots.views("db")] == ["b"]


async def test_a_deletion_that_fails_leaves_the_snapshot(engine: Engine) -> None:
    """With its name and its data, to be tried again."""
    await engine.volumes.create("db", Options())
    engine.write("db", "old")
    await engine.snapshot("db", "a")
    engine.kernel.failures["withdraw", "db@a"] = OperationFailed("its image cannot be mounted")
    with pytest.raises(OperationFailed, match="its image cannot be mounted"):
        await engine.snapshots.delete("db@a")
    assert engine.read("db@a") == "old"
    assert engine.left() == []
    del engine.kernel.failures["withdraw", "db@a"]
    await engine.snapshots.delete("db@a")
    assert engine.snapshots.views() == []


async def test_plans_tell_beforehand(engine: Engine) -> None:
    """As the backend does; for a volume that is there."""
    await engine.volumes.create("db", Options())
    assert await engine.snapshots.plan("db") == Plan(way=Way.REFLINK, instant=True, bytes=100)
    with pytest.raises(VolumeNotFound):
        await engine.snapshots.plan("web")
    progress = Progress()
    await engine.snapshots.create(["db"], "a", progress)
    assert (progress.total, progress.note) == (100, "db: reflink")
