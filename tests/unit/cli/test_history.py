"""rollback, diff, restore-file: what they ask the daemon, what they print."""

import json
import os
import re

import pytest

from convoy_py.cli.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.copies import ChangeInfo, Difference, RestoredFile, RolledBack
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request

BACK = RolledBack(snapshot="db@nightly", saved_as="db@before-1", stopped=["web", "worker"])
DIFFERENCE = Difference(
    added=1,
    changed=1,
    removed=3,
    bytes=1536,
    changes=[
        ChangeInfo(kind="added", path="new file\x1b[31m", size=1024),
        ChangeInfo(kind="changed", path="etc/conf", size=512, what=["content", "mode"]),
    ],
    truncated=True,
)


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


@pytest.mark.parametrize(
    ("words", "query"),
    [
        (("db@a",), "from=a"),
        (("db@a", "db"), "from=a"),
        (("db@a", "db@b"), "from=a&to=b"),
    ],
)
def test_diff_in_a_pipe_is_json(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], query: str
) -> None:
    """Between two snapshots, or to the volume as it is."""
    daemon.done("GET", f"/v1/volumes/db/diff?{query}", DIFFERENCE)
    result = run("diff", *words)
    assert json.loads(result.stdout) == DIFFERENCE.model_dump(by_alias=True)


def test_diff_on_a_terminal_is_a_table(screen: Screen, daemon: FakeDaemon) -> None:
    """A line a file, then the counts; it says when not all is shown."""
    daemon.done("GET", "/v1/volumes/db/diff?from=a", DIFFERENCE)
    code, shown = screen("diff", "db@a")
    assert code == 0
    head, added, changed, first, counts = (" ".join(line.split()) for line in shown.splitlines())
    assert head == "CHANGE SIZE WHAT PATH"
    assert added == r"added 1KiB - new file\x1b[31m"
    assert changed == "changed 512B content, mode etc/conf"
    assert first == "only the first 2 are shown"
    assert counts == "1 added, 1 changed, 3 removed; 1.5KiB in added and changed files"


def test_diff_of_what_is_the_same(screen: Screen, daemon: FakeDaemon) -> None:
    """The counts alone."""
    same = Difference(added=0, changed=0, removed=0, bytes=0, changes=[])
    daemon.done("GET", "/v1/volumes/db/diff?from=a&to=b", same)
    _, shown = screen("diff", "db@a", "db@b")
    assert shown == "0 added, 0 changed, 0 removed; 0B in added and changed files\n"


@pytest.mark.parametrize("new", ["logs@b", "logs"])
def test_diff_across_volumes_is_refused(run: Run, daemon: FakeDaemon, told: Told, new: str) -> None:
    """Whatever the second is, it must be of the first one's volume."""
    result = run("diff", "db@a", new)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    line = told(result)
    assert "diff" in line
    assert "convoy snapshot list" in line
    assert daemon.requests == []


def test_restore_file_prints_the_path(run: Run, daemon: FakeDaemon) -> None:
    """A path may hold what separates names."""
    done = RestoredFile(path="a:b@c/d e", bytes=12)
    daemon.done("POST", "/v1/volumes/db/restore-file", done)
    result = run("restore-file", "db@nightly:a:b@c/d e")
    assert (result.exit_code, result.stdout) == (0, "a:b@c/d e\n")
    assert daemon.requests[0].body == {"Snapshot": "nightly", "Path": "a:b@c/d e"}
    shown = json.loads(run("restore-file", "db@nightly:a:b@c/d e", "--json").stdout)
    assert shown == {"Path": "a:b@c/d e", "Bytes": 12}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (b"caf\xe9.txt", r"caf\xe9.txt"),
        (rb"caf\xe9.txt", r"caf\xe9.txt"),
        (b"a\\\xe9", r"a\\\xe9"),
        (b"a\\b", r"a\b"),
    ],
)
def test_restore_file_takes_bytes_and_what_diff_shows(
    run: Run, daemon: FakeDaemon, given: bytes, asked: str
) -> None:
    """Which of its meanings a text has that may be both, the daemon knows."""
    daemon.done("POST", "/v1/volumes/db/restore-file", RestoredFile(path=asked, bytes=1))
    result = run("restore-file", "db@nightly:" + os.fsdecode(given))
    assert (result.exit_code, result.stdout) == (0, f"{asked}\n")
    assert daemon.requests[0].body["Path"] == asked


@pytest.mark.parametrize(
    "words",
    [
        ("create", "db", "--path", "/srv/caf\udce9"),
        ("create", "db", "-o", "size=\udce9"),
        ("adopt", "--from-docker-volume", "caf\udce9"),
        ("mount", "db", "--hold", "caf\udce9"),
        ("trash", "restore", "caf\udce9"),
        ("resize", "db", "caf\udce9"),
    ],
)
def test_other_bytes_are_refused_in_one_line(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...]
) -> None:
    """They cannot be sent, and what is no file in a volume has no need of them."""
    result = run(*words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert re.search("UTF-8|unicode", told(result))
    assert daemon.requests == []


@pytest.mark.parametrize("name", ["db@nightly", "db@nightly:"])
def test_restore_file_without_a_path(run: Run, daemon: FakeDaemon, told: Told, name: str) -> None:
    """Which file is not for the command to guess."""
    result = run("restore-file", name)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "say which file: db@nightly:PATH" in told(result)
    assert daemon.requests == []
