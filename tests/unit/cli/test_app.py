"""The command as a whole: exit codes, help, tables on a terminal."""

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import click
import pytest

from convoy_py import __version__
from convoy_py.cli.app import convoy
from convoy_py.cli.terminal.exits import EXIT_CODES, exit_code
from convoy_py.cli.terminal.later import Later
from convoy_py.errors import Kind, VolumeNotFound
from convoy_py.wire.daemon import General, Info, Setting, option_table
from convoy_py.wire.jobs import JobList
from convoy_py.wire.repositories import RepositoryList
from convoy_py.wire.snapshots import RolledBack, SnapshotList
from convoy_py.wire.space import Space
from convoy_py.wire.volumes import VolumeList
from tests.unit.cli.conftest import Run, Told
from tests.unit.cli.fake_daemon import FakeDaemon, job, repository, snapshot, volume

Module = Mapping[str, Any]
CONVOY = [sys.executable, "-m", "convoy_py"]

INFO = Info(
    general=General(
        root="/var/lib/convoy",
        driver_list=["directory", "loopback"],
        default_driver="directory",
        version="9.9",
        pid=42,
        volumes=3,
        broken=1,
        mounted=2,
        kept=[],
        health="ok",
        uptime=7300.5,
    ),
    settings={
        "reserve": Setting(value=268435456, source="default"),
        "overcommit": Setting(value=2.0, source="default"),
        "trash_keep": Setting(value=86400.0, source="default"),
        "janitor_interval": Setting(value=30.0, source="default"),
        "trim_interval": Setting(value=0.0, source="default"),
        "allowed_paths": Setting(value=["/a", "/b"], source="file /etc/convoy/convoy.toml"),
    },
    space=Space(size=100 * 2**30, free=50 * 2**30, promised=2**30, may_promise=99 * 2**30),
    options=option_table(),
    drivers={"directory": {"quota": "no: [overlay] has none"}},
)


def on_terminal(module: Module, *arguments: str) -> tuple[int, str]:
    """Exit code and stdout of the command when that is a terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        with subprocess.Popen([*CONVOY, *arguments], stdout=theirs, **module) as process:
            os.close(theirs)
            shown = b""
            while chunk := _read(screen.fileno()):
                shown += chunk
        return process.returncode, shown.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other side is closed
        return b""


def test_every_kind_of_error_has_its_own_exit_code() -> None:
    """Scripts tell kinds apart; 0 is success and usage errors are click's 2."""
    assert set(EXIT_CODES) == set(Kind)
    assert len(set(EXIT_CODES.values())) == len(Kind)
    assert set(EXIT_CODES.values()) == set(range(1, len(Kind) + 1))
    assert EXIT_CODES[Kind.INVALID] == click.UsageError.exit_code
    assert exit_code(VolumeNotFound("a")) == 3


@pytest.mark.parametrize("kind", Kind)
def test_the_daemons_errors_exit_with_the_code_of_their_kind(
    run: Run, daemon: FakeDaemon, told: Told, kind: Kind
) -> None:
    """One line on stderr, nothing on stdout that a script could take for its answer."""
    daemon.fail("GET", "/v1/volumes/a", "two\nlines \x1b[31mred", kind)
    result = run("inspect", "a")
    assert result.exit_code == EXIT_CODES[kind]
    assert told(result) == r"two lines \x1b[31mred"


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_is_a_success(run: Run, arguments: tuple[str, ...]) -> None:
    """On stdout, with every command in it."""
    result = run(*arguments)
    assert result.exit_code == 0
    assert "create" in result.stdout
    assert "--socket" in result.stdout


@pytest.mark.parametrize("flag", ["--json", "--verbose"])
def test_json_of_nothing_is_a_usage_error(run: Run, told: Told, flag: str) -> None:
    """Help is not JSON, and nothing given is ignored silently."""
    result = run(flag)
    assert result.exit_code == 2
    assert "without a command" in told(result)


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_version(run: Run, flag: str) -> None:
    """As Convoy told its own."""
    assert run(flag).stdout == f"convoy version {__version__}\n"


@pytest.mark.parametrize("arguments", [("snapshoot",), ("--no-such",), ("inspect",)])
def test_usage_errors_are_one_line(run: Run, told: Told, arguments: tuple[str, ...]) -> None:
    """They name the help that helps."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert told(result).endswith("--help`)")


def test_info_in_a_pipe_is_json(run: Run, daemon: FakeDaemon) -> None:
    """Convoy's General among it."""
    daemon.answer("GET", "/v1/info", INFO)
    shown = json.loads(run("info").stdout)
    assert shown == INFO.model_dump(mode="json", by_alias=True)
    assert shown["General"]["DriverList"] == ["directory", "loopback"]


