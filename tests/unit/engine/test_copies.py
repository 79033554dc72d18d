"""Taking over volumes of Docker's own driver: copied, compared, and the old ones untouched."""

import asyncio
import os
from pathlib import Path

import pytest

from convoy_py.containers import Container
from convoy_py.docker_volumes import LocalVolume
from convoy_py.engine.running import threads as blocking
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    AlreadyExists,
    Cancelled,
    ConvoyError,
    Corrupt,
    Invalid,
    NoAnswer,
    NotFound,
    Unsettled,
    VolumeInUse,
)
from convoy_py.linux import trees
from convoy_py.models.volume import Options
from tests.fakes_engine import Engine, Gate

APP = Container("1" * 64, "app", "running")


@pytest.fixture
def shop(engine: Engine, tmp_path: Path) -> Engine:
    """Where Docker has two volumes of its own, of one compose project."""
    for name in ("shop_db", "shop_web"):
        folder = tmp_path / "docker" / name / "_data"
        folder.mkdir(parents=True)
        (folder / "file").write_text(f"of {name}")
        engine.containers.local[name] = LocalVolume(name, "local", folder)
    return engine


async def _adopt(engine: Engine, **how: object) -> list[tuple[str, str]]:
    """Adopt the volume or project in `how`; (Docker's name, ours) of each."""
    asked: dict[str, object] = {"docker_volume": "", "compose_project": "", "name": ""}
    asked |= {"options": Options(), "progress": Progress()} | how
    done = await engine.adoptions.adopt(**asked)  # type: ignore[arg-type] # all are given by name
    return [(each.docker_volume, each.name) for each in done]


async def test_a_volume_is_taken_over_with_its_data(shop: Engine) -> None:
    """Under its own name or another; Docker's own stays as it is, and what to do next is told."""
    progress = Progress()
    (done,) = await shop.adoptions.adopt("shop_db", "", "db", Options(size=4096), progress)
    assert (done.docker_volume, done.name) == ("shop_db", "db")
    assert done.bytes == len("of shop_db")
    assert "`docker volume rm shop_db`" in done.note
    assert shop.read("db") == "of shop_db"
    spec = shop.volumes.get("db").spec
    assert spec is not None
    assert spec.size == 4096
    assert (shop.containers.local["shop_db"].mountpoint / "file").exists()
    assert await _adopt(shop, docker_volume="shop_web") == [("shop_web", "shop_web")]
    assert shop.restarted().read("shop_web") == "of shop_web"


async def test_what_stands_in_the_way_is_told_beforehand(shop: Engine) -> None:
    """Also by a dry run, which keeps no space either."""
    for options, told in (
        (Options(path="/srv/data"), "not into a folder of the host"),
        (Options(size=2**62), "cannot be promised"),
    ):
        with pytest.raises(ConvoyError, match=told):
            await _adopt(shop, docker_volume="shop_db", options=options, dry_run=True)
    for name in (".new-db", "../db", "db@a"):
        with pytest.raises(Invalid, match="name"):
            await _adopt(shop, docker_volume="shop_db", name=name, dry_run=True)
    await _adopt(shop, docker_volume="shop_db", options=Options(size=4096), dry_run=True)
    assert (await shop.daemon.space()).promised == 0


async def test_a_dry_run_changes_nothing(shop: Engine) -> None:
    """It says what would be done, and who is in the way."""
    local = shop.containers.local["shop_db"]
    local.users.append(APP)
    before = sorted(shop.folder.rglob("*"))
    (plan,) = await shop.adoptions.adopt(
        "shop_db", "", "db", Options(), Progress(), dry_run=True, stop_containers=True
    )
    assert (plan.name, plan.bytes) == ("db", len("of shop_db"))
    assert plan.note == "in use by container app (111111111111), to be stopped first"
    assert sorted(shop.folder.rglob("*")) == before
    assert shop.containers.calls == []
    assert shop.volumes.views() == []


async def test_holes_are_no_data(shop: Engine) -> None:
    """Of a file that is larger than the host what is written counts, and holes are kept."""
    folder = shop.containers.local["shop_db"].mountpoint
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(8 << 40)
        sparse.seek(4 << 40)
        sparse.write(b"x" * 4096)
    os.link(folder / "sparse", folder / "again")
    progress = Progress()
    (plan,) = await shop.adoptions.adopt("shop_db", "", "", Options(), Progress(), dry_run=True)
    (done,) = await shop.adoptions.adopt("shop_db", "", "", Options(), progress)
    assert plan.bytes == done.bytes < 1 << 20
    assert progress.done == progress.total < 2 << 20
    _, place = shop.entries.get("shop_db").usable()
    copied = (place.home / "data" / "sparse").stat()
    assert (copied.st_size, copied.st_nlink) == (8 << 40, 2)
    assert copied.st_blocks * 512 < 1 << 20


async def test_a_whole_project_is_taken_over(shop: Engine) -> None:
    """Under the names that its volumes have; one name would not do."""
    names = [("shop_db", "shop_db"), ("shop_web", "shop_web")]
    with pytest.raises(Invalid, match="one name fits one volume"):
        await _adopt(shop, compose_project="shop", name="db")
    assert await _adopt(shop, compose_project="shop") == names
    shop.containers.local.clear()
    with pytest.raises(NotFound, match="compose project shop has no volume of Docker's own"):
        await _adopt(shop, compose_project="shop")


