"""The commands on backups, and restore: what is asked, what is printed."""

import json
from typing import Any

import pytest

from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.backups import BackupList, Forgotten, Proved, Pruned, Verified
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request, backup, snapshot, volume

CREATE = ("POST", "/v1/backups")
RESTORE = ("POST", "/v1/backups/restore")
VERIFY = ("POST", "/v1/backups/verify")
FIRST, SECOND = backup("db"), backup("logs", id="0011223344556677" * 4)
BOTH = BackupList(backups=[FIRST, SECOND])
MINIO = "s3:http://10.0.0.5:9000/bucket/pg"


def plain(body: dict[str, Any]) -> dict[str, Any]:
    """What is asked for beside the defaults."""
    return {key: value for key, value in body.items() if value}


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("db", "logs", "db"), {"Sources": ["db", "logs"]}),
        (("db@nightly", "--to", "offsite"), {"Sources": ["db@nightly"], "Repository": "offsite"}),
        (("--all", "--pause"), {"All": True, "Pause": True}),
        (("db", "--raw"), {"Sources": ["db"], "Raw": True}),
        (("--compose-project", "shop"), {"ComposeProject": "shop"}),
    ],
)
def test_create_prints_one_url_per_backup(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], asked: dict[str, Any]
) -> None:
    """Each can be given to inspect, delete and restore."""
    daemon.done(*CREATE, BOTH)
    result = run("backup", "create", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{FIRST.url}\n{SECOND.url}\n"
    assert [plain(request.body) for request in daemon.requests] == [asked]


def test_create_as_json_has_convoys_keys(run: Run, daemon: FakeDaemon) -> None:
    """Where Convoy had a key for it."""
    daemon.done(*CREATE, BOTH)
    first, _ = json.loads(run("backup", "create", "db", "--json").stdout)
    assert (first["BackupURL"], first["VolumeName"]) == (FIRST.url, "db")
    assert first["BackupName"] == "backup-fedcba9876543210"
    assert first["CreatedTime"] == "2026-01-02T03:04:05.6Z"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "either volumes and snapshots, --all, or a project"),
        (("db", "--all"), "either volumes and snapshots, --all, or a project"),
        (("--all", "--compose-project", "shop"), "either volumes"),
        (("--compose-project", ""), "it is empty"),
        (("db", "--to", ""), "it is empty"),
        (("db", "--to", "a", "--dest", "/b"), "name the same"),
        (("",), "neither a volume's name"),
        (("../x",), "neither a volume's name"),
    ],
)
def test_create_refuses_what_cannot_be_meant(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...], line: str
) -> None:
    """In one line, before the daemon is asked."""
    result = run("backup", "create", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert line in told(result)
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("endpoint", "dest", "place"),
    [
        ("", "vfs:///srv/offsite/", "vfs:///srv/offsite/"),
        ("", "s3://bucket@eu-west-1/pg", "s3://bucket@eu-west-1/pg"),
        ("http://10.0.0.5:9000", "s3://bucket@region/pg", MINIO),
        ("http://10.0.0.5:9000/", "s3://bucket/pg", MINIO),
    ],
)
def test_convoys_scripts_name_a_repository_by_its_place(
    run: Run, daemon: FakeDaemon, endpoint: str, dest: str, place: str
) -> None:
    """And a snapshot alone; the endpoint stands after `backup`."""
    daemon.answer("GET", "/v1/snapshots/snap1_vol1", snapshot("vol1@snap1_vol1"))
    daemon.done(*CREATE, BackupList(backups=[FIRST]))
    flags = ["--s3-endpoint", endpoint] if endpoint else []
    result = run("backup", *flags, "create", "snap1_vol1", "--dest", dest)
    assert (result.exit_code, result.stdout) == (0, f"{FIRST.url}\n"), result.stderr
    asked = {"Sources": ["vol1@snap1_vol1"], "Repository": place}
    assert plain(daemon.requests[-1].body) == asked


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("words", "line", "kind"),
    [
        (("create", "vol1", "--dest", "/srv/offsite"), "name alone is a snap", Kind.NOT_FOUND),
        (("list", "/srv/offsite", "--from", "minio"), "named twice", Kind.INVALID),
        (("list", "db", "--volume-name", "logs"), "named twice", Kind.INVALID),
    ],
)
def test_what_of_convoys_scripts_does_not_work(
    run: Run, told: Told, words: tuple[str, ...], line: str, kind: Kind
) -> None:
    """One line says why."""
    result = run("backup", *words)
    assert result.exit_code == EXIT_CODES[kind]
    assert line in told(result)


