"""Volumes that are given to Docker's own driver: copied, compared, and ours goes last."""

import asyncio
import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.containers import Container
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps import loading
from convoy_py.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    Corrupt,
    Invalid,
    NoAnswer,
    NoSpace,
    NotFound,
    OperationFailed,
    Unavailable,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
    VolumeProtected,
)
from convoy_py.linux import files, trees
from convoy_py.models.volume import Options
from convoy_py.wire.copies import ReleasedVolume
from tests.fakes_engine import Engine, holder

APP = Container("1" * 64, "app", "running")
OLD = Container("2" * 64, "old", "exited")
LABELS = {"com.docker.compose.project": "shop"}


@pytest.fixture
async def db(engine: Engine) -> Engine:
    """Where the volume db has data, and Docker knows it."""
    await _make(engine, "db")
    return engine


async def _make(engine: Engine, name: str) -> None:
    await engine.volumes.create(name, Options())
    engine.write(name, f"of {name}")
    engine.containers.ours[name] = dict(LABELS)
    engine.containers.asks = engine.volumes.for_engine


async def _release(engine: Engine, name: str = "db", **how: object) -> list[ReleasedVolume]:
    asked: dict[str, object] = {"volume": name, "compose_project": "", "docker_volume": ""}
    return await engine.releases.release(**(asked | {"progress": Progress()} | how))  # type: ignore[arg-type] # all are given by name


def _docker(engine: Engine) -> dict[str, str]:
    """What Docker's own volumes have."""
    files = {
        name: [file.read_text() for file in local.folder.iterdir()]
        for name, local in engine.containers.local.items()
    }
    return {name: "".join(texts) for name, texts in files.items()}


def _is_whole(engine: Engine, *names: str) -> None:
    """Ours are as they were, and nothing half made is left."""
    assert [view.name for view in engine.volumes.views()] == list(names)
    for name in names:
        assert engine.read(name) == f"of {name}"
        assert engine.volumes.for_engine(name).name == name
        assert (name, "") in engine.volumes.listing()
    assert not _notes(engine)


def _notes(engine: Engine) -> list[Path]:
    return list((engine.store.root / "releasing").glob("*"))


async def test_a_volume_becomes_dockers_own(keeping: Engine) -> None:
    """Under its name, with its labels; ours is in the trash with its snapshots."""
    await _make(keeping, "db")
    await keeping.snapshot("db", "s")
    keeping.containers.ours["db"]["com.docker.compose.config-hash"] = "0123"
    (done,) = await _release(keeping)
    assert (done.name, done.docker_volume, done.files) == ("db", "db", 1)
    assert done.note == (
        "use it as db of driver local, in a compose file without `driver:`; "
        "what was db, with its snapshots, is in the trash"
    )
    assert _docker(keeping) == {"db": "of db"}
    # Compose would offer to empty what does not match its file.
    assert keeping.containers.local["db"].labels == LABELS
    assert keeping.volumes.views() == []
    assert [removed.name for removed in keeping.trash.views()] == ["db"]
    assert not _notes(keeping)
    await keeping.trash.restore("db", "back")
    assert keeping.read("back") == "of db"
    assert [view.name for view in keeping.volumes.get("back").snapshots] == ["s"]


async def test_a_folder_of_the_users_stays(keeping: Engine) -> None:
    """What comes of its data is said, for the trash has none of it."""
    await _make(keeping, "db")
    _, place = keeping.entries.get("db").usable()
    spec = place.spec.model_copy(update={"path": "/srv/data"})
    keeping.entries.get("db").place = replace(place, spec=spec)
    (done,) = await _release(keeping)
    assert done.note.endswith("; the folder that db showed stays, with its data")


