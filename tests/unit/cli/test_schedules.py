"""schedule set, list, inspect, remove: what they ask the daemon, what they print."""

import json
from typing import Any

import pytest

from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.schedules import RunInfo, ScheduleInfo, ScheduleList, TaskInfo
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon

LAST = RunInfo(due="2026-01-02T02:30:00Z", began="2026-01-02T02:31:07.5Z", seconds=4.5)
NEXT = "2026-01-03T02:31:07Z"


def task(expression: str, **changes: Any) -> TaskInfo:
    return TaskInfo(**{"expression": expression, "next": NEXT, "running": False} | changes)


AS_BEFORE: dict[str, str | None] = dict.fromkeys(
    ("Snapshot", "Backup", "To", "Keep", "Before", "After", "Pause", "Stop", "Prove", "Raw")
)
DB = ScheduleInfo(volume="db", snapshot=task("@hourly"), keep="24h,7d")


def test_set_sends_what_is_given_alone(run: Run, daemon: FakeDaemon) -> None:
    daemon.answer("POST", "/v1/schedules/db", DB)
    result = run("schedule", "set", "db", "--snapshot", "@hourly", "--keep", "24h,7d")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "db\n", "")
    asked = {"Snapshot": "@hourly", "Backup": None, "To": None, "Keep": "24h,7d"}
    assert daemon.requests[0].body == AS_BEFORE | asked
    for words in (("--prove", "7d"), ("--every", "7d")):
        run("schedule", "set", "db", *words)
        assert daemon.requests.pop().body == {**AS_BEFORE, "Prove": "7d"}
    for word, raw in (("--raw", "true"), ("--no-raw", "")):
        run("schedule", "set", "db", word)
        assert daemon.requests.pop().body == {**AS_BEFORE, "Raw": raw}
    shown = json.loads(run("schedule", "set", "db", "--no-backup", "--json").stdout)
    assert shown == DB.model_dump(mode="json", by_alias=True)
    assert daemon.requests[1].body == {**AS_BEFORE, "Backup": ""}


def test_set_says_what_is_done_to_containers(run: Run, daemon: FakeDaemon) -> None:
    """Several commands are lines of one value, as in an option; without them all go."""
    daemon.answer("POST", "/v1/schedules/db", DB)
    words = ("--before", "db: a", "--before", "web: b", "--stop")
    assert run("schedule", "set", "db", *words).exit_code == 0
    assert daemon.requests[0].body == {**AS_BEFORE, "Before": "db: a\nweb: b", "Stop": "true"}
    assert run("schedule", "set", "db", "--no-hooks", "--pause").exit_code == 0
    gone = {"Before": "", "After": "", "Pause": "true", "Stop": ""}
    assert daemon.requests[1].body == {**AS_BEFORE, **gone}


def test_set_tells_that_nothing_will_go(run: Run, daemon: FakeDaemon) -> None:
    daemon.answer("POST", "/v1/schedules/db", DB.model_copy(update={"keep": ""}))
    result = run("schedule", "set", "db", "--snapshot", "@hourly")
    assert "nothing of what is made of db goes by itself" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say what is to be done and when"),
        (("--keep", "2d", "--no-keep"), "--keep and --no-keep exclude each other"),
        (("--snapshot", ""), "it is empty"),
    ],
)
def test_set_refuses_what_says_nothing(
    run: Run, told: Told, arguments: tuple[str, ...], message: str
) -> None:
    result = run("schedule", "set", "db", *arguments)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert message in told(result)


def test_list_shows_when_and_how_it_went_in_words(screen: Screen, daemon: FakeDaemon) -> None:
    failed = LAST.model_copy(update={"error": "no route to host"})
    noted = LAST.model_copy(update={"notes": ["nothing was deleted: the clock was set"]})
    found = [
        ScheduleInfo(
            volume="db",
            snapshot=task("@hourly", running=True),
            backup=task("30 2 * * *", last=LAST),
            prove=task("7d", last=LAST),
            to="offsite",
            keep="24h,7d",
        ),
        ScheduleInfo(volume="log", snapshot=task("@daily", last=noted)),
        ScheduleInfo(volume="new", snapshot=task("@daily")),
        ScheduleInfo(volume="web", backup=task("@daily", last=failed, failures=3), to="offsite"),
    ]
    daemon.answer("GET", "/v1/schedules", ScheduleList(schedules=found))
    code, text = screen("schedule", "list")
    assert code == 0
    rows = [" ".join(line.split()) for line in text.splitlines()]
    began = "2026-01-02T02:31:07Z"
    assert rows == [
        "VOLUME WHAT WHEN KEEP NEXT LAST RESULT",
        f"db snapshot @hourly 24h,7d {NEXT} - running",
        f"db backup to offsite 30 2 * * * 24h,7d {NEXT} {began} good",
        f"db prove in offsite 7d {NEXT} {began} good",
        f"log snapshot @daily all {NEXT} {began} good; nothing was deleted: the clock was set",
        f"new snapshot @daily all {NEXT} - not yet",
        f"web backup to offsite @daily all {NEXT} {began} failed 3 times: no route to host",
    ]


def test_list_is_json_in_a_pipe(run: Run, daemon: FakeDaemon) -> None:
    daemon.answer("GET", "/v1/schedules", ScheduleList(schedules=[DB]))
    shown = json.loads(run("schedule", "list").stdout)
    assert shown == [DB.model_dump(mode="json", by_alias=True)]


def test_inspect_shows_one(run: Run, daemon: FakeDaemon) -> None:
    daemon.answer("GET", "/v1/schedules/db", DB)
    shown = json.loads(run("schedule", "inspect", "db").stdout)
    assert shown == DB.model_dump(mode="json", by_alias=True)


def test_remove_tries_each_name(run: Run, daemon: FakeDaemon) -> None:
    daemon.answer("DELETE", "/v1/schedules/db", status=204)
    daemon.fail("DELETE", "/v1/schedules/web", "volume web has no schedule", "not-found", 404)
    result = run("schedule", "remove", "web", "db")
    assert (result.exit_code, result.stdout) == (EXIT_CODES[Kind.NOT_FOUND], "db\n")