@pytest.mark.parametrize(
    "words", [("list", "vfs:///srv"), ("inspect", "fedc"), ("create", "s", "--dest", "s3://b")]
)
def test_an_endpoint_of_what_is_not_s3(run: Run, told: Told, words: tuple[str, ...]) -> None:
    """As in Convoy."""
    result = run("backup", "--s3-endpoint", "http://e", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "an endpoint is of s3://bucket/path alone" in told(result)


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ((), ""),
        (("db",), "?volume=db"),
        (("--from", "offsite"), "?repository=offsite"),
        (("db", "--from", "offsite"), "?volume=db&repository=offsite"),
        (("--volume-name", "db"), "?volume=db"),
    ],
)
def test_list_in_a_pipe_is_json(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], query: str
) -> None:
    """Oldest first."""
    newer = backup("db", created="2026-02-02T00:00:00Z")
    daemon.done("GET", f"/v1/backups{query}", BackupList(backups=[newer, FIRST]))
    shown = json.loads(run("backup", "list", *words).stdout)
    assert shown == [each.model_dump(mode="json", by_alias=True) for each in (FIRST, newer)]


def test_list_on_a_terminal_is_a_table(screen: Screen, daemon: FakeDaemon) -> None:
    """Whose host it was stands there too."""
    proven = FIRST.model_copy(update={"proven": "2026-02-03T04:05:06Z"})
    daemon.done("GET", "/v1/backups", BackupList(backups=[proven]))
    code, shown = screen("backup", "list")
    assert code == 0
    head, line = (line.split() for line in shown.splitlines())
    assert head == [
        *("ID", "VOLUME", "CREATED", "SIZE", "ADDED", "FILES", "PROVEN", "HOST", "REPOSITORY")
    ]
    assert line == [
        *("fedcba98", "db", "2026-01-02T03:04:05Z", "3MiB", "1KiB", "12", "2026-02-03T04:05:06Z"),
        *("here", "offsite"),
    ]


def test_list_of_a_place_is_convoys_map(run: Run, daemon: FakeDaemon, told: Told) -> None:
    """From the URL that create printed to the backup; a volume that has none is an error."""
    target = "/v1/backups?volume=db&repository=vfs%3A%2F%2F%2Fsrv%2Foffsite&described=true"
    daemon.done("GET", target, BackupList(backups=[FIRST]))
    words = ("backup", "list", "vfs:///srv/offsite", "--volume-name", "db")
    assert json.loads(run(*words).stdout) == {
        FIRST.url: FIRST.model_dump(mode="json", by_alias=True)
    }
    daemon.done("GET", target, BackupList(backups=[]))
    result = run(*words)
    assert result.exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert "no backup of a volume db in vfs:///srv/offsite" in told(result)
    target = "/v1/backups?repository=vfs%3A%2F%2F%2Fsrv%2Foffsite&described=true"
    daemon.done("GET", target, BackupList(backups=[]))
    assert json.loads(run("backup", "list", "vfs:///srv/offsite").stdout) == {}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (("fedcba98",), "backup=fedcba98"),
        (("fedcba98", "--from", "offsite"), "backup=fedcba98&repository=offsite"),
        ((FIRST.url,), "backup=%2Fsrv%2Foffsite%3Fbackup%3Dbackup-fedcba9876543210%26volume%3Ddb"),
    ],
)
def test_inspect_is_json(run: Run, daemon: FakeDaemon, given: tuple[str, ...], asked: str) -> None:
    """By id or URL, also in Convoy's spelling."""
    daemon.done("GET", f"/v1/backups/inspect?{asked}", FIRST)
    result = run("backup", "inspect", *given)
    assert json.loads(result.stdout) == FIRST.model_dump(mode="json", by_alias=True)


def test_delete_prints_what_is_gone(run: Run, daemon: FakeDaemon) -> None:
    """One call for all of them, as either all are deleted or none."""
    daemon.done("POST", "/v1/backups/delete", BOTH)
    result = run("backup", "delete", "fedc", SECOND.url, "fedc", "--from", "offsite")
    assert (result.exit_code, result.stdout) == (0, f"{FIRST.url}\n{SECOND.url}\n")
    body = {"Backups": ["fedc", SECOND.url], "Repository": "offsite"}
    assert daemon.requests == [Request("POST", "/v1/backups/delete", body)]
    shown = json.loads(run("backup", "delete", "fedc", "--json").stdout)
    assert shown == [FIRST.url, SECOND.url]