async def test_under_another_name(db: Engine) -> None:
    """An empty volume of Docker's is filled; with no trash ours is deleted."""
    db.containers.create_local("new", {"a": "b"})
    (done,) = await _release(db, docker_volume="new")
    assert done.note == "use it as new of driver local, in a compose file without `driver:`"
    assert _docker(db) == {"new": "of db"}
    assert db.containers.local["new"].labels == {"a": "b"}
    assert db.volumes.views() == []
    await db.settled()
    assert db.left() == []


async def test_a_dry_run_changes_nothing(db: Engine) -> None:
    """It says what would be done, and who is in the way."""
    before = sorted(db.folder.rglob("*"))
    db.containers.using["db"] = [APP, OLD]
    (plan,) = await _release(db, dry_run=True)
    assert (plan.docker_volume, plan.bytes > 0) == ("db", True)
    assert plan.note == (
        "in use by container app (111111111111), which is running, "
        "container old (222222222222), which is exited "
        "(Docker keeps the name for them: remove them first, or give another name)"
    )
    (plan,) = await _release(db, docker_volume="new", dry_run=True)
    assert "(stop them first)" in plan.note
    db.containers.using.clear()
    (plan,) = await _release(db, dry_run=True)
    assert plan.note == ""
    assert [path for path in sorted(db.folder.rglob("*")) if path.name != "docker"] == before
    _is_whole(db, "db")


async def test_a_whole_project(engine: Engine) -> None:
    """Those of its volumes that are ours."""
    for name in ("shop_db", "shop_web"):
        await _make(engine, name)
    engine.containers.projects["shop"] = ["another_driver's", "shop_db", "shop_web"]
    with pytest.raises(Invalid, match="one name fits one volume"):
        await _release(engine, "", compose_project="shop", docker_volume="new")
    with pytest.raises(NotFound, match="compose project nope has no volume of this daemon's"):
        await _release(engine, "", compose_project="nope")
    done = await _release(engine, "", compose_project="shop")
    assert [each.name for each in done] == ["shop_db", "shop_web"]
    assert _docker(engine) == {"shop_db": "of shop_db", "shop_web": "of shop_web"}
    assert engine.volumes.views() == []


async def test_who_is_in_the_way(db: Engine) -> None:
    """What uses it, or has its name; nothing is done."""
    db.containers.using["db"] = [OLD]
    with pytest.raises(VolumeInUse, match=r"container old \(2+\), which is exited"):
        await _release(db)
    db.containers.using.clear()
    await db.uses.mount("db", "id", "epoch")
    db.kernel.holders["db"] = [holder()]
    with pytest.raises(VolumeInUse, match="postgres"):
        await _release(db)
    db.kernel.holders.clear()
    await db.uses.unmount("db", "id")
    await db.volumes.protect("db", on=True)
    for dry_run in (True, False):
        with pytest.raises(VolumeProtected):
            await _release(db, dry_run=dry_run)
    await db.volumes.protect("db", on=False)
    await db.snapshot("db", "s")
    with pytest.raises(Unsupported, match="clone it and release the clone"):
        await _release(db, "db@s")
    _is_whole(db, "db")
    assert _docker(db) == {}


async def test_names_that_are_taken(db: Engine) -> None:
    """By a volume of ours, of another driver, or by one of Docker's with data, or in use."""
    await _make(db, "other")
    with pytest.raises(AlreadyExists, match="volume other exists already"):
        await _release(db, docker_volume="other")
    db.containers.ours["remote"] = {}
    with pytest.raises(AlreadyExists, match="Docker has a volume remote of driver convoy"):
        await _release(db, docker_volume="remote")
    mine = db.containers.create_local("mine", {})
    mine.users.append(APP)
    with pytest.raises(VolumeInUse, match="container app"):
        await _release(db, docker_volume="mine")
    mine.users.clear()
    (mine.folder / "file").write_text("mine")
    with pytest.raises(AlreadyExists, match="mine of its own, and it is not empty"):
        await _release(db, docker_volume="mine")
    _is_whole(db, "db", "other")
    assert _docker(db) == {"mine": "mine"}


