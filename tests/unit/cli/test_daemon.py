"""`convoy daemon`: flags become settings, nothing given is ignored."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import Result
from pydantic import SecretStr

from convoy_py.config import Configuration
from convoy_py.settings import LogLevel, Settings
from tests.unit.cli.conftest import Run

Told = Callable[[Result], str]


def sample(key: str) -> tuple[list[str], Any]:
    """A value for the setting's flag that is not its default, and what it becomes."""
    kinds = {
        Settings.model_fields[key].annotation,
        *get_args(Settings.model_fields[key].annotation),
    }
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            last = list(kind)[-1]
            return [str(last.value)], last
    if key == "drivers":
        return ["loop", "vfs"], ("loopback", "directory")
    if tuple[Path, ...] in kinds:
        return ["/a,/b", "/c"], (Path("/a"), Path("/b"), Path("/c"))
    if key == "allowed_mount_options":
        return ["suid,dev"], ("suid", "dev")
    special: dict[str, tuple[str, Any]] = {
        "trim_interval": ("7d", 7 * 86400.0),
        "shared": ("", True),
        "timezone": ("Europe/Berlin", "Europe/Berlin"),
        "rollback_keep": ("3", 3),
        "lease": ("10", 10),
        "webhook": ("https://a/b", SecretStr("https://a/b")),
        "ping": ("/a/b", SecretStr("/a/b")),
        "docker_host": ("unix:///sample", "unix:///sample"),
    }
    if key in special:
        text, value = special[key]
        return [text], value
    samples = {Path: ("/sample", Path("/sample")), int: ("1.5G", 3 * 2**29), float: ("7.5", 7.5)}
    text, value = next((samples[kind] for kind in samples if kind in kinds), ("text", "text"))
    return [text], value


@pytest.mark.parametrize("key", Settings.model_fields)
def test_every_setting_is_a_flag(run: Run, served: list[Configuration], key: str) -> None:
    """The flag sets its setting, and no other counts as given."""
    texts, value = sample(key)
    flag = "--" + key.replace("_", "-")
    given = (argument for text in texts for argument in (flag, text) if argument)
    result = run("daemon", *given)
    assert result.exit_code == 7, result.stderr
    assert getattr(served[0].settings, key) == value
    assert [k for k, source in served[0].sources.items() if source == "flag"] == [key]


@pytest.mark.parametrize("key", Settings.model_fields)
def test_help_tells_each_setting_with_its_environment_variable(run: Run, key: str) -> None:
    """The description stands in one place, the model."""
    text = " ".join(run("daemon", "--help").stdout.split())
    assert " ".join(str(Settings.model_fields[key].description).split()) in text
    assert f"env: CONVOY_{key.upper()}]" in text


def test_help_shows_defaults_as_a_user_would_write_them(run: Run) -> None:
    """Sizes in units, lists with commas."""
    text = " ".join(run("daemon", "--help").stdout.split())
    assert "[default: 10GiB; env: CONVOY_DEFAULT_SIZE]" in text
    assert "[repeatable; default: directory,loopback; env: CONVOY_DRIVERS]" in text
    assert "[env: CONVOY_SOCKET_GROUP]" in text


def test_flag_before_environment_before_file(
    run: Run, served: list[Configuration], tmp_path: Path
) -> None:
    """Each value comes from the nearest source that has it, and tells which."""
    file = tmp_path / "convoy.toml"
    file.write_text('root = "/file"\nrun_dir = "/file"\novercommit = 3.0\n')
    environment = {"CONVOY_ROOT": "/env", "CONVOY_RUN_DIR": "/env"}
    run("daemon", "--config", str(file), "--root", "/flag", env=environment)
    settings, sources = served[0].settings, served[0].sources
    assert (settings.root, sources["root"]) == (Path("/flag"), "flag")
    assert (settings.run_dir, sources["run_dir"]) == (Path("/env"), "environment")
    assert (settings.overcommit, sources["overcommit"]) == (3.0, f"file {file}")
    assert sources["reserve"] == "default"


def test_convoys_driver_options(run: Run, served: list[Configuration]) -> None:
    """They are other names of settings."""
    run("daemon", "--driver-opts", "dm.fs=xfs", "--driver-opts", "vfs.paths=/a,/b")
    assert served[0].settings.default_fs == "xfs"
    assert served[0].settings.allowed_paths == (Path("/a"), Path("/b"))
    assert served[0].sources["default_fs"] == "flag"


@pytest.mark.parametrize("arguments", [("-d", "daemon"), ("daemon", "--debug")])
def test_debug_is_the_log_level(
    run: Run, served: list[Configuration], arguments: tuple[str, ...]
) -> None:
    """Before or after the command."""
    run(*arguments)
    assert served[0].settings.log_level == LogLevel.DEBUG


