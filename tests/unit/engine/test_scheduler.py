"""What schedules have done, and when: over a clock on a string, and repositories that pretend."""

import asyncio
import errno
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps import loading
from convoy_py.engine.verbs.backups import Backups
from convoy_py.engine.verbs.proofs import Proofs
from convoy_py.errors import Cancelled, Corrupt, OperationFailed
from convoy_py.linux import alarm, files, libc
from convoy_py.models.backup import BackupView
from convoy_py.models.job import JobState
from convoy_py.models.names import volume_of
from convoy_py.models.schedule import FinishedRun, LastRun, TaskView
from convoy_py.models.volume import Options
from convoy_py.state.records import Repository
from tests.fakes_engine import DAY, NOW, Engine

HOUR = 3600.0
DELAY = 600.0  # none is longer
BEGUN = datetime.fromtimestamp(NOW, UTC)  # 2026-01-02T03:04:05Z


class Offsite(Backups):
    """Repositories by name; each session is told as (repository, volumes).

    `slow` ones wait for their event; `failures` are by repository, `problems` by volume.
    """

    def __init__(self) -> None:
        self.sessions: list[tuple[str, list[str]]] = []
        self.slow: dict[str, asyncio.Event] = {}
        self.late: dict[str, asyncio.Event] = {}  # volumes whose snapshot takes its time
        self.failures: dict[str, Exception] = {}
        self.problems: dict[str, str] = {}
        self.forgotten: list[tuple[list[str], str, str]] = []

    async def begin(self, volume: str, to: str, progress: Progress) -> tuple[str, list[str]]:
        if volume in self.late:
            await self.late[volume].wait()
        progress(0)
        if volume in self.problems:
            raise OperationFailed(self.problems[volume])
        return f"{volume}@backup", ["db-1 was not started again"] if volume == "halted" else []

    async def finish(
        self, begun: Sequence[str], to: str, progress: Progress
    ) -> tuple[list[BackupView], Sequence[str]]:
        volumes = sorted(map(volume_of, begun))
        self.sessions.append((to, volumes))
        if to in self.slow:
            await self.slow[to].wait()
        if progress.cancelled:
            raise Cancelled(progress.cancelled)
        if to in self.failures:
            raise self.failures[to]
        views = [
            BackupView(
                id=f"{len(self.sessions):064x}",
                repository=to,
                location=f"/srv/{to}",
                volume=volume,
                host="here",
                created=BEGUN,
                size=1000,
                added=10,
            )
            for volume in volumes
            if volume != "odd"
        ]
        return views, ["odd: a file went away"] if "odd" in volumes else []

    async def forget_scheduled(
        self, volumes: Sequence[str], repository: str, keep: str, progress: Progress
    ) -> list[str]:
        self.forgotten.append((sorted(volumes), repository, keep))
        return []


@pytest.fixture
def offsite(engine: Engine) -> Offsite:
    return _connect(engine, Offsite())


def _connect(engine: Engine, offsite: Offsite) -> Offsite:
    engine.repositories.open(
        {
            name: Repository(name=name, location=f"/srv/{name}", id="0" * 64, created=BEGUN)
            for name in ("offsite", "other")
        },
        {},
    )
    engine.scheduler._runs._backups = offsite
    return offsite


async def _schedule(engine: Engine, volume: str, **fields: str) -> None:
    if volume not in engine.entries.volumes:
        await engine.volumes.create(volume, Options(size=8192))
    await engine.schedules.set(volume, {f"schedule_{key}": text for key, text in fields.items()})


async def _pass(engine: Engine, seconds: float) -> None:
    """Let time pass, and the scheduler look then; what it begins comes to its end."""
    await _look(engine, seconds)
    await engine.settled()


async def _look(engine: Engine, seconds: float) -> float | None:
    engine.pass_time(seconds)
    return await engine.scheduler.look()


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():
            await asyncio.sleep(0.001)


def _snapshot(engine: Engine, volume: str = "db") -> TaskView:
    found = engine.schedules.inspect(volume).snapshot
    assert found
    return found


def _backup(engine: Engine, volume: str = "db") -> TaskView:
    found = engine.schedules.inspect(volume).backup
    assert found
    return found