async def test_no_room(db: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before anything is copied."""

    class Full:
        f_bavail, f_frsize = 0, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: Full)
    with pytest.raises(NoSpace, match="has 0B free"):
        await _release(db, dry_run=True)
    Full.f_bavail, Full.f_frsize = 1, 1
    (plan,) = await _release(db, dry_run=True)
    assert plan.bytes == 1
    _is_whole(db, "db")


@pytest.mark.parametrize(
    "failing",
    [
        *(("create", "convoy-release-"), ("create", "shop_web")),
        *(("exchange", ""), ("sync", ""), ("verify", "")),
    ],
)
async def test_a_failure_leaves_ours_whole(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, str]
) -> None:
    """Also if the second of two fails, and nothing half made stays with Docker."""
    call, _ = failing
    for each in ("shop_db", "shop_web"):
        await _make(engine, each)
    engine.containers.projects["shop"] = ["shop_db", "shop_web"]
    failure: Exception = Corrupt("it fails")
    if call == "create":
        engine.containers.failures[failing] = failure
    elif call == "verify":
        monkeypatch.setattr(trees, "verify", _failing(2, failure, trees.verify))
    elif call == "sync":
        failure = OSError(5, "it fails")
        sync = files.sync_filesystem
        monkeypatch.setattr(files, "sync_filesystem", _failing(4, failure, sync))
    else:
        failure = OSError(5, "it fails")
        real = files.exchange
        monkeypatch.setattr(files, "exchange", _failing(2, failure, real))
    with pytest.raises((Corrupt, OperationFailed), match="it fails"):
        await _release(engine, "", compose_project="shop")
    _is_whole(engine, "shop_db", "shop_web")
    assert _docker(engine) == {}
    monkeypatch.undo()
    engine.containers.failures.clear()
    assert len(await _release(engine, "", compose_project="shop")) == 2
    assert _docker(engine) == {"shop_db": "of shop_db", "shop_web": "of shop_web"}


async def test_what_a_container_uses_already_is_not_taken_back(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """It began with the one that had traded places, before the other failed: both stay."""
    for each in ("shop_db", "shop_web"):
        await _make(engine, each)
    engine.containers.projects["shop"] = ["shop_db", "shop_web"]

    def begin(call: str, name: str) -> None:
        if (call, name) == ("create", "shop_web"):
            engine.containers.local["shop_db"].users.append(APP)
            raise Corrupt("it fails")

    engine.containers.when_called = begin
    with caplog.at_level(logging.WARNING), pytest.raises(Corrupt):
        await _release(engine, "", compose_project="shop")
    assert "Docker's own volume shop_db has its data, and so has ours" in caplog.text
    assert _docker(engine) == {"shop_db": "of shop_db"}
    _is_whole(engine, "shop_db", "shop_web")


async def test_a_failure_leaves_dockers_empty_volume_that_was_there(
    db: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not what was half made."""
    db.containers.create_local("new", {"a": "b"})
    monkeypatch.setattr(trees, "verify", _failing(1, Corrupt("it fails"), trees.verify))
    with pytest.raises(Corrupt):
        await _release(db, docker_volume="new")
    assert _docker(db) == {"new": ""}
    _is_whole(db, "db")


def _failing(at: int, failure: Exception, real: Callable[..., object]) -> Callable[..., object]:
    """A function whose `at`-th call fails."""
    calls: list[int] = []

    def call(*args: object) -> object:
        calls.append(1)
        if len(calls) == at:
            raise failure
        return real(*args)

    return call


async def test_it_can_be_cancelled(db: Engine) -> None:
    """While it copies."""
    progress = Progress()

    def cancel(call: str, name: str) -> None:
        progress.cancelled = "no more"

    db.containers.when_called = cancel
    with pytest.raises(Cancelled):
        await _release(db, progress=progress)
    _is_whole(db, "db")
    assert _docker(db) == {}


async def test_docker_sees_the_name_free_only_while_it_takes_it(db: Engine) -> None:
    """Until then Get answers; what is ours, and what else would take it away, is refused."""
    seen: list[tuple[str, bool]] = []

    def look(call: str, name: str) -> None:
        try:
            db.volumes.for_engine("db")
        except VolumeNotFound:
            seen.append((call, False))
            assert db.volumes.listing() == []
        else:
            seen.append((call, True))
        assert db.volumes.get("db").doing == "its release"

    db.containers.when_called = look
    await _release(db, docker_volume="db")
    assert seen[:2] == [("create", True), ("create", False)]
    await _make(db, "web")
    # Under another name there is no need.
    db.containers.when_called = lambda call, name: db.volumes.for_engine("web")
    await _release(db, "web", docker_volume="new")


async def test_what_came_in_between_is_not_overwritten(db: Engine) -> None:
    """A container that was started by the name just then has made a volume, and written to it."""

    def start(call: str, name: str) -> None:
        if name == "db" and call == "create":
            del db.containers.ours["db"]
            db.containers.when_called = lambda call, name: None
            local = db.containers.create_local("db", {})
            (local.folder / "file").write_text("a container's")

    db.containers.when_called = start
    with pytest.raises(AlreadyExists, match="not empty"):
        await _release(db)
    _is_whole(db, "db")
    assert _docker(db)["db"] == "a container's"


async def test_what_somebody_wrote_beside_stays(
    db: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A container that began in the moment of the switch has the folder that was empty."""
    real = files.exchange

    def written(one: Path, other: Path) -> None:
        real(one, other)
        (one / "file").write_text("a container's")

    monkeypatch.setattr(files, "exchange", written)
    with caplog.at_level(logging.WARNING):
        await _release(db)
    (beside,) = db.containers.local.keys() - {"db"}
    assert _docker(db) == {"db": "of db", beside: "a container's"}
    assert f"somebody wrote into {beside} while volume db was released as db" in caplog.text


async def test_ours_goes_when_dockers_is_on_the_disk(
    db: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: a power cut at any moment leaves the one or the other."""
    order: list[str] = []

    def noted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            order.append(name)
            return real(*args)

        return call

    monkeypatch.setattr(trees, "verify", noted("verify", trees.verify))
    monkeypatch.setattr(files, "exchange", noted("exchange", files.exchange))
    monkeypatch.setattr(files, "sync_filesystem", noted("sync", files.sync_filesystem))
    monkeypatch.setattr(db.steps, "retire", noted("retire", db.steps.retire))
    await _release(db)
    assert order[-5:] == ["verify", "sync", "exchange", "sync", "retire"]


async def test_replaced_meanwhile(db: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has the name by now is not what the release was planned for."""
    folder = db.containers.folder

    def replaced() -> Path:
        db.entries.put(loading.entry(db.host, "db", db.store.read("db")))
        return folder()

    monkeypatch.setattr(db.containers, "folder", replaced)
    with pytest.raises(Conflict, match="db was replaced meanwhile; repeat the command"):
        await _release(db)
    _is_whole(db, "db")
    assert _docker(db) == {}


async def test_protected_meanwhile(db: Engine) -> None:
    """It is looked at once more before anything is given away."""
    loop = asyncio.get_running_loop()

    def protect(call: str, name: str) -> None:
        if call == "create":
            work = db.volumes.protect("db", on=True)
            asyncio.run_coroutine_threadsafe(work, loop).result(5)

    db.containers.when_called = protect
    with pytest.raises(VolumeProtected):
        await _release(db)
    _is_whole(db, "db")
    assert _docker(db) == {}


async def test_an_engine_that_ends_in_between(db: Engine) -> None:
    """What it has half made is taken away when it is back."""
    db.containers.failures["create", "db"] = db.containers.failures["remove", ""] = Unavailable(
        "no engine"
    )
    with pytest.raises(Unavailable, match="no engine"):
        await _release(db)
    assert len(_docker(db)) == 1
    await db.releases.sweep()
    assert len(_docker(db)) == 1
    db.containers.failures.clear()
    await db.releases.sweep()
    assert _docker(db) == {}
    _is_whole(db, "db")


def _cut_off(engine: Engine, copied: str, named: str | None) -> None:
    """Leave what a daemon leaves that was killed at its release of db: contents of both volumes."""
    for name, text in (("convoy-release-1", copied), ("db", named)):
        if text is not None:
            engine.containers.ours.pop(name, None)
            local = engine.containers.create_local(name, {})
            if text:
                (local.folder / "file").write_text(text)
    folder = engine.store.root / "releasing"
    folder.mkdir()
    note = {"volume": "db", "target": "db", "new": True, "beside": "convoy-release-1"}
    (folder / "convoy-release-1.json").write_text(json.dumps(note))


@pytest.mark.parametrize("named", [None, ""], ids=["copying", "about to switch"])
async def test_a_daemon_that_ends_before_the_switch(db: Engine, named: str | None) -> None:
    """The next one takes away what is half made."""
    _cut_off(db, "of d", named)
    (db.store.root / "releasing/broken.json").write_text("{")
    await db.releases.sweep()
    assert _docker(db) == {}
    _is_whole(db, "db")


async def test_a_daemon_that_ends_after_the_switch(
    db: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Both have the data then: what is whole stays, and it is told."""
    _cut_off(db, "", "of db")
    with caplog.at_level(logging.WARNING):
        await db.releases.sweep()
    assert "Docker's own volume db has its data, and so has ours" in caplog.text
    assert _docker(db) == {"db": "of db"}
    _is_whole(db, "db")


async def test_two_that_both_have_data(db: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can say whose it is: both stay, and it is told."""
    _cut_off(db, "of db", "a container's")
    with caplog.at_level(logging.WARNING):
        await db.releases.sweep()
    assert "db and convoy-release-1 both have data" in caplog.text
    assert _docker(db) == {"db": "a container's", "convoy-release-1": "of db"}
    _is_whole(db, "db")


@pytest.mark.parametrize("at", ["create", "remove"])
async def test_what_goes_on_is_not_swept(db: Engine, at: str) -> None:
    """The janitor comes by while it copies, and while the last of it is taken away."""
    loop = asyncio.get_running_loop()

    def sweep(call: str, name: str) -> None:
        if call != at:
            return
        db.containers.when_called = lambda call, name: None
        asyncio.run_coroutine_threadsafe(db.releases.sweep(), loop).result(5)
        assert len(_notes(db)) == 1

    db.containers.when_called = sweep
    await _release(db)
    assert _docker(db) == {"db": "of db"}
    assert _notes(db) == []


async def test_ours_that_cannot_go_is_told(db: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker has the data by then, and keeps it."""

    def fail(place: object) -> None:
        raise OSError(5, "I/O error")

    monkeypatch.setattr(db.steps, "retire", fail)
    with pytest.raises(OperationFailed, match=r"Docker has db, but volume db is still here, too"):
        await _release(db)
    assert _docker(db) == {"db": "of db"}
    _is_whole(db, "db")


async def test_dry_run_tells_of_storage_that_hangs(
    db: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what is known of the others; to release all of them is refused."""
    await _make(db, "web")
    db.containers.projects["shop"] = ["db", "web"]
    monkeypatch.setattr(db.blocking, "_patience", 0.1)
    gate = db.kernel.gate("usage", "web")
    how = {"name": "", "compose_project": "shop"}
    known, silent = await _release(db, **how, dry_run=True)
    assert (known.name, known.note) == ("db", "")
    assert (silent.name, silent.note) == ("web", "web: its storage does not answer")
    assert silent.docker_volume == "web"
    (silent,) = await _release(db, "web", docker_volume="new", dry_run=True)
    assert (silent.name, silent.docker_volume) == ("web", "new")
    with pytest.raises(NoAnswer):
        await _release(db, **how)
    gate.open()
