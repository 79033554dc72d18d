"""The files around the package say what the code relies on: manifest, units, image, locks."""

import json
import re
import tomllib
from configparser import ConfigParser
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from convoy_py.config import PREFIX, load
from convoy_py.linux import sockets
from convoy_py.settings import Settings

PROJECT = Path(__file__).parents[2]
# What gives a systemd service a mount namespace of its own: containers would not see its mounts.
# See systemd.exec(5).
CUTS_PROPAGATION = [
    "BindPaths",
    "BindReadOnlyPaths",
    "DynamicUser",
    "ExecPaths",
    "ExtensionDirectories",
    "ExtensionImages",
    "InaccessiblePaths",
    "LogNamespace",
    "MountAPIVFS",
    "MountFlags",
    "MountImages",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "RestrictFileSystems",
    "RootDirectory",
    "RootHash",
    "RootImage",
    "TemporaryFileSystem",
]


@pytest.fixture(scope="module")
def manifest() -> Any:
    return json.loads((PROJECT / "config.json").read_text())


def environment(manifest: Any) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in manifest["env"]}


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """Sections of a unit file; a directive may be there more than once."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in (PROJECT / "plugin" / name).read_text().splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            sections[list(sections)[-1]].append((key, value))
    return sections


def test_every_variable_of_the_plugin_is_a_setting_with_a_valid_value(manifest: Any) -> None:
    """A plugin that does not know one of its own variables would not start."""
    settings = load({}, environment(manifest)).settings
    assert settings.mounts == Path(environment(manifest)["CONVOY_MOUNTS_DIR"])


def test_the_plugin_changes_no_default_that_a_user_can_set(manifest: Any) -> None:
    """After an upgrade the engine does not add new variables, so the code has the same default."""
    defaults = Settings()
    settable = [entry["name"] for entry in manifest["env"] if "value" in entry.get("settable", ())]
    given = load({}, environment(manifest)).settings
    for name in settable:
        key = name.removeprefix(PREFIX).lower()
        assert getattr(given, key) == getattr(defaults, key), name


@pytest.mark.parametrize("name", ["LOG_LEVEL", "DRIVERS", "DEFAULT_SIZE", "DEFAULT_FS", "ROOT"])
def test_a_user_can_set(manifest: Any, name: str) -> None:
    (entry,) = [entry for entry in manifest["env"] if entry["name"] == PREFIX + name]
    assert entry["settable"] == ["value"]


def test_the_engine_finds_the_socket_where_the_daemon_listens(manifest: Any) -> None:
    """The engine puts the plugin's folder at /run/docker/plugins; its path there may have 108."""
    interface = manifest["interface"]
    assert interface["types"] == ["docker.volumedriver/1.0"]
    assert Settings().plugin_socket == Path("/run/docker/plugins") / interface["socket"]
    assert len(interface["socket"]) <= 22
    assert "CONVOY_PLUGIN_SOCKET" not in environment(manifest)


def test_mounts_lie_strictly_below_what_is_propagated(manifest: Any) -> None:
    """The engine translates paths below it only; the folder itself would be the whole plugin."""
    mounts = PurePosixPath(environment(manifest)["CONVOY_MOUNTS_DIR"])
    assert PurePosixPath(manifest["propagatedMount"]) in mounts.parents


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("CONVOY_ROOT", "state"), ("CONVOY_RUN_DIR", "run"), ("CONVOY_SOCKET", "run")],
)
def test_what_must_outlive_the_plugin_lies_on_the_host(
    manifest: Any, variable: str, folder: str
) -> None:
    """Data in the plugin's own filesystem is lost by an upgrade, and by `docker plugin rm`."""
    (mount,) = [mount for mount in manifest["mounts"] if mount["name"] == folder]
    inside = PurePosixPath(environment(manifest)[variable])
    assert PurePosixPath(mount["destination"]) in inside.parents
    assert mount["source"] in ("/var/lib", "/run"), "every host has these folders"


def test_a_mount_of_the_host_never_stays_busy_because_of_the_plugin(manifest: Any) -> None:
    """Private copies of the containers' mounts below /var/lib would outlive the containers."""
    for mount in manifest["mounts"]:
        if mount["source"] != "/dev":
            assert "rslave" in mount["options"], mount["name"]