def _taken(engine: Engine, volume: str = "db") -> list[str]:
    return [view.name for view in engine.snapshots.views(volume)]


class Proving(Proofs):
    """Of whatever it is asked it tells the backup; `damaged` volumes are not as they should be."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.damaged: set[str] = set()
        self.slow: dict[str, asyncio.Event] = {}

    async def prove_newest(self, volume: str, repository: str, progress: Progress) -> BackupView:
        self.asked.append((volume, repository))
        if volume in self.slow:
            await self.slow[volume].wait()
        if volume in self.damaged:
            raise Corrupt("a file is another")
        return BackupView(
            id="ab" * 32,
            repository=repository,
            location="/srv",
            volume=volume,
            host="here",
            created=BEGUN,
        )


@pytest.fixture
def proving(engine: Engine, offsite: Offsite) -> Proving:
    engine.scheduler._runs._proofs = proving = Proving()
    return proving


# When


async def test_a_snapshot_is_taken_when_it_is_due(engine: Engine) -> None:
    """A little after the moment, by a delay that stays; and then the next one is waited for."""
    await _schedule(engine, "db", snapshot="0 4 * * *")
    due = await _look(engine, 0)
    assert due is not None
    at_four = datetime(2026, 1, 2, 4, tzinfo=UTC).timestamp()
    assert at_four < due < at_four + DELAY
    await _pass(engine, due - NOW - 1)
    assert _taken(engine) == []
    await _pass(engine, 1)
    (name,) = _taken(engine)
    assert name.startswith("scheduled-20260102-040")
    task = _snapshot(engine)
    assert task.last
    assert task.last.what == f"db@{name}"
    assert task.last.error == ""
    assert task.good == task.last.began
    assert await _look(engine, 1) == due + DAY


async def test_without_a_schedule_nothing_is_waited_for(engine: Engine) -> None:
    await engine.volumes.create("db", Options(size=8192))
    assert await _look(engine, DAY) is None


async def test_each_volume_has_a_delay_of_its_own(engine: Engine) -> None:
    """The same at each host's each start; so not all of them begin at once."""
    for name in ("a", "b", "c", "d"):
        await _schedule(engine, name, snapshot="@daily")
    due = [_snapshot(engine, name).next for name in ("a", "b", "c", "d")]
    assert len(set(due)) == 4
    after = engine.restarted()
    assert [_snapshot(after, name).next for name in ("a", "b", "c", "d")] == due


async def test_the_delay_is_small_beside_the_time_to_the_next(engine: Engine) -> None:
    await _schedule(engine, "db", snapshot="* * * * *")
    task = _snapshot(engine).next
    assert task
    assert 55 <= task.timestamp() - NOW <= 61


