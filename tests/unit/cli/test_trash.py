"""trash list, restore, purge, and what a removal says of it."""

import json

import pytest

from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.trash import Purged, TrashList
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request, removed, volume


def test_trash_without_a_command_shows_its_help(run: Run, daemon: FakeDaemon) -> None:
    """As snapshot does."""
    result = run("trash")
    assert result.exit_code == 0
    assert "restore" in result.stdout
    assert daemon.requests == []


def test_list_in_a_pipe_is_a_list(run: Run, daemon: FakeDaemon) -> None:
    """Oldest first, as the daemon tells it."""
    found = TrashList(volumes=[removed("b"), removed("a")])
    daemon.answer("GET", "/v1/trash", found)
    assert json.loads(run("trash", "list").stdout) == found.model_dump(by_alias=True)["Volumes"]


def test_list_on_a_terminal_is_a_table(screen: Screen, daemon: FakeDaemon) -> None:
    """What is not known is a dash."""
    unknown = removed("old", driver="", removed="", until="", snapshots=[])
    daemon.answer("GET", "/v1/trash", TrashList(volumes=[removed("db"), unknown]))
    _, shown = screen("trash", "list")
    head, db, old = (line.split() for line in shown.splitlines())
    assert head == ["NAME", "KEY", "BACKEND", "REMOVED", "UNTIL", "SNAPSHOTS"]
    times = ["2026-01-02T03:04:05Z", "2026-01-03T03:04:05Z"]
    assert db == ["db", "db.1", "loopback", *times, "1"]
    assert old == ["old", "old.1", "-", "-", "-", "0"]


@pytest.mark.parametrize(
    ("words", "other", "name"), [((), "", "db"), (("--as", "db2"), "db2", "db2")]
)
def test_restore_prints_the_name(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], other: str, name: str
) -> None:
    """Its own, or another."""
    daemon.answer("POST", "/v1/trash/restore", volume(name))
    result = run("trash", "restore", "db", *words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{name}\n", "")
    body = {"Name": "db", "AsName": other}
    assert daemon.requests == [Request("POST", "/v1/trash/restore", body)]
    assert json.loads(run("trash", "restore", "db", *words, "--json").stdout)["Name"] == name


def test_restore_where_the_name_is_taken(run: Run, daemon: FakeDaemon, told: Told) -> None:
    """The daemon says how else."""
    text = "volume db exists; restore it under another name"
    daemon.fail("POST", "/v1/trash/restore", text, Kind.CONFLICT, 409)
    result = run("trash", "restore", "db")
    assert result.exit_code == EXIT_CODES[Kind.CONFLICT]
    assert told(result) == text


@pytest.mark.parametrize(
    ("words", "asked"),
    [(("db",), {"Name": "db", "All": False}), (("--all",), {"Name": "", "All": True})],
)
def test_purge_prints_the_keys_of_what_is_gone(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], asked: dict[str, object]
) -> None:
    """One a line, or a list."""
    daemon.answer("POST", "/v1/trash/purge", Purged(keys=["db.1", "db.2"]))
    result = run("trash", "purge", *words)
    assert (result.exit_code, result.stdout) == (0, "db.1\ndb.2\n")
    assert daemon.requests == [Request("POST", "/v1/trash/purge", asked)]
    assert json.loads(run("trash", "purge", *words, "--json").stdout) == ["db.1", "db.2"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("purge",), "either a NAME or --all"),
        (("purge", "db", "--all"), "either a NAME or --all"),
        (("purge", ""), "it is empty"),
        (("restore", ""), "it is empty"),
        (("restore",), "NAME"),
        (("restore", "db", "--as", ""), "invalid volume name ''"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...], line: str
) -> None:
    """Above all, an unset variable of a script must not purge everything."""
    result = run("trash", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert line in told(result)
    assert daemon.requests == []


def test_delete_tells_a_person_how_to_get_it_back(screen: Screen, daemon: FakeDaemon) -> None:
    """Of several of one name the last counts; what is not in the trash is not promised."""
    for name in ("db", "srv"):
        daemon.answer("DELETE", f"/v1/volumes/{name}", status=204)
    older = removed("db", key="db.0", until="2026-01-01T00:00:00Z")
    daemon.answer("GET", "/v1/trash", TrashList(volumes=[older, removed("db")]))
    code, shown = screen("delete", "db", "srv")
    assert code == 0
    assert shown == (
        "db\nsrv\nconvoy: db is in the trash until 2026-01-03T03:04:05Z; "
        "`convoy trash restore db` brings it back\n"
    )


@pytest.mark.parametrize("words", [("--reference", "db"), ("db",)])
def test_delete_is_a_success_without_the_hint(
    screen: Screen, daemon: FakeDaemon, words: tuple[str, ...]
) -> None:
    """With --reference nothing is in the trash; and a hint that cannot be had is no failure."""
    query = "?reference=true" if "--reference" in words else ""
    daemon.answer("DELETE", f"/v1/volumes/db{query}", status=204)
    assert screen("delete", *words) == (0, "db\n")
    assert ("/v1/trash" in [r.target for r in daemon.requests]) is not bool(query)


def test_a_script_is_not_told(run: Run, daemon: FakeDaemon) -> None:
    """Nor is the daemon asked for it."""
    daemon.answer("DELETE", "/v1/volumes/db", status=204)
    result = run("delete", "db")
    assert (result.stdout, result.stderr) == ("db\n", "")
    assert len(daemon.requests) == 1