@pytest.mark.parametrize(("words", "on"), [((), True), (("--off",), False)])
def test_protect_prints_whose_it_is(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], on: bool
) -> None:
    """One call for all of them."""
    daemon.done("POST", "/v1/backups/protect", BOTH)
    result = run("backup", "protect", "fedc", SECOND.url, "--from", "offsite", *words)
    assert (result.exit_code, result.stdout) == (0, f"{FIRST.url}\n{SECOND.url}\n")
    body = {"Backups": ["fedc", SECOND.url], "Repository": "offsite", "On": on}
    assert daemon.requests == [Request("POST", "/v1/backups/protect", body)]
    shown = json.loads(run("backup", "protect", "fedc", "--json").stdout)
    assert [each["Id"] for each in shown] == [FIRST.id, SECOND.id]


def test_forget_shows_what_goes(run: Run, daemon: FakeDaemon) -> None:
    """What stays for a clock that is wrong is an error, beside what is gone."""
    found = Forgotten(backups=BOTH.backups, problems=[], dry_run=True)
    daemon.done("POST", "/v1/backups/forget", found)
    asked = ("backup", "forget", "db", "--keep", "7d,4w", "--from", "offsite", "--dry-run")
    result = run(*asked)
    assert (result.exit_code, json.loads(result.stdout)) == (0, found.model_dump(by_alias=True))
    body = {"Volume": "db", "Repository": "offsite", "Keep": "7d,4w", "DryRun": True}
    assert daemon.requests == [Request("POST", "/v1/backups/forget", body)]
    found = Forgotten(backups=[], problems=["db: a clock"])
    daemon.done("POST", "/v1/backups/forget", found)
    result = run("backup", "forget", "--keep", "1d")
    assert (result.exit_code, result.stderr) == (EXIT_CODES[Kind.FAILED], "convoy: db: a clock\n")


def test_prove_prints_what_is_proven_and_fails_by_the_rest(
    run: Run, daemon: FakeDaemon, told: Told
) -> None:
    daemon.done("POST", "/v1/backups/prove", Proved(backups=[FIRST], problems=["x: a: gone"]))
    result = run("backup", "prove", "fedc", SECOND.url, "--from", "offsite")
    assert (result.exit_code, result.stdout) == (EXIT_CODES[Kind.CORRUPT], f"{FIRST.url}\n")
    assert result.stderr == "convoy: x: a: gone\n"
    body = {"Backups": ["fedc", SECOND.url], "All": False, "Repository": "offsite"}
    assert daemon.requests == [Request("POST", "/v1/backups/prove", body)]
    daemon.done("POST", "/v1/backups/prove", Proved(backups=[FIRST], problems=[]))
    assert run("backup", "prove", "--all").exit_code == 0
    for words in ((), ("fedc", "--all")):
        result = run("backup", "prove", *words)
        assert "name backups, or --all" in told(result)


def test_prune_shows_what_it_did(run: Run, screen: Screen, daemon: FakeDaemon) -> None:
    """In words for a person, and as JSON."""
    done = Pruned(
        snapshots=3,
        kept=5,
        repacked=2,
        deleted=1,
        repacked_bytes=3 << 20,
        freed_bytes=2 << 30,
        unneeded_bytes=0,
        dry_run=True,
    )
    daemon.done("POST", "/v1/backups/prune", done)
    result = run("backup", "prune", "--from", "offsite", "--dry-run")
    assert (result.exit_code, json.loads(result.stdout)) == (0, done.model_dump(by_alias=True))
    body = {"Repository": "offsite", "DryRun": True}
    assert daemon.requests == [Request("POST", "/v1/backups/prune", body)]
    code, shown = screen("backup", "prune", "--dry-run")
    assert code == 0
    assert shown.splitlines() == [
        "3 snapshots; packs: 5 stay, 1 deleted",
        "packed anew: 2 packs, 3MiB",
        "freed: 2GiB",
        "not needed, and stay: 0B",
        "nothing was done, as --dry-run asks",
    ]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), {}),
        (("offsite",), {"Repository": "offsite"}),
        (("--read-data",), {"ReadData": 100}),
        (("offsite", "--read-data=10%"), {"Repository": "offsite", "ReadData": 10}),
        (("--read-data", "7"), {"ReadData": 7}),
    ],
)
def test_verify_reads_as_much_as_is_asked(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], asked: dict[str, Any]
) -> None:
    """All of it, a part, or none of the data."""
    daemon.done(*VERIFY, Verified(problems=[]))
    result = run("backup", "verify", *words)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"Problems": []})
    assert plain(daemon.requests[0].body) == asked


