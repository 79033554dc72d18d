"""resize, trim, df: what they ask the daemon, what they print."""

import json

import pytest

from convoy_py.cli.client import calls
from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.space import Resized, SnapshotSpace, Space, SpaceReport, Trimmed, VolumeSpace
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request, job

GIB = 2**30
REPORT = SpaceReport(
    volumes=[
        VolumeSpace(
            name="db",
            promised=20 * GIB,
            used=3 * GIB,
            allocated=4 * GIB,
            shared=2 * GIB,
            reclaimable=GIB,
            inodes=8192,
            inodes_used=12,
            snapshots=[
                SnapshotSpace(name="nightly", frees=2**20),
                SnapshotSpace(name="old", frees=None),
            ],
        ),
        VolumeSpace(
            name="dir",
            promised=None,
            used=None,
            allocated=GIB,
            shared=None,
            reclaimable=None,
            snapshots=[],
        ),
    ],
    trash=5 * GIB,
    host=Space(size=100 * GIB, free=50 * GIB, promised=20 * GIB, may_promise=60 * GIB),
)
EMPTY = SpaceReport(volumes=[], trash=0, host=REPORT.host)


def test_resize_prints_the_new_size(run: Run, daemon: FakeDaemon) -> None:
    """So that it can be given again."""
    daemon.done("POST", "/v1/volumes/db/resize", Resized(size=20 * GIB))
    result = run("resize", "db", "20G")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "20GiB\n", "")
    assert daemon.requests == [Request("POST", "/v1/volumes/db/resize", {"Size": "20G"})]


def test_resize_says_what_has_to_wait(run: Run, daemon: FakeDaemon) -> None:
    """On stderr, as the answer is the size."""
    told = Resized(size=20 * GIB, pending="ext4 needs CAP_SYS_RESOURCE")
    daemon.done("POST", "/v1/volumes/db/resize", told)
    result = run("resize", "db", "20G", "--json")
    assert json.loads(result.stdout) == told.model_dump(by_alias=True)
    assert result.stderr == (
        "convoy: db takes its new size at its next mount: ext4 needs CAP_SYS_RESOURCE\n"
    )


