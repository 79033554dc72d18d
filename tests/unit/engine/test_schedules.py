"""Schedules belong to volumes: how they are set, where they go, and what refuses."""

from collections.abc import Coroutine
from typing import Any

import pytest

from convoy_py.api.status import snapshot_info
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    Conflict,
    ConvoyError,
    InvalidOption,
    NotFound,
    OptionsDiffer,
    Unsupported,
    VolumeNotFound,
)
from convoy_py.linux.outside import Outside
from convoy_py.models.volume import Options
from convoy_py.state.records import Repository, timestamp
from tests.fakes_engine import DAY, NOW, Engine

KEEP = Options(size=8192, schedule_snapshot="@daily", schedule_keep="7d")


def _know(engine: Engine, *names: str) -> None:
    engine.repositories.open(
        {
            name: Repository(
                name=name, location=f"/srv/{name}", id="0" * 64, created=timestamp(NOW)
            )
            for name in names
        },
        {},
    )


def _scheduled(engine: Engine) -> list[str]:
    return [view.volume for view in engine.schedules.views()]


async def _run_once(engine: Engine) -> None:
    await engine.scheduler.look()
    engine.pass_time(DAY + 600)
    await engine.scheduler.look()
    await engine.settled()


async def test_what_is_not_given_stays(engine: Engine) -> None:
    """And what is taken away is gone; after a restart, too."""
    _know(engine, "offsite")
    await engine.volumes.create("db", Options(size=8192))
    await engine.schedules.set("db", {"schedule_snapshot": "@daily", "schedule_keep": "7d"})
    await engine.schedules.set("db", {"schedule_backup": "@weekly", "schedule_prove": "7d"})
    view = (after := engine.restarted()).schedules.inspect("db")
    assert view.snapshot
    assert view.backup
    assert view.prove
    assert (view.snapshot.expression, view.backup.expression) == ("@daily", "@weekly")
    assert view.prove.expression == "7d"
    assert (view.to, view.keep) == ("offsite", "7d")
    _know(after, "offsite")
    await after.schedules.set("db", {"schedule_backup": None, "schedule_keep": None})
    view = after.schedules.inspect("db")
    assert (view.backup, view.prove, view.to, view.keep) == (None, None, "", "")
    await after.schedules.remove("db")
    assert _scheduled(after) == []
    with pytest.raises(NotFound, match="volume db has no schedule: `convoy schedule set`"):
        after.schedules.inspect("db")


async def test_docker_gives_a_volume_a_schedule(engine: Engine) -> None:
    """By options, which are told with the others; the same again is done already."""
    _know(engine, "offsite")
    options = Options(size=8192, schedule_backup="30 2 * * *", schedule_keep="24h,7d")
    for _ in range(2):
        await engine.volumes.create("db", options)
    spec = engine.volumes.get("db").spec
    assert spec
    assert spec.shown()["schedule.backup"] == "30 2 * * *"
    assert spec.shown()["schedule.to"] == "offsite"
    with pytest.raises(OptionsDiffer, match=r"schedule.backup"):
        await engine.volumes.create("db", Options(schedule_backup="@daily"))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"schedule_backup": "@daily"}, "such as by --to or --from: offsite, other"),
        ({"schedule_backup": "@daily", "schedule_to": "nas"}, "no such repository: nas"),
        ({"schedule_to": "offsite"}, "schedule.to needs schedule.backup"),
        ({"schedule_prove": "7d"}, "schedule.prove needs schedule.backup"),
        ({"schedule_raw": True}, "schedule.raw needs schedule.backup"),
        ({"schedule_keep": "7d"}, "schedule.keep needs schedule.snapshot or schedule.backup"),
        ({"schedule_stop": True}, "schedule.stop needs schedule.snapshot or schedule.backup"),
        ({"schedule_snapshot": "@daily", "schedule_keep": "7x"}, "'7x' is not what to keep"),
        ({"schedule_snapshot": "@daily", "schedule_keep": "0d"}, "'0d' keeps nothing"),
        ({}, "say when, for snapshots or for backups"),
    ],
)
async def test_what_makes_no_schedule_is_refused(
    engine: Engine, changes: dict[str, str | bool | None], error: str
) -> None:
    """Nothing of it is kept; a volume is not made with it either."""
    _know(engine, "offsite", "other")
    await engine.volumes.create("db", Options(size=8192))
    with pytest.raises(ConvoyError, match=error):
        await engine.schedules.set("db", changes)
    assert _scheduled(engine) == []
    if changes:
        with pytest.raises(ConvoyError, match=error):
            await engine.volumes.create("web", Options.model_validate(changes))
        assert "web" not in engine.entries.volumes


async def test_no_raw_backups_are_as_if_nothing_was_said(engine: Engine) -> None:
    """Whatever the backend, and without a schedule; the same again is done already."""
    for _ in range(2):
        await engine.volumes.create("db", Options(size=8192, schedule_raw=False))
    spec = engine.volumes.get("db").spec
    assert spec
    assert "schedule.raw" not in spec.shown()


async def test_only_volumes_have_schedules(engine: Engine) -> None:
    await engine.volumes.create("db", KEEP)
    await engine.snapshot("db", "one")
    with pytest.raises(Unsupported, match="db@one is a snapshot"):
        await engine.schedules.set("db@one", {"schedule_snapshot": "@daily"})
    with pytest.raises(VolumeNotFound):
        await engine.schedules.set("web", {"schedule_snapshot": "@daily"})


