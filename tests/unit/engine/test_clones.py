"""Clones: volumes of their own that begin as copies, of volumes in use and of snapshots."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    AlreadyExists,
    Conflict,
    ConvoyError,
    Invalid,
    InvalidOption,
    NoSpace,
    OperationFailed,
    OptionsDiffer,
    SnapshotNotFound,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.linux import files, trees
from convoy_py.linux.reflink import Step
from convoy_py.linux.trees import Tree
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.snapshot import Way
from convoy_py.models.volume import Options, Spec
from tests.fakes_engine import Engine
from tests.fakes_kernel import OtherBackend

DOCKER = "100:1"
MIB = 2**20


@pytest.fixture
async def db(engine: Engine) -> Engine:
    """With a volume `db` that was `old` at its snapshot `a`, and is `new` now."""
    engine.host.backends = {"fake": engine.backend, "other": OtherBackend(engine.kernel)}
    await engine.volumes.create("db", Options(size=4096, uid=7, mount_options=("noatime",)))
    engine.write("db", "old")
    await engine.snapshots.create(["db"], "a", Progress())
    engine.write("db", "new")
    return engine


def _spec(engine: Engine, name: str) -> Spec:
    spec = engine.volumes.get(name).spec
    assert spec is not None
    return spec


async def test_a_clone_begins_as_its_source_is(db: Engine) -> None:
    """The volume as it is now, or as it was; then they go their own ways."""
    await db.volumes.create("now", Options(source="db"))
    view = await db.copies.clone("db@a", "then", Options(), Progress())
    db.write("now", "mine")
    assert (db.read("now"), db.read("then"), db.read("db")) == ("mine", "old", "new")
    assert view.spec is not None
    assert view.spec.source == "db@a"
    assert view.snapshots == ()
    uuids = {entry.volume_record().uuid for entry in db.entries.volumes.values()}
    assert len(uuids) == 3
    await db.volumes.remove("db")
    assert db.restarted().read("then") == "old"


async def test_a_clone_has_what_its_source_has(db: Engine) -> None:
    """Unless it is told otherwise; that of a snapshot can be written."""
    await db.volumes.create("same", Options(source="db@a"))
    await db.volumes.create("larger", Options(source="db", size=8192, mount_options=("noexec",)))
    same, larger = _spec(db, "same"), _spec(db, "larger")
    assert (same.size, same.uid, same.mount_options) == (4096, 7, ("noatime",))
    assert (larger.size, larger.uid, larger.mount_options) == (8192, 7, ("noexec",))
    await db.volumes.create("plain", Options())
    await db.snapshot("plain", "a")
    for source in ("plain", "plain@a"):
        await db.copies.clone(source, f"of-{source[-1]}", Options(), Progress())
        assert _spec(db, f"of-{source[-1]}").mount_options is None


async def test_a_clone_of_another_kind_is_copied_file_by_file(db: Engine) -> None:
    """What means something to the one backend only is not taken along."""
    await db.copies.clone("db", "copy", Options(backend="other"), Progress())
    spec = _spec(db, "copy")
    assert (db.read("copy"), spec.backend, spec.size) == ("new", "other", None)
    assert db.kernel.count("create", "copy") == 1
    assert db.kernel.count("copy", "db") == 1  # the snapshot's


async def test_a_clone_has_what_its_sources_backend_has_it_inherit(engine: Engine) -> None:
    """If it is of the same; of another kind it has no limit of files but one that is asked for."""
    engine.host.backends = {"fake": engine.backend, "other": OtherBackend(engine.kernel)}
    made = Options(size=64 * MIB, fs=Filesystem.EXT4, inodes=1000)
    await engine.volumes.create("db", made)
    engine.backend.limits = {256 * MIB: 4000}
    for name, asked, expected in (
        ("same", Options(), 1000),
        ("larger", Options(size=256 * MIB), 4000),
        ("other-backend", Options(backend="other"), None),
        ("asked", Options(size=256 * MIB, inodes=7), 7),
        ("asked-fs", Options(fs=Filesystem.XFS, inodes=8), 8),
    ):
        await engine.copies.clone("db", name, asked, Progress())
        assert _spec(engine, name).inodes == expected, name


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Options(), 256 * MIB),
        (Options(autogrow=128 * MIB), 128 * MIB),
        (Options(backend="other"), None),
        (Options(backend="other", autogrow=128 * MIB), 128 * MIB),
        (Options(backend="other", fs=Filesystem.XFS, autogrow=128 * MIB), 128 * MIB),
    ],
)
async def test_a_clone_grows_by_itself_as_its_source(
    engine: Engine, asked: Options, expected: int | None
) -> None:
    """If it is of the same kind, and as is asked."""
    engine.host.backends = {"fake": engine.backend, "other": OtherBackend(engine.kernel)}
    made = Options(size=64 * MIB, fs=Filesystem.EXT4, autogrow=256 * MIB)
    await engine.volumes.create("db", made)
    await engine.copies.clone("db", "copy", asked, Progress())
    assert _spec(engine, "copy").autogrow == expected


@pytest.mark.parametrize(
    ("asked", "changes"),
    [
        (Options(), []),
        (Options(uid=7), [(7, -1)]),
        (Options(gid=8), [(-1, 8)]),
        (Options(uid=0, gid=8, mode=0o700), [(0, 8), 0o700]),
    ],
)
async def test_a_copy_has_the_owner_that_is_asked_for_and_is_on_the_disk(
    db: Engine, monkeypatch: pytest.MonkeyPatch, asked: Options, changes: list[object]
) -> None:
    """Else that of the folder that was copied; nothing is changed after the last sync."""
    done, copy = list[object](), trees.copy

    def copied(source: Path, target: Path, step: Step) -> Tree:
        tree = copy(source, target, step)
        done.clear()
        return tree

    monkeypatch.setattr(trees, "copy", copied)
    monkeypatch.setattr(os, "chown", lambda _, uid, gid: done.append((uid, gid)))
    monkeypatch.setattr(Path, "chmod", lambda _, mode: done.append(mode))
    monkeypatch.setattr(files, "sync_filesystem", lambda _: done.append("sync"))
    options = asked.model_copy(update={"backend": "other"})
    await db.copies.clone("db", "copy", options, Progress())
    assert done == [*changes, "sync"]


async def test_the_same_again_is_done_already(db: Engine) -> None:
    """For Docker's Create; with other options, or by `convoy clone`, it is refused."""
    await db.volumes.create("copy", Options(source="db"))
    db.write("copy", "mine")
    await db.volumes.create("copy", Options(source="db"))
    await db.volumes.create("copy", Options())
    assert db.read("copy") == "mine"
    with pytest.raises(OptionsDiffer, match="from is db, asked db@a"):
        await db.volumes.create("copy", Options(source="db@a"))
    with pytest.raises(AlreadyExists, match="volume copy exists already"):
        await db.copies.clone("db", "copy", Options(), Progress())


