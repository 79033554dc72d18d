"""clone, convert, adopt, release, diff, restore-file: what they ask the daemon, what they print."""

import json
import os
import re
from typing import Any

import pytest

from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.copies import (
    Adopted,
    AdoptedVolume,
    ChangeInfo,
    Difference,
    Released,
    ReleasedVolume,
    RestoredFile,
    TakenOver,
)
from convoy_py.wire.trash import TrashList
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request, removed, volume

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
ADOPTED = Adopted(
    volumes=[
        AdoptedVolume(docker_volume="shop_db", name="db", bytes=2048, files=3, note="stop web"),
        AdoptedVolume(docker_volume="shop_logs", name="logs", bytes=0),
    ],
    dry_run=True,
)
RELEASED = Released(
    volumes=[
        ReleasedVolume(name="db", docker_volume="pg", bytes=2048, files=3, note="stop web"),
        ReleasedVolume(name="logs", docker_volume="logs", bytes=0),
    ],
    dry_run=True,
)


@pytest.mark.parametrize(
    ("source", "snapshot"), [("db", ""), ("db@nightly", "nightly")], ids=["live", "snapshot"]
)
def test_clone_prints_the_new_name(
    run: Run, daemon: FakeDaemon, source: str, snapshot: str
) -> None:
    """Of a volume or of a snapshot; options go along as for create."""
    daemon.done("POST", "/v1/volumes/db/clone", volume("copy"))
    result = run("clone", source, "copy", "--size", "5G", "-o", "fs=xfs", "--per-mount")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "copy\n", "")
    options = {"size": "5G", "per_mount": "true", "fs": "xfs"}
    body = {"Name": "copy", "Snapshot": snapshot, "Options": options}
    assert daemon.requests == [Request("POST", "/v1/volumes/db/clone", body)]


def test_clone_as_json_is_the_volume(run: Run, daemon: FakeDaemon) -> None:
    """As create."""
    daemon.done("POST", "/v1/volumes/db/clone", volume("copy"))
    shown = json.loads(run("clone", "db", "copy", "--json").stdout)
    assert shown == volume("copy").model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("db",), "NEW"),
        (("db@", "copy"), "neither a volume's name, such as db, nor a snapshot's"),
        (("..", "copy"), "neither a volume's name, such as db, nor a snapshot's"),
        (("db", "a@b"), "invalid volume name 'a@b'"),
        (("db", ""), "invalid volume name ''"),
        (("db", "copy", "--from", "x"), "--from"),
        (("db", "copy", "--size", "1G", "-o", "size=2G"), "given twice"),
    ],
)
def test_clone_refuses_what_cannot_be_meant(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...], line: str
) -> None:
    """In one line, before the daemon is asked."""
    result = run("clone", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert line in told(result)
    assert daemon.requests == []


@pytest.mark.parametrize(
    "command", [("clone", "a", "b"), ("convert", "a"), ("adopt",), ("restore", "a")]
)
def test_help_on_options(run: Run, daemon: FakeDaemon, command: tuple[str, ...]) -> None:
    """The same table as create's, and nothing is done."""
    result = run(*command, "-o", "help")
    assert result.exit_code == 0
    assert result.stdout == run("create", "-o", "help").stdout
    assert daemon.requests == []


def test_convert_prints_the_name(run: Run, daemon: FakeDaemon) -> None:
    """A script hears nothing of the trash."""
    daemon.done("POST", "/v1/volumes/db/convert", volume("db", driver="loopback"))
    result = run("convert", "db", "--backend", "loopback", "--size", "20G")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "db\n", "")
    body = {"Options": {"backend": "loopback", "size": "20G"}}
    assert daemon.requests == [Request("POST", "/v1/volumes/db/convert", body)]


