"""snapshot create, list, inspect, delete; rollback: what they ask the daemon, what they print."""

import json
from typing import Any

import pytest

from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.snapshots import PlanInfo, RolledBack, SnapshotList
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request, snapshot

BACK = RolledBack(snapshot="db@nightly", saved_as="db@before-1", stopped=["web", "worker"])
MAKE = ("POST", "/v1/volumes/db/snapshots")
NO_HOOKS: dict[str, object] = {"Pause": False, "Stop": False, "Before": [], "After": []}
GROUP = ("POST", "/v1/snapshots")


def plan(**changes: Any) -> PlanInfo:
    values = {"way": "reflink", "instant": True, "bytes": 0, "seconds": 0, "freezes": True}
    return PlanInfo(**({"hint": ""} | values | changes))


@pytest.fixture(autouse=True)
def instant(daemon: FakeDaemon) -> None:
    for name in ("db", "uploads"):
        daemon.answer("GET", f"/v1/volumes/{name}/plan", plan())


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_group_without_a_command_shows_its_help(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...]
) -> None:
    """A success; but help is not JSON."""
    result = run(*words, "snapshot")
    assert result.exit_code == (2 if words else 0)
    assert ("Make a snapshot" in result.stdout) is not bool(words)
    assert daemon.requests == []


def test_create_prints_the_full_name(run: Run, daemon: FakeDaemon) -> None:
    """What Docker can mount, and that alone: of what is instant nothing is told beforehand."""
    daemon.done(*MAKE, snapshot("db@nightly"))
    result = run("snapshot", "create", "db", "--name", "nightly", "--pause")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "db@nightly\n", "")
    assert daemon.requests == [
        Request("GET", "/v1/volumes/db/plan", None),
        Request(*MAKE, {**NO_HOOKS, "Name": "nightly", "Pause": True}),
    ]


def test_create_can_show_the_snapshot(run: Run, daemon: FakeDaemon) -> None:
    """Without a name the daemon makes one up."""
    daemon.done(*MAKE, snapshot("db@x"))
    shown = json.loads(run("snapshot", "create", "db", "--json").stdout)
    assert shown == snapshot("db@x").model_dump(mode="json", by_alias=True)
    assert daemon.requests[1].body == {"Name": "", **NO_HOOKS}


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            {"way": "copy", "bytes": 3435973837, "seconds": 12.3, "hint": "put the root on xfs"},
            "a copy of 3.2GiB, roughly 12s; writers wait meanwhile; put the root on xfs",
        ),
        (
            {"way": "copy", "bytes": 2**40, "seconds": 1800, "freezes": False},
            "a copy of 1TiB, roughly 30m",
        ),
        ({"way": "copy", "bytes": 2**50, "seconds": 9000}, "a copy of 1PiB, roughly 2h; writers"),
        ({"way": "files", "seconds": 2.2, "freezes": False}, "a clone, file by file, roughly 2s"),
    ],
)
def test_create_tells_beforehand_what_takes_long(
    run: Run, daemon: FakeDaemon, told: dict[str, Any], line: str
) -> None:
    """On stderr: which way, how long, who waits, how to get the fast way."""
    daemon.answer("GET", "/v1/volumes/db/plan", plan(instant=False, **told))
    daemon.done(*MAKE, snapshot("db@x"))
    result = run("snapshot", "create", "db")
    assert result.stdout == "db@x\n"
    assert result.stderr.startswith(f"convoy: db: {line}")
    assert result.stderr.count("\n") == 1


def test_what_takes_a_moment_is_not_told(run: Run, daemon: FakeDaemon) -> None:
    """A script that takes a snapshot of a small volume each hour gets its name and no more."""
    daemon.answer("GET", "/v1/volumes/db/plan", plan(way="copy", instant=False, seconds=1.5))
    daemon.done(*MAKE, snapshot("db@x"))
    result = run("snapshot", "create", "db")
    assert (result.stdout, result.stderr) == ("db@x\n", "")


def test_a_group_is_made_at_one_moment(run: Run, daemon: FakeDaemon) -> None:
    """--group may be repeated; each of its volumes is planned for, and each name is printed."""
    slow = plan(way="copy", bytes=2**30, seconds=4, instant=False)
    daemon.answer("GET", "/v1/volumes/uploads/plan", slow)
    made = [snapshot("db@r7"), snapshot("uploads@r7"), snapshot("cache@r7")]
    daemon.done(*GROUP, SnapshotList(snapshots=made))
    words = ("--group", "db,uploads", "--group", "db", "--compose-project", "shop")
    result = run("snapshot", "create", *words, "--container", "web", "--name", "r7")
    assert result.stdout == "db@r7\nuploads@r7\ncache@r7\n"
    assert "convoy: uploads: a copy of 1GiB, roughly 4s" in result.stderr
    assert [request.target for request in daemon.requests[:-1]] == [
        "/v1/volumes/db/plan",
        "/v1/volumes/uploads/plan",
    ]
    assert daemon.requests[-1].body == {
        "Volumes": ["db", "uploads"],
        "ComposeProject": "shop",
        "Container": "web",
        "Name": "r7",
        **NO_HOOKS,
    }