def test_info_on_a_terminal_is_readable(daemon: FakeDaemon, module: Module) -> None:
    """Each setting stands with its value and its source; nothing is taken for markup."""
    daemon.answer("GET", "/v1/info", INFO)
    code, shown = on_terminal(module, "info")
    assert code == 0
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "default driver directory" in lines
    assert "kept -" in lines
    assert "allowed_paths /a, /b from file /etc/convoy/convoy.toml" in lines
    assert "reserve 256MiB from default" in lines
    assert "overcommit 2 from default" in lines
    assert "trash_keep 1d from default" in lines
    assert "janitor_interval 30s from default" in lines
    assert "trim_interval 0 from default" in lines
    assert "uptime 2h" in lines
    assert "free 50GiB" in lines
    assert "fs ext4|xfs|btrfs" in lines
    titles = ("General", "Settings", "Space below the root", "Backends")
    assert [lines.index(f"\x1b[1m{title}\x1b[0m") for title in titles]
    assert "directory quota no: [overlay] has none" in lines


@pytest.mark.parametrize(
    ("variable", "value", "bold"),
    [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False), ("TERM", "", True)],
)
def test_a_terminal_that_wants_no_escape_sequences_gets_none(
    daemon: FakeDaemon, module: Module, variable: str, value: str, bold: bool
) -> None:
    """Or that knows none; an empty variable asks for nothing."""
    daemon.answer("GET", "/v1/info", INFO)
    changed = {**module, "env": {**module["env"], variable: value}}
    assert ("\x1b[1m" in on_terminal(changed, "info")[1]) is bold


def test_list_on_a_terminal_is_a_table(daemon: FakeDaemon, module: Module) -> None:
    """One line a volume, and no escape sequence of a volume's reaches the terminal."""
    volumes = {
        "data": volume(
            "data",
            driver="loopback",
            state="mounted",
            references=2,
            mount_point="/m/\x1b[2Jx",
            snapshots={"nightly": snapshot("data@nightly")},
            status={"size": str(2**60), "used": 3 * 2**20},
        ),
        "bare": volume("bare", created_time="2026-01-02T03:04:05.678Z"),
        "ill": volume("ill", state="broken", status={"reason": "volume.json: no JSON [1]"}),
    }
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes=volumes))
    code, shown = on_terminal(module, "list")
    assert code == 0
    _, bare, data, ill, reason = (line.split() for line in shown.splitlines())
    assert "NAME" in shown.splitlines()[0]
    assert not any(line != line.rstrip() for line in shown.splitlines())
    assert bare == ["bare", "directory", "ready", "-", "-", "0", "0", "2026-01-02T03:04:05Z"]
    assert data[:7] == ["data", "loopback", "mounted", "1024PiB", "3MiB", "2", "1"]
    assert data[8] == r"/m/\x1b[2Jx"
    assert ill[2] == "broken"
    assert " ".join(reason) == "ill is broken: volume.json: no JSON [1]"


@pytest.mark.parametrize("flag", ["--json", "--verbose"])
def test_list_on_a_terminal_is_json_when_asked(
    daemon: FakeDaemon, module: Module, flag: str
) -> None:
    """The same text as in a pipe."""
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes={"a": volume("a")}))
    code, shown = on_terminal(module, "list", flag)
    piped = subprocess.run([*CONVOY, "list"], capture_output=True, text=True, check=True, **module)
    assert (code, shown) == (0, piped.stdout)


def test_the_module_runs_as_the_command(module: Module) -> None:
    """`python -m convoy_py` calls itself convoy."""
    command = [*CONVOY, "create", "-h"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, **module)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: convoy create ")


def test_the_module_tells_errors_without_a_traceback(module: Module) -> None:
    """The exit code reaches the shell."""
    command = [*CONVOY, "-s", "/nonexistent/c.sock", "list"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, **module)
    assert (done.returncode, done.stdout) == (8, "")
    assert done.stderr.startswith("convoy: no convoy daemon answers at /nonexistent/c.sock: ")
    assert done.stderr.count("\n") == 1


def test_the_daemon_does_not_run_without_its_assertions(module: Module) -> None:
    """They state invariants that protect data."""
    command = [sys.executable, "-O", "-m", "convoy_py", "daemon"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, **module)
    assert done.returncode == 6
    assert "python -O" in done.stderr