async def test_the_source_must_be_there(db: Engine) -> None:
    """And be the one that is named."""
    with pytest.raises(VolumeNotFound, match="no such volume: web"):
        await db.volumes.create("copy", Options(source="web"))
    with pytest.raises(SnapshotNotFound, match="no such snapshot: db@b; there are a"):
        await db.copies.clone("db@b", "copy", Options(), Progress())
    with pytest.raises(Invalid, match="the clone is made of db"):
        await db.copies.clone("db", "copy", Options(source="web"), Progress())
    with pytest.raises(VolumeNotFound):
        await db.volumes.create("copy", Options(source="copy"))


@pytest.mark.parametrize("source", ["db", "db@a"])
async def test_clones_of_one_source_at_once_are_all_made(engine: Engine, source: str) -> None:
    """One after the other: a filesystem cannot be frozen twice."""
    await engine.volumes.create("db", Options(fs=Filesystem.XFS, size=4096))
    engine.write("db", "data")
    await engine.snapshots.create(["db"], "a", Progress())
    await engine.uses.mount("db", "container", DOCKER)
    before, gate = engine.kernel.count("copy", source), engine.kernel.gate("copy", source)
    clones = [
        asyncio.create_task(engine.volumes.create(f"c{number}", Options(source=source)))
        for number in range(4)
    ]
    await asyncio.to_thread(gate.wait_for_call)
    await engine.volumes.create("other", Options())
    assert engine.kernel.count("copy", source) == before + 1
    gate.open()
    await asyncio.gather(*clones)
    assert {engine.read(f"c{number}") for number in range(4)} == {"data"}
    assert engine.is_mounted("db")