async def test_a_clock_that_is_set_during_a_look_has_it_look_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing goes off then: the kernel tells it to who winds the alarm, and only once."""
    looks = 0
    refused = [OSError(errno.ECANCELED, "Operation canceled")]

    def call(name: str, *args: object, about: str) -> int:
        if name == "timerfd_settime" and refused:
            raise refused.pop()
        return libc.call(name, *args, about=about)

    async def look() -> float | None:
        nonlocal looks
        looks += 1
        return None

    monkeypatch.setattr(alarm, "call", call)
    monkeypatch.setattr(engine.scheduler, "look", look)
    running = asyncio.create_task(engine.scheduler.run())
    try:
        await _until(lambda: looks == 2)
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_who_waits_is_woken_where_a_schedule_comes_or_changes(engine: Engine) -> None:
    changed = engine.entries.rescheduled
    for work in (
        engine.volumes.create("db", Options(size=8192, schedule_snapshot="@daily")),
        engine.schedules.set("db", {"schedule_snapshot": "@hourly"}),
        engine.volumes.rename("db", "web"),
    ):
        changed.clear()
        await work
        assert changed.is_set()


# After a while without anybody who looks


@pytest.mark.parametrize("missed", [1, 2, 30])
async def test_one_run_catches_up_with_what_was_missed(engine: Engine, missed: int) -> None:
    """However much it was; a little after the start, not at once."""
    await _schedule(engine, "db", snapshot="@daily")
    engine.pass_time(missed * DAY)
    after = engine.restarted()
    after.wall.now, after.clock.now = NOW + missed * DAY, engine.clock.now
    after.scheduler._timetable.begun = after.wall.now
    due = await _look(after, 0)
    assert due is not None
    assert due <= after.wall.now + DELAY
    await _pass(after, DELAY)
    assert len(_taken(after)) == 1
    await _pass(after, HOUR)
    assert len(_taken(after)) == 1


async def test_a_new_schedule_has_missed_nothing(engine: Engine) -> None:
    """One whose times are changed neither."""
    await _schedule(engine, "db", snapshot="@hourly")
    engine.pass_time(3 * DAY)
    await _schedule(engine, "db", snapshot="@daily")
    await _pass(engine, 1)
    assert _taken(engine) == []


async def test_a_clock_that_was_set_back_stops_nothing(engine: Engine) -> None:
    """It had been far in the future, and a run was made there."""
    await _schedule(engine, "db", snapshot="@daily")
    await _look(engine, 0)
    engine.wall.now += 1000 * DAY
    await _pass(engine, 0)
    assert len(_taken(engine)) == 1
    engine.wall.now = NOW + HOUR
    due = await _look(engine, 0)
    assert due is not None
    assert due < NOW + DAY + DELAY
    await _pass(engine, DAY)
    assert len(_taken(engine)) == 2


async def test_a_daemon_that_started_in_the_future_does_not_wait_for_it(engine: Engine) -> None:
    """Its clock was put right meanwhile."""
    engine.scheduler._timetable.begun = NOW + 1000 * DAY
    await _schedule(engine, "db", snapshot="@daily")
    await _look(engine, 0)
    await _pass(engine, DAY)
    assert len(_taken(engine)) == 1


# Sessions


async def test_backups_that_are_due_at_one_repository_share_a_session(
    engine: Engine, offsite: Offsite
) -> None:
    """Those whose moment has come go along with the first that is due."""
    for name in ("a", "b", "c"):
        await _schedule(engine, name, backup="0 4 * * *", to="offsite")
    await _schedule(engine, "d", backup="0 4 * * *", to="other")
    await _schedule(engine, "e", backup="0 5 * * *", to="offsite")
    found = [_backup(engine, name).next for name in ("a", "b", "c")]
    due = sorted(each.timestamp() for each in found if each)
    await _pass(engine, due[0] - NOW)
    assert due[0] < due[1]
    await _pass(engine, DELAY)
    sessions = dict(offsite.sessions)
    assert len(offsite.sessions) == 2
    assert sessions == {"offsite": ["a", "b", "c"], "other": ["d"]}
    last = _backup(engine, "a").last
    assert last
    assert last.what.startswith("/srv/offsite?backup=")
    assert (last.repository, last.size, last.added) == ("offsite", 1000, 10)


async def test_a_slow_repository_costs_its_own_schedules_alone(
    engine: Engine, offsite: Offsite
) -> None:
    """None of them overlaps another: what becomes due meanwhile goes with its next session."""
    gate = offsite.slow["offsite"] = asyncio.Event()
    await _schedule(engine, "db", backup="@hourly", to="offsite", snapshot="@hourly")
    await _schedule(engine, "web", backup="30 5 * * *", to="offsite")
    await _schedule(engine, "log", backup="@hourly", to="other")
    for count in range(1, 4):
        await _look(engine, HOUR + (DELAY if count == 1 else 0))
        await _until(lambda: engine.scheduler._busy == {"offsite"})
        await _until(lambda: not _snapshot(engine).running)
        assert len(_taken(engine)) == count
    assert sorted(to for to, _ in offsite.sessions) == ["offsite", *["other"] * 3]
    assert _backup(engine).running
    gate.set()
    await engine.settled()
    await _pass(engine, 1)
    assert [volumes for to, volumes in offsite.sessions if to == "offsite"] == [["db"], ["web"]]


async def test_one_volume_whose_snapshot_takes_long_gets_a_session_of_its_own(
    engine: Engine, offsite: Offsite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others do not wait for it, nor does what is due at the repository after that."""
    monkeypatch.setattr("convoy_py.engine.upkeep.runs.PATIENCE_SECONDS", 0.01)
    gate = offsite.late["odd-one"] = asyncio.Event()
    for name in ("db", "odd-one"):
        await _schedule(engine, name, backup="@hourly", to="offsite")
    await _look(engine, HOUR + DELAY)
    await _until(lambda: bool(offsite.sessions) and not engine.scheduler._busy)
    assert offsite.sessions == [("offsite", ["db"])]
    await _look(engine, HOUR)
    await _until(lambda: len(offsite.sessions) == 2 and not engine.scheduler._busy)
    assert offsite.sessions[1:] == [("offsite", ["db"])], "not twice at once"
    assert _backup(engine, "odd-one").running
    engine.entries.rescheduled.clear()
    gate.set()
    await engine.settled()
    assert engine.entries.rescheduled.is_set(), "or it would never be due again"
    assert offsite.sessions[2:] == [("offsite", ["odd-one"])]
    assert _backup(engine, "odd-one").good