def test_the_plugin_asks_for_no_more_than_it_needs(manifest: Any) -> None:
    """With CAP_LINUX_IMMUTABLE it would guard mountpoints that `docker plugin rm` must delete.

    The host's network is for repositories that lie on servers: a plugin has it, or none.
    """
    assert manifest["linux"]["capabilities"] == ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]
    assert manifest["network"] == {"type": "host"}


def test_the_image_starts_what_the_manifest_starts(manifest: Any) -> None:
    entrypoint = re.search(r"^ENTRYPOINT (.*)$", (PROJECT / "Dockerfile").read_text(), re.M)
    assert entrypoint is not None
    assert json.loads(entrypoint[1]) == manifest["entrypoint"]


def test_the_base_image_is_a_build_argument() -> None:
    """So that the plugin can be built where no registry is in reach."""
    images = re.findall(r"^FROM (\S+)", (PROJECT / "Dockerfile").read_text(), re.M)
    assert images == ["${BASE}", "scratch"]


@pytest.mark.parametrize("name", ["convoy.service", "convoy.socket"])
def test_units_keep_the_mount_namespace_of_the_host(name: str) -> None:
    directives = {key for section in unit(name).values() for key, _ in section}
    assert directives.isdisjoint(CUTS_PROPAGATION)


def test_systemd_opens_the_sockets_that_the_daemon_takes_over() -> None:
    listening = {value for key, value in unit("convoy.socket")["Socket"] if key == "ListenStream"}
    settings = Settings()
    assert listening == {str(settings.plugin_socket), str(settings.socket)}
    assert ("Backlog", str(sockets.BACKLOG)) in unit("convoy.socket")["Socket"]
    assert ("SocketMode", "0600") in unit("convoy.socket")["Socket"]


@pytest.mark.parametrize("name", ["convoy.service", "convoy.socket"])
def test_units_start_before_docker_and_so_stop_after_it(name: str) -> None:
    assert ("Before", "docker.service") in unit(name)["Unit"]


def test_systemd_waits_longer_than_the_daemon_drains() -> None:
    service = dict(unit("convoy.service")["Service"])
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"].removesuffix("s")) > 10


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements-build.lock", ("build-system", "requires")),
        ("requirements.lock", ("project", "dependencies")),
        ("requirements-dev.lock", ("dependency-groups", "dev")),
    ],
)
def test_the_locks_pin_all_that_the_project_asks_for(lock: str, wanted: tuple[str, str]) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    asked = {
        re.split(r"[<>=\[ ]", entry)[0].replace(".", "-") for entry in project[wanted[0]][wanted[1]]
    }
    assert asked <= set(pins(lock))


@pytest.mark.parametrize("lock", ["requirements-build.lock", "requirements.lock"])
def test_the_locks_agree(lock: str) -> None:
    """The later install must not change what the earlier one put there."""
    dev = pins("requirements-dev.lock")
    assert {name: dev[name] for name in pins(lock).keys() & dev} == {
        name: version for name, version in pins(lock).items() if name in dev
    }


@pytest.mark.parametrize("lock", sorted(path.name for path in PROJECT.glob("requirements*.lock")))
def test_every_locked_file_has_its_hash_and_no_index_of_its_own(lock: str) -> None:
    text = (PROJECT / lock).read_text()
    entries = re.split(r"^(?=[a-z])", text, flags=re.M)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+( ; .+)? \\\n    --hash=sha256:[0-9a-f]{64}", entry), (
            entry[:80]
        )
    assert not re.search(r"^--", text, re.M)


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (PROJECT / lock).read_text(), re.M))


def test_the_backends_are_all_kept_apart() -> None:
    """The list in .importlinter is written by hand."""
    parser = ConfigParser()
    parser.read(PROJECT / ".importlinter")
    listed = set(parser["importlinter:contract:backends"]["modules"].split())
    helpers = {"__init__", "base", "common", "imageable", "mountpoints", "__pycache__"}
    found = {path.stem for path in (PROJECT / "convoy_py/backends").glob("[a-z_]*")}
    found -= helpers
    assert listed == {f"convoy_py.backends.{name}" for name in found}