def test_what_is_done_to_containers_is_asked_for(run: Run, daemon: FakeDaemon) -> None:
    """Commands in their order, as they are written."""
    daemon.done(*MAKE, snapshot("db@nightly"))
    words = ("--before", "db: a", "--before", "web: b c", "--after", "db: d", "--stop")
    assert run("snapshot", "create", "db", *words).exit_code == 0
    asked = {"Before": ["db: a", "web: b c"], "After": ["db: d"], "Pause": False, "Stop": True}
    assert daemon.requests[-1].body == {"Name": "", **asked}


def test_a_group_as_json_is_a_list(run: Run, daemon: FakeDaemon) -> None:
    """Of snapshots."""
    daemon.done(*GROUP, SnapshotList(snapshots=[snapshot("db@r7")]))
    shown = json.loads(run("snapshot", "create", "--group", "db", "--json").stdout)
    assert [each["FullName"] for each in shown] == ["db@r7"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "name either one VOLUME, or several by --group"),
        (("db", "--group", "uploads"), "name either one VOLUME, or several by --group"),
        (("db", "--container", "web"), "name either one VOLUME, or several by --group"),
        (("--group", "db,"), "invalid volume name ''"),
        (("--group", "db@x"), "db@x names a snapshot"),
        (("db@x",), "db@x names a snapshot"),
        (("",), "invalid volume name ''"),
        (("db", "--name", ""), "invalid snapshot name ''"),
        (("db", "--name", "a@b"), "invalid snapshot name 'a@b'"),
        (("--container", ""), "it is empty"),
        (("--group", "db", "--compose-project", ""), "it is empty"),
    ],
)
def test_create_refuses_what_cannot_be_meant(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...], line: str
) -> None:
    """In one line, before the daemon is asked."""
    result = run("snapshot", "create", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert line in told(result)
    assert daemon.requests == []


def test_create_of_no_volume(run: Run, daemon: FakeDaemon, told: Told) -> None:
    """The plan's error is the command's."""
    daemon.fail("GET", "/v1/volumes/x/plan", "no such volume: x", Kind.NOT_FOUND, 404)
    result = run("snapshot", "create", "x")
    assert result.exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert told(result) == "no such volume: x"


@pytest.mark.parametrize(
    ("words", "target"), [((), "/v1/snapshots"), (("db",), "/v1/volumes/db/snapshots")]
)
def test_list_in_a_pipe_is_a_list(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], target: str
) -> None:
    """Of one volume, or of all, as the daemon tells it."""
    found = SnapshotList(snapshots=[snapshot("db@b"), snapshot("db@a")])
    daemon.answer("GET", target, found)
    shown = json.loads(run("snapshot", "list", *words).stdout)
    assert shown == found.model_dump(mode="json", by_alias=True)["Snapshots"]


@pytest.mark.parametrize("name", ["", "db@", ".."])
def test_list_of_a_bad_name(run: Run, daemon: FakeDaemon, told: Told, name: str) -> None:
    """An empty one is not all volumes, but an unset variable of a script."""
    result = run("snapshot", "list", name)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "invalid volume name" in told(result)
    assert daemon.requests == []


def test_list_on_a_terminal_is_a_table(screen: Screen, daemon: FakeDaemon) -> None:
    """One line a snapshot; below, why one is broken."""
    found = [
        snapshot("db@nightly", created_time="2026-01-02T03:04:05.5Z", group="f00", references=1),
        snapshot("db@ill", created_time="", way="", consistency="", state="broken", reason="gone"),
    ]
    daemon.answer("GET", "/v1/snapshots", SnapshotList(snapshots=found))
    code, shown = screen("snapshot", "list")
    assert code == 0
    head, nightly, ill, reason = (line.split() for line in shown.splitlines())
    assert head == ["NAME", "CREATED", "WAY", "CONSISTENCY", "STATE", "REFS", "GROUP"]
    when = "2026-01-02T03:04:05Z"
    assert nightly == ["db@nightly", when, "reflink", "frozen", "ready", "1", "f00"]
    assert ill == ["db@ill", "-", "-", "-", "broken", "0", "-"]
    assert " ".join(reason) == "db@ill is broken: gone"


@pytest.mark.parametrize("name", ["db@nightly", "nightly"])
def test_inspect_takes_both_forms(run: Run, daemon: FakeDaemon, name: str) -> None:
    """Convoy's flat one too; always JSON."""
    daemon.answer("GET", f"/v1/snapshots/{name}", snapshot("db@nightly"))
    shown = json.loads(run("snapshot", "inspect", name).stdout)
    assert shown["FullName"] == "db@nightly"


