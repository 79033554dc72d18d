"""A conversion: another kind of volume with the same data, before or after, never between."""

import asyncio
import errno

import pytest

from convoy_py.engine.jobs import Progress
from convoy_py.errors import (
    NoSpace,
    Unsupported,
    VolumeInUse,
)
from convoy_py.models.volume import Options, Spec
from tests.fakes_engine import Engine, FakeBackend

DOCKER = "100:1"


class Other(FakeBackend):
    """Another backend, whose volumes cannot be made by copying the first one's homes."""

    name = "other"


def _spec(engine: Engine, name: str) -> Spec:
    spec = engine.volumes.get(name).spec
    assert spec is not None
    return spec


@pytest.fixture
async def plain(keeping: Engine) -> Engine:
    """With a volume `db` without snapshots, and a trash that keeps."""
    keeping.steps.backends = {"fake": keeping.backend, "other": Other(keeping.kernel)}
    await keeping.volumes.create("db", Options(size=4096, uid=7))
    await keeping.volumes.protect("db", on=True)
    keeping.write("db", "data")
    return keeping


async def test_a_conversion_swaps_the_volume_and_keeps_the_old(plain: Engine) -> None:
    """Same name, same data, same age and protection; the old one lies in the trash."""
    before = plain.volumes.get("db")
    view = await plain.copies.convert("db", Options(backend="other", size=8192), Progress())
    assert view.spec is not None
    assert (view.backend, view.spec.size) == ("other", 8192)
    assert (view.created, view.protected) == (before.created, True)
    assert plain.read("db") == "data"
    (removed,) = plain.trash.views()
    assert (removed.name, removed.backend) == ("db", "fake")
    assert (await plain.volumes.space()).outstanding == 8192
    await plain.trash.restore("db", "old")
    assert plain.read("old") == "data"
    assert plain.left() == []
    assert plain.restarted().volumes.get("db").backend == "other"


async def test_snapshots_stand_in_the_way_of_a_conversion(plain: Engine) -> None:
    """They could not come along, and are not lost silently; the way around is told."""
    await plain.snapshots.create(["db"], "a", Progress())
    with pytest.raises(Exception, match=r"db@a\): delete them, or `convoy clone db NEW`"):
        await plain.copies.convert("db", Options(backend="other"), Progress())


@pytest.mark.parametrize("where", ["trash", "create", "writing"])
async def test_a_conversion_that_fails_changes_nothing(
    plain: Engine, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Also if the old data cannot be moved to the trash after the swap."""

    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    if where == "trash":
        monkeypatch.setattr(plain.steps.trash, "take_in", full)
    else:
        plain.kernel.failures[where, "db"] = OSError(errno.EDQUOT, "Disk quota exceeded")
    with pytest.raises(NoSpace):
        await plain.copies.convert("db", Options(backend="other"), Progress())
    assert plain.volumes.get("db").backend == "fake"
    assert plain.read("db") == "data"
    assert plain.trash.views() == []
    assert plain.left() == []
    assert (await plain.volumes.space()).outstanding == 4096
    after = plain.restarted()
    after.steps.backends = plain.steps.backends
    assert after.volumes.get("db").backend == "fake"
    assert after.read("db") == "data"


async def test_nobody_uses_a_volume_that_is_converted(plain: Engine) -> None:
    """A container waits; what would take it away is refused."""
    gate = plain.kernel.gate("create", "db")
    conversion = asyncio.create_task(
        plain.copies.convert("db", Options(backend="other"), Progress())
    )
    await asyncio.to_thread(gate.wait_for_call)
    mounting = asyncio.create_task(plain.volumes.mount("db", "container", DOCKER))
    with pytest.raises(VolumeInUse, match="db is in use by its conversion"):
        await plain.volumes.rename("db", "x")
    assert not mounting.done()
    gate.open()
    await conversion
    await mounting
    with pytest.raises(VolumeInUse, match="a mount made or taken over 0 s ago"):
        await plain.copies.convert("db", Options(backend="fake"), Progress())


async def test_a_volume_of_private_clones_stays_one(plain: Engine) -> None:
    """When it is converted; a clone of it is an ordinary volume."""
    await plain.volumes.create("golden", Options(source="db", per_mount=True))
    await plain.copies.convert("golden", Options(backend="other"), Progress())
    await plain.volumes.create("copy", Options(source="golden"))
    assert _spec(plain, "golden").per_mount is True
    assert _spec(plain, "copy").per_mount is None


async def test_without_the_power_there_are_no_copies(
    plain: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said by the backend's name."""
    monkeypatch.setattr("convoy_py.engine.parts.Snapshots", type("Nobody", (), {}))
    with pytest.raises(Unsupported, match="volume db: backend fake takes no snapshots"):
        await plain.snapshots.create(["db"], "a", Progress())