@pytest.mark.parametrize("patience", [0.01, 60.0])
async def test_a_snapshot_that_takes_long_ends_with_the_job_that_it_belongs_to(
    engine: Engine,
    offsite: Offsite,
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
) -> None:
    """That of the session, or later its own: what is cancelled is not taken all the same."""
    monkeypatch.setattr("convoy_py.engine.upkeep.runs.PATIENCE_SECONDS", patience)
    gate = offsite.late["odd-one"] = asyncio.Event()
    for name in ("db", "odd-one"):
        await _schedule(engine, name, backup="@hourly", to="offsite")
    await _look(engine, HOUR + DELAY)
    if patience < 1:
        await _until(lambda: bool(offsite.sessions) and not engine.scheduler._busy)
    (job,) = [job for job in engine.jobs.list() if job.state is JobState.RUNNING]
    engine.jobs.cancel(job.id)
    gate.set()
    await engine.settled()
    assert engine.jobs.get(job.id).state is JobState.CANCELLED
    last = _backup(engine, "odd-one").last
    assert last
    assert last.error == f"job {job.id} ({job.verb} {job.volume}) was cancelled"
    assert not any("odd-one" in volumes for _, volumes in offsite.sessions)


async def test_what_one_volume_fails_of_costs_no_other(engine: Engine, offsite: Offsite) -> None:
    offsite.problems["ro"] = "volume ro: snapshot failed"
    names = ("db", "halted", "odd", "ro")
    for name in names:
        await _schedule(engine, name, backup="@hourly", to="offsite")
    await _pass(engine, HOUR + DELAY)
    errors = {name: last.error for name in names if (last := _last(engine, name))}
    assert errors == {
        "db": "",
        "halted": "it is backed up; but db-1 was not started again",
        "odd": "odd: a file went away",
        "ro": "volume ro: snapshot failed",
    }
    (job,) = engine.jobs.list()
    assert job.state is JobState.FAILED


def _last(engine: Engine, volume: str) -> LastRun | None:
    return _backup(engine, volume).last


# What is kept


async def test_what_a_policy_does_not_keep_goes_and_what_people_made_stays(
    engine: Engine, offsite: Offsite
) -> None:
    await _schedule(engine, "db", snapshot="@daily", backup="@daily", to="offsite", keep="2d")
    await engine.snapshot("db", "by-hand")
    for _ in range(4):
        await _pass(engine, DAY)
    found = _taken(engine)
    assert found[0] == "by-hand"
    assert [name[:18] for name in found[1:]] == ["scheduled-20260105", "scheduled-20260106"]
    assert offsite.forgotten == [(["db"], "offsite", "2d")] * 4


async def test_policies_are_kept_apart(engine: Engine, offsite: Offsite) -> None:
    """One look through a repository for each; without one everything stays."""
    for name, keep in (("a", "2d"), ("b", "2d"), ("c", "3w")):
        await _schedule(engine, name, backup="@daily", to="offsite", keep=keep)
    await _schedule(engine, "d", backup="@daily", to="offsite")
    await _pass(engine, DAY + DELAY)
    assert sorted(offsite.forgotten) == [
        (["a", "b"], "offsite", "2d"),
        (["c"], "offsite", "3w"),
    ]


