"""Long work of the admin API: answered at once if it is done soon, or else followed."""

import logging
from collections.abc import Callable

import pytest

from convoy_py.api import admin as admin_module
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import Kind, NoSpace
from convoy_py.wire.jobs import JobInfo, JobList
from convoy_py.wire.snapshots import SnapshotInfo
from tests.fakes import FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket

SNAPSHOTS = "/v1/volumes/db/snapshots"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, engine: FakeVolumes) -> None:
    """Work stands at the gate, and whoever started it is told at once that it goes on."""
    monkeypatch.setattr(admin_module, "PATIENCE_SECONDS", 0.0)
    engine.gate.clear()


async def started(admin: Socket, engine: FakeVolumes) -> JobInfo:
    """A snapshot that is being taken."""
    engine.add("db")
    answer = await ask(admin, "POST", SNAPSHOTS, {"Name": "nightly"})
    assert answer.status == 202
    await engine.entered.wait()
    return JobInfo.model_validate_json(answer.body)


async def ended(verbs: FakeVerbs, job: str) -> None:
    assert await verbs.jobs.wait(verbs.jobs.get(job), 5)


async def inspected(admin: Socket, job: str) -> JobInfo:
    answer = await ask(admin, "GET", f"/v1/jobs/{job}")
    assert answer.status == 200
    return JobInfo.model_validate_json(answer.body)


async def test_what_ends_soon_is_answered_with_its_result(
    admin: Socket, engine: FakeVolumes
) -> None:
    """Nobody has to ask twice for what takes a moment; the result's keys are the wire's."""
    engine.add("db")
    answer = await ask(admin, "POST", SNAPSHOTS, {"Name": "nightly"})
    assert answer.status == 200
    job = JobInfo.model_validate_json(answer.body)
    assert (job.verb, job.volume, job.state) == ("snapshot create", "db", "done")
    assert (job.started, job.ended) == ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z")
    assert SnapshotInfo.model_validate(answer.json["Result"]).full_name == "db@nightly"
    assert "FullName" in answer.json["Result"]


