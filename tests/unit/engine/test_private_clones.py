"""Volumes with per_mount: every mount ID has its own copy, for as long as it is mounted."""

import asyncio
import errno

import pytest

from convoy_py.engine.memory.references import OPERATOR
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import Corrupt, Invalid, NoSpace, Unsupported, VolumeInUse, VolumeNotFound
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.names import clone_name
from convoy_py.models.snapshot import Way
from convoy_py.models.volume import Options, State
from tests.fakes_engine import GRACE, Engine, FakeBackend, holder
from tests.fakes_kernel import OtherBackend

DOCKER = "100:1"


@pytest.fixture(params=[None, Filesystem.EXT4])
async def ci(engine: Engine, request: pytest.FixtureRequest) -> Engine:
    """With a volume `ci` of private clones, made of what `db` was at its snapshot `golden`."""
    await engine.volumes.create("db", Options(size=4096, fs=request.param))
    engine.write("db", "golden")
    await engine.snapshots.create(["db"], "golden", Progress())
    engine.write("db", "later")
    await engine.volumes.create("ci", Options(source="db@golden", per_mount=True))
    return engine


def _clones(engine: Engine) -> list[str]:
    """What lies on the disk of private clones."""
    return engine.store.clones("ci")


async def test_every_mount_id_has_its_own(ci: Engine) -> None:
    """Each begins as the volume, and none sees what another writes."""
    paths = {await ci.uses.mount("ci", job, DOCKER) for job in ("1", "2")}
    assert len(paths) == 2
    one, two = clone_name("ci", "1"), clone_name("ci", "2")
    ci.write(one, "mine")
    assert (ci.read(two), ci.read("ci")) == ("golden", "golden")
    assert (ci.is_mounted(one), ci.is_mounted(two), ci.is_mounted("ci")) == (True, True, False)
    assert await ci.uses.mount("ci", "1", DOCKER) in paths  # as `docker cp` does
    assert ci.counted(one) == 2


async def test_what_one_had_is_dropped_at_its_unmount(ci: Engine) -> None:
    """With its folder, its mountpoint and its promise; the next of the ID begins anew."""
    promised = (await ci.daemon.space()).promised
    await ci.uses.mount("ci", "1", DOCKER)
    assert (await ci.daemon.space()).promised == promised + 4096
    ci.write(clone_name("ci", "1"), "mine")
    await ci.uses.unmount("ci", "1")
    await ci.settled()
    assert _clones(ci) == ci.left() == []
    assert list(ci.host.mounts_dir.iterdir()) == []
    assert (await ci.daemon.space()).promised == promised
    await ci.uses.mount("ci", "1", DOCKER)
    assert ci.read(clone_name("ci", "1")) == "golden"
    ci.write(clone_name("ci", "1"), "mine")
    await ci.uses.unmount("ci", "1")
    after = ci.restarted()
    await after.uses.mount("ci", "1", DOCKER)
    assert after.read(clone_name("ci", "1")) == "golden"


async def test_they_outlive_the_daemon_while_they_are_held(ci: Engine) -> None:
    """And not when nobody holds them: after a reboot they are gone."""
    await ci.uses.mount("ci", "1", DOCKER)
    ci.write(clone_name("ci", "1"), "mine")
    after = ci.restarted()
    assert after.read(clone_name("ci", "1")) == "mine"
    assert after.is_mounted(clone_name("ci", "1"))
    assert (await after.daemon.space()).promised == 3 * 4096
    booted = after.rebooted()
    assert _clones(booted) == []
    booted.recovery.sweep()
    assert booted.left() == []