@pytest.mark.parametrize("part", ["offsite", "101%", "1.5", "", "99999999999"])
def test_verify_refuses_what_is_no_part(
    run: Run, daemon: FakeDaemon, told: Told, part: str
) -> None:
    """Such as the repository's name, taken for one."""
    result = run("backup", "verify", f"--read-data={part}")
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "give a part" in told(result)
    assert daemon.requests == []


def test_verify_fails_by_what_it_finds(run: Run, screen: Screen, daemon: FakeDaemon) -> None:
    """A script sees it by the exit code, a person reads it line by line."""
    daemon.done(*VERIFY, Verified(problems=["pack 01: gone", "index 02: cut"]))
    result = run("backup", "verify")
    assert result.exit_code == EXIT_CODES[Kind.CORRUPT]
    assert json.loads(result.stdout) == {"Problems": ["pack 01: gone", "index 02: cut"]}
    code, shown = screen("backup", "verify")
    assert code == EXIT_CODES[Kind.CORRUPT]
    assert shown.startswith("pack 01: gone\nindex 02: cut\nconvoy: 2 found wrong")


def test_verify_says_that_all_is_well(screen: Screen, daemon: FakeDaemon) -> None:
    """In words, for a person."""
    daemon.done(*VERIFY, Verified(problems=[]))
    assert screen("backup", "verify") == (0, "no problem was found\n")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("restore", "db"), {"Backup": "db"}),
        (
            ("restore", "fedc", "--from", "offsite", "--as", "db-old"),
            {"Backup": "fedc", "Repository": "offsite", "Name": "db-old"},
        ),
        (("restore", "db", "--at", "2026-01-31"), {"Backup": "db", "At": "2026-01-31"}),
        (
            ("restore", f"vfs://{FIRST.url}", "--size", "5G", "-o", "fs=xfs"),
            {"Backup": f"vfs://{FIRST.url}", "Options": {"size": "5G", "fs": "xfs"}},
        ),
    ],
)
def test_restore_prints_the_name(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], asked: dict[str, Any]
) -> None:
    """Of what is new as of what was there."""
    daemon.done(*RESTORE, volume("new"))
    result = run(*words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "new\n", "")
    assert plain(daemon.requests[-1].body) == asked


def test_restore_tells_how_it_is_undone(run: Run, daemon: FakeDaemon) -> None:
    """Where a volume was there, by the newest of what it saved."""
    saved = {
        name: snapshot(
            f"db@{name}", automatic=name != "own", created_time=f"2026-01-0{day}T00:00:00Z"
        )
        for day, name in enumerate(("before-1", "before-2", "own"), 1)
    }
    daemon.done(*RESTORE, volume("db", snapshots=saved))
    result = run("restore", "db")
    assert (result.exit_code, result.stdout) == (0, "db\n")
    assert "`convoy rollback db@before-2` undoes it" in result.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("restore", ""), "it is empty"),
        (("restore", "db", "--at", ""), "it is empty"),
        (("restore", "db", "--as", ""), "invalid volume name ''"),
        (("restore", "db", "--path", "/x"), "--path"),
        (("restore", "db", "--backup", "x"), "--backup"),
        (("create", "new", "--s3-endpoint", "http://e"), "is of --backup alone"),
    ],
)
def test_restore_refuses_what_cannot_be_meant(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...], line: str
) -> None:
    """In one line, before the daemon is asked."""
    result = run(*words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert line in told(result)
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("words", "backup"),
    [
        (("--backup", FIRST.url), FIRST.url),
        (("-o", "backup=offsite"), "offsite"),
        (
            ("--backup", "s3://bucket@r/pg?backup=x", "--s3-endpoint", "http://10.0.0.5:9000"),
            f"{MINIO}?backup=x",
        ),
    ],
)
def test_a_volume_begins_as_a_backup(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], backup: str
) -> None:
    """As in Convoy's scripts, whose endpoint stands beside the URL."""
    daemon.answer("POST", "/v1/volumes", volume("new"), 201)
    result = run("create", "new", *words)
    assert (result.exit_code, result.stdout) == (0, "new\n")
    assert daemon.requests[-1].body["Options"] == {"backup": backup}