@pytest.mark.parametrize("jump", [40 * DAY, -2 * HOUR])
async def test_nothing_is_deleted_where_the_clock_was_set(
    engine: Engine, offsite: Offsite, jump: float
) -> None:
    """The run itself is made; the next one deletes again."""
    await _schedule(engine, "db", snapshot="@hourly", backup="@hourly", to="offsite", keep="1h")
    await _pass(engine, HOUR + DELAY)
    offsite.forgotten.clear()
    engine.wall.now += jump
    await _pass(engine, 4 * HOUR)
    told = ("nothing was deleted: the clock was set since the last run",)
    last, backup = _snapshot(engine).last, _backup(engine).last
    assert last
    assert backup
    assert (last.notes, backup.notes) == (told, told)
    assert (len(_taken(engine)), offsite.forgotten) == (2, [])
    if jump > 0:  # else a snapshot is from the future for a while
        await _pass(engine, HOUR)
        assert (len(_taken(engine)), len(offsite.forgotten)) == (1, 1)


async def test_a_failed_run_deletes_nothing(engine: Engine, offsite: Offsite) -> None:
    offsite.failures["offsite"] = OperationFailed("no route to host")
    await _schedule(engine, "db", backup="@daily", to="offsite", keep="2d")
    await _pass(engine, DAY + DELAY)
    assert offsite.sessions
    assert offsite.forgotten == []


# What became of it


async def test_results_outlive_the_daemon_and_alarms_are_raised_once(
    engine: Engine, offsite: Offsite
) -> None:
    """The first failure is one, and the first run that is good again."""
    heard: list[FinishedRun] = []

    async def listener(run: FinishedRun) -> None:
        heard.append(run)

    await _schedule(engine, "db", backup="@daily", to="offsite")
    engine.announcing.listen(listener)
    offsite.failures["offsite"] = OperationFailed("no route to host")
    await _pass(engine, DAY + DELAY)
    await _pass(engine, DAY)
    after = engine.restarted()
    after.wall.now = engine.wall.now
    task = _backup(after)
    assert (task.failures, task.good) == (2, None)
    assert task.last
    assert task.last.error == "no route to host"
    _connect(after, offsite)
    after.announcing.listen(listener)
    offsite.failures.clear()
    await _pass(after, DAY)
    assert [run.is_first_failure for run in heard] == [True, False, False]
    assert [run.works_again for run in heard] == [False, False, True]
    assert {(run.volume, run.repository, run.task) for run in heard} == {
        ("db", "offsite", "backup")
    }
    assert (_backup(after).failures, _backup(after).good) == (0, heard[2].began)


