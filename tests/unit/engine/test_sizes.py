"""Sizes: told before they are there, promised before they are taken, and never beyond a bound."""

import asyncio
import errno

import pytest
from prometheus_client.parser import text_string_to_metric_families

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps import loading
from convoy_py.engine.upkeep.autogrow import AHEAD_SECONDS, RETRY_SECONDS
from convoy_py.errors import (
    Cancelled,
    NoSpace,
    OperationFailed,
    Unsupported,
    VolumeNotFound,
)
from convoy_py.linux import filesystems
from convoy_py.linux.filesystems import Space
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options, Spec
from tests.fakes_engine import Engine

DOCKER = "100:1"
MIB = 2**20


@pytest.fixture
async def db(engine: Engine) -> Engine:
    """With a volume `db` of 4 MiB."""
    await engine.volumes.create("db", Options(size=4 * MIB))
    return engine


def _spec(engine: Engine, name: str = "db") -> Spec:
    spec = engine.volumes.get(name).spec
    assert spec is not None
    return spec


async def _outstanding(engine: Engine) -> int:
    return (await engine.daemon.space()).promised


# By hand


async def test_a_volume_is_made_larger(db: Engine) -> None:
    """At once, also on disk and in what the host promised; its snapshots keep their size."""
    await db.snapshots.create(["db"], "a", Progress())
    assert await db.space.resize("db", 8 * MIB) == (8 * MIB, "")
    assert (_spec(db).size, _spec(db).grows_from) == (8 * MIB, None)
    assert await _outstanding(db) == 8 * MIB
    assert _spec(db, "db@a").size == 4 * MIB
    within = db.entries.get("db@a").usable()[1].within
    assert within is not None
    assert within.spec.size == 8 * MIB
    after = db.restarted()
    assert _spec(after).size == 8 * MIB
    assert await _outstanding(after) == 8 * MIB


async def test_a_volume_is_made_larger_by_a_size(db: Engine) -> None:
    """Each time by so much more than it has by then."""
    assert await db.space.resize("db", 2 * MIB, by=True) == (6 * MIB, "")
    assert await db.space.resize("db", 2 * MIB, by=True) == (8 * MIB, "")
    assert await db.space.resize("db", 0, by=True) == (8 * MIB, "")
    assert _spec(db.restarted()).size == 8 * MIB


async def test_what_has_no_size_is_not_made_larger(engine: Engine) -> None:
    """By none either."""
    await engine.volumes.create("web", Options())
    for by in (False, True):
        with pytest.raises(Unsupported):
            await engine.space.resize("web", MIB, by=by)


async def test_the_same_size_is_nothing_to_do(db: Engine) -> None:
    """And a smaller one is refused, as is a volume that is not there."""
    assert await db.space.resize("db", 4 * MIB) == (4 * MIB, "")
    assert db.kernel.count("grow", "db") == 0
    with pytest.raises(Unsupported, match="cannot shrink"):
        await db.space.resize("db", 2 * MIB)
    with pytest.raises(VolumeNotFound):
        await db.space.resize("web", 8 * MIB)


async def test_what_cannot_grow_in_use_grows_at_its_next_mount(db: Engine) -> None:
    """Why is told; a second container that mounts it meanwhile changes nothing about that."""
    await db.uses.mount("db", "first", DOCKER)
    db.backend.delays = "ext4 grows online only with CAP_SYS_RESOURCE"
    assert await db.space.resize("db", 8 * MIB) == (8 * MIB, db.backend.delays)
    assert _spec(db).grows_from == 4 * MIB
    await db.uses.mount("db", "second", DOCKER)
    assert _spec(db).grows_from == 4 * MIB
    after = db.restarted()
    assert _spec(after).grows_from == 4 * MIB
    for container in ("first", "second"):
        await after.uses.unmount("db", container)
    await after.uses.mount("db", "third", DOCKER)
    assert _spec(after).grows_from is None
    assert _spec(after.restarted()).grows_from is None


async def test_a_mount_of_a_snapshot_completes_no_growth(db: Engine) -> None:
    """Only one of the volume itself does."""
    await db.snapshots.create(["db"], "a", Progress())
    db.backend.delays = "it is mounted read-only"
    await db.space.resize("db", 8 * MIB)
    await db.snapshots.create(["db"], "b", Progress())
    for name in ("db@a", "db@b"):
        await db.uses.mount(name, "container", DOCKER)
    assert _spec(db).grows_from == 4 * MIB