def test_takeover_tells_where_is_what_the_host_had(run: Run, daemon: FakeDaemon) -> None:
    taken = TakenOver(volume=volume("db"), hosts=["node-a"], lost="db@lost-node-a-1")
    daemon.done("POST", "/v1/volumes/db/takeover", taken)
    result = run("takeover", "db", "--host-is-off")
    assert (result.exit_code, result.stdout) == (0, "db\n")
    assert result.stderr == "convoy: what node-a had is kept as db@lost-node-a-1\n"
    assert daemon.requests[0] == Request("POST", "/v1/volumes/db/takeover", {"HostIsOff": True})


def test_convert_tells_a_person_where_the_old_data_is(screen: Screen, daemon: FakeDaemon) -> None:
    """The name is taken, so it must come back under another."""
    daemon.done("POST", "/v1/volumes/db/convert", volume("db"))
    daemon.answer("GET", "/v1/trash", TrashList(volumes=[removed("db")]))
    _, shown = screen("convert", "db", "--fs", "xfs")
    assert shown == (
        "db\nconvoy: what db was is in the trash until 2026-01-03T03:04:05Z; "
        "`convoy trash restore db --as OTHER` brings it back\n"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("db",), "say what the volume shall become"),
        (("db", "--from", "x"), "--from"),
        (("db", "--per-mount"), "--per-mount"),
        (("db@x", "--fs", "xfs"), "db@x names a snapshot"),
    ],
)
def test_convert_refuses_what_cannot_be_meant(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...], line: str
) -> None:
    """In one line, before the daemon is asked."""
    result = run("convert", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert line in told(result)
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (
            ("--from-docker-volume", "shop_db", "--as", "db", "--backend", "loop"),
            {"DockerVolume": "shop_db", "Name": "db", "Options": {"backend": "loop"}},
        ),
        (("--from-docker-volume", "shop_db", "--dry-run"), {"DryRun": True}),
        (
            ("--compose-project", "shop", "--stop-containers"),
            {"ComposeProject": "shop", "StopContainers": True},
        ),
    ],
)
def test_adopt_asks_for_what_was_given(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], asked: dict[str, Any]
) -> None:
    """In a pipe the answer is JSON."""
    daemon.done("POST", "/v1/adopt", ADOPTED)
    result = run("adopt", *words)
    assert json.loads(result.stdout) == ADOPTED.model_dump(by_alias=True)
    body = daemon.requests[0].body
    assert body == body | asked
    assert [value for key, value in body.items() if key not in asked and value] == (
        ["shop_db"] if "--dry-run" in words else []
    )


def test_adopt_on_a_terminal_is_a_table(screen: Screen, daemon: FakeDaemon) -> None:
    """With what to do next; a dry run says that nothing was done."""
    daemon.done("POST", "/v1/adopt", ADOPTED)
    code, shown = screen("adopt", "--compose-project", "shop", "--dry-run")
    assert code == 0
    head, db, logs, last = (" ".join(line.split()) for line in shown.splitlines())
    assert head == "DOCKER VOLUME NAME SIZE FILES NOTE"
    assert db == "shop_db db 2KiB 3 stop web"
    assert logs == "shop_logs logs 0B 0 -"
    assert last == "nothing was done, as --dry-run asks"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "either --from-docker-volume or --compose-project"),
        (
            ("--from-docker-volume", "a", "--compose-project", "b"),
            "either --from-docker-volume or --compose-project",
        ),
        (("--compose-project", "b", "--as", "c"), "--as names the one volume"),
        (("--from-docker-volume", "a", "--as", ""), "invalid volume name ''"),
        (("--from-docker-volume", ""), "it is empty"),
        (("--from-docker-volume", "a", "--compose-project", ""), "it is empty"),
    ],
)
def test_adopt_refuses_what_cannot_be_meant(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...], line: str
) -> None:
    """In one line, before the daemon is asked."""
    result = run("adopt", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert line in told(result)
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("db",), {"Name": "db"}),
        (("db", "--to-docker-volume", "pg"), {"Name": "db", "DockerVolume": "pg"}),
        (("--compose-project", "shop", "--dry-run"), {"ComposeProject": "shop", "DryRun": True}),
    ],
)
def test_release_asks_for_what_was_given(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], asked: dict[str, Any]
) -> None:
    """In a pipe the answer is JSON."""
    daemon.done("POST", "/v1/release", RELEASED)
    result = run("release", *words)
    assert json.loads(result.stdout) == RELEASED.model_dump(by_alias=True)
    (request,) = daemon.requests
    assert {key: value for key, value in request.body.items() if value} == asked


