"""A group of snapshots: all at one moment, all or none, and in nobody's way."""

import asyncio
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    AlreadyExists,
    Cancelled,
    Corrupt,
    Invalid,
    VolumeNotFound,
)
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from convoy_py.state.records import SnapshotRecord
from tests.fakes_engine import Engine

DOCKER = "100:1"
IMAGE = Options(fs=Filesystem.EXT4, size=4096)


async def test_a_group_is_taken_at_one_moment(engine: Engine) -> None:
    """All are frozen before the first is copied; each volume has its own, under one name."""
    for name in ("b", "a"):
        await engine.volumes.create(name, IMAGE)
        await engine.uses.mount(name, "container", DOCKER)
    gate = engine.kernel.gate("copy", "b")
    task = asyncio.create_task(engine.snapshots.create(["b", "a", "b"], "r7", Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    assert engine.kernel.frozen == {engine.mountpoint("a"), engine.mountpoint("b")}
    gate.open()
    views = await task
    assert [(view.volume, view.name) for view in views] == [("b", "r7"), ("a", "r7")]
    assert views[0].group == views[1].group != ""


@pytest.mark.parametrize(("lag", "times"), [(0, 1), (2, 3), (1000, 4)])
async def test_a_group_is_copied_beside_writers_first(engine: Engine, lag: int, times: int) -> None:
    """All in turn, again while one changes much, but not without end; then all are frozen."""
    for name in ("a", "b"):
        await engine.volumes.create(name, IMAGE)
        await engine.uses.mount(name, "container", DOCKER)
    engine.backend.lag = {"a": lag}
    await engine.snapshots.create(["a", "b"], "r7", Progress())
    copied = [call for call in engine.kernel.calls if call[0] in ("precopy", "copy")]
    before, once = [("precopy", "a"), ("precopy", "b")], [("copy", "a"), ("copy", "b")]
    assert copied == before * times + once


async def test_a_group_can_be_cancelled_before_it_is_frozen(engine: Engine) -> None:
    """Nothing is left of it, and nobody had to wait."""
    for name in ("a", "b"):
        await engine.volumes.create(name, IMAGE)
        await engine.uses.mount(name, "container", DOCKER)
    progress, gate = Progress(), engine.kernel.gate("precopy", "b")
    task = asyncio.create_task(engine.snapshots.create(["a", "b"], "r7", progress))
    await asyncio.to_thread(gate.wait_for_call)
    progress.cancelled = "the operator has enough"
    gate.open()
    with pytest.raises(Cancelled):
        await task
    assert engine.kernel.count("copy", "a") == 0
    assert engine.snapshots.views() == []
    assert engine.left() == []


@pytest.mark.parametrize("method", ["precopy", "copy", "finish", "commit"])
async def test_a_group_is_all_or_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """What fails at the second takes back the first, also when that was complete already."""
    for name in ("a", "b"):
        await engine.volumes.create(name, Options())
    failure = Corrupt("volume b: its image was cut")
    store = engine.host.snapshot_store
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
    await engine.snapshot("b", "r7")
    with pytest.raises(AlreadyExists, match="b@r7"):
        await engine.snapshots.create(["a", "b"], "r7", Progress())
    assert engine.kernel.count("copy", "a") == 0


async def test_a_slow_member_holds_up_no_unmount_of_the_others(engine: Engine) -> None:
    """However long the group takes."""
    for name in ("a", "b"):
        await engine.volumes.create(name, Options())
        await engine.uses.mount(name, "container", DOCKER)
    gate = engine.kernel.gate("copy", "b")
    task = asyncio.create_task(engine.snapshots.create(["a", "b"], "r7", Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(60):
        await engine.uses.unmount("a", "container")
        await engine.uses.unmount("b", "container")
    gate.open()
    await task
    await engine.operations.drain(5)
    assert engine.kernel.mounted == {}


async def test_a_group_that_waits_for_one_is_in_nobodys_way(engine: Engine) -> None:
    """Until all of its volumes can be had, it has none of them."""
    for name in ("a", "b", "c"):
        await engine.volumes.create(name, Options())
    gate = engine.kernel.gate("mount", "b")
    mounting = asyncio.create_task(engine.uses.mount("b", "container", DOCKER))
    await asyncio.to_thread(gate.wait_for_call)
    task = asyncio.create_task(engine.snapshots.create(["a", "b", "c"], "r", Progress()))
    async with asyncio.timeout(60):
        for name in ("a", "c"):
            await engine.uses.mount(name, "container", DOCKER)
            await engine.uses.unmount(name, "container")
    assert not task.done()
    gate.open()
    await mounting
    assert len(await task) == 3


async def test_groups_in_any_order_do_not_wait_in_a_circle(engine: Engine) -> None:
    """Nor do the renames and clones that come between them."""
    for name in ("a", "b", "c", "d"):
        await engine.volumes.create(name, Options())
    async with asyncio.timeout(60):
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
    with pytest.raises(Invalid, match="none of the volumes of web-2 is one of ours"):
        await create([], "r2", Progress(), container="web-2")
    with pytest.raises(Invalid, match="no volume is named"):
        await create([], "r2", Progress())
    with pytest.raises(Invalid, match="a@r is a snapshot; name a volume"):
        await create(["a@r"], "r2", Progress())
    with pytest.raises(VolumeNotFound):
        await create(["a", "missing"], "r2", Progress())