async def test_the_record_tells_what_is_wanted_before_it_begins(db: Engine) -> None:
    """A daemon that is killed meanwhile leaves a growth that is known to be unfinished."""
    gate = db.kernel.gate("grow", "db")
    task = asyncio.create_task(db.space.resize("db", 8 * MIB))
    await asyncio.to_thread(gate.wait_for_call)
    record = db.store.read("db")
    assert (record.spec.size, record.spec.grows_from) == (8 * MIB, 4 * MIB)
    gate.open()
    await task
    assert db.store.read("db").spec.grows_from is None


@pytest.mark.parametrize(
    "refusal", [NoSpace("volume db: the host is full"), Unsupported("xfs cannot grow to that")]
)
async def test_a_refused_growth_changes_nothing(db: Engine, refusal: Exception) -> None:
    """Neither the record, which the next mount would have to complete, nor what is promised."""
    db.kernel.failures["grow", "db"] = refusal
    with pytest.raises(type(refusal)):
        await db.space.resize("db", 8 * MIB)
    assert (_spec(db).size, _spec(db).grows_from) == (4 * MIB, None)
    assert db.store.read("db").spec == _spec(db)
    assert await _outstanding(db) == 4 * MIB


async def test_a_growth_that_failed_half_way_stays_to_be_completed(db: Engine) -> None:
    """Its promise stays, too; the same resize again completes it."""
    db.kernel.failures["grow", "db"] = OperationFailed("resize2fs failed")
    with pytest.raises(OperationFailed):
        await db.space.resize("db", 8 * MIB)
    assert (_spec(db).size, _spec(db).grows_from) == (8 * MIB, 4 * MIB)
    assert await _outstanding(db) == 8 * MIB
    del db.kernel.failures["grow", "db"]
    assert await db.space.resize("db", 8 * MIB) == (8 * MIB, "")
    assert _spec(db).grows_from is None
    assert await _outstanding(db) == 8 * MIB


async def test_more_than_the_host_may_promise_is_refused(db: Engine) -> None:
    """Before anything is recorded; with the settings."""
    with pytest.raises(NoSpace, match="settings overcommit, reserve"):
        await db.space.resize("db", 2**62)
    assert (_spec(db).size, db.kernel.count("grow", "db")) == (4 * MIB, 0)


