"""The settings that a daemon has: what each is for, which values it takes, and its default."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from convoy_py import models
from convoy_py.models.durations import UNITS
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.mount_options import GUARDED
from convoy_py.models.options import backend_named, backends_known
from convoy_py.models.places import DEFAULT_SOCKET
from convoy_py.models.sizes import parse_size

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|m|h|d|)")
_SECONDS = {"": 1, "s": 1, **UNITS}
_LONGEST_SECONDS = 36500 * 86400.0  # beyond that no date can be told
_SHORTEST_SECONDS = 60.0


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _list(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _backends(value: object) -> object:
    names = _list(value)
    if not isinstance(names, list | tuple):
        return value
    if not names:
        raise ValueError(f"no backend is named; use {backends_known()}")
    return tuple(dict.fromkeys(backend_named(str(name)) for name in names))


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.lower())
    if match is None:
        raise ValueError(f"{value!r} is not a time such as 90 (seconds), 30s, 15m, 12h or 7d")
    return float(match[1]) * _SECONDS[match[2]]


def _guarded(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in GUARDED:
            raise ValueError(f"{name!r} is not one of {', '.join(GUARDED)}")
    return names


def _seldom(seconds: float) -> float:
    if 0 < seconds < _SHORTEST_SECONDS:
        raise ValueError(f"{seconds:g} s is too often: use 0, or {_SHORTEST_SECONDS:g}s and more")
    return seconds


def _engine(host: str | None) -> str | None:
    if host is not None and not host.startswith("unix:///"):
        raise ValueError(f"{host!r} is not unix:///PATH, an engine on this host")
    return host


def _webhook(given: object) -> object:
    return _address(given, r"/|(ntfy:)?https?://", "no http(s)://…, no ntfy:http(s)://…, nor")


def _ping(given: object) -> object:
    return _address(given, "/|https?://", "no http(s)://…, nor")


def _address(given: object, form: str, told: str) -> object:
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    if not isinstance(text, str) or not re.match(form, text):
        # Not what it is instead: it may be a secret.
        raise ValueError(f"it is {told} the /path of a file")
    return given


def _zone(name: str | None) -> str | None:
    return None if name is None else models.zones.zone(name)


def _level(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Duration = Annotated[float, BeforeValidator(_duration)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_list)]
Webhook = Annotated[SecretStr, BeforeValidator(_webhook)]
Ping = Annotated[SecretStr, BeforeValidator(_ping)]
Guarded = Annotated[tuple[str, ...], BeforeValidator(_list), AfterValidator(_guarded)]


class Settings(BaseModel):
    """All settings of a daemon. A field's description is its help in every place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Field(Path("/var/lib/convoy"), description="where volumes and records live")
    run_dir: Path = Field(
        Path("/run/convoy"), description="references and mountpoints; gone after a reboot"
    )
    mounts_dir: Path | None = Field(
        None, description="where volumes are mounted; default: mounts below run_dir"
    )
    plugin_socket: Path = Field(
        Path("/run/docker/plugins/convoy.sock"), description="the socket that Docker calls"
    )
    socket: Path = Field(DEFAULT_SOCKET, description="the socket of the convoy command and REST")
    socket_group: str | None = Field(
        None, description="a group whose members may use the admin socket beside root"
    )
    drivers: Annotated[tuple[str, ...], BeforeValidator(_backends)] = Field(
        ("directory", "loopback"), description="backends that are on; the first is the default"
    )
    default_size: Size = Field(
        10 * 2**30, description="size of a loopback volume that asked for none"
    )
    default_fs: Filesystem = Field(
        Filesystem.EXT4, description="filesystem of a loopback volume that asked for none"
    )
    allowed_paths: Paths = Field((), description="host folders below which `path` volumes may lie")
    allowed_mount_options: Guarded = Field(
        (), description="mount options that users may choose although they are risky: suid, dev"
    )
    overcommit: float = Field(
        2.0,
        ge=1.0,
        le=1000.0,
        description="how many times the free space may be promised to sparse images",
    )
    reserve: Size = Field(256 * 2**20, description="free space on the host that no create may take")
    usage_interval: float = Field(
        60.0, ge=1.0, description="seconds between two samples of a mounted volume's usage"
    )
    janitor_interval: float = Field(
        30.0, ge=0.05, description="seconds between two looks for leaks and busy unmounts"
    )
    reference_grace: float = Field(
        60.0,
        ge=0.0,
        description="seconds before a mount that nobody uses counts as a leak; "
        "60 times that while its engine lives",
    )
    trash_keep: Duration = Field(
        86400.0,
        ge=0.0,
        le=_LONGEST_SECONDS,
        description="how long a removed volume stays in the trash, such as 24h or 7d; 0: no trash",
    )
    rollback_keep: int = Field(
        10, ge=0, description="how many snapshots of its rollbacks a volume keeps; 0: all"
    )
    freeze_limit: Duration = Field(
        30.0,
        gt=0.0,
        le=300.0,
        description="how long a snapshot may keep a volume's writers waiting",
    )
    hook_limit: Duration = Field(
        300.0,
        gt=0.0,
        le=86400.0,
        description="how long a command in a container, before or after a snapshot, may take",
    )
    trim_interval: Annotated[Duration, AfterValidator(_seldom)] = Field(
        0.0,
        ge=0.0,
        le=_LONGEST_SECONDS,
        description="how often all volumes are trimmed, such as 7d; 0: never by itself",
    )
    timezone: Annotated[str | None, AfterValidator(_zone)] = Field(
        None, description="the time zone of schedules, such as Europe/Berlin; default: the host's"
    )
    host: str | None = Field(
        None, description="this machine's name in backups and on a shared root; else its host name"
    )
    shared: bool = Field(
        False, description="the root is one that daemons of several hosts have at the same time"
    )
    lease: int = Field(
        30,
        ge=2,
        le=3600,
        description="seconds after which a host of a shared root that is silent may be dead",
    )
    default_repository: str | None = Field(
        None, description="the repository that is meant where none is named; else the only one"
    )
    backup_password_file: Path | None = Field(
        None, description="the password of repositories that Convoy's scripts name by their place"
    )
    backup_credentials_file: Path | None = Field(
        None, description="who comes to them: lines such as AWS_ACCESS_KEY_ID=…"
    )
    repository_patience: Duration = Field(
        300.0, gt=0.0, le=86400.0, description="how long a repository's folder may not answer"
    )
    webhook: Webhook | None = Field(
        None,
        description="the URL that is told of runs that failed, and of the first that works again; "
        "or a file that has it",
    )
    ping: Ping | None = Field(
        None, description="the URL that is asked after each good backup; or a file that has it"
    )
    docker_host: Annotated[str | None, AfterValidator(_engine)] = Field(
        None,
        description="the Docker Engine's socket; default: docker.sock beside run_dir, or as docker",
    )
    log: Path | None = Field(None, description="log file; default: standard output")
    log_level: Annotated[LogLevel, BeforeValidator(_level)] = Field(
        LogLevel.INFO, description="debug, info, warning or error"
    )
    log_format: LogFormat = Field(LogFormat.TEXT, description="text or json")

    @property
    def mounts(self) -> Path:
        """The folder of the mountpoints."""
        return self.mounts_dir or self.run_dir / "mounts"

    @property
    def docker_address(self) -> str | None:
        """The Docker Engine's address; None: where Docker's own command looks.

        In a managed plugin the host's run folder has another name, and run_dir lies in it.
        """
        beside = self.run_dir.parent / "docker.sock"
        return self.docker_host or (f"unix://{beside}" if beside.exists() else None)