@pytest.mark.parametrize(("words", "line"), [(("db",), "SIZE"), (("db", ""), "it is empty")])
def test_resize_without_a_size(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...], line: str
) -> None:
    """An empty one is an unset variable of a script."""
    result = run("resize", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert line in told(result)
    assert daemon.requests == []


def test_trim_of_several_is_told_as_one(run: Run, daemon: FakeDaemon) -> None:
    """Every name is tried; what succeeded is told, and the first failure is the exit code."""
    daemon.done("POST", "/v1/volumes/a/trim", Trimmed(bytes=100, volumes={"a": 100}))
    daemon.fail("POST", "/v1/volumes/b/trim", "backend directory", Kind.UNSUPPORTED, 422)
    daemon.done("POST", "/v1/volumes/c/trim", Trimmed(bytes=23, volumes={"c": 23}))
    result = run("trim", "a", "b", "c", "a")
    assert result.exit_code == EXIT_CODES[Kind.UNSUPPORTED]
    assert json.loads(result.stdout) == {
        "Bytes": 123,
        "Volumes": {"a": 100, "c": 23},
        "Skipped": {},
    }
    assert result.stderr == "convoy: trim b: backend directory\n"


def test_a_trim_of_nothing_prints_no_answer(run: Run, daemon: FakeDaemon) -> None:
    """A command that failed has none."""
    daemon.fail("POST", "/v1/volumes/b/trim", "backend directory", Kind.UNSUPPORTED, 422)
    result = run("trim", "b")
    assert (result.exit_code, result.stdout) == (6, "")


def test_trim_of_all_on_a_terminal(screen: Screen, daemon: FakeDaemon) -> None:
    """A table, and why some were left out."""
    told = Trimmed(bytes=3 * GIB, volumes={"a": GIB, "b": 2 * GIB}, skipped={"c": "is a directory"})
    daemon.done("POST", "/v1/trim", told)
    code, shown = screen("trim", "--all")
    assert code == 0
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines == [
        "NAME FREED",
        "a 1GiB",
        "b 2GiB",
        "total 3GiB",
        "c was not trimmed: is a directory",
    ]


@pytest.mark.parametrize("words", [(), ("db", "--all")])
def test_trim_takes_names_or_all(
    run: Run, daemon: FakeDaemon, told: Told, words: tuple[str, ...]
) -> None:
    """Not both, and not nothing."""
    result = run("trim", *words)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "either volumes or --all" in told(result)
    assert daemon.requests == []


def test_trims_can_be_left_to_the_daemon(run: Run, daemon: FakeDaemon) -> None:
    """One id a line, or a list of jobs."""
    for number, name in enumerate("ab"):
        started = job(id=str(number), verb="trim", volume=name, state="running")
        daemon.answer("POST", f"/v1/volumes/{name}/trim", started, 202)
    result = run("trim", "a", "missing", "b", "--no-wait")
    assert (result.exit_code, result.stdout) == (EXIT_CODES[Kind.NOT_FOUND], "0\n1\n")
    shown = json.loads(run("trim", "a", "b", "--no-wait", "--json").stdout)
    assert [each["Volume"] for each in shown] == ["a", "b"]


def test_control_c_ends_a_trim_of_several(
    run: Run, daemon: FakeDaemon, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first goes on, the second is not begun."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calls, "sleep", interrupt)
    daemon.answer("POST", "/v1/volumes/a/trim", job(verb="trim", volume="a", state="running"), 202)
    result = run("trim", "a", "b")
    assert result.exit_code == 130
    assert "job 7 (trim a) goes on" in told(result)
    assert len(daemon.requests) == 1


def test_df_in_a_pipe_is_json(run: Run, daemon: FakeDaemon) -> None:
    """What is not known is null."""
    daemon.done("GET", "/v1/df", REPORT)
    shown = json.loads(run("df").stdout)
    assert shown == REPORT.model_dump(by_alias=True)
    assert shown["Volumes"][1]["Used"] is None


def test_df_on_a_terminal_is_a_table(screen: Screen, daemon: FakeDaemon) -> None:
    """Snapshots stand below their volume; then the sums, the trash, the host."""
    daemon.done("GET", "/v1/df", REPORT)
    code, shown = screen("df")
    assert code == 0
    lines = shown.splitlines()
    assert lines[2].startswith("  db@nightly ")
    assert [line.split() for line in lines[:6]] == [
        ["NAME", "PROMISED", "USED", "ALLOCATED", "SHARED", "RECLAIMABLE", "INODES", "SNAPSHOTS"],
        ["db", "20GiB", "3GiB", "4GiB", "2GiB", "1GiB", "12/8192", "2"],
        ["db@nightly", "frees", "1MiB"],
        ["db@old", "frees", "-"],
        ["dir", "-", "-", "1GiB", "-", "-", "-", "0"],
        ["total", "20GiB", "3GiB", "5GiB", "2GiB", "1GiB", "2"],
    ]
    assert lines[6:] == [
        "trash: 5GiB",
        "host: 50GiB of 100GiB free, 20GiB promised, 60GiB may be",
    ]


def test_df_says_which_volume_gave_no_answer(screen: Screen, daemon: FakeDaemon) -> None:
    """In a column that is there only then."""
    silent = REPORT.volumes[1].model_copy(update={"note": "no answer", "allocated": None})
    report = REPORT.model_copy(update={"volumes": [REPORT.volumes[0], silent]})
    daemon.done("GET", "/v1/df", report)
    _, shown = screen("df")
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0][-1] == "NOTE"
    assert lines[4] == ["dir", "-", "-", "-", "-", "-", "-", "0", "no", "answer"]


def test_df_of_nothing(screen: Screen, daemon: FakeDaemon) -> None:
    """Sums of nothing are not known."""
    daemon.done("GET", "/v1/df", EMPTY)
    _, shown = screen("df")
    assert shown.splitlines()[1].split() == ["total", "-", "-", "-", "-", "-", "0"]