@pytest.mark.parametrize("name", ["", "..", "db@", "@nightly", "a@b@c", "a/b"])
@pytest.mark.parametrize("command", ["inspect", "delete"])
def test_a_bad_name_is_refused_before_any_request(
    run: Run, daemon: FakeDaemon, told: Told, command: str, name: str
) -> None:
    """A name such as `..` would be another path of the API."""
    result = run("snapshot", command, name)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert repr(name) in told(result).replace("'snapshot'", "")
    assert daemon.requests == []


def test_delete_tries_every_name_and_exits_with_the_first_failure(
    run: Run, daemon: FakeDaemon
) -> None:
    """As `convoy delete`."""
    daemon.answer("DELETE", "/v1/snapshots/db@a", status=204)
    daemon.fail("DELETE", "/v1/snapshots/db@b", "in use by container 1", Kind.IN_USE, 409)
    daemon.answer("DELETE", "/v1/snapshots/nightly", status=204)
    result = run("snapshot", "delete", "db@a", "db@b", "db@c", "nightly", "db@a")
    assert result.exit_code == EXIT_CODES[Kind.IN_USE]
    assert result.stdout == "db@a\nnightly\n"
    in_use, unknown = result.stderr.splitlines()
    assert in_use == "convoy: delete db@b: in use by container 1"
    assert unknown.startswith("convoy: delete db@c: ")


def test_delete_as_json_is_the_list_of_what_is_gone(run: Run, daemon: FakeDaemon) -> None:
    """Also if something failed."""
    daemon.answer("DELETE", "/v1/snapshots/db@a", status=204)
    result = run("snapshot", "delete", "db@a", "db@c", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, ["db@a"])


def test_rollback_prints_what_the_old_content_is_now(run: Run, daemon: FakeDaemon) -> None:
    """On stderr how to undo it, and which containers were stopped for it."""
    daemon.done("POST", "/v1/volumes/db/rollback", BACK)
    result = run("rollback", "db@nightly", "--stop-containers")
    assert (result.exit_code, result.stdout) == (0, "db@before-1\n")
    undo, stopped = result.stderr.splitlines()
    assert undo == "convoy: db is as db@nightly was; `convoy rollback db@before-1` undoes it"
    assert stopped == "convoy: stopped and started again: web, worker"
    body = {"Snapshot": "nightly", "StopContainers": True, "Keep": True}
    assert daemon.requests == [Request("POST", "/v1/volumes/db/rollback", body)]


def test_rollback_that_keeps_nothing(run: Run, daemon: FakeDaemon) -> None:
    """There is no snapshot to print; which others went as there were too many is told."""
    gone = RolledBack(snapshot="db@nightly", saved_as="", deleted=["db@before-0"])
    daemon.done("POST", "/v1/volumes/db/rollback", gone)
    result = run("rollback", "db@nightly", "--no-keep")
    assert (result.exit_code, result.stdout) == (0, "db\n")
    assert result.stderr.splitlines() == [
        "convoy: db is as db@nightly was; nothing undoes it",
        "convoy: deleted, as there were more by rollbacks than stay: db@before-0",
    ]
    assert daemon.requests[0].body["Keep"] is False


def test_rollback_as_json(run: Run, daemon: FakeDaemon) -> None:
    """The keys of the wire; without the flag no container is stopped."""
    daemon.done("POST", "/v1/volumes/db/rollback", BACK)
    result = run("rollback", "db@nightly", "--json")
    assert json.loads(result.stdout) == BACK.model_dump(by_alias=True)
    assert daemon.requests[0].body["StopContainers"] is False


def test_rollback_of_a_volume_in_use(run: Run, daemon: FakeDaemon, told: Told) -> None:
    """The daemon names who uses it."""
    text = "volume db is in use by container 0123456789ab"
    daemon.fail("POST", "/v1/volumes/db/rollback", text, Kind.IN_USE, 409)
    result = run("rollback", "db@nightly")
    assert result.exit_code == EXIT_CODES[Kind.IN_USE]
    assert told(result) == text


@pytest.mark.parametrize("command", ["rollback", "diff", "restore-file"])
@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("db", "db@nightly; `convoy snapshot list db`"),
        ("db@", "db@nightly; `convoy snapshot list db`"),
        ("logs@a@b", "logs@nightly; `convoy snapshot list logs`"),
        ("@nightly", "db@nightly; `convoy snapshot list`"),
        ("../x@y", "db@nightly; `convoy snapshot list`"),
        ("", "db@nightly; `convoy snapshot list`"),
    ],
)
def test_what_is_no_full_name_is_told_with_what_would_be(
    run: Run, daemon: FakeDaemon, told: Told, command: str, name: str, right: str
) -> None:
    """The usage error teaches the form and where to look."""
    result = run(command, name)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert told(result) == (
        f"{command} takes VOLUME@SNAPSHOT, such as {right} shows them "
        f"(see `convoy {command} --help`)"
    )
    assert daemon.requests == []