def test_release_on_a_terminal_is_a_table(screen: Screen, daemon: FakeDaemon) -> None:
    """With what to do next; a dry run says that nothing was done."""
    daemon.done("POST", "/v1/release", RELEASED)
    code, shown = screen("release", "--compose-project", "shop", "--dry-run")
    assert code == 0
    head, db, logs, last = (" ".join(line.split()) for line in shown.splitlines())
    assert head == "NAME DOCKER VOLUME SIZE FILES NOTE"
    assert db == "db pg 2KiB 3 stop web"
    assert logs == "logs logs 0B 0 -"
    assert last == "nothing was done, as --dry-run asks"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "either VOLUME or --compose-project"),
        (("db", "--compose-project", "b"), "either VOLUME or --compose-project"),
        (("--compose-project", "b", "--to-docker-volume", "c"), "names the one VOLUME"),
        (("db", "--to-docker-volume", ""), "it is empty"),
        (("db", "--to-docker-volume", "a/b"), "invalid volume name 'a/b'"),
        (("db@s",), "db@s names a snapshot, and this takes a volume: name db"),
        (("",), "invalid volume name ''"),
    ],
)
def test_release_refuses_what_cannot_be_meant(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...], line: str
) -> None:
    """In one line, before the daemon is asked."""
    result = run("release", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert line in told(result)
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
    asked = {key: told for key, told in daemon.requests[0].body.items() if told}
    assert asked == {"Snapshot": "nightly", "Path": "a:b@c/d e"}
    shown = json.loads(run("restore-file", "db@nightly:a:b@c/d e", "--json").stdout)
    assert shown == {"Path": "a:b@c/d e", "Bytes": 12}


_URL = "s3:https://s3.example/b/p?backup=backup-0123456789abcdef&volume=db"


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("offsite:db@latest:a:b@c", {"Repository": "offsite", "Backup": "latest", "Path": "a:b@c"}),
        ("offsite:db@0123:/d e", {"Repository": "offsite", "Backup": "0123", "Path": "/d e"}),
        (f"{_URL}:a:b@c", {"Backup": _URL, "Path": "a:b@c"}),
    ],
)
def test_restore_file_takes_it_from_a_backup(
    run: Run, daemon: FakeDaemon, source: str, asked: dict[str, str]
) -> None:
    daemon.done("POST", "/v1/volumes/db/restore-file", RestoredFile(path="there", bytes=1))
    result = run("restore-file", source)
    assert (result.exit_code, result.stdout) == (0, "there\n")
    assert {key: told for key, told in daemon.requests[0].body.items() if told} == asked


def test_restore_file_tells_what_is_no_url_of_a_backup(run: Run, daemon: FakeDaemon) -> None:
    """Its id is cut off here: it is no name of a snapshot that is wrong."""
    result = run("restore-file", f"{_URL.replace('cdef', '')}:a")
    assert (result.exit_code, daemon.requests) == (2, [])
    assert "is not URL:PATH: `convoy backup list --json` shows" in result.stderr


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


@pytest.mark.parametrize("name", ["db@nightly", "offsite:db@latest", _URL])
@pytest.mark.parametrize("ending", ["", ":"])
def test_restore_file_without_a_path(
    run: Run, daemon: FakeDaemon, told: Told, name: str, ending: str
) -> None:
    """Which file is not for the command to guess."""
    result = run("restore-file", name + ending)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert f"say which file: {name}:PATH" in told(result)
    assert daemon.requests == []
