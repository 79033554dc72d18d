"""Long work: followed to its end, left to the daemon, failed, cancelled, shown on a terminal."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from convoy_py.cli.client import calls
from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.errors import Kind
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request, job, volume

GIB = 2**30
CLONE = ("POST", "/v1/volumes/db/clone")
LOOK = ("GET", "/v1/jobs/7")
LONG = job(state="running", done=GIB, total=4 * GIB, note="copying")

# Every verb that is a job, as it is typed.
LONG_VERBS = [
    ("POST", "/v1/volumes/db/snapshots", ("snapshot", "create", "db")),
    ("POST", "/v1/snapshots", ("snapshot", "create", "--container", "web")),
    ("POST", "/v1/volumes/db/rollback", ("rollback", "db@nightly")),
    ("GET", "/v1/volumes/db/diff?from=a&to=b", ("diff", "db@a", "db@b")),
    ("POST", "/v1/volumes/db/restore-file", ("restore-file", "db@a:etc/x")),
    ("POST", "/v1/volumes/db/clone", ("clone", "db", "copy")),
    ("POST", "/v1/volumes/db/convert", ("convert", "db", "--backend", "loopback")),
    ("POST", "/v1/volumes/db/resize", ("resize", "db", "20G")),
    ("POST", "/v1/volumes/db/trim", ("trim", "db")),
    ("POST", "/v1/trim", ("trim", "--all")),
    ("POST", "/v1/adopt", ("adopt", "--compose-project", "shop")),
    ("GET", "/v1/df", ("df",)),
    ("POST", "/v1/backups", ("backup", "create", "db")),
    ("GET", "/v1/backups?volume=db", ("backup", "list", "db")),
    ("GET", "/v1/backups/inspect?backup=fedc", ("backup", "inspect", "fedc")),
    ("POST", "/v1/backups/delete", ("backup", "delete", "fedc")),
    ("POST", "/v1/backups/protect", ("backup", "protect", "fedc")),
    ("POST", "/v1/backups/prove", ("backup", "prove", "--all")),
    ("POST", "/v1/backups/prune", ("backup", "prune")),
    ("GET", "/v1/repositories/o/keys", ("repository", "key", "list", "o")),
    ("POST", "/v1/repositories/o/keys/remove", ("repository", "key", "remove", "o", "ab")),
    ("POST", "/v1/repositories/o/unlock", ("repository", "unlock", "o")),
    ("POST", "/v1/backups/verify", ("backup", "verify")),
    ("POST", "/v1/backups/restore", ("restore", "db")),
]


@pytest.fixture(autouse=True)
def plan(daemon: FakeDaemon) -> None:
    """A snapshot of db is made at once."""
    told = b'{"Way":"reflink","Instant":true,"Bytes":0,"Seconds":0,"Freezes":true,"Hint":""}'
    daemon.answer("GET", "/v1/volumes/db/plan", told)


def test_a_short_job_is_not_asked_after(run: Run, daemon: FakeDaemon, pauses: list[float]) -> None:
    """It has ended with the first answer."""
    daemon.done(*CLONE, volume("copy"))
    assert run("clone", "db", "copy").stdout == "copy\n"
    assert (len(daemon.requests), pauses) == (1, [])


def test_a_long_job_is_followed_to_its_end(
    run: Run, daemon: FakeDaemon, pauses: list[float]
) -> None:
    """The answer is that of a short one; the looks at it get rarer, down to one a second."""
    daemon.answer(*CLONE, LONG, 202)
    daemon.answer_in_turn(*LOOK, *[LONG] * 59, job(result=volume("copy")))
    result = run("clone", "db", "copy")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "copy\n", "")
    assert [request.target for request in daemon.requests[1:]] == ["/v1/jobs/7"] * 60
    assert pauses[0] == 0.02
    assert pauses == sorted(pauses)
    assert all(pause <= 0.02 + sum(pauses[:at]) / 9 for at, pause in enumerate(pauses))
    assert pauses[-1] == max(pauses) == 1.0


@pytest.mark.parametrize("kind", [Kind.NO_SPACE, Kind.CANCELLED, Kind.IN_USE])
def test_the_error_of_a_job_is_the_error_of_the_command(
    run: Run, daemon: FakeDaemon, told: Told, kind: Kind
) -> None:
    """Its text and its exit code, as if the work had been short."""
    daemon.answer(*CLONE, LONG, 202)
    state = "cancelled" if kind is Kind.CANCELLED else "failed"
    daemon.answer(*LOOK, job(state=state, error="what happened", kind=kind))
    result = run("clone", "db", "copy")
    assert result.exit_code == EXIT_CODES[kind]
    assert told(result) == "what happened"


@pytest.mark.parametrize(
    "changes", [{"verb": "trim"}, {"volume": "logs"}, {"started": "2026-01-02T09:00:00Z"}]
)
def test_the_job_of_another_daemon_is_not_taken_for_ours(
    run: Run, daemon: FakeDaemon, told: Told, changes: dict[str, str]
) -> None:
    """A daemon that was started anew counts from the beginning; its job 7 is no copy of db."""
    daemon.answer(*CLONE, LONG, 202)
    daemon.answer(*LOOK, job(result=volume("other"), **changes))
    result = run("clone", "db", "copy")
    assert result.exit_code == EXIT_CODES[Kind.CANCELLED]
    assert "job 7 (clone db) was cut off: the daemon was started anew" in told(result)


def test_a_job_that_its_daemon_no_longer_knows(run: Run, daemon: FakeDaemon, told: Told) -> None:
    """It ended with the daemon before; the user shall repeat the command."""
    daemon.answer(*CLONE, LONG, 202)
    result = run("clone", "db", "copy")
    assert result.exit_code == EXIT_CODES[Kind.CANCELLED]
    assert "repeat the command" in told(result)


def test_a_result_that_is_not_the_verbs(run: Run, daemon: FakeDaemon, told: Told) -> None:
    """A daemon that is none of ours, or too old."""
    daemon.answer(*CLONE, job(result={"Colour": "blue"}))
    result = run("clone", "db", "copy")
    assert result.exit_code == EXIT_CODES[Kind.FAILED]
    assert "not convoy's" in told(result)


@pytest.mark.parametrize("verb", LONG_VERBS, ids=lambda verb: " ".join(verb[2]))
def test_nobody_needs_to_wait(
    run: Run, daemon: FakeDaemon, verb: tuple[str, str, tuple[str, ...]]
) -> None:
    """--no-wait prints the id and asks no more."""
    method, target, words = verb
    daemon.answer(method, target, LONG, 202)
    result = run(*words, "--no-wait")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "7\n", "")
    assert (daemon.requests[-1].method, daemon.requests[-1].target) == (method, target)


def test_no_wait_can_show_the_job(run: Run, daemon: FakeDaemon) -> None:
    """In the keys of the wire."""
    daemon.answer(*CLONE, LONG, 202)
    shown = json.loads(run("clone", "db", "copy", "--no-wait", "--json").stdout)
    assert shown == LONG.model_dump(mode="json", by_alias=True)


def interrupt(_: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("verb", LONG_VERBS, ids=lambda verb: " ".join(verb[2]))
def test_control_c_leaves_the_job_to_the_daemon(
    run: Run,
    daemon: FakeDaemon,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    verb: tuple[str, str, tuple[str, ...]],
) -> None:
    """Nothing is cancelled, and the user is told how to."""
    monkeypatch.setattr(calls, "sleep", interrupt)
    method, target, words = verb
    daemon.answer(method, target, LONG, 202)
    result = run(*words)
    assert result.exit_code == 130
    assert told(result) == (
        "job 7 (clone db) goes on: `convoy jobs` shows how far it is, "
        "`convoy jobs cancel 7` ends it"
    )
    assert not [request for request in daemon.requests if request.method == "DELETE"]


def test_a_real_control_c(daemon: FakeDaemon, module: Mapping[str, Any]) -> None:
    """The signal, in the midst of a job."""
    daemon.answer(*CLONE, LONG, 202)
    daemon.answer(*LOOK, LONG)
    command = [sys.executable, "-m", "convoy_py", "clone", "db", "copy"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **module
    ) as process:
        try:
            daemon.wait_for(Request(*LOOK, None))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert "`convoy jobs cancel 7` ends it" in err
    assert err.count("\n") == 1


def test_a_terminal_sees_how_far_it_is(screen: Screen, daemon: FakeDaemon) -> None:
    """A bar with bytes and per second, and at the end the answer alone."""
    daemon.answer(*CLONE, LONG, 202)
    half = job(state="running", done=2 * GIB, total=4 * GIB, note="copying")
    daemon.answer_in_turn(*LOOK, half, half, job(result=volume("copy")))
    code, shown = screen("clone", "db", "copy")
    assert code == 0
    assert "clone db: copying" in shown
    assert "━" in shown
    assert "2GiB of 4GiB" in shown
    assert shown.endswith("copy\n")


def test_a_narrow_terminal_sees_the_numbers(
    screen: Screen, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told in words gives way to them, and names its only volume once."""
    monkeypatch.setenv("COLUMNS", "80")
    told = "7 files, 840MiB read, 0B skipped, 800MiB new"
    half = job(state="running", done=2 * GIB, total=4 * GIB, note=f"db: {told}", verb="backup")
    daemon.answer("POST", "/v1/backups", half, 202)
    daemon.answer_in_turn(*LOOK, half, half, job(state="cancelled", verb="backup"))
    _, shown = screen("backup", "create", "db")
    assert "backup db: 7 files" in shown
    assert "2GiB of 4GiB" in shown
    assert "-:--" in shown  # the time that is left


