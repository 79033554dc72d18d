"""The verbs: repeats, references, refusals, and what becomes of work that nobody waits for."""

import asyncio
import errno
from pathlib import Path

import pytest

from convoy_py.engine.references import OPERATOR, PODMAN_ID
from convoy_py.engine.volumes import FRESH
from convoy_py.errors import (
    ConvoyError,
    Corrupt,
    InvalidName,
    NoSpace,
    NotFound,
    OperationFailed,
    OptionsDiffer,
    StillRunning,
    Unavailable,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.models.volume import Options, State
from convoy_py.state import store
from tests.fakes_engine import Engine, FakeKernel, holder

DOCKER = "100:1"
RESTARTED = "200:2"


# Create


async def test_a_created_volume_is_there(engine: Engine) -> None:
    """With its options, ready, and not mounted."""
    await engine.volumes.create("v", Options(size=4096))
    view = engine.volumes.get("v")
    assert (view.state, view.mountpoint, view.references) == (State.READY, "", 0)
    assert view.spec is not None
    assert view.spec.size == 4096
    assert engine.volumes.listing() == [("v", "")]


async def test_creating_again_touches_nothing(engine: Engine) -> None:
    """With the same options, or with fewer of them."""
    await engine.volumes.create("v", Options(size=4096, uid=7))
    before = engine.volumes.get("v")
    await engine.volumes.create("v", Options(size=4096, uid=7))
    await engine.volumes.create("v", Options())
    assert engine.volumes.get("v") == before
    assert engine.kernel.count("create", "v") == 1


async def test_other_options_are_refused_by_name(engine: Engine) -> None:
    """It says what is, what was asked, and only of those that differ."""
    await engine.volumes.create("v", Options(size=4096, uid=7))
    with pytest.raises(OptionsDiffer, match=r"v .*size is 4KiB, asked 8KiB$"):
        await engine.volumes.create("v", Options(size=8192, uid=7))
    assert engine.kernel.count("create", "v") == 1


async def test_creates_at_once_are_one(engine: Engine) -> None:
    """All join the one that builds; a rival with other options is told."""
    asked = [Options(size=4096)] * 15 + [Options(size=8192)]
    results = await asyncio.gather(
        *(engine.volumes.create("v", options) for options in asked), return_exceptions=True
    )
    assert results[:15] == [None] * 15
    assert isinstance(results[15], OptionsDiffer)
    assert engine.kernel.count("create", "v") == 1


async def test_a_failed_create_leaves_nothing(engine: Engine) -> None:
    """No volume, no folder, no promised space; and the name is free."""
    engine.kernel.failures["create", "v"] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(NoSpace, match="volume v: create failed: No space left"):
        await engine.volumes.create("v", Options(size=4096))
    assert engine.volumes.views() == []
    assert list(engine.store.volumes.iterdir()) == []
    assert (await engine.volumes.space()).outstanding == 0
    del engine.kernel.failures["create", "v"]
    await engine.volumes.create("v", Options(size=4096))


@pytest.mark.parametrize("name", ["", "..", "a/b", "-v", "v\n", "ü", "a" * 129])
async def test_names_that_are_none_are_refused(engine: Engine, name: str) -> None:
    """Before anything is done with them; to reads they are unknown."""
    with pytest.raises(InvalidName):
        await engine.volumes.create(name, Options())
    with pytest.raises(VolumeNotFound):
        engine.volumes.get(name)
    assert engine.kernel.calls == []


async def test_what_no_backend_can_do_is_refused(engine: Engine) -> None:
    """Each with its reason; and a backend that is not on is named."""
    with pytest.raises(Unsupported, match="fake: no paths here"):
        await engine.volumes.create("v", Options(path="/x"))
    with pytest.raises(Unsupported, match="backend loopback is not on here; use fake"):
        await engine.volumes.create("v", Options(backend="loopback"))


async def test_a_create_waits_for_deletions_that_make_room(engine: Engine) -> None:
    """Space of a volume that was just removed can be used at once."""
    await engine.volumes.create("old", Options())
    gate = engine.kernel.gate("destroy", "old")
    removal = asyncio.create_task(engine.volumes.remove("old"))
    await asyncio.to_thread(gate.wait_for_call)
    engine.kernel.failures["create", "new"] = OSError(errno.ENOSPC, "full")
    creation = asyncio.create_task(engine.volumes.create("new", Options()))
    while not engine.kernel.count("create", "new"):
        await asyncio.sleep(0)
    del engine.kernel.failures["create", "new"]
    gate.open()
    await asyncio.gather(removal, creation)
    assert engine.kernel.count("create", "new") == 2


# Mount and Unmount


async def test_mounted_from_the_first_to_the_last(engine: Engine) -> None:
    """Two containers, stopped in any order: it goes with the second."""
    await engine.volumes.create("v", Options())
    paths = {await engine.volumes.mount("v", name, DOCKER) for name in ("a", "b")}
    assert paths == {str(engine.mountpoint("v") / "exposed")}
    assert engine.kernel.count("mount", "v") == 1
    await engine.volumes.unmount("v", "a")
    assert engine.is_mounted("v")
    assert engine.volumes.get("v").state is State.MOUNTED
    await engine.volumes.unmount("v", "b")
    assert not engine.is_mounted("v")
    assert engine.volumes.get("v").state is State.READY
    assert engine.counted("v") == 0


async def test_docker_cp_does_not_unmount_under_the_container(engine: Engine) -> None:
    """It mounts and unmounts with the running container's own ID."""
    await engine.volumes.create("v", Options())
    for _ in range(2):
        await engine.volumes.mount("v", "container", DOCKER)
    await engine.volumes.unmount("v", "container")
    assert engine.is_mounted("v")
    await engine.volumes.unmount("v", "container")
    assert not engine.is_mounted("v")


async def test_an_engine_that_was_killed_counts_anew(engine: Engine) -> None:
    """It starts its containers with their old IDs and never ends what went before."""
    await engine.volumes.create("v", Options())
    await engine.volumes.mount("v", "container", DOCKER)
    await engine.volumes.mount("v", "container", RESTARTED)
    assert engine.counted("v") == 1
    await engine.volumes.unmount("v", "container")
    assert not engine.is_mounted("v")


async def test_podman_counts_for_itself(engine: Engine) -> None:
    """A Mount that it repeats after its short time limit is the same one."""
    await engine.volumes.create("v", Options())
    for epoch in (DOCKER, RESTARTED):
        await engine.volumes.mount("v", PODMAN_ID, epoch)
    await engine.volumes.mount("v", "container", DOCKER)
    await engine.volumes.unmount("v", PODMAN_ID)
    assert engine.is_mounted("v")
    await engine.volumes.unmount("v", "container")
    assert not engine.is_mounted("v")


async def test_references_are_written_before_the_answer(engine: Engine) -> None:
    """A daemon that is killed after it answered has lost no count."""
    await engine.volumes.create("v", Options())
    for count in (1, 2, 3):
        await engine.volumes.mount("v", f"container {count}", DOCKER)
        assert engine.counted("v") == count
    await engine.volumes.unmount("v", "container 1")
    assert engine.counted("v") == 2


async def test_a_mount_that_failed_is_not_counted(engine: Engine) -> None:
    """The engine sends no Unmount for it."""
    await engine.volumes.create("v", Options())
    engine.kernel.failures["mount", "v"] = OSError(errno.ENOMEM, "Cannot allocate memory")
    with pytest.raises(OperationFailed, match="volume v: mount failed: Cannot allocate"):
        await engine.volumes.mount("v", "container", DOCKER)
    assert (engine.counted("v"), engine.volumes.get("v").references) == (0, 0)
    assert engine.volumes.get("v").state is State.READY


async def test_damage_seen_at_a_mount_is_told_until_one_succeeds(engine: Engine) -> None:
    """Get says that the volume is broken, and why; it can be mounted and removed all the same."""
    await engine.volumes.create("v", Options())
    engine.kernel.failures["mount", "v"] = Corrupt("volume v: its image was cut")
    with pytest.raises(Corrupt):
        await engine.volumes.mount("v", "container", DOCKER)
    view = engine.volumes.get("v")
    assert (view.state, view.reason) == (State.BROKEN, "volume v: its image was cut")
    del engine.kernel.failures["mount", "v"]
    await engine.volumes.mount("v", "container", DOCKER)
    assert engine.volumes.get("v").state is State.MOUNTED
    assert engine.volumes.get("v").reason == ""


async def test_a_mount_that_cannot_be_recorded_is_taken_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the mount nor the count remains."""
    await engine.volumes.create("v", Options())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(engine.references, "save", full)
    with pytest.raises(NoSpace, match="volume v: mount failed"):
        await engine.volumes.mount("v", "container", DOCKER)
    assert not engine.is_mounted("v")
    assert engine.volumes.get("v").references == 0


async def test_unmounts_of_the_unknown_are_done(engine: Engine) -> None:
    """Volumes and IDs that nobody heard of, and one Unmount too many."""
    await engine.volumes.create("v", Options())
    await engine.volumes.unmount("nobody", "container")
    await engine.volumes.mount("v", "container", DOCKER)
    await engine.volumes.unmount("v", "stranger")
    assert engine.is_mounted("v")
    await engine.volumes.unmount("v", "container")
    await engine.volumes.unmount("v", "container")
    assert engine.counted("v") == 0


async def test_a_busy_unmount_succeeds_and_lingers(engine: Engine) -> None:
    """An error would make the engine keep its count; the volume is told as mounted meanwhile."""
    await engine.volumes.create("v", Options())
    await engine.volumes.mount("v", "container", DOCKER)
    engine.kernel.busy.add("v")
    await engine.volumes.unmount("v", "container")
    assert engine.volumes.get("v").state is State.MOUNTED
    assert engine.volumes.get("v").references == 0
    assert engine.volumes.entries["v"].lingering


async def test_a_lingering_volume_is_mounted_again_as_it_is(engine: Engine) -> None:
    """The next container uses the mount that could not be taken down."""
    await engine.volumes.create("v", Options())
    await engine.volumes.mount("v", "first", DOCKER)
    engine.kernel.busy.add("v")
    await engine.volumes.unmount("v", "first")
    await engine.volumes.mount("v", "second", DOCKER)
    assert engine.kernel.count("mount", "v") == 1
    assert not engine.volumes.entries["v"].lingering


# Remove


async def test_a_removed_volume_is_gone(engine: Engine) -> None:
    """From memory, from the disk, and its promised space too."""
    await engine.volumes.create("v", Options(size=4096))
    await engine.volumes.remove("v")
    assert engine.volumes.views() == []
    assert list(engine.store.volumes.iterdir()) == []
    assert engine.store.half_deleted() == []
    assert (await engine.volumes.space()).outstanding == 0
    with pytest.raises(VolumeNotFound):
        await engine.volumes.remove("v")


async def test_a_fresh_mount_is_in_use(engine: Engine) -> None:
    """The container that it was made for may not have begun to show yet."""
    await engine.volumes.create("v", Options())
    await engine.volumes.mount("v", "container", DOCKER)
    engine.clock.now += FRESH - 1
    with pytest.raises(VolumeInUse, match="v is in use by a mount made 9 s ago"):
        await engine.volumes.remove("v")
    assert engine.is_mounted("v")
    engine.clock.now += 1
    await engine.volumes.remove("v")
    assert not engine.is_mounted("v")


async def test_who_really_uses_it_is_named(engine: Engine) -> None:
    """Each once; nothing is unmounted, nothing is deleted."""
    await engine.volumes.create("v", Options())
    await engine.volumes.mount("v", "container", DOCKER)
    engine.clock.now += FRESH
    engine.kernel.holders["v"] = [holder(42), holder(42)]
    with pytest.raises(VolumeInUse) as refused:
        await engine.volumes.remove("v")
    expected = "volume v is in use by container 0123456789ab (pid 42, postgres)"
    assert str(refused.value) == expected
    assert engine.is_mounted("v")
    assert engine.volumes.get("v").references == 1


async def test_leaked_references_keep_no_volume(engine: Engine) -> None:
    """An engine that was killed left a count that nobody stands behind."""
    await engine.volumes.create("v", Options())
    await engine.volumes.mount("v", "container", DOCKER)
    engine.clock.now += FRESH
    await engine.volumes.remove("v")
    assert engine.counted("v") == 0
    assert engine.volumes.views() == []


async def test_an_operators_hold_keeps_a_volume(engine: Engine) -> None:
    """However old it is and whoever is seen: only `convoy umount` ends it."""
    await engine.volumes.create("v", Options())
    await engine.volumes.mount("v", "nightly copy", OPERATOR)
    engine.clock.now += 1_000_000
    with pytest.raises(VolumeInUse, match=r"`convoy mount` \(nightly copy\)"):
        await engine.volumes.remove("v")
    await engine.volumes.unmount("v", "nightly copy")
    await engine.volumes.remove("v")


async def test_what_cannot_be_detached_is_not_removed(engine: Engine) -> None:
    """Although nobody is seen: deleting the data of a live device corrupts it."""
    await engine.volumes.create("v", Options())
    await engine.volumes.mount("v", "container", DOCKER)
    engine.clock.now += FRESH
    engine.kernel.busy.add("v")
    with pytest.raises(VolumeInUse, match="cannot see"):
        await engine.volumes.remove("v")
    assert engine.volumes.get("v").state is State.MOUNTED
    assert (engine.store.home("v") / "data").exists()


async def test_data_can_be_kept_and_taken_over_again(engine: Engine) -> None:
    """The volume is forgotten, its name taken; adopting finds its options again."""
    await engine.volumes.create("v", Options(size=4096, uid=7))
    before = engine.volumes.get("v").spec
    await engine.volumes.remove("v", keep_data=True)
    assert engine.volumes.views() == []
    assert await engine.volumes.kept() == ["v"]
    with pytest.raises(ConvoyError, match=r"data is kept in .*--adopt v"):
        await engine.volumes.create("v", Options())
    await engine.volumes.create("v", Options(), adopt=True)
    assert engine.volumes.get("v").spec == before
    assert await engine.volumes.kept() == []


async def test_there_must_be_something_to_adopt(engine: Engine) -> None:
    """Told with the places where it would be looked for."""
    with pytest.raises(NotFound, match=r"v: nothing to adopt.*/v/data .*/v/image"):
        await engine.volumes.create("v", Options(), adopt=True)


async def test_a_removal_does_not_wait_for_slow_deletion(engine: Engine) -> None:
    """The name is free at once; the data goes in the background."""
    await engine.volumes.create("v", Options())
    gate = engine.kernel.gate("destroy", "v")
    await engine.volumes.remove("v")
    await engine.volumes.create("v", Options(size=4096))
    gate.open()
    await engine.volumes.drain(5)
    assert engine.store.half_deleted() == []


# Slow and stopping


async def test_slow_volumes_delay_nobody(engine: Engine) -> None:
    """Thirty-two that do not get on, and still reads and another volume are served."""
    names = [f"slow{number}" for number in range(32)]
    gates = [engine.kernel.gate("create", name) for name in names]
    slow = [asyncio.create_task(engine.volumes.create(name, Options())) for name in names]
    for gate in gates:
        await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(5):
        await engine.volumes.create("quick", Options())
        await engine.volumes.mount("quick", "container", DOCKER)
        assert engine.volumes.get("quick").state is State.MOUNTED
        assert [name for name, _ in engine.volumes.listing()] == ["quick"]
        await engine.volumes.unmount("quick", "container")
        await engine.volumes.remove("quick")
    assert not any(task.done() for task in slow)
    for gate in gates:
        gate.open()
    await asyncio.gather(*slow)
    assert len(engine.volumes.views()) == 32


async def test_reads_of_a_volume_at_work_do_not_wait(engine: Engine) -> None:
    """Get answers at once while the same volume is being mounted."""
    await engine.volumes.create("v", Options())
    gate = engine.kernel.gate("mount", "v")
    task = asyncio.create_task(engine.volumes.mount("v", "container", DOCKER))
    await asyncio.to_thread(gate.wait_for_call)
    assert engine.volumes.get("v").state is State.READY
    gate.open()
    await task


@pytest.fixture
def hurried(kernel: FakeKernel, engine: Engine, tmp_path: Path) -> Engine:
    """An engine whose callers wait for next to no time."""
    engine.killed()
    return Engine(tmp_path, kernel, time_limit=0.01).start()


async def test_a_create_that_takes_too_long_goes_on(hurried: Engine) -> None:
    """The caller is told to come again, and then joins what is running."""
    gate = hurried.kernel.gate("create", "v")
    for _ in range(2):
        with pytest.raises(StillRunning, match="volume v: create is still running"):
            await hurried.volumes.create("v", Options())
    gate.open()
    await hurried.volumes.drain(5)
    assert hurried.volumes.get("v").state is State.READY
    assert hurried.kernel.count("create", "v") == 1


async def test_a_mount_that_came_too_late_is_not_counted(hurried: Engine) -> None:
    """Its caller was told an error and will send no Unmount."""
    await _created(hurried)
    gate = hurried.kernel.gate("mount", "v")
    with pytest.raises(StillRunning):
        await hurried.volumes.mount("v", "container", DOCKER)
    gate.open()
    await hurried.volumes.drain(5)
    await hurried.volumes.drain(5)
    assert not hurried.is_mounted("v")
    assert (hurried.counted("v"), hurried.volumes.get("v").references) == (0, 0)


async def test_a_client_that_leaves_stops_nothing(engine: Engine) -> None:
    """The operation ends by itself."""
    gate = engine.kernel.gate("create", "v")
    task = asyncio.create_task(engine.volumes.create("v", Options()))
    await asyncio.to_thread(gate.wait_for_call)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open()
    await engine.volumes.drain(5)
    assert engine.volumes.get("v").state is State.READY


async def test_stopping_refuses_the_new_and_waits_for_the_rest(engine: Engine) -> None:
    """Reads go on; what was begun is whole in the end; mounts stay."""
    await engine.volumes.create("mounted", Options())
    await engine.volumes.mount("mounted", "container", DOCKER)
    gate = engine.kernel.gate("create", "v")
    running = asyncio.create_task(engine.volumes.create("v", Options()))
    await asyncio.to_thread(gate.wait_for_call)
    stopping = asyncio.create_task(engine.volumes.drain(5))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="volume w: the daemon is stopping"):
        await engine.volumes.create("w", Options())
    assert engine.volumes.get("mounted").state is State.MOUNTED
    assert not stopping.done()
    gate.open()
    await stopping
    await running
    assert engine.restarted().volumes.get("v").state is State.READY
    assert engine.is_mounted("mounted")


async def test_stopping_does_not_wait_for_ever(engine: Engine) -> None:
    """A managed plugin that does not end is killed."""
    engine.kernel.gate("create", "v")
    running = asyncio.create_task(engine.volumes.create("v", Options()))
    async with asyncio.timeout(5):
        await engine.volumes.drain(0.01)
    assert not running.done()


async def test_a_disk_that_fails_stops_changes_and_no_reads(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a restart: a second fsync would report success for data that is gone."""
    await engine.volumes.create("v", Options())

    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(store.files, "fsync_dir", fail)
        with pytest.raises(OperationFailed, match="Input/output error"):
            await engine.volumes.create("w", Options())
    for change in (engine.volumes.create("x", Options()), engine.volumes.remove("v")):
        with pytest.raises(Unavailable, match="cannot be changed"):
            await change
    assert engine.volumes.get("v").state is State.READY
    assert engine.volumes.listing() == [("v", "")]
    assert engine.volumes.health()
    after = engine.restarted()
    assert after.volumes.health() == []
    await after.volumes.create("x", Options())


async def _created(engine: Engine) -> None:
    """Create `v`, however long it takes."""
    try:
        await engine.volumes.create("v", Options())
    except StillRunning:
        while "v" not in engine.volumes.entries:
            await asyncio.sleep(0)