@pytest.mark.usefixtures("impatient")
async def test_what_takes_long_is_followed(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """It is told how far the work is, and at the end what came of it."""
    job = await started(admin, engine)
    assert (job.state, job.ended, job.result) == ("running", "", None)
    running = await inspected(admin, job.id)
    assert (running.state, running.done, running.total) == ("running", 0, 100)
    assert (running.note, running.result) == ("copying", None)
    engine.gate.set()
    await ended(verbs, job.id)
    done = await inspected(admin, job.id)
    assert (done.state, done.done, done.total) == ("done", 100, 100)
    assert SnapshotInfo.model_validate(done.result).full_name == "db@nightly"


async def test_what_fails_soon_is_answered_as_a_failure(admin: Socket, engine: FakeVolumes) -> None:
    """As if it were no job; the list of jobs has it all the same."""
    engine.add("db")
    engine.failures["snapshot"] = NoSpace("the host is full")
    answer = await ask(admin, "POST", SNAPSHOTS)
    assert_failed(answer, 507, Kind.NO_SPACE, "volume db: the host is full")
    listed = await ask(admin, "GET", "/v1/jobs")
    (job,) = JobList.model_validate_json(listed.body).jobs
    assert (job.state, job.error, job.kind) == ("failed", "the host is full", "no-space")


@pytest.mark.parametrize(
    ("error", "told", "kind"),
    [
        (NoSpace("full\nand \x1b[31mred"), "full and red", "no-space"),
        (RuntimeError("/secret"), "internal error", "failed"),
    ],
)
@pytest.mark.usefixtures("impatient")
async def test_what_fails_later_is_told_by_the_job(
    admin: Socket,
    engine: FakeVolumes,
    verbs: FakeVerbs,
    *,
    error: Exception,
    told: str,
    kind: str,
) -> None:
    """To look at a job that failed is no failure; what nobody foresaw shows no details."""
    engine.failures["snapshot"] = error
    job = await started(admin, engine)
    engine.gate.set()
    await ended(verbs, job.id)
    failed = await inspected(admin, job.id)
    assert (failed.state, failed.kind, failed.result) == ("failed", kind, None)
    assert told in failed.error
    assert "secret" not in failed.error


@pytest.mark.usefixtures("impatient")
async def test_a_job_is_cancelled(admin: Socket, engine: FakeVolumes, verbs: FakeVerbs) -> None:
    """It ends at its next step; then there is nothing more to cancel."""
    job = await started(admin, engine)
    answer = await ask(admin, "DELETE", f"/v1/jobs/{job.id}")
    assert (answer.status, answer.json["State"]) == (202, "running")
    engine.gate.set()
    await ended(verbs, job.id)
    cancelled = await inspected(admin, job.id)
    assert (cancelled.state, cancelled.kind) == ("cancelled", "cancelled")
    assert set(engine.known) == {"db"}
    answer = await ask(admin, "DELETE", f"/v1/jobs/{job.id}")
    assert_failed(answer, 409, Kind.CONFLICT, f"job {job.id} is cancelled already")


async def test_who_still_waits_is_told_that_the_job_was_cancelled(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a failure with a kind of its own."""

    async def cancelled(volume: str, options: object, progress: Progress) -> None:
        verbs.jobs.cancel(verbs.jobs.list()[0].id)
        progress(1)

    monkeypatch.setattr(verbs.copies, "convert", cancelled)
    engine.add("db")
    answer = await ask(admin, "POST", "/v1/volumes/db/convert", {"Options": {"size": "1G"}})
    assert_failed(answer, 409, Kind.CANCELLED, "convert db", "cancelled")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_job_is_404(admin: Socket, method: str) -> None:
    """Jobs of an earlier daemon are unknown to this one."""
    answer = await ask(admin, method, "/v1/jobs/17")
    assert_failed(answer, 404, Kind.NOT_FOUND, "no such job: 17")


async def test_the_engines_own_jobs_are_told_without_a_result(
    admin: Socket, verbs: FakeVerbs
) -> None:
    """A background trim, a clone that Docker asked for: what they come to is the engine's."""

    async def work(progress: Progress) -> object:
        return object()

    job = verbs.jobs.start("trim", "--all", work)
    await ended(verbs, job.id)
    told = await inspected(admin, job.id)
    assert (told.state, told.result) == ("done", None)


async def test_the_list_leaves_the_results_out(admin: Socket, engine: FakeVolumes) -> None:
    """A comparison's result may be large; it is had by the job's id."""
    engine.add("db")
    await ask(admin, "POST", SNAPSHOTS, {"Name": "one"})
    await ask(admin, "POST", SNAPSHOTS, {"Name": "two"})
    jobs = (await ask(admin, "GET", "/v1/jobs")).json["Jobs"]
    assert [(job["State"], job["Result"]) for job in jobs] == [("done", None)] * 2
    assert (await inspected(admin, jobs[1]["Id"])).result["Name"] == "two"


@pytest.mark.usefixtures("impatient")
async def test_the_audit_log_has_who_started_and_who_cancelled(
    admin: Socket,
    engine: FakeVolumes,
    caplog: pytest.LogCaptureFixture,
    counted: Callable[[], dict[str, float]],
) -> None:
    """One line each, both with the volume's name; to look at a job leaves none."""
    caplog.set_level(logging.INFO, "convoy.audit")
    job = await started(admin, engine)
    await inspected(admin, job.id)
    await ask(admin, "DELETE", f"/v1/jobs/{job.id}")
    engine.gate.set()
    told = [
        (record.getMessage(), vars(record)["convoy_fields"]["volume"])
        for record in caplog.records
        if record.name == "convoy.audit"
    ]
    assert told == [("snapshot_create", "db"), ("job_cancel", "db")]
    assert counted()['api="admin",operation="snapshot_create",result="ok"'] == 1


@pytest.mark.parametrize("target", ["/v1/df", "/v1/volumes/db/diff?from=nightly"])
async def test_a_job_that_only_reads_is_no_change(
    admin: Socket, engine: FakeVolumes, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    """The audit log has none of it."""
    caplog.set_level(logging.INFO, "convoy")
    engine.add("db")
    engine.add_snapshot("db", "nightly")
    assert (await ask(admin, "GET", target)).status == 200
    assert {record.name for record in caplog.records} == {"convoy.jobs"}


async def test_a_stopping_daemon_starts_no_job(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """It would be cut off at once."""
    engine.add("db")
    await verbs.operations.drain(0)
    assert_failed(await ask(admin, "POST", SNAPSHOTS), 503, Kind.UNAVAILABLE, "stopping")