async def test_one_that_is_held_and_cannot_be_looked_at_stays(
    ci: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may use it."""
    await ci.uses.mount("ci", "1", DOCKER)
    assert ci.volumes.get("ci").state is State.MOUNTED

    def fails(*_: object) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(FakeBackend, "is_mounted", fails)
    after = ci.restarted()
    assert len(_clones(after)) == 1
    assert after.counted(clone_name("ci", "1")) == 1


async def test_a_clone_that_is_mounted_but_not_held_is_dropped(ci: Engine) -> None:
    """The daemon died between the mount and the count."""
    await ci.uses.mount("ci", "1", DOCKER)
    ci.references.save(clone_name("ci", "1"), ci.references.none())
    after = ci.restarted()
    await after.janitor.look()
    assert not after.kernel.mounted
    assert _clones(after) == []


async def test_a_leaked_reference_takes_its_clone_along(ci: Engine) -> None:
    """Nobody stands behind it at two looks; one that is used stays."""
    for job in ("1", "2"):
        await ci.uses.mount("ci", job, DOCKER)
    ci.kernel.holders[clone_name("ci", "2")] = [holder()]
    ci.clock.now += GRACE
    for _ in range(2):
        await ci.janitor.look()
    assert _clones(ci) == [clone_name("ci", "2").partition("#")[2]]
    assert not ci.is_mounted(clone_name("ci", "1"))


async def test_one_that_is_busy_at_its_unmount_is_dropped_later(ci: Engine) -> None:
    """The Unmount succeeds; the janitor comes back for the rest."""
    name = clone_name("ci", "1")
    await ci.uses.mount("ci", "1", DOCKER)
    ci.kernel.busy.add(name)
    await ci.uses.unmount("ci", "1")
    assert ci.is_mounted(name)
    assert len(_clones(ci)) == 1
    assert ci.daemon.lingering() == 1
    ci.kernel.busy.clear()
    await ci.janitor.look()
    assert not ci.is_mounted(name)
    assert _clones(ci) == []
    assert ci.daemon.lingering() == 0


async def test_an_operator_mounts_the_volume_itself(ci: Engine) -> None:
    """To change what the next ones begin with."""
    path = await ci.uses.mount("ci", "upkeep", OPERATOR)
    assert path == str(ci.mountpoint("ci") / "exposed")
    ci.write("ci", "newer")
    await ci.uses.unmount("ci", "upkeep")
    assert not ci.is_mounted("ci")
    await ci.uses.mount("ci", "1", DOCKER)
    assert ci.read(clone_name("ci", "1")) == "newer"


async def test_mounts_at_once_all_get_theirs(ci: Engine) -> None:
    """And unmounts that come meanwhile wait for no other's copy."""
    await ci.uses.mount("ci", "first", DOCKER)
    gate = ci.kernel.gate("copy", "ci")
    jobs = [str(number) for number in range(4)]
    mounts = [asyncio.create_task(ci.uses.mount("ci", job, DOCKER)) for job in jobs]
    await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(60):
        await ci.uses.unmount("ci", "first")
    with pytest.raises(VolumeInUse, match="ci is in use by a private clone, which is being made"):
        await ci.volumes.remove("ci")
    gate.open()
    await asyncio.gather(*mounts)
    assert len(_clones(ci)) == 4
    for job in jobs:
        await ci.uses.unmount("ci", job)
    assert _clones(ci) == []


async def test_who_uses_a_clone_keeps_the_volume(ci: Engine) -> None:
    """Those that are only counted do not, and go with it; also at a rename."""
    await ci.uses.mount("ci", "1", DOCKER)
    name = clone_name("ci", "1")
    ci.clock.now += 100
    ci.kernel.holders[name] = [holder()]
    for change in (ci.volumes.remove("ci"), ci.volumes.rename("ci", "ci2")):
        with pytest.raises(VolumeInUse, match="container 0123456789ab"):
            await change
    assert ci.is_mounted(name)
    ci.kernel.holders.clear()
    await ci.volumes.rename("ci", "ci2")
    assert ci.kernel.mounted == {}
    assert ci.store.clones("ci2") == []
    # The same ID, of a container that is started again, is no stranger.
    await ci.uses.mount("ci2", "1", DOCKER)
    assert ci.read(clone_name("ci2", "1")) == "golden"
    ci.clock.now += 100
    await ci.volumes.remove("ci2")
    await ci.operations.drain(5)
    assert ci.left() == []


@pytest.mark.parametrize(("method", "name"), [("copy", "ci"), ("finish", "ci")])
async def test_a_clone_that_cannot_be_made_leaves_nothing(
    ci: Engine, method: str, name: str
) -> None:
    """No folder and no promise; and the volume is as free as before."""
    promised = (await ci.daemon.space()).promised
    ci.kernel.failures[method, name] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(NoSpace, match="volume ci: mount failed"):
        await ci.uses.mount("ci", "1", DOCKER)
    assert _clones(ci) == ci.left() == []
    assert (await ci.daemon.space()).promised == promised
    assert ci.volumes.get("ci").doing == ""


async def test_a_clone_that_cannot_be_mounted_is_dropped(ci: Engine) -> None:
    """With its mountpoint; the volume itself is not called broken for it."""
    name = clone_name("ci", "1")
    ci.kernel.failures["mount", name] = Corrupt("its image was cut")
    with pytest.raises(Corrupt):
        await ci.uses.mount("ci", "1", DOCKER)
    await ci.operations.drain(5)
    assert _clones(ci) == ci.left() == []
    assert list(ci.host.mounts_dir.iterdir()) == []
    assert ci.volumes.get("ci").state is State.READY


async def test_they_need_something_to_be_made_of(engine: Engine) -> None:
    """Said before anything is made."""
    with pytest.raises(Invalid, match="per_mount needs `from`"):
        await engine.volumes.create("ci", Options(per_mount=True))
    assert engine.volumes.views() == []


@pytest.mark.parametrize(
    ("slow", "asked", "refused"),
    [
        ("fake", Options(per_mount=True), True),
        ("other", Options(per_mount=True), False),
        ("other", Options(per_mount=True, backend="other"), True),
        ("fake", Options(per_mount=True, backend="other"), False),
        ("fake", Options(), False),
        ("other", Options(backend="other"), False),
    ],
)
async def test_they_have_to_be_made_at_once(
    engine: Engine, slow: str, asked: Options, refused: bool
) -> None:
    """Where the volume would lie, or every Mount would wait for a copy."""
    backends = {"fake": engine.backend, "other": OtherBackend(engine.kernel)}
    backends[slow].way = Way.FILES
    engine.host.backends = backends
    await engine.volumes.create("db", Options())
    if refused:
        with pytest.raises(Unsupported, match="per_mount needs clones that are made at once"):
            await engine.copies.clone("db", "ci", asked, Progress())
        assert (engine.left(), set(engine.entries.volumes)) == ([], {"db"})
    else:
        await engine.copies.clone("db", "ci", asked, Progress())


async def test_a_clone_is_made_room_for(keeping: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the trash goes before a mount fails."""
    await keeping.volumes.create("db", Options(size=4096, sparse=False))
    await keeping.volumes.create("ci", Options(source="db", per_mount=True))
    await keeping.volumes.create("old", Options())
    keeping.write("old", "x" * 1000)
    await keeping.volumes.remove("old")
    monkeypatch.setattr(keeping.host.ledger, "free", lambda: 0 if keeping.trash.views() else 4096)
    await keeping.uses.mount("ci", "1", DOCKER)
    assert keeping.trash.views() == []
    assert len(keeping.entries.volumes["ci"].clones) == 1


async def test_a_private_clone_is_its_volumes_own_affair(ci: Engine) -> None:
    """By its name nobody gets at it, nor through it at its volume."""
    await ci.uses.mount("ci", "one", DOCKER)
    (name,) = ci.entries.volumes["ci"].clones
    for change in (
        ci.volumes.remove(name),
        ci.volumes.rename(name, "new"),
        ci.volumes.protect(name, on=True),
    ):
        with pytest.raises(VolumeNotFound):
            await change
    assert ci.entries.volumes.keys() >= {"ci"}
