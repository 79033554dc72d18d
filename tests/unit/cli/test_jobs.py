"""jobs list, show, cancel: what they ask the daemon, what they print."""

import json

import pytest

from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.jobs import JobList
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request, job

JOBS = JobList(
    jobs=[
        job(id="1", state="done", started="2026-01-02T03:04:05.678Z", note="reflink"),
        job(id="2", state="running", done=1, total=3, note="copying"),
        job(id="3", state="running", done=2048, verb="df", volume=""),
        job(id="4", state="running"),
        job(id="5", state="failed", done=9, total=10, note="x", error="no space", kind="no-space"),
    ]
)


@pytest.mark.parametrize("words", [("jobs",), ("jobs", "list"), ("jobs", "--json")])
def test_jobs_in_a_pipe_are_a_list(run: Run, daemon: FakeDaemon, words: tuple[str, ...]) -> None:
    """With the word `list` or without."""
    daemon.answer("GET", "/v1/jobs", JOBS)
    shown = json.loads(run(*words).stdout)
    assert shown == JOBS.model_dump(mode="json", by_alias=True)["Jobs"]


@pytest.mark.parametrize("words", [("jobs",), ("jobs", "list")])
def test_jobs_on_a_terminal_are_a_table(
    screen: Screen, daemon: FakeDaemon, words: tuple[str, ...]
) -> None:
    """Per cent where the whole is known, else bytes; the error where there is one."""
    daemon.answer("GET", "/v1/jobs", JOBS)
    code, shown = screen(*words)
    assert code == 0
    when = "2026-01-02T03:04:05Z"
    assert [" ".join(line.split()) for line in shown.splitlines()] == [
        "ID VERB VOLUME STATE DONE STARTED NOTE",
        f"1 clone db done 100% {when} reflink",
        f"2 clone db running 33% {when} copying",
        f"3 df - running 2KiB {when}",
        f"4 clone db running - {when}",
        f"5 clone db failed 90% {when} no space",
    ]


@pytest.mark.parametrize("words", [("jobs", "--json"), ("--verbose", "jobs")])
def test_jobs_on_a_terminal_are_json_when_asked(
    screen: Screen, daemon: FakeDaemon, words: tuple[str, ...]
) -> None:
    """As everywhere."""
    daemon.answer("GET", "/v1/jobs", JOBS)
    assert len(json.loads(screen(*words)[1])) == 5


def test_show_is_always_json(screen: Screen, daemon: FakeDaemon) -> None:
    """With the result; a job that failed is shown too, and that is a success."""
    daemon.answer("GET", "/v1/jobs/5", JOBS.jobs[4])
    code, shown = screen("jobs", "show", "5")
    assert code == 0
    assert json.loads(shown)["Error"] == "no space"


def test_cancel_says_nothing(run: Run, daemon: FakeDaemon) -> None:
    """Unless it is asked for the job."""
    daemon.answer("DELETE", "/v1/jobs/2", JOBS.jobs[1], 202)
    result = run("jobs", "cancel", "2")
    assert (result.exit_code, result.output) == (0, "")
    assert daemon.requests == [Request("DELETE", "/v1/jobs/2", None)]
    assert json.loads(run("jobs", "cancel", "2", "--json").stdout)["Id"] == "2"


def test_cancel_of_what_has_ended(run: Run, daemon: FakeDaemon, told: Told) -> None:
    """The daemon's refusal."""
    daemon.fail("DELETE", "/v1/jobs/1", "job 1 is done already", Kind.CONFLICT, 409)
    result = run("jobs", "cancel", "1")
    assert result.exit_code == EXIT_CODES[Kind.CONFLICT]
    assert told(result) == "job 1 is done already"


@pytest.mark.parametrize("job_id", ["", "..", "x", "0", "1/2"])
@pytest.mark.parametrize("command", ["show", "cancel"])
def test_an_id_is_a_number(
    run: Run, daemon: FakeDaemon, told: Told, command: str, job_id: str
) -> None:
    """Anything else might be another path of the API."""
    result = run("jobs", command, job_id)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "ID" in told(result)
    assert daemon.requests == []