def test_the_global_socket_is_the_daemons_too(run: Run, served: list[Configuration]) -> None:
    """`convoy -s S daemon` serves where `convoy -s S list` asks."""
    run("-s", "/s", "daemon")
    assert served[0].settings.socket == Path("/s")


def test_paths_are_taken_from_the_current_folder(
    run: Run, served: list[Configuration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by any command; an absolute one stays, and so does what is no path."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    flags = "--root d/root --run-dir . --mounts-dir ../mounts --plugin-socket p --log a.log"
    paths = ("--allowed-paths", "a,/b", "--driver-opts", "vfs.paths=a,/b", "--drivers", "vfs")
    run("-s", "s", "daemon", *flags.split(), *paths)
    settings = served[0].settings
    assert (settings.root, settings.run_dir) == (here / "d/root", here)
    assert (settings.mounts_dir, settings.plugin_socket) == (here / "../mounts", here / "p")
    assert (settings.log, settings.socket) == (here / "a.log", here / "s")
    assert settings.allowed_paths == (here / "a", Path("/b"))
    assert settings.drivers == ("directory",)


def test_a_folder_that_is_gone_leads_nowhere(
    run: Run,
    served: list[Configuration],
    told: Told,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That is told; absolute paths do without."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = run("daemon", "--root", "d/root")
    assert result.exit_code == 2
    assert "the current folder is gone" in told(result)
    run("daemon", "--root", "/d/root")
    assert served[0].settings.root == Path("/d/root")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-s", "/a", "daemon", "--socket", "/b"),
        ("daemon", "--debug", "--log-level", "error"),
        ("daemon", "--default-fs", "ext4", "--driver-opts", "dm.fs=xfs"),
        ("daemon", "--driver-opts", "dm.fs=ext4", "--driver-opts", "loopback.fs=xfs"),
        ("--json", "daemon"),
        ("--verbose", "daemon"),
        ("daemon", "--root", ""),
        ("daemon", "--overcommit", "0.5"),
        ("daemon", "--drivers", "ebs"),
        ("daemon", "--driver-opts", "dm.nosuch=1"),
        ("daemon", "--driver-opts", "nonsense"),
        ("daemon", "--config", "/nonexistent/convoy.toml"),
        ("daemon", "stray"),
    ],
)
def test_contradictions_and_bad_values_are_refused(
    run: Run, served: list[Configuration], told: Told, arguments: tuple[str, ...]
) -> None:
    """In one line, with the exit code of wrong usage, and no daemon is started."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert told(result)
    assert served == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--drivers", "devicemapper"), "loopback gives volumes of a fixed size"),
        (("--drivers", "DeviceMapper,vfs"), "loopback gives volumes of a fixed size"),
        (("--drivers", "glusterfs"), "mount it on the host"),
        (("--drivers", "ebs"), "mount the disk on the host"),
        (("--driver-opts", "dm.datadev=/dev/loop5"), "images of the backend loopback"),
        (("--driver-opts", "dm.thinpoolname=x"), "loopback.size"),
        (("--driver-opts", "ebs.defaultvolumesize=1G"), "mount it on the host"),
        (("--driver-opts", "glusterfs.servers=a"), "mount it on the host"),
        (("--driver-opts", "vfs.defaultvolumesize=1G"), "a folder has no size"),
    ],
)
def test_convoys_drivers_that_are_not_here_are_told_their_way(
    run: Run, served: list[Configuration], told: Told, arguments: tuple[str, ...], said: str
) -> None:
    """The line says what takes their place."""
    result = run("daemon", *arguments)
    assert result.exit_code == 2
    assert said in told(result)
    assert served == []


def test_underscores_are_as_good_as_dashes(run: Run, served: list[Configuration]) -> None:
    """The settings file and the environment spell them so."""
    run("daemon", "--run_dir", "/r")
    assert served[0].settings.run_dir == Path("/r")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mnt-ns", "/proc/1/ns/mnt"),
        ("--ignore-docker-delete",),
        ("--create-on-docker-mount",),
        ("--cmd-timeout", "2m"),
        ("--ignore-config-file",),
    ],
)
def test_flags_of_convoy_without_a_meaning_here_are_refused(
    run: Run, served: list[Configuration], told: Told, arguments: tuple[str, ...]
) -> None:
    """With what to do instead, not as an unknown option, and never silently."""
    result = run("daemon", *arguments)
    assert result.exit_code == 6
    assert f"{arguments[0]} is an option of the original Convoy only: " in told(result)
    assert served == []