async def test_a_clone_is_of_the_source_that_was_named_or_of_none(engine: Engine) -> None:
    """A volume that got its name while the clone had to wait is another: nothing protects it."""

    async def queued(count: int) -> None:
        while engine.operations.locks._locks["db"][1] < count:
            await asyncio.sleep(0)

    await engine.volumes.create("db", Options(size=4096))
    gate = engine.kernel.gate("unmount", "db")
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(engine.volumes.remove("db"))
        await asyncio.to_thread(gate.wait_for_call)
        tasks.create_task(engine.volumes.create("db", Options(size=8192)))
        await queued(2)
        clone = asyncio.create_task(engine.volumes.create("copy", Options(source="db")))
        await queued(3)
        gate.open()
        with pytest.raises(Conflict, match="db was replaced meanwhile; repeat the command"):
            await clone
    assert "copy" not in engine.entries.volumes
    await engine.volumes.create("copy", Options(source="db"))
    assert _spec(engine, "copy").size == 8192


async def test_a_source_in_use_is_frozen_and_stays_mounted(engine: Engine) -> None:
    """Its containers may go meanwhile; it is unmounted afterwards, and nothing removes it."""
    await engine.volumes.create("db", Options(fs=Filesystem.XFS, size=4096))
    await engine.uses.mount("db", "container", DOCKER)
    gate = engine.kernel.gate("copy", "db")
    cloning = asyncio.create_task(engine.volumes.create("copy", Options(source="db")))
    await asyncio.to_thread(gate.wait_for_call)
    assert engine.kernel.frozen == {engine.mountpoint("db")}
    async with asyncio.timeout(60):
        await engine.uses.unmount("db", "container")
    with pytest.raises(VolumeInUse, match="db is in use by the clone copy, which is being made"):
        await engine.volumes.remove("db")
    assert engine.is_mounted("db")
    gate.open()
    await cloning
    await engine.operations.drain(5)
    assert not engine.is_mounted("db")
    assert engine.kernel.frozen == set()


async def test_files_are_not_copied_one_by_one_while_an_image_is_written(db: Engine) -> None:
    """For nothing makes it stand still; its snapshot does, and a folder is always copied so."""
    await db.volumes.create("image", Options(size=4096, fs=Filesystem.XFS))
    await db.snapshot("image", "a")
    for name in ("image", "image@a", "db"):
        await db.uses.mount(name, "container", DOCKER)
    with pytest.raises(Unsupported, match=r"a snapshot of it \(`convoy snapshot create image`"):
        await db.copies.clone("image", "copy", Options(fs=Filesystem.EXT4), Progress())
    assert db.left() == []
    for number, source in enumerate(("image@a", "db")):
        await db.copies.clone(source, f"c{number}", Options(backend="other"), Progress())
    await db.uses.unmount("image", "container")
    await db.copies.clone("image", "copy", Options(fs=Filesystem.EXT4), Progress())


async def test_a_snapshot_that_is_read_is_not_deleted(db: Engine) -> None:
    """Nor is its volume; the volume itself can be mounted and unmounted."""
    gate = db.kernel.gate("copy", "db@a")
    cloning = asyncio.create_task(db.volumes.create("copy", Options(source="db@a")))
    await asyncio.to_thread(gate.wait_for_call)
    for change in (db.snapshots.delete("db@a"), db.volumes.remove("db")):
        with pytest.raises(VolumeInUse, match="db@a is in use by the clone copy"):
            await change
    async with asyncio.timeout(60):
        await db.uses.mount("db", "container", DOCKER)
        await db.uses.unmount("db", "container")
    assert not db.is_mounted("db")
    gate.open()
    await cloning
    await db.snapshots.delete("db@a")