async def test_who_uses_it_is_named_or_stopped(shop: Engine) -> None:
    """Once, and not started again: they would go on writing to the old volume."""
    for local in shop.containers.local.values():
        local.users.append(APP)
    with pytest.raises(VolumeInUse, match=r"shop_db, shop_web is in use by container app \(1"):
        await _adopt(shop, compose_project="shop")
    assert shop.containers.calls == []
    await _adopt(shop, compose_project="shop", stop_containers=True)
    assert shop.containers.calls == ["stop"]


@pytest.mark.parametrize("ends", ["failed", "cancelled"])
async def test_a_project_is_taken_over_whole_or_not_at_all(shop: Engine, ends: str) -> None:
    """What was there of it is taken back, and its containers run again."""
    shop.containers.local["shop_db"].users.append(APP)
    if ends == "failed":
        shop.kernel.failures["create", "shop_web"] = Corrupt("mkfs failed")
    gate = shop.kernel.gate("create", "shop_web")
    job = shop.jobs.start(
        "adopt",
        "shop",
        lambda progress: _adopt(
            shop, compose_project="shop", stop_containers=True, progress=progress
        ),
    )
    await asyncio.to_thread(gate.wait_for_call)
    assert [view.name for view in shop.volumes.views()] == ["shop_db"]
    if ends == "cancelled":
        shop.jobs.cancel(job.id)
    gate.open()
    await shop.jobs.wait(job, 5)
    with pytest.raises(Cancelled if ends == "cancelled" else Corrupt):
        assert job.result
    await shop.operations.drain(5)
    assert shop.volumes.views() == []
    assert shop.left() == []
    assert shop.containers.calls == ["stop", "start"]


async def test_what_was_mounted_meanwhile_is_not_taken_back(shop: Engine) -> None:
    """It may have more by now than was copied; which stays is told."""
    shop.kernel.failures["create", "shop_web"] = Corrupt("mkfs failed")
    gate = shop.kernel.gate("create", "shop_web")
    adopting = asyncio.create_task(_adopt(shop, compose_project="shop"))
    await asyncio.to_thread(gate.wait_for_call)
    await shop.uses.mount("shop_db", "container", "100:1")
    shop.write("shop_db", "more")
    await shop.uses.unmount("shop_db", "container")
    gate.open()
    with pytest.raises(Unsettled, match=r"mkfs failed; adopted all the same: shop_db"):
        await adopting
    await shop.operations.drain(5)
    assert [view.name for view in shop.volumes.views()] == ["shop_db"]
    assert shop.read("shop_db") == "more"


async def test_what_was_deleted_meanwhile_does_not_stay(shop: Engine) -> None:
    """So nothing is told of it."""
    shop.kernel.failures["create", "shop_web"] = Corrupt("mkfs failed")
    gate = shop.kernel.gate("create", "shop_web")
    adopting = asyncio.create_task(_adopt(shop, compose_project="shop"))
    await asyncio.to_thread(gate.wait_for_call)
    await shop.volumes.remove("shop_db")
    gate.open()
    with pytest.raises(Corrupt, match=r"^mkfs failed$"):
        await adopting


async def test_what_came_before_the_copy_is_left_alone(shop: Engine) -> None:
    """While its containers were being stopped: nothing is copied in vain."""
    loop = asyncio.get_running_loop()
    shop.containers.local["shop_db"].users.append(APP)

    def create() -> None:
        work = shop.volumes.create("db", Options())
        asyncio.run_coroutine_threadsafe(work, loop).result(5)

    shop.containers.when_stopped = create
    with pytest.raises(AlreadyExists, match="volume db exists already: give another name"):
        await _adopt(shop, docker_volume="shop_db", name="db", stop_containers=True)
    assert shop.kernel.count("writing", "db") == 0
    assert shop.containers.calls == ["stop", "start"]


async def test_what_is_ours_already_is_not_overwritten(shop: Engine) -> None:
    """Found before anything is stopped, and once more before the copy."""
    await shop.volumes.create("db", Options())
    shop.write("db", "mine")
    with pytest.raises(AlreadyExists, match="volume db exists already: give another name"):
        await _adopt(shop, docker_volume="shop_db", name="db", stop_containers=True)
    with pytest.raises(ConvoyError):
        await _adopt(shop, docker_volume="shop_db", name="db", dry_run=True)
    assert shop.read("db") == "mine"
    results = await asyncio.gather(
        *(_adopt(shop, docker_volume="shop_db", name="new") for _ in range(2)),
        return_exceptions=True,
    )
    assert sorted(isinstance(result, AlreadyExists) for result in results) == [False, True]
    assert shop.read("new") == "of shop_db"


async def test_dry_run_tells_of_storage_that_hangs(
    shop: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what is known of the others; to adopt all of them is refused."""
    monkeypatch.setattr(blocking, "LITTLE_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(blocking, "_device", lambda path: "hung" if "web" in path else "well")
    gate, measure = Gate(), trees.measure

    def hang(folder: Path) -> tuple[int, int]:
        if "web" in str(folder):
            gate.pass_through()
        return measure(folder)

    monkeypatch.setattr(trees, "measure", hang)
    plans = await shop.adoptions.adopt("", "shop", "", Options(), Progress(), dry_run=True)
    told = {plan.name: (plan.bytes, plan.note) for plan in plans}
    assert told["shop_db"] == (len("of shop_db"), "")
    assert told["shop_web"] == (0, "Docker volume shop_web: its storage does not answer")
    with pytest.raises(NoAnswer):
        await _adopt(shop, compose_project="shop")
    assert shop.volumes.views() == []
    gate.open()
