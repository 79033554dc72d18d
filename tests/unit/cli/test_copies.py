"""clone, convert, adopt, release: what they ask the daemon, what they print."""

import json
from typing import Any

import pytest

from convoy_py.cli.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.copies import Adopted, AdoptedVolume, Released, ReleasedVolume, TrashList
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request, removed, volume

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


@pytest.mark.parametrize("command", [("clone", "a", "b"), ("convert", "a"), ("adopt",)])
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
        (("db@x", "--fs", "xfs"), "invalid volume name 'db@x'"),
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
        (("db@s",), "invalid volume name 'db@s'"),
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
