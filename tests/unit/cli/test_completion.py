"""The shell's completion: the script, and what is offered."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from convoy_py.wire.jobs import JobList
from convoy_py.wire.repositories import RepositoryList
from convoy_py.wire.snapshots import SnapshotList
from convoy_py.wire.trash import TrashList
from convoy_py.wire.volumes import VolumeList
from tests.unit.cli.conftest import Run, Told
from tests.unit.cli.fake_daemon import FakeDaemon, job, removed, repository, snapshot, volume


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_asks_the_command(run: Run, shell: str) -> None:
    """Each script calls convoy with its shell's instruction."""
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_CONVOY_COMPLETE={shell}_complete" in result.stdout


def test_bash_takes_the_script(run: Run) -> None:
    """After eval, bash completes `convoy` by it."""
    script = run("completion", "bash").stdout + "complete -p convoy"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert "-F _convoy_completion convoy" in done.stdout


def test_completion_has_no_json(run: Run, told: Told) -> None:
    """A flag without a meaning is refused."""
    result = run("--json", "completion", "bash")
    assert result.exit_code == 2
    assert "--json" in told(result)


def complete(run: Run, words: str) -> list[str]:
    """What bash is offered for the last of `words`."""
    count = len(words.split(" ")) - 1
    environment = {
        "_CONVOY_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(count),
    }
    result = run(env=environment)
    assert result.stderr == ""
    return [line.partition(",")[2] for line in result.stdout.split()]


@pytest.mark.parametrize(
    "command",
    [
        "delete",
        "mount",
        "umount",
        "inspect",
        "snapshot create",
        "snapshot list",
        "clone",
        "convert",
        "resize",
        "trim",
        "rename",
        "protect",
        "create --from",
        "backup create",
        "backup list",
        "restore",
    ],
)
def test_volume_names_complete(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The daemon is asked, at the socket that stands in the line."""
    names = ("data", "db", "logs")
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes={n: volume(n) for n in names}))
    assert complete(run, f"convoy {command} d") == ["data", "db"]
    monkeypatch.setenv("CONVOY_SOCKET", "/nonexistent/c.sock")
    assert complete(run, f"convoy --socket {daemon.path} {command} l") == ["logs"]


SNAPSHOTS = SnapshotList(snapshots=[snapshot(name) for name in ("db@noon", "db@early", "l@noon")])


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("rollback d", ["db@early", "db@noon"]),
        ("rollback db@n", ["db@noon"]),
        ("diff db@early db@", ["db@early", "db@noon"]),
        ("restore-file l", ["l@noon"]),
        ("snapshot inspect db@e", ["db@early"]),
        ("snapshot delete l@noon db@", ["db@early", "db@noon"]),
        ("clone db@", ["db@early", "db@noon"]),
        ("create --from l@", ["l@noon"]),
        ("mount db@n", ["db@noon"]),
        ("umount db@n", ["db@noon"]),
        ("inspect db@n", ["db@noon"]),
        ("backup create db@e", ["db@early"]),
    ],
)
def test_snapshot_names_complete(
    run: Run, daemon: FakeDaemon, words: str, offered: list[str]
) -> None:
    """Full names, wherever one may be given; where a volume may too, once the @ is typed."""
    daemon.answer("GET", "/v1/snapshots", SNAPSHOTS)
    assert complete(run, f"convoy {words}") == offered


def test_what_is_in_the_trash_completes(run: Run, daemon: FakeDaemon) -> None:
    """By name and by key, each once."""
    found = [removed("db", key="db.1"), removed("db", key="db.2"), removed("logs")]
    daemon.answer("GET", "/v1/trash", TrashList(volumes=found))
    assert complete(run, "convoy trash restore d") == ["db", "db.1", "db.2"]
    assert complete(run, "convoy trash purge logs.") == ["logs.1"]


@pytest.mark.parametrize(
    "command",
    [
        "repository inspect",
        "repository remove on",
        "repository key list",
        "repository key remove",
        "repository unlock",
        "backup prune --from",
        "backup prove --all --from",
        "backup create db --to",
        "backup list --from",
        "backup verify",
        "restore db --from",
        "create --backup",
    ],
)
def test_repositories_complete(run: Run, daemon: FakeDaemon, command: str) -> None:
    """By name."""
    found = [repository(name) for name in ("offsite", "other", "usb")]
    daemon.answer("GET", "/v1/repositories", RepositoryList(repositories=found))
    assert complete(run, f"convoy {command} o") == ["offsite", "other"]


def test_jobs_complete(run: Run, daemon: FakeDaemon) -> None:
    """By id."""
    daemon.answer("GET", "/v1/jobs", JobList(jobs=[job(id="1"), job(id="12"), job(id="2")]))
    assert complete(run, "convoy jobs cancel 1") == ["1", "12"]
    assert complete(run, "convoy jobs show 2") == ["2"]


@pytest.fixture
def in_bash(run: Run, module: Mapping[str, Any], tmp_path: Path) -> Callable[[str, str], str]:
    """What bash makes of the words it split a line into, with the word it would replace last."""
    command = tmp_path / "convoy"
    checkout = module["cwd"]
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={checkout} exec {sys.executable} -m convoy_py "$@"\n'
    )
    command.chmod(0o755)
    script = run("completion", "bash").stdout

    def complete_in_bash(words: str, breaks: str) -> str:
        lines = f"""{script}
            COMP_WORDBREAKS={shlex.quote(breaks)}
            COMP_WORDS=({words})
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _convoy_completion {command}
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(
            ["bash", "-c", lines], capture_output=True, text=True, check=True, **module
        )
        assert done.stderr == ""
        offered: str = done.stdout
        return offered

    return complete_in_bash


# As bash has them, and as some users set them.
BREAKS, NO_AT = " \"'@><=;|&(:", " \"'><=;|&(:"


@pytest.mark.parametrize(
    ("words", "breaks", "offered"),
    [
        ("convoy rollback db @", BREAKS, "@early\n@noon\n"),
        ("convoy rollback db @ n", BREAKS, "@noon\n"),
        ("convoy diff db @ early db @ n", BREAKS, "@noon\n"),
        ("convoy rollback db@n", NO_AT, "db@noon\n"),
        ("convoy rollback d", BREAKS, "db@early\ndb@noon\n"),
        ("convoy snapshot ins", BREAKS, "inspect\n"),
        ("convoy rollback ''", BREAKS, "db@early\ndb@noon\nl@noon\n"),
    ],
)
def test_bash_completes_past_the_at(
    daemon: FakeDaemon, in_bash: Callable[[str, str], str], words: str, breaks: str, offered: str
) -> None:
    """Bash begins a new word at an @, and replaces from there on."""
    daemon.answer("GET", "/v1/snapshots", SNAPSHOTS)
    assert in_bash(words, breaks) == offered


def test_completion_is_quiet_without_a_daemon(run: Run) -> None:
    """An error in the middle of a command line helps nobody."""
    assert complete(run, "convoy -s /nonexistent/c.sock delete d") == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("--fs ", ["ext4", "xfs", "btrfs"]),
        ("--fs x", ["xfs"]),
        ("--backend ", ["directory", "loopback"]),
        ("--driver L", ["loopback"]),
    ],
)
def test_values_of_options_complete(run: Run, words: str, offered: list[str]) -> None:
    """Where there are few of them."""
    assert complete(run, f"convoy create {words}") == offered


def test_commands_and_flags_complete(run: Run) -> None:
    """The refused flags of Convoy are not offered."""
    assert complete(run, "convoy um") == ["umount"]
    assert "--size" in complete(run, "convoy create --")
    assert "--vm" not in complete(run, "convoy create --")