def test_a_terminal_sees_a_spinner_while_the_whole_is_not_known(
    screen: Screen, daemon: FakeDaemon
) -> None:
    """No bar, no time left; what a job is doing cannot garble the screen."""
    unknown = job(verb="df", volume="", state="running", note="[red]db\x1b[2J")
    daemon.answer("GET", "/v1/df", unknown, 202)
    daemon.answer_in_turn(*LOOK, unknown, unknown)
    daemon.answers[LOOK].append((404, b'{"Error": "gone", "Kind": "not-found"}'))
    code, shown = screen("df")
    assert code == EXIT_CODES[Kind.CANCELLED]
    assert r"df: [red]db\x1b[2J" in shown
    assert "━" not in shown
    assert " of " not in shown.split("convoy:")[0]


def test_a_program_reads_how_far_it_is(run: Run, daemon: FakeDaemon) -> None:
    """With --json, on stderr: a line for each look, in the keys of the wire."""
    daemon.answer(*CLONE, LONG, 202)
    daemon.answer_in_turn(*LOOK, LONG, job(result=volume("copy")))
    result = run("clone", "db", "copy", "--json")
    assert json.loads(result.stdout)["Name"] == "copy"
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert events == [LONG.model_dump(mode="json", by_alias=True)] * 2


def test_a_pipe_does_not_load_the_bar(daemon: FakeDaemon, module: Mapping[str, Any]) -> None:
    """It takes longer to load than most commands take in all."""
    daemon.answer(*CLONE, LONG, 202)
    daemon.answer(*LOOK, job(result=volume("copy")))
    code = (
        "import atexit, sys\n"
        "from convoy_py.cli.app import convoy\n"
        "atexit.register(lambda: print('rich' in sys.modules))\n"
        "convoy.main(['clone', 'db', 'copy'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, **module
    )
    assert done.stdout == "copy\nFalse\n"
