"""The background work: unmounts are finished, leaks collected, usage sampled, users left alone."""

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.engine.memory.references import NO_ID, OPERATOR, PODMAN_ID
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.upkeep import janitor
from convoy_py.engine.upkeep.janitor import LIVING_TIMES
from convoy_py.errors import OperationFailed
from convoy_py.linux import files, mounts, peers
from convoy_py.linux.holders import Census
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options, State, Usage
from tests.fakes_engine import GRACE, NOW, Engine, Gate, holder

DOCKER = "100:1"


@pytest.fixture
async def mounted(engine: Engine) -> Engine:
    """With a volume `v` that a container mounted long ago and nobody holds."""
    await engine.volumes.create("v", Options(size=4096))
    await engine.uses.mount("v", "container", DOCKER)
    engine.clock.now += GRACE
    return engine


async def test_a_leak_is_collected_at_the_second_look(mounted: Engine) -> None:
    """At the first it is only suspected: a container's end may just not have been told yet."""
    await mounted.janitor.look()
    assert mounted.is_mounted("v")
    assert mounted.counted("v") == 1
    await mounted.janitor.look()
    assert not mounted.is_mounted("v")
    assert mounted.counted("v") == 0
    assert mounted.volumes.get("v").state is State.READY


async def test_who_holds_a_volume_is_recorded_once_there_is_room(
    mounted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk below /run keeps no container from its data; the next daemon knows it."""
    with monkeypatch.context() as patched:
        patched.setattr(files, "durable_replace", _full)
        await mounted.uses.mount("v", "second", DOCKER)
    assert mounted.counted("v") == 1
    await mounted.janitor.look()
    assert mounted.counted("v") == 2


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_fresh_mount_is_no_leak(mounted: Engine) -> None:
    """A container that is slow to start has its grace, from its own Mount on."""
    await mounted.uses.mount("v", "second", DOCKER)
    mounted.clock.now += GRACE - 1
    for _ in range(3):
        await mounted.janitor.look()
    assert mounted.counted("v") == 2
    mounted.clock.now += 1
    for _ in range(2):
        await mounted.janitor.look()
    assert mounted.counted("v") == 0


async def test_a_held_volume_has_no_leaks(mounted: Engine) -> None:
    """However long it is held; and a suspicion of before is forgotten."""
    await mounted.janitor.look()
    mounted.kernel.holders["v"] = [holder()]
    for _ in range(3):
        await mounted.janitor.look()
    mounted.kernel.holders.clear()
    mounted.clock.now += GRACE
    await mounted.janitor.look()
    assert mounted.counted("v") == 1
    await mounted.janitor.look()
    assert mounted.counted("v") == 0


async def test_an_engine_that_lives_is_given_more_time(mounted: Engine) -> None:
    """It may be copying an image's content into the volume, which no mount namespace shows."""
    await mounted.uses.unmount("v", "container")
    await mounted.uses.mount("v", "copy", f"{os.getpid()}:{peers.start_time(os.getpid())}")
    mounted.clock.now += GRACE * LIVING_TIMES - 1
    for _ in range(3):
        await mounted.janitor.look()
    assert mounted.counted("v") == 1
    mounted.clock.now += 1
    for _ in range(2):
        await mounted.janitor.look()
    assert mounted.counted("v") == 0


async def test_only_what_was_suspected_is_collected(mounted: Engine) -> None:
    """An ID that came between two looks waits for its own two."""
    await mounted.janitor.look()
    await mounted.uses.mount("v", "second", DOCKER)
    mounted.clock.now += GRACE
    await mounted.janitor.look()
    assert mounted.entries.volumes["v"].references.holds.keys() == {"second"}
    assert mounted.is_mounted("v")


@pytest.mark.parametrize(
    ("reference", "epoch"), [("nightly", OPERATOR), (PODMAN_ID, DOCKER), (NO_ID, DOCKER)]
)
async def test_what_shows_no_mount_of_its_own_is_left(
    mounted: Engine, reference: str, epoch: str
) -> None:
    """An operator works on the host; Podman, and a script, tell the end themselves."""
    await mounted.uses.mount("v", reference, epoch)
    mounted.clock.now += GRACE
    for _ in range(3):
        await mounted.janitor.look()
    assert mounted.entries.volumes["v"].references.holds.keys() == {reference}
    assert mounted.is_mounted("v")


async def test_a_busy_unmount_is_finished_later(mounted: Engine) -> None:
    """As soon as nothing holds it any more."""
    mounted.kernel.busy.add("v")
    await mounted.uses.unmount("v", "container")
    await mounted.janitor.look()
    assert mounted.volumes.get("v").state is State.MOUNTED
    mounted.kernel.busy.clear()
    await mounted.janitor.look()
    assert not mounted.is_mounted("v")
    assert not mounted.entries.volumes["v"].lingering


async def test_a_device_that_is_held_is_let_go_later(mounted: Engine) -> None:
    """The mount is gone, but a copy of it elsewhere keeps the device."""
    mounted.kernel.attached.add("v")
    await mounted.uses.unmount("v", "container")
    assert mounted.volumes.get("v").state is State.READY
    assert mounted.entries.volumes["v"].lingering
    mounted.kernel.attached.clear()
    await mounted.janitor.look()
    assert not mounted.entries.volumes["v"].lingering


async def test_an_unmount_by_others_is_noticed(mounted: Engine) -> None:
    """The kernel's table is the truth; Get stops telling a mountpoint."""
    mounted.kernel.holders["v"] = [holder()]
    mounted.kernel.mounted.clear()
    await mounted.janitor.look()
    view = mounted.volumes.get("v")
    assert (view.state, view.mountpoint) == (State.READY, "")
    assert mounted.counted("v") == 1


async def test_a_foreign_mount_stops_no_look(mounted: Engine) -> None:
    """One volume that cannot be looked after is one; the others are."""
    await mounted.volumes.create("w", Options())
    await mounted.uses.mount("w", "container", DOCKER)
    mounted.clock.now += GRACE
    mounted.kernel.mounted[mounted.mountpoint("v")] = "something else"
    for _ in range(2):
        await mounted.janitor.look()
    assert mounted.volumes.get("v").mountpoint == ""
    assert not mounted.is_mounted("w")


@pytest.fixture
def asked(mounted: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The volumes of which the backend was asked whether they are mounted; by mount 7, says Linux.

    Somebody holds `v`.
    """
    names: list[str] = []
    is_mounted = mounted.backend.is_mounted

    def noted(place: Place) -> bool:
        names.append(place.name)
        return is_mounted(place)

    monkeypatch.setattr(mounted.backend, "is_mounted", noted)
    monkeypatch.setattr(mounts, "lasting_id", lambda _: 7)
    mounted.kernel.holders["v"] = [holder()]
    return names


async def test_what_is_mounted_as_at_the_last_look_is_not_asked_for(
    mounted: Engine, asked: list[str]
) -> None:
    """Of hundreds that run nothing is to be done; what has another mount is looked at."""
    for _ in range(3):
        await mounted.janitor.look()
    assert asked == ["v"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mounts, "lasting_id", lambda _: 8)
        mounted.kernel.mounted[mounted.mountpoint("v")] = "something else"
        await mounted.janitor.look()
    assert mounted.volumes.get("v").mountpoint == ""
    uuid = mounted.entries.volumes["v"].volume_record().uuid
    mounted.kernel.mounted[mounted.mountpoint("v")] = uuid  # what covered it is gone
    await mounted.janitor.look()
    assert mounted.volumes.get("v").mountpoint != ""


@pytest.mark.usefixtures("asked")
async def test_what_was_seen_held_is_unmounted_all_the_same(mounted: Engine) -> None:
    """As soon as nothing holds it any more."""
    await mounted.janitor.look()
    mounted.kernel.busy.add("v")
    await mounted.uses.unmount("v", "container")
    mounted.kernel.busy.clear()
    await mounted.janitor.look()
    assert not mounted.is_mounted("v")


@pytest.mark.usefixtures("asked")
async def test_a_suspicion_ends_with_a_new_mount(mounted: Engine) -> None:
    """Nothing is collected at the first look at which it is suspected anew."""
    mounted.kernel.holders.clear()
    await mounted.janitor.look()
    await mounted.uses.mount("v", "second", DOCKER)
    await mounted.janitor.look()
    mounted.clock.now += GRACE
    await mounted.janitor.look()
    assert mounted.counted("v") == 2
    await mounted.janitor.look()
    assert mounted.counted("v") == 0


@pytest.mark.parametrize("missing", ["ids", "a holder", "a record of who holds it"])
async def test_what_is_not_settled_is_looked_at_each_time(
    mounted: Engine, asked: list[str], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Linux before 6.8 has no ids that last; a leak waits for its second look."""
    if missing == "ids":
        monkeypatch.setattr(mounts, "lasting_id", lambda _: None)
    await mounted.janitor.look()
    if missing == "a holder":
        mounted.kernel.holders.clear()
        mounted.clock.now += GRACE
    elif missing == "a record of who holds it":
        mounted.host.reference_store.unsaved.add("v")
    await mounted.janitor.look()
    assert asked[:2] == ["v", "v"]
    await mounted.janitor.look()
    assert mounted.counted("v") == (0 if missing == "a holder" else 1)


async def test_a_users_own_folder_is_looked_at_each_time(
    mounted: Engine, asked: list[str], tmp_path: Path
) -> None:
    """Whether it is the one that is mounted its mount alone does not tell."""
    entry = mounted.entries.volumes["v"]
    assert entry.place is not None
    spec = entry.place.spec.model_copy(update={"path": str(tmp_path)})
    entry.place = replace(entry.place, spec=spec)
    for _ in range(2):
        await mounted.janitor.look()
    assert asked == ["v", "v"]


async def test_a_volume_at_work_is_passed_over(mounted: Engine) -> None:
    """The look does not wait for it."""
    gate = mounted.kernel.gate("unmount", "v")
    task = asyncio.create_task(mounted.uses.unmount("v", "container"))
    await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(60):
        await mounted.janitor.look()
    gate.open()
    await task
    assert mounted.kernel.count("unmount", "v") == 1


async def test_idle_volumes_cost_no_look(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand volumes that nobody uses are not asked for."""
    await engine.volumes.create("v", Options())

    def taken(_: object) -> Census:
        raise AssertionError("the mount namespaces were read for nothing")

    monkeypatch.setattr(Census, "take", classmethod(taken))
    await engine.janitor.look()
    assert engine.kernel.count("unmount", "v") == 0


# Usage


async def test_usage_is_sampled_in_its_time(mounted: Engine) -> None:
    """A mounted volume once in an interval; the sample says when it was taken."""
    assert mounted.kernel.count("usage", "v") == 1  # at its creation
    mounted.wall.now = NOW + 5
    for _ in range(2):
        await mounted.janitor.sample()
    assert mounted.kernel.count("usage", "v") == 2
    usage = mounted.volumes.get("v").usage
    assert usage is not None
    assert (usage.used, usage.sampled) == (1, NOW + 5)
    mounted.clock.now += 60
    await mounted.janitor.sample()
    assert mounted.kernel.count("usage", "v") == 3


async def test_an_idle_volume_is_measured_once(engine: Engine) -> None:
    """What is not mounted does not change; after its last unmount there is one more sample."""
    await engine.volumes.create("v", Options())
    created = engine.kernel.count("usage", "v")
    for _ in range(3):
        await engine.janitor.sample()
        engine.clock.now += 60
    assert engine.kernel.count("usage", "v") == created + 1
    await engine.uses.mount("v", "container", DOCKER)
    await engine.janitor.sample()
    await engine.uses.unmount("v", "container")
    for _ in range(3):
        engine.clock.now += 60
        await engine.janitor.sample()
    assert engine.kernel.count("usage", "v") == created + 3


async def test_other_data_is_measured_at_once(engine: Engine) -> None:
    """What was measured before a conversion or a rollback is no measure of what is there now."""
    await engine.volumes.create("v", Options(fs=Filesystem.EXT4, size=4096))
    await engine.janitor.sample()
    await engine.copies.convert("v", Options(fs=Filesystem.XFS), Progress())
    engine.wall.now = NOW + 5
    await engine.janitor.sample()
    assert _sampled(engine, "v") == NOW + 5
    await engine.snapshots.create(["v"], "a", Progress())
    await engine.snapshots.rollback("v", "a", Progress())
    assert engine.volumes.get("v").usage is None
    engine.wall.now = NOW + 6
    await engine.janitor.sample()
    assert _sampled(engine, "v") == NOW + 6


async def test_a_slow_sample_is_taken_seldom(mounted: Engine) -> None:
    """At most a twentieth of the time is spent on it."""
    created, gate = mounted.kernel.count("usage", "v"), mounted.kernel.gate("usage", "v")
    task = asyncio.create_task(mounted.janitor.sample())
    await asyncio.to_thread(gate.wait_for_call)
    mounted.clock.now += 10
    gate.open()
    await task
    mounted.clock.now += 180
    await mounted.janitor.sample()
    assert mounted.kernel.count("usage", "v") == created + 1
    mounted.clock.now += 10
    await mounted.janitor.sample()
    assert mounted.kernel.count("usage", "v") == created + 2


async def test_a_sample_corrects_what_is_promised(mounted: Engine) -> None:
    """What an image has already got is no longer outstanding."""
    assert (await mounted.daemon.space()).promised == 4096
    await mounted.janitor.sample()
    assert (await mounted.daemon.space()).promised == 0


async def test_what_is_shared_is_yet_to_be_given(mounted: Engine) -> None:
    """The first write to a block of a snapshot, or of the source, takes another of the host's."""
    await mounted.volumes.create("copy", Options(source="v"))
    await mounted.janitor.sample()
    assert (await mounted.daemon.space()).promised == 2
    await mounted.snapshot("v")
    mounted.clock.now += 60
    await mounted.janitor.sample()
    assert (await mounted.daemon.space()).promised == 4


async def test_a_volume_that_cannot_be_measured_is_only_that(mounted: Engine) -> None:
    """The others are measured, and it is tried again in its time."""
    await mounted.volumes.create("w", Options())
    mounted.wall.now = NOW + 60
    mounted.kernel.failures["usage", "v"] = OSError("Input/output error")
    for _ in range(2):
        await mounted.janitor.sample()
    assert mounted.kernel.count("usage", "v") == 2  # at its creation, and now
    assert _sampled(mounted, "v") == NOW
    assert _sampled(mounted, "w") == NOW + 60
    del mounted.kernel.failures["usage", "v"]
    mounted.clock.now += 60
    await mounted.janitor.sample()
    assert _sampled(mounted, "v") == NOW + 60


_SEEN = Usage(used=5, allocated=7, sampled=NOW)
_NOTHING = Usage(used=None, allocated=9, sampled=NOW + 60)


@pytest.mark.parametrize(
    ("before", "found", "known"),
    [
        (None, _NOTHING, _NOTHING),
        (_NOTHING.model_copy(update={"sampled": NOW}), _NOTHING, _NOTHING),
        (_SEEN, _NOTHING, _SEEN.model_copy(update={"allocated": 9})),
        (_SEEN, _SEEN.model_copy(update={"used": 6}), _SEEN.model_copy(update={"used": 6})),
    ],
)
async def test_what_cannot_be_seen_from_outside_is_as_it_was_seen_last(
    mounted: Engine,
    monkeypatch: pytest.MonkeyPatch,
    before: Usage | None,
    found: Usage,
    known: Usage,
) -> None:
    """An image that nobody has mounted tells no more than what it has of the host."""
    mounted.entries.get("v").usage = before
    monkeypatch.setattr(mounted.backend, "usage", lambda *_: found)
    await mounted.janitor.sample()
    assert mounted.volumes.get("v").usage == known


async def test_what_was_never_measured_is_not_tried_all_the_time(engine: Engine) -> None:
    """A look each second would find the same."""
    await engine.volumes.create("v", Options())
    engine.entries.get("v").usage = None
    engine.kernel.failures["usage", "v"] = OSError("Input/output error")
    for _ in range(3):
        await engine.janitor.sample()
    assert engine.kernel.count("usage", "v") == 2  # at its creation, and now


async def test_what_is_mounted_meanwhile_is_measured_anew(engine: Engine) -> None:
    """What was seen before is not what is there."""
    await engine.volumes.create("v", Options())
    engine.entries.get("v").usage = None
    gate = engine.kernel.gate("usage", "v")
    task = asyncio.create_task(engine.janitor.sample())
    await asyncio.to_thread(gate.wait_for_call)
    await engine.uses.mount("v", "container", DOCKER)
    gate.open()
    await task
    assert engine.volumes.get("v").usage is None
    await engine.janitor.sample()
    assert engine.volumes.get("v").usage is not None


def _sampled(engine: Engine, name: str) -> float:
    usage = engine.volumes.get(name).usage
    assert usage is not None
    return usage.sampled


async def test_a_removed_volume_is_not_remembered(mounted: Engine) -> None:
    """One of the same name is measured at once."""
    await mounted.janitor.sample()
    await mounted.uses.unmount("v", "container")
    await mounted.volumes.remove("v")
    await mounted.janitor.sample()
    mounted.wall.now = NOW + 60
    await mounted.volumes.create("v", Options())
    mounted.wall.now = NOW + 61
    await mounted.janitor.sample()
    assert _sampled(mounted, "v") == NOW + 61


async def test_a_failure_of_its_own_does_not_end_it(
    mounted: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next look comes."""
    looks = 0
    looked = asyncio.Event()

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OperationFailed("the first one fails")
        looked.set()

    monkeypatch.setattr(mounted.janitor, "look", look)
    monkeypatch.setattr(mounted.janitor, "_interval", 0)
    running = asyncio.create_task(mounted.janitor.run())
    async with asyncio.timeout(60):
        await looked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert caplog.messages == ["the janitor failed and goes on"]
    caplog.clear()


async def test_without_the_root_there_is_nothing_to_look_at(
    mounted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it is away is told elsewhere, also where a look is the first to notice."""
    noticed, looks = asyncio.Event(), 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        mounted.store.root.rename(mounted.folder / "elsewhere")
        noticed.set()
        raise OperationFailed("without a root nothing can be done")

    monkeypatch.setattr(mounted.janitor, "look", look)
    monkeypatch.setattr(mounted.janitor, "_interval", 0)
    running = asyncio.create_task(mounted.janitor.run())
    async with asyncio.timeout(60):
        await noticed.wait()
        while not mounted.store.presence.away:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert looks == 1


async def test_one_that_takes_long_keeps_no_other_waiting(
    mounted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on by itself."""
    await mounted.volumes.create("w", Options())
    monkeypatch.setattr(janitor, "PATIENCE_SECONDS", 0.01)
    gate = mounted.kernel.gate("usage", "v")
    measured = mounted.kernel.count("usage", "w")
    await mounted.janitor.sample()
    await asyncio.to_thread(gate.wait_for_call)
    assert mounted.kernel.count("usage", "w") == measured + 1
    gate.open()
    await mounted.settled()


async def test_data_that_is_missing_is_told_until_it_is_back(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, though nobody has mounted it; without its root nothing is said to be missing."""
    await engine.volumes.create("v", Options())
    data, elsewhere = engine.store.home("v") / "data", engine.folder / "data"

    async def sampled() -> tuple[State, str]:
        await engine.janitor.sample()
        engine.clock.now += 60
        view = engine.volumes.get("v")
        return view.state, view.reason

    data.rename(elsewhere)
    for _ in range(2):
        assert await sampled() == (State.BROKEN, "volume v: its data is missing")
    assert caplog.messages == ["broken"]
    elsewhere.rename(data)
    assert await sampled() == (State.READY, "")
    # What a Mount failed at is not known to be mended.
    engine.entries.get("v").reason = "its image was cut"
    engine.entries.get("v").usage = None
    assert await sampled() == (State.BROKEN, "its image was cut")
    engine.entries.get("v").reason = ""
    engine.entries.get("v").usage = None
    engine.store.root.rename(engine.folder / "away")
    await engine.janitor.sample()
    assert engine.entries.get("v").reason == ""


async def test_what_is_held_and_broken_is_left_to_people(mounted: Engine) -> None:
    """It keeps no other from being looked after."""
    (mounted.store.home("v") / "volume.json").write_text("{")
    after = mounted.restarted()
    await after.janitor.look()
    await after.janitor.sample()
    assert after.volumes.get("v").state is State.BROKEN
    assert after.volumes.get("v").references == 1


async def test_volume_whose_storage_hangs_stays_as_it_is(
    mounted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is still told as mounted, and holds neither its lock nor a thread for each look."""
    monkeypatch.setattr(mounted.blocking, "_patience", 0.1)
    gate, looks = Gate(), []

    def hang(place: object) -> bool:
        looks.append(place)
        gate.pass_through()
        return True

    with monkeypatch.context() as patch:
        patch.setattr(mounted.backend, "is_mounted", hang)
        for _ in range(3):
            await mounted.janitor.look()
    assert len(looks) == 1
    assert mounted.volumes.get("v").state is State.MOUNTED
    assert mounted.counted("v") == 1
    assert not mounted.operations.locks.busy("v")
    gate.open()


async def test_what_could_not_be_measured_is_measured_later(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody has mounted it."""
    monkeypatch.setattr(engine.blocking, "_patience", 0.1)
    await engine.volumes.create("v", Options(size=4096))
    engine.entries.get("v").usage = None
    gate = engine.kernel.gate("usage", "v")
    await engine.janitor.sample()
    assert engine.volumes.get("v").usage is None
    gate.open()
    async with asyncio.timeout(60):
        while engine.volumes.get("v").usage is None:
            engine.clock.now += 60
            await engine.janitor.sample()