async def test_a_schedule_goes_with_its_volume(keeping: Engine) -> None:
    """To another name, into the trash and back, with what became of it."""
    await keeping.volumes.create("db", KEEP)
    await _run_once(keeping)
    done = keeping.schedules.inspect("db").snapshot
    assert done
    assert done.last
    await keeping.volumes.rename("db", "web")
    view = keeping.schedules.inspect("web").snapshot
    assert view
    assert (view.last, _scheduled(keeping)) == (done.last, ["web"])
    await keeping.volumes.remove("web")
    assert _scheduled(keeping) == []
    await keeping.trash.restore("web", "")
    view = keeping.schedules.inspect("web").snapshot
    assert view
    assert (view.last, view.expression) == (done.last, "@daily")


async def test_a_conversion_keeps_the_schedule(keeping: Engine) -> None:
    await keeping.volumes.create("db", Options(size=8192))
    await keeping.schedules.set("db", {"schedule_snapshot": "@daily"})
    entry = keeping.entries.get("db")
    before = entry.runs
    assert before
    await keeping.copies.convert("db", Options(size=16384), Progress())
    after = keeping.entries.get("db")
    assert after is not entry
    assert _scheduled(keeping) == ["db"]
    assert after.runs
    assert after.runs.snapshot == before.snapshot
    with pytest.raises(InvalidOption, match="convoy schedule set"):
        await keeping.copies.convert("db", Options(schedule_snapshot="@hourly"), Progress())


def _clone(engine: Engine) -> Coroutine[Any, Any, object]:
    return engine.volumes.create("web", Options(source="db"))


def _clone_of_snapshot(engine: Engine) -> Coroutine[Any, Any, object]:
    return engine.volumes.create("web", Options(source="db@one"))


@pytest.mark.parametrize("clone", [_clone, _clone_of_snapshot])
async def test_a_clone_has_no_schedule_of_its_source(engine: Engine, clone: Any) -> None:
    """Unless it gets one of its own."""
    await engine.volumes.create("db", KEEP)
    await engine.snapshot("db", "one")
    await clone(engine)
    assert _scheduled(engine) == ["db"]
    await engine.volumes.create("log", Options(source="db", schedule_snapshot="@hourly"))
    view = engine.schedules.inspect("log")
    assert view.snapshot
    assert (view.snapshot.expression, view.keep) == ("@hourly", "")


async def test_another_repository_has_nothing_of_what_was_in_the_first(engine: Engine) -> None:
    """Its last good backup is none of the new one's."""
    _know(engine, "offsite", "other")
    await engine.volumes.create("db", Options(size=8192))
    await engine.schedules.set("db", {"schedule_backup": "@daily", "schedule_to": "offsite"})
    runs = engine.entries.get("db").runs
    assert runs
    assert runs.backup
    failed = runs.backup.model_copy(update={"failures": 3})
    engine.entries.get("db").runs = runs.model_copy(update={"backup": failed})
    await engine.schedules.set("db", {"schedule_backup": "@hourly"})
    backup = engine.schedules.inspect("db").backup
    assert backup
    assert backup.failures == 3
    await engine.schedules.set("db", {"schedule_to": "other"})
    backup = engine.schedules.inspect("db").backup
    assert backup
    assert backup.failures == 0


async def test_results_of_a_newer_daemon_stay(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The schedule runs all the same."""
    await engine.volumes.create("db", KEEP)
    await engine.scheduler.look()
    path = engine.store.home("db") / "runs.json"
    path.write_text('{"format": 9, "more": 1}')
    after = engine.restarted()
    await _run_once(after)
    assert len(after.snapshots.views("db")) == 1
    assert path.read_text() == '{"format": 9, "more": 1}'
    assert "runs.json is not read" in caplog.text


async def test_results_of_another_volume_are_none(engine: Engine) -> None:
    """Such as of one whose folder was put there by hand."""
    await engine.volumes.create("db", KEEP)
    await engine.volumes.create("web", KEEP)
    await engine.scheduler.look()
    home = engine.store.home
    (home("web") / "runs.json").write_bytes((home("db") / "runs.json").read_bytes())
    after = engine.restarted()
    assert after.entries.get("db").runs
    assert after.entries.get("web").runs is None


async def test_a_repository_that_schedules_back_up_to_is_not_forgotten(engine: Engine) -> None:
    """Else their backups would fail from then on."""
    _know(engine, "offsite")
    await engine.volumes.create("db", Options(size=8192, schedule_backup="@daily"))
    with pytest.raises(Conflict, match="schedules back up to repository offsite: those of db"):
        await engine.backups.remove_repository("offsite")
    assert [view.name for view in engine.repositories.views()] == ["offsite"]
    await engine.schedules.remove("db")
    (engine.store.root / "repositories").mkdir()  # it was not added by the verb
    await engine.backups.remove_repository("offsite")
    with pytest.raises(NotFound):
        engine.repositories.inspect("offsite")


async def test_a_snapshot_tells_that_a_schedule_took_it(engine: Engine) -> None:
    await engine.volumes.create("db", KEEP)
    await engine.snapshot("db", "by-hand")
    await _run_once(engine)
    found = engine.snapshots.views("db")
    assert [view.scheduled for view in found] == [False, True]
    assert snapshot_info(found[1], Outside()).scheduled