async def test_what_lies_inside_a_volume_holds_the_volume_still(engine: Engine) -> None:
    """A clone of such a snapshot copies the volume's image: nobody may mount it meanwhile."""
    await engine.volumes.create("db", Options(fs=Filesystem.BTRFS, size=4096))
    engine.backend.way = Way.INSIDE
    await engine.snapshots.create(["db"], "a", Progress())
    gate = engine.kernel.gate("copy", "db@a")
    clone = asyncio.create_task(engine.copies.clone("db@a", "copy", Options(), Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    mounting = asyncio.create_task(engine.uses.mount("db", "container", DOCKER))
    with pytest.raises(VolumeInUse, match="the clone copy, which is being made"):
        await engine.volumes.remove("db")
    assert not mounting.done()
    gate.open()
    await clone
    await mounting
    assert engine.is_mounted("db")


@pytest.mark.parametrize(
    ("number", "size", "kind", "told"),
    [
        (errno.ENOSPC, 4096, OperationFailed, "the files do not fit into 4KiB: give it a larger"),
        (errno.EDQUOT, 4096, OperationFailed, "the files do not fit into 4KiB: give it a larger"),
        (errno.EIO, 4096, OperationFailed, "volume c: clone failed: it failed"),
        (errno.ENOSPC, None, NoSpace, "volume c: clone failed: it failed"),
    ],
)
async def test_a_volume_that_is_too_small_costs_the_trash_nothing(
    keeping: Engine,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    size: int | None,
    kind: type[ConvoyError],
    told: str,
) -> None:
    """It is full inside; to make room on the host would not help it."""
    keeping.host.backends = {"fake": keeping.backend, "other": OtherBackend(keeping.kernel)}
    for name in ("db", "old"):
        await keeping.volumes.create(name, Options())
    await keeping.volumes.remove("old")

    def full(*_: object) -> None:
        raise OSError(number, "it failed")

    monkeypatch.setattr("convoy_py.engine.steps.cloning.trees.copy", full)
    with pytest.raises(kind, match=told):
        await keeping.copies.clone("db", "c", Options(backend="other", size=size), Progress())
    assert [view.name for view in keeping.trash.views()] == ["old"]


async def test_a_copy_goes_into_no_folder_of_the_host(db: Engine) -> None:
    """What lies there already would be mixed with it."""
    for change in (
        db.copies.clone("db", "c", Options(path="/srv/data"), Progress()),
        db.copies.convert("db", Options(path="/srv/data"), Progress()),
    ):
        with pytest.raises((Invalid, Conflict)):
            await change
    with pytest.raises(InvalidOption, match="not into a folder of the host"):
        await db.copies.clone("db", "c", Options(path="/srv/data"), Progress())


async def test_a_failed_clone_leaves_nothing(db: Engine) -> None:
    """No folder, no promise; the name is free and the source too."""
    db.kernel.failures["finish", "db"] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(NoSpace):
        await db.volumes.create("copy", Options(source="db"))
    assert db.left() == []
    assert (await db.daemon.space()).promised == 4096
    assert db.volumes.get("db").doing == ""
    await db.volumes.create("copy", Options())


async def test_a_clone_job_tells_how_far_it_is(db: Engine) -> None:
    """Of how many bytes."""
    progress = Progress()
    await db.copies.clone("db", "copy", Options(), progress)
    assert (progress.done, progress.total) == (2, 100)


async def test_the_plan_of_a_clone_is_asked_for_as_one(db: Engine) -> None:
    """It may differ from a snapshot's, as with one that lies inside."""
    db.backend.way = Way.INSIDE
    progress = Progress()
    await db.copies.clone("db", "copy", Options(), progress)
    assert progress.total == 100