async def test_a_growth_of_a_full_host_is_completed_all_the_same(
    db: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was promised before needs no new promise."""
    db.backend.delays = "later"
    await db.uses.mount("db", "container", DOCKER)
    await db.space.resize("db", 8 * MIB)
    monkeypatch.setattr(db.host.ledger, "free", lambda: 0)
    db.backend.delays = ""
    assert await db.space.resize("db", 8 * MIB) == (8 * MIB, "")


# By itself


@pytest.fixture
async def growing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """With a mounted volume `db` of 4 MiB that grows up to 6 MiB, and is nearly full."""
    await engine.volumes.create("db", Options(size=4 * MIB, autogrow=6 * MIB))
    await engine.uses.mount("db", "container", DOCKER)

    def nearly_full(path: object) -> Space:
        assert path == engine.mountpoint("db") / "exposed"
        size = _spec(engine).size or 0
        return Space(size=size, used=size, available=size // 20)

    monkeypatch.setattr(filesystems, "space", nearly_full)
    return engine


def _grown(engine: Engine) -> dict[str, float]:
    """What the metric says, by how it ended."""
    families = text_string_to_metric_families(engine.metrics.render().decode())
    return {
        sample.labels["result"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "convoy_grown_total"
    }


async def test_a_nearly_full_volume_grows_up_to_its_bound(
    growing: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """By a quarter, and not past it; counted and logged."""
    caplog.set_level("INFO", "convoy.space")
    await growing.volumes.create("other", Options())  # which may not
    await growing.uses.mount("other", "container", DOCKER)
    for expected in (5 * MIB, 6 * MIB, 6 * MIB):
        await growing.autogrow.grow_the_full()
        assert _spec(growing).size == expected
    assert _grown(growing) == {"ok": 2}
    assert [record.message for record in caplog.records] == ["grew by itself"] * 2


async def test_one_that_has_room_does_not_grow(
    growing: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth is enough; nor does one that is not mounted, or that may not."""
    roomy = Space(size=100, used=0, available=10)
    monkeypatch.setattr(filesystems, "space", lambda _: roomy)
    await growing.autogrow.grow_the_full()
    assert growing.kernel.count("grow", "db") == 0


async def test_one_that_is_filled_fast_grows_ahead_of_its_writer(
    growing: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is written in the next seconds; a pause, or what is deleted, makes nothing grow."""
    for free, expected in ((2.0, 4), (3.5, 4), (3.5, 4), (1.5, 6)):
        space = Space(size=4 * MIB, used=0, available=int(free * MIB))
        monkeypatch.setattr(filesystems, "space", lambda _, space=space: space)
        await growing.autogrow.grow_the_full()
        growing.clock.now += AHEAD_SECONDS
        assert _spec(growing).size == expected * MIB


@pytest.mark.parametrize(
    ("fs", "free", "expected"),
    [
        (Filesystem.XFS, 999, 80),
        (Filesystem.XFS, 1000, 64),
        # Another group of blocks is the least that gives ext4 more.
        (Filesystem.EXT4, 999, 256),
        (Filesystem.BTRFS, 0, 64),
    ],
)
async def test_one_that_has_few_inodes_grows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, fs: Filesystem, free: int, expected: int
) -> None:
    """Though there are bytes left; by as much as gives it some."""
    count = 0 if fs is Filesystem.BTRFS else 10_000
    space = Space(64 * MIB, used=0, available=64 * MIB, inodes=count, inodes_free=free)
    monkeypatch.setattr(filesystems, "space", lambda _: space)
    await engine.volumes.create("db", Options(size=64 * MIB, autogrow=512 * MIB, fs=fs))
    await engine.uses.mount("db", "container", DOCKER)
    await engine.autogrow.grow_the_full()
    assert _spec(engine).size == expected * MIB


async def test_one_that_growing_gives_no_inodes_does_not_grow(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit is too near for another group of blocks; for want of bytes it grows."""
    spaces = [64 * MIB, 0]
    monkeypatch.setattr(
        filesystems,
        "space",
        lambda _: Space(64 * MIB, used=0, available=spaces[0], inodes=10_000, inodes_free=0),
    )
    options = Options(size=64 * MIB, autogrow=255 * MIB, fs=Filesystem.EXT4)
    await engine.volumes.create("db", options)
    await engine.uses.mount("db", "container", DOCKER)
    await engine.autogrow.grow_the_full()
    assert _spec(engine).size == 64 * MIB
    del spaces[0]
    await engine.autogrow.grow_the_full()
    assert _spec(engine).size == 80 * MIB


async def test_one_whose_inodes_go_fast_grows_ahead_of_its_writer(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with bytes."""
    await engine.volumes.create("db", Options(size=64 * MIB, autogrow=512 * MIB, fs=Filesystem.XFS))
    await engine.uses.mount("db", "container", DOCKER)
    for free, expected in ((9000, 64), (6000, 64), (2000, 80)):
        space = Space(64 * MIB, used=0, available=64 * MIB, inodes=10_000, inodes_free=free)
        monkeypatch.setattr(filesystems, "space", lambda _, space=space: space)
        await engine.autogrow.grow_the_full()
        engine.clock.now += AHEAD_SECONDS
        assert _spec(engine).size == expected * MIB


async def test_one_that_nobody_has_mounted_does_not_grow(growing: Engine) -> None:
    """It cannot become full."""
    await growing.uses.unmount("db", "container")
    await growing.autogrow.grow_the_full()
    assert _spec(growing).size == 4 * MIB


async def test_a_mount_is_followed_by_a_look_at_once(growing: Engine) -> None:
    """While there is nothing to look at nobody looks."""
    await growing.uses.unmount("db", "container")
    watch = asyncio.create_task(growing.autogrow.watch())
    await asyncio.sleep(0)
    assert not growing.uses.mounted.is_set()
    await growing.uses.mount("db", "container", DOCKER)
    async with asyncio.timeout(60):
        while _spec(growing).size == 4 * MIB:
            await asyncio.sleep(0)
    watch.cancel()


async def test_a_host_without_room_is_told_once_in_a_while(growing: Engine) -> None:
    """Counted as failed; tried again half a minute later, when it may succeed."""
    growing.kernel.failures["grow", "db"] = NoSpace("volume db: the host is full")
    for _ in range(3):
        await growing.autogrow.grow_the_full()
    assert (growing.kernel.count("grow", "db"), _grown(growing)) == (1, {"failed": 1})
    del growing.kernel.failures["grow", "db"]
    growing.clock.now += RETRY_SECONDS
    await growing.autogrow.grow_the_full()
    assert _spec(growing).size == 5 * MIB


@pytest.mark.parametrize("bound", [5 * MIB, 6 * MIB])
async def test_a_growth_that_has_to_wait_is_not_made_larger(growing: Engine, bound: int) -> None:
    """However often it is looked at: it is still the same that waits for the next mount."""
    record = growing.entries.get("db").volume_record()
    spec = record.spec.model_copy(update={"autogrow": bound})
    loading.rerecord(
        growing.host, growing.entries.get("db"), record.model_copy(update={"spec": spec})
    )
    growing.backend.delays = "later"
    for _ in range(4):
        await growing.autogrow.grow_the_full()
        growing.clock.now += RETRY_SECONDS
    assert (_spec(growing).size, _spec(growing).grows_from) == (5 * MIB, 4 * MIB)
    assert _grown(growing) == {"pending": 1}
    growing.backend.delays = ""
    await growing.autogrow.grow_the_full()
    assert (_spec(growing).size, _spec(growing).grows_from) == (5 * MIB, None)
    assert _grown(growing) == {"pending": 1, "ok": 1}


async def test_a_growth_that_has_to_wait_is_tried_now_and_then(growing: Engine) -> None:
    """Not at each look: nothing changes so quickly that stands in its way."""
    growing.backend.delays = "later"
    for _ in range(4):
        await growing.autogrow.grow_the_full()
    assert growing.kernel.count("grow", "db") == 1
    growing.clock.now += RETRY_SECONDS
    await growing.autogrow.grow_the_full()
    assert growing.kernel.count("grow", "db") == 2


async def test_one_that_is_busy_is_looked_at_later(growing: Engine) -> None:
    """It holds up none of the others."""
    gate = growing.kernel.gate("copy", "db")
    task = asyncio.create_task(growing.snapshots.create(["db"], "a", Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(60):
        await growing.autogrow.grow_the_full()
    assert _spec(growing).size == 4 * MIB
    gate.open()
    await task
    await growing.autogrow.grow_the_full()
    assert _spec(growing).size == 5 * MIB


async def test_storage_that_is_gone_is_a_failure_of_one(
    growing: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and the look goes on."""

    def gone(_: object) -> Space:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(filesystems, "space", gone)
    await growing.autogrow.grow_the_full()
    assert _grown(growing) == {"failed": 1}


# Trimming


async def test_a_trim_gives_back_and_holds_up_nobody(db: Engine) -> None:
    """Containers come and go meanwhile; the volume is unmounted afterwards."""
    await db.uses.mount("db", "container", DOCKER)
    gate = db.kernel.gate("trim", "db")
    trim = asyncio.create_task(db.space.trim("db"))
    await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(60):
        await db.uses.unmount("db", "container")
    assert db.is_mounted("db")
    gate.open()
    assert await trim == 4096
    await db.operations.drain(5)
    assert not db.is_mounted("db")


async def test_an_image_is_not_mounted_while_it_is_trimmed_at_rest(engine: Engine) -> None:
    """A Mount waits for the end of it."""
    await engine.volumes.create("db", Options(fs=Filesystem.XFS, size=4096))
    gate = engine.kernel.gate("trim", "db")
    trim = asyncio.create_task(engine.space.trim("db"))
    await asyncio.to_thread(gate.wait_for_call)
    await engine.volumes.create("other", Options())
    mounting = asyncio.create_task(engine.uses.mount("db", "container", DOCKER))
    await engine.uses.mount("other", "container", DOCKER)
    await engine.uses.unmount("other", "container")
    assert engine.kernel.count("mount", "db") == 0
    gate.open()
    await trim
    await mounting
    assert engine.is_mounted("db")


async def test_all_are_trimmed_that_can_be(db: Engine) -> None:
    """Of the others it is said why not."""
    for name in ("a", "z"):
        await db.volumes.create(name, Options())
    db.kernel.failures["trim", "a"] = Unsupported("a is a folder")
    trimmed, skipped = await db.space.trim_all(Progress())
    assert (trimmed, skipped) == ({"db": 4096, "z": 4096}, {"a": "a is a folder"})


async def test_trimming_all_can_be_cancelled(db: Engine) -> None:
    """Between two volumes."""
    await db.volumes.create("z", Options())
    gate = db.kernel.gate("trim", "db")
    job = db.jobs.start("trim", "--all", db.space.trim_all)
    await asyncio.to_thread(gate.wait_for_call)
    assert job.view().note == "db"
    db.jobs.cancel(job.id)
    gate.open()
    await db.jobs.wait(job, 5)
    with pytest.raises(Cancelled):
        assert job.result
    assert db.kernel.count("trim", "z") == 0


async def test_the_background_trim_is_a_job(db: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """So that it can be seen and cancelled; what is not mounted is left for who mounts it."""
    caplog.set_level("INFO", "convoy.space")
    await db.volumes.create("idle", Options())
    await db.uses.mount("db", "container", DOCKER)
    await db.space.trim_in_background()
    assert [view.verb for view in db.jobs.list()] == ["trim"]
    assert caplog.messages == ["trimmed"]
    assert [db.kernel.count("trim", name) for name in ("db", "idle")] == [1, 0]
