"""Snapshots: all of a group or none, at one moment, and never in the way of who uses the volume."""

import asyncio
import errno
from pathlib import Path

import pytest

from convoy_py.containers import Container
from convoy_py.engine.jobs import Progress
from convoy_py.engine.references import OPERATOR
from convoy_py.errors import (
    AlreadyExists,
    Corrupt,
    Invalid,
    InvalidName,
    NoSpace,
    NotFound,
    OperationFailed,
    SnapshotNotFound,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.models.snapshot import Consistency, Plan, SnapshotView, Way
from convoy_py.models.volume import Filesystem, Options, State
from convoy_py.state.records import SnapshotRecord
from tests.fakes_engine import Engine, holder

DOCKER = "100:1"
IMAGE = Options(fs=Filesystem.EXT4, size=4096)


async def _snapshot(engine: Engine, volume: str, name: str = "") -> SnapshotView:
    (view,) = await engine.snapshots.create([volume], name, Progress())
    return view


async def _taking(engine: Engine, volume: str, name: str) -> "asyncio.Task[SnapshotView]":
    """Begin a snapshot that copies until the gate ("copy", volume) is opened."""
    gate = engine.kernel.gate("copy", volume)
    task = asyncio.create_task(_snapshot(engine, volume, name))
    await asyncio.to_thread(gate.wait_for_call)
    return task


async def test_a_snapshot_has_what_was_there(engine: Engine) -> None:
    """And keeps it, whatever becomes of the volume."""
    await engine.volumes.create("db", Options(size=4096))
    engine.write("db", "old")
    view = await _snapshot(engine, "db", "nightly")
    engine.write("db", "new")
    assert engine.read("db@nightly") == "old"
    assert (view.volume, view.name, view.size, view.way) == ("db", "nightly", 4096, Way.REFLINK)
    assert engine.volumes.get("db").snapshots == (view,)
    assert engine.snapshots.inspect("db@nightly") == view
    assert engine.restarted().snapshots.views("db") == [view]


async def test_a_snapshot_without_a_name_is_called_by_its_time(engine: Engine) -> None:
    """Also several in one second, which come at once."""
    await engine.volumes.create("db", Options())
    views = await asyncio.gather(*(_snapshot(engine, "db") for _ in range(3)))
    expected = ["20260102-030405", "20260102-030405-2", "20260102-030405-3"]
    assert sorted(view.name for view in views) == expected


async def test_names_are_each_volumes_own(engine: Engine) -> None:
    """A second of the same name of one volume is refused, and the first stays as it is."""
    for name in ("db", "web"):
        await engine.volumes.create(name, Options())
        await _snapshot(engine, name, "nightly")
    engine.write("db", "new")
    with pytest.raises(AlreadyExists, match="snapshot db@nightly already exists"):
        await _snapshot(engine, "db", "nightly")
    assert engine.read("db@nightly") == ""
    assert [view.volume for view in engine.snapshots.views()] == ["db", "web"]


async def test_two_of_one_name_at_once_are_one(engine: Engine) -> None:
    """The second waits for the first, and is then refused."""
    await engine.volumes.create("db", Options())
    task = await _taking(engine, "db", "nightly")
    second = asyncio.create_task(_snapshot(engine, "db", "nightly"))
    engine.kernel.gate("copy", "db").open()
    await task
    with pytest.raises(AlreadyExists):
        await second
    assert engine.left() == []


@pytest.mark.parametrize("name", ["../x", ".new-1", "a@b", "a b", "-x", "x" * 129])
async def test_a_bad_name_is_refused(engine: Engine, name: str) -> None:
    """It is said whose name is bad."""
    await engine.volumes.create("db", Options())
    with pytest.raises(InvalidName, match="invalid snapshot name"):
        await _snapshot(engine, "db", name)


async def test_the_short_form_is_convoys(engine: Engine) -> None:
    """It holds where only one volume has such a snapshot; else the full ones are told."""
    for name in ("db", "web"):
        await engine.volumes.create(name, Options())
    await _snapshot(engine, "db", "one")
    assert engine.snapshots.inspect("one").volume == "db"
    await _snapshot(engine, "web", "one")
    with pytest.raises(Invalid, match="one is ambiguous: say which of db@one, web@one"):
        engine.snapshots.inspect("one")
    await engine.snapshots.delete("web@one")
    await engine.snapshots.delete("one")
    with pytest.raises(NotFound, match="no such snapshot: one; a full name is such as db@nightly"):
        engine.snapshots.inspect("one")


async def test_what_is_not_there_is_told_with_what_is(engine: Engine) -> None:
    """By volume and by name."""
    await engine.volumes.create("db", Options())
    await _snapshot(engine, "db", "monday")
    with pytest.raises(SnapshotNotFound, match="no such snapshot: db@sunday; there are monday"):
        engine.snapshots.inspect("db@sunday")
    with pytest.raises(VolumeNotFound, match="no such volume: web"):
        engine.snapshots.inspect("web@sunday")
    with pytest.raises(Invalid, match="neither a volume's name"):
        engine.snapshots.inspect("db@@sunday")
    with pytest.raises(VolumeNotFound):
        engine.snapshots.views("web")


# How consistent it is


@pytest.mark.parametrize(
    ("options", "way", "mounted", "expected"),
    [
        (IMAGE, Way.REFLINK, False, Consistency.OFFLINE),
        (IMAGE, Way.COPY, True, Consistency.FROZEN),
        (IMAGE, Way.INSIDE, False, Consistency.ATOMIC),
        (Options(), Way.SUBVOLUME, True, Consistency.ATOMIC),
        (Options(), Way.FILES, True, Consistency.PER_FILE),
        (Options(), Way.FILES, False, Consistency.OFFLINE),
    ],
)
async def test_the_record_tells_how_consistent_it_is(
    engine: Engine, options: Options, way: Way, mounted: bool, expected: Consistency
) -> None:
    """By how it was made, and whether someone had the volume mounted."""
    await engine.volumes.create("db", options)
    engine.backend.way = way
    if mounted:
        await engine.volumes.mount("db", "container", DOCKER)
    assert (await _snapshot(engine, "db", "a")).consistency is expected
    assert engine.kernel.frozen == set()


async def test_a_folder_mounted_meanwhile_was_not_at_rest(engine: Engine) -> None:
    """Who mounted it wrote while it was read: the record must not say otherwise."""
    await engine.volumes.create("db", Options())
    engine.backend.way = Way.FILES
    task = await _taking(engine, "db", "a")
    await engine.volumes.mount("db", "container", DOCKER)
    engine.kernel.gate("copy", "db").open()
    assert (await task).consistency is Consistency.PER_FILE


async def test_containers_are_paused_while_it_is_taken(engine: Engine) -> None:
    """Those that use the volume, and not a moment longer."""
    await engine.volumes.create("db", Options())
    await engine.volumes.mount("db", "container", DOCKER)
    engine.backend.way = Way.FILES
    engine.containers.using["db"] = [Container("1", "app", "running")]
    (view,) = await engine.snapshots.create(["db"], "a", Progress(), pause=True)
    assert view.consistency is Consistency.PAUSED
    assert engine.containers.calls == ["pause", "unpause"]


async def test_nobody_who_could_not_be_paused_is_said_to_have_been(engine: Engine) -> None:
    """Neither where no container was found, nor beside a person who holds the volume."""
    await engine.volumes.create("db", Options())
    await engine.volumes.mount("db", "convoy", OPERATOR)
    engine.backend.way = Way.FILES
    (view,) = await engine.snapshots.create(["db"], "a", Progress(), pause=True)
    assert view.consistency is Consistency.PER_FILE
    engine.containers.using["db"] = [Container("1", "app", "running")]
    (view,) = await engine.snapshots.create(["db"], "b", Progress(), pause=True)
    assert view.consistency is Consistency.PER_FILE


async def test_what_was_frozen_is_thawed_whatever_happens(engine: Engine) -> None:
    """A copy that fails leaves neither a frozen filesystem nor a note, nor half a snapshot."""
    await engine.volumes.create("db", IMAGE)
    await engine.volumes.mount("db", "container", DOCKER)
    task = await _taking(engine, "db", "a")
    assert engine.kernel.frozen == {engine.mountpoint("db")}
    engine.kernel.failures["copy", "db"] = OSError(errno.ENOSPC, "No space left on device")
    engine.kernel.gate("copy", "db").open()
    with pytest.raises(NoSpace):
        await task
    assert engine.kernel.frozen == set()
    assert list((engine.folder / "run/frozen").iterdir()) == []
    assert engine.left() == []
    assert engine.volumes.get("db").snapshots == ()


async def test_a_copy_that_keeps_writers_waiting_too_long_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the setting and the ways around, and without a snapshot."""
    await engine.volumes.create("db", IMAGE)
    await engine.volumes.mount("db", "container", DOCKER)

    def lapsed(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(engine.backend, "copy", lapsed)
    with pytest.raises(OperationFailed, match=r"longer than the 30 s .*setting freeze_limit.*xfs"):
        await _snapshot(engine, "db", "a")
    assert engine.left() == []


# While it is being taken


@pytest.mark.parametrize("options", [Options(), IMAGE])
async def test_containers_come_and_go_meanwhile(engine: Engine, options: Options) -> None:
    """Mount and Unmount are answered at once; the volume itself is unmounted afterwards."""
    await engine.volumes.create("db", options)
    await engine.volumes.mount("db", "first", DOCKER)
    task = await _taking(engine, "db", "a")
    async with asyncio.timeout(5):
        await engine.volumes.mount("db", "second", DOCKER)
        await engine.volumes.unmount("db", "first")
        await engine.volumes.unmount("db", "second")
    assert engine.volumes.get("db").doing == "the snapshot a, which is being taken"
    assert engine.is_mounted("db")
    assert engine.volumes.get("db").references == 0
    engine.kernel.gate("copy", "db").open()
    await task
    await engine.operations.drain(5)
    assert not engine.is_mounted("db")
    assert engine.volumes.get("db").doing == ""


async def test_an_image_at_rest_is_not_mounted_meanwhile(engine: Engine) -> None:
    """A mount would change what is copied: it waits, and Unmounts of snapshots do not."""
    await engine.volumes.create("db", IMAGE)
    await _snapshot(engine, "db", "old")
    await engine.volumes.mount("db@old", "reader", DOCKER)
    task = await _taking(engine, "db", "new")
    mounting = asyncio.create_task(engine.volumes.mount("db", "container", DOCKER))
    async with asyncio.timeout(5):
        await engine.volumes.unmount("db@old", "reader")
    assert not engine.is_mounted("db@old")
    assert not mounting.done()
    engine.kernel.gate("copy", "db").open()
    await task
    assert await mounting
    assert engine.is_mounted("db")


async def test_what_would_take_the_volume_away_is_refused(engine: Engine) -> None:
    """Each says what goes on; nothing of it was begun."""
    await engine.volumes.create("db", Options())
    await _snapshot(engine, "db", "old")
    task = await _taking(engine, "db", "new")
    for change in (
        engine.volumes.remove("db"),
        engine.volumes.remove("db", keep_data=True),
        engine.volumes.rename("db", "other"),
        engine.snapshots.rollback("db", "old", Progress()),
        engine.snapshots.delete("db@old"),
    ):
        with pytest.raises(VolumeInUse, match="db is in use by the snapshot new, which is being"):
            await change
    engine.kernel.gate("copy", "db").open()
    await task
    assert [view.name for view in engine.snapshots.views("db")] == ["new", "old"]
    await engine.volumes.remove("db")


async def test_other_long_work_waits_for_it(engine: Engine) -> None:
    """A second snapshot, a resize and a trim find the volume as the first one left it."""
    await engine.volumes.create("db", Options(size=4096))
    task = await _taking(engine, "db", "a")
    second = asyncio.create_task(_snapshot(engine, "db", "b"))
    resize = asyncio.create_task(engine.sizes.resize("db", 8192))
    trim = asyncio.create_task(engine.sizes.trim("db"))
    await engine.volumes.create("other", Options())  # others go on
    assert not {second, resize, trim} & (await asyncio.wait({second, resize, trim}, timeout=0))[0]
    engine.kernel.gate("copy", "db").open()
    assert (await task).size == 4096
    await asyncio.gather(second, resize, trim)
    assert engine.volumes.get("db").doing == ""


async def test_an_existing_volume_is_created_again_meanwhile(engine: Engine) -> None:
    """A repeated `docker volume create` has no reason to wait."""
    await engine.volumes.create("db", Options())
    task = await _taking(engine, "db", "a")
    async with asyncio.timeout(5):
        await engine.volumes.create("db", Options())
    engine.kernel.gate("copy", "db").open()
    await task


# Groups


async def test_a_group_is_taken_at_one_moment(engine: Engine) -> None:
    """All are frozen before the first is copied; each volume has its own, under one name."""
    for name in ("b", "a"):
        await engine.volumes.create(name, IMAGE)
        await engine.volumes.mount(name, "container", DOCKER)
    gate = engine.kernel.gate("copy", "b")
    task = asyncio.create_task(engine.snapshots.create(["b", "a", "b"], "r7", Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    assert engine.kernel.frozen == {engine.mountpoint("a"), engine.mountpoint("b")}
    gate.open()
    views = await task
    assert [(view.volume, view.name) for view in views] == [("b", "r7"), ("a", "r7")]
    assert views[0].group == views[1].group != ""


@pytest.mark.parametrize("method", ["copy", "finish", "commit"])
async def test_a_group_is_all_or_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """What fails at the second takes back the first, also when that was complete already."""
    for name in ("a", "b"):
        await engine.volumes.create(name, Options())
    failure = Corrupt("volume b: its image was cut")
    store = engine.steps.snapshot_store
    commit = store.commit

    def failing(staging: Path, volume: str, record: SnapshotRecord) -> None:
        if volume == "b":
            raise failure
        commit(staging, volume, record)

    if method == "commit":
        monkeypatch.setattr(store, "commit", failing)
    else:
        engine.kernel.failures[method, "b"] = failure
    with pytest.raises(Corrupt, match="its image was cut"):
        await engine.snapshots.create(["a", "b"], "r7", Progress())
    assert engine.snapshots.views() == []
    assert engine.left() == []
    assert engine.restarted().snapshots.views() == []


async def test_a_taken_name_stops_the_whole_group(engine: Engine) -> None:
    """Before anything is copied."""
    for name in ("a", "b"):
        await engine.volumes.create(name, Options())
    await _snapshot(engine, "b", "r7")
    with pytest.raises(AlreadyExists, match="b@r7"):
        await engine.snapshots.create(["a", "b"], "r7", Progress())
    assert engine.kernel.count("copy", "a") == 0


async def test_a_slow_member_holds_up_no_unmount_of_the_others(engine: Engine) -> None:
    """However long the group takes."""
    for name in ("a", "b"):
        await engine.volumes.create(name, Options())
        await engine.volumes.mount(name, "container", DOCKER)
    gate = engine.kernel.gate("copy", "b")
    task = asyncio.create_task(engine.snapshots.create(["a", "b"], "r7", Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(5):
        await engine.volumes.unmount("a", "container")
        await engine.volumes.unmount("b", "container")
    gate.open()
    await task
    await engine.operations.drain(5)
    assert engine.kernel.mounted == {}


async def test_a_group_that_waits_for_one_is_in_nobodys_way(engine: Engine) -> None:
    """Until all of its volumes can be had, it has none of them."""
    for name in ("a", "b", "c"):
        await engine.volumes.create(name, Options())
    gate = engine.kernel.gate("mount", "b")
    mounting = asyncio.create_task(engine.volumes.mount("b", "container", DOCKER))
    await asyncio.to_thread(gate.wait_for_call)
    task = asyncio.create_task(engine.snapshots.create(["a", "b", "c"], "r", Progress()))
    async with asyncio.timeout(5):
        for name in ("a", "c"):
            await engine.volumes.mount(name, "container", DOCKER)
            await engine.volumes.unmount(name, "container")
    assert not task.done()
    gate.open()
    await mounting
    assert len(await task) == 3


async def test_groups_in_any_order_do_not_wait_in_a_circle(engine: Engine) -> None:
    """Nor do the renames and clones that come between them."""
    for name in ("a", "b", "c", "d"):
        await engine.volumes.create(name, Options())
    async with asyncio.timeout(10):
        results = await asyncio.gather(
            engine.snapshots.create(["a", "b"], "one", Progress()),
            engine.snapshots.create(["c", "b", "a"], "two", Progress()),
            engine.snapshots.create(["b", "a"], "three", Progress()),
            engine.copies.clone("a", "b2", Options(), Progress()),
            engine.volumes.create("b3", Options(source="b")),
            engine.volumes.rename("d", "a"),
            engine.volumes.rename("d", "aa"),
            return_exceptions=True,
        )
        await engine.operations.drain(5)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert [type(error) for error in refused] == [AlreadyExists]
    assert {view.name for view in engine.volumes.views()} == {"a", "aa", "b", "b2", "b3", "c"}
    assert {view.doing for view in engine.volumes.views()} == {""}
    assert len(engine.snapshots.views("a")) == 3


async def test_a_project_and_a_container_name_volumes(engine: Engine) -> None:
    """Those that are ours, beside those that are named."""
    for name in ("a", "b", "c"):
        await engine.volumes.create(name, Options())
    engine.containers.projects = {"shop": ["b", "of-another-driver"], "web-1": ["c"]}
    create = engine.snapshots.create
    views = await create(["a"], "r", Progress(), compose_project="shop", container="web-1")
    assert [view.volume for view in views] == ["a", "b", "c"]
    with pytest.raises(Invalid, match="none of the volumes of blog is one of ours"):
        await create([], "r2", Progress(), compose_project="blog")
    with pytest.raises(Invalid, match="no volume is named"):
        await create([], "r2", Progress())
    with pytest.raises(Invalid, match="a@r is a snapshot; name a volume"):
        await create(["a@r"], "r2", Progress())
    with pytest.raises(VolumeNotFound):
        await create(["a", "missing"], "r2", Progress())


# Used like a volume


async def test_a_snapshot_is_mounted_and_unmounted_by_its_full_name(engine: Engine) -> None:
    """Read-only, counted, over a restart of the daemon; and it is not listed."""
    await engine.volumes.create("db", Options(mount_options=("noatime",)))
    await _snapshot(engine, "db", "a")
    await engine.volumes.create("db@a", Options())  # as an engine may do before it mounts
    path = await engine.volumes.mount("db@a", "container", DOCKER)
    assert path == str(engine.mountpoint("db@a") / "exposed")
    view = engine.restarted().volumes.get("db@a")
    assert (view.state, view.references, view.mountpoint) == (State.MOUNTED, 1, path)
    assert view.spec is not None
    assert view.spec.mount_options == ("noatime", "ro")
    after = engine.kernel.daemons[-1]
    assert isinstance(after, Engine)
    assert [name for name, _ in after.volumes.listing()] == ["db"]
    await after.volumes.unmount("db@a", "container")
    assert not after.is_mounted("db@a")


async def test_a_snapshot_is_not_made_or_removed_as_a_volume(engine: Engine) -> None:
    """Each refusal says what to do instead."""
    await engine.volumes.create("db", Options())
    await _snapshot(engine, "db", "a")
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
    await _snapshot(engine, "db", "a")
    await engine.volumes.mount("db@a", "container", DOCKER)
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


async def test_a_deleted_snapshot_is_gone(engine: Engine) -> None:
    """From memory and disk; its volume and the others stay."""
    await engine.volumes.create("db", Options())
    for name in ("a", "b"):
        await _snapshot(engine, "db", name)
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
    await _snapshot(engine, "db", "a")
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