async def test_a_result_that_cannot_be_kept_fails_nothing(
    engine: Engine, offsite: Offsite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known until the daemon ends, and told in the log."""
    await _schedule(engine, "db", backup="@daily", to="offsite")

    def full(path: Path, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "durable_replace", full)
    await _pass(engine, DAY + DELAY)
    assert _backup(engine).good
    (job,) = engine.jobs.list()
    assert job.state is JobState.DONE


async def test_what_a_stop_cut_off_is_done_by_the_next_daemon(
    engine: Engine, offsite: Offsite
) -> None:
    """It is no failure."""
    gate = offsite.slow["offsite"] = asyncio.Event()
    await _schedule(engine, "db", backup="@daily", to="offsite")
    await _look(engine, DAY + DELAY)
    await _until(lambda: bool(offsite.sessions))
    engine.jobs.stop()
    gate.set()
    await engine.operations.drain(8)
    after = engine.restarted()
    after.wall.now = engine.wall.now
    offsite.slow.clear()
    _connect(after, offsite)
    assert _backup(after).last is None
    await _pass(after, 0)
    assert _backup(after).good


async def test_a_schedule_that_is_taken_away_meanwhile_has_no_result(
    engine: Engine, offsite: Offsite
) -> None:
    gate = offsite.slow["offsite"] = asyncio.Event()
    await _schedule(engine, "db", backup="@daily", to="offsite")
    await _look(engine, DAY + DELAY)
    await engine.schedules.remove("db")
    gate.set()
    await engine.settled()
    assert engine.schedules.views() == []
    assert not (engine.store.home("db") / "runs.json").exists()


async def test_a_root_that_is_away_when_a_run_ends_keeps_nothing_from_running_again(
    engine: Engine, offsite: Offsite
) -> None:
    """Nothing can be kept then; it is known to the daemon all the same."""
    names = ("db", "web")
    gate = offsite.slow["offsite"] = asyncio.Event()
    for name in names:
        await _schedule(engine, name, backup="@hourly", to="offsite")
    await _look(engine, HOUR + DELAY)
    await _until(lambda: bool(offsite.sessions))
    engine.store.presence.away = "its disk was unmounted"
    gate.set()
    await engine.settled()
    engine.store.presence.back()
    assert all(_backup(engine, name).good for name in names)
    await _pass(engine, HOUR)
    assert offsite.sessions == [("offsite", ["db", "web"])] * 2


async def test_a_root_that_is_opened_anew_during_a_run_has_its_result(
    engine: Engine, offsite: Offsite
) -> None:
    """Then there are other entries than those which the run began with."""
    names = ("db", "web")
    gate = offsite.slow["offsite"] = asyncio.Event()
    for name in names:
        await _schedule(engine, name, backup="@hourly", to="offsite")
    await _look(engine, HOUR + DELAY)
    await _until(lambda: bool(offsite.sessions))
    for name in names:
        before = engine.entries.get(name)
        engine.entries.put(loading.entry(engine.host, name, before.volume_record()))
        before.hidden("its folder is gone")
    gate.set()
    await engine.settled()
    assert all(_backup(engine, name).good for name in names)
    assert not any(_backup(engine, name).running for name in names)


async def test_a_run_that_began_for_another_repository_says_nothing_of_this_one(
    engine: Engine, offsite: Offsite
) -> None:
    gate = offsite.slow["offsite"] = asyncio.Event()
    await _schedule(engine, "db", backup="@hourly", to="offsite", keep="2d")
    await _look(engine, HOUR + DELAY)
    await _until(lambda: bool(offsite.sessions))
    await _schedule(engine, "db", to="other")
    gate.set()
    await engine.settled()
    assert _backup(engine).last is None
    assert offsite.forgotten == []


# Proofs


async def test_the_newest_backup_is_proven_each_so_many_days(
    engine: Engine, proving: Proving
) -> None:
    """From the last time on; what is not as it should be is a run that failed."""
    await _schedule(engine, "db", backup="@yearly", to="offsite", prove="7d")
    await _pass(engine, 7 * DAY - 1)
    assert proving.asked == []
    await _pass(engine, DELAY + 1)
    assert proving.asked == [("db", "offsite")]
    task = engine.schedules.inspect("db").prove
    assert task
    assert task.last
    assert (task.last.error, task.last.what, task.last.repository) == (
        "",
        f"/srv?backup=backup-{'ab' * 8}&volume=db",
        "offsite",
    )
    proving.damaged.add("db")
    await _pass(engine, DAY)
    assert len(proving.asked) == 1
    await _pass(engine, 6 * DAY + DELAY)
    task = engine.schedules.inspect("db").prove
    assert task
    assert task.last
    assert (task.last.error, task.failures) == ("a file is another", 1)


async def test_one_proof_is_made_at_a_time_beside_the_backups(
    engine: Engine, proving: Proving, offsite: Offsite
) -> None:
    """Each takes the room of a volume, and perhaps hours."""
    proving.slow["a"] = asyncio.Event()
    for name in ("a", "b"):
        await _schedule(engine, name, backup="@hourly", to="offsite", prove="1h")
    await _look(engine, HOUR + DELAY)
    await _until(lambda: proving.asked == [("a", "offsite")])
    await _until(lambda: offsite.sessions == [("offsite", ["a", "b"])])
    await _look(engine, 1)
    assert len(proving.asked) == 1
    proving.slow.pop("a").set()
    await engine.settled()
    await _pass(engine, 0)
    assert proving.asked == [("a", "offsite"), ("b", "offsite")]