@pytest.mark.parametrize("name", convoy.commands)
def test_a_row_of_the_table_names_its_command(name: str) -> None:
    """It is loaded only when a user asks for it."""
    row = convoy.commands[name]
    assert isinstance(row, Later)
    assert row.load().name == name
    assert row.get_short_help_str()


# What takes longer to load than a short command in all.
HEAVY = {"aiohttp", "asyncio", "decimal", "docker", "email", "hashlib", "http.client", "logging"}
HEAVY |= {"pydantic", "rich", "ssl"}


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--version",
        "list",
        "inspect db",
        "snapshot list",
        "snapshot list db",
        "snapshot inspect db@noon",
        "repository list",
        "repository inspect offsite",
        "inspect absent",
        "completion bash",
        *(
            f"<TAB> {words}"
            for words in (
                *("i", "list --j", "inspect d", "delete d", "mount db@", "jobs show 1", "trim d"),
                *("repository inspect o", "backup create db --to o"),
                *("create --", "create --fs x", "clone d", "clone db new --s", "convert db --si"),
            )
        ),
    ],
)
def test_a_short_command_loads_nothing_heavy(daemon: FakeDaemon, module: Module, line: str) -> None:
    """What a script calls a thousand times, or a person waits for between two keys."""
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes={"db": volume("db")}))
    daemon.answer("GET", "/v1/volumes/db", volume("db"))
    snapshots = SnapshotList(snapshots=[snapshot("db@noon")])
    daemon.answer("GET", "/v1/snapshots", snapshots)
    daemon.answer("GET", "/v1/volumes/db/snapshots", snapshots)
    daemon.answer("GET", "/v1/snapshots/db@noon", snapshot("db@noon"))
    daemon.answer("GET", "/v1/jobs", JobList(jobs=[job(id="12")]))
    known = RepositoryList(repositories=[repository("offsite")])
    daemon.answer("GET", "/v1/repositories", known)
    daemon.answer("GET", "/v1/repositories/offsite", repository("offsite"))
    code = (
        "import atexit, sys\n"
        "from convoy_py.__main__ import main\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "main()"
    )
    words = line.removeprefix("<TAB> ")
    asked = {
        "_CONVOY_COMPLETE": "bash_complete",
        "COMP_WORDS": f"convoy {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    arguments = [] if line != words else words.split()
    environment = module["env"] | (asked if line != words else {})
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=module["cwd"],
        env=environment,
    )
    assert bool(done.stdout) == (done.returncode == 0) == (line != "inspect absent"), done.stderr
    assert HEAVY & set(done.stderr.split()) == set()


def test_control_c_exits_as_shells_expect(daemon: FakeDaemon, module: Module) -> None:
    """130, a word that the work goes on, no traceback."""
    daemon.may_answer.clear()
    with subprocess.Popen(
        [*CONVOY, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **module
    ) as process:
        try:
            assert daemon.asked.wait(30)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert err == "\nconvoy: interrupted; what the daemon has begun goes on, see `convoy jobs`\n"


@pytest.mark.parametrize("words", [("list",), ("create", "db"), ("--help",), ("create", "--help")])
@pytest.mark.parametrize("output", ["full", "closed", "gone"])
def test_an_answer_that_cannot_be_written(
    daemon: FakeDaemon, module: Module, words: tuple[str, ...], output: str
) -> None:
    """At most one line about it, no traceback; who closed stdout wants no answer."""
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes={}))
    daemon.answer("POST", "/v1/volumes", volume("db"), 201)
    to = {"full": ">/dev/full", "closed": ">&-", "gone": "| true"}[output]
    command = f"set -o pipefail; {shlex.join([*CONVOY, *words])} {to}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, **module
    )
    assert done.returncode in {"full": (1,), "closed": (0,), "gone": (0, 1)}[output]
    assert done.stderr.count("\n") == (output == "full")
    assert "Traceback" not in done.stderr
    if output == "full":
        assert done.stderr.startswith("convoy: cannot write the answer: No space left on device")


def test_a_note_that_cannot_be_written_fails_nothing(daemon: FakeDaemon, module: Module) -> None:
    """The answer is what counts."""
    daemon.done("POST", "/v1/volumes/db/rollback", RolledBack(snapshot="db@a", saved_as="db@b"))
    command = shlex.join([*CONVOY, "rollback", "db@a"])
    done = subprocess.run(
        ["bash", "-c", f"{command} 2>/dev/full"],
        capture_output=True,
        text=True,
        check=True,
        **module,
    )
    assert done.stdout == "db@b\n"
