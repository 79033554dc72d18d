"""The daemon's settings and where each came from: flag, environment, file, default, in that order.

Importing this module stays cheap: the daemon reads its settings before it opens its sockets.
"""

import grp
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_core import ErrorDetails

from convoy_py import models
from convoy_py.errors import InvalidSetting
from convoy_py.escapes import encodable
from convoy_py.models.filesystem import IMAGE_SIZES, Filesystem
from convoy_py.models.mount_options import GUARDED
from convoy_py.models.options import backend_named, backends_known
from convoy_py.models.places import DEFAULT_SOCKET
from convoy_py.models.sizes import exact_size, parse_size

DEFAULT_FILE = Path("/etc/convoy/convoy.toml")
PREFIX = "CONVOY_"

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|m|h|d|)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
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
    host: str | None = Field(None, description="this machine's name in backups; else its host name")
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


@dataclass(frozen=True)
class Configuration:
    """Settings, and for each field the source its value came from."""

    settings: Settings
    sources: Mapping[str, str]

    def socket_gid(self) -> int | None:
        """The gid of the setting `socket_group`; None where it is not set.

        Raises InvalidSetting for a group that does not exist.
        """
        group = self.settings.socket_group
        try:
            return grp.getgrnam(group).gr_gid if group else None
        except KeyError:
            source = self.sources["socket_group"]
            raise InvalidSetting("socket_group", source, f"no such group: {group}") from None


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None
) -> Configuration:
    """Resolve every setting; `flags` holds only what was given on the command line.

    `file` (or CONVOY_CONFIG, unless it is empty) must exist; the default file may be absent.
    Raises InvalidSetting for an unknown setting or a bad value in any source.
    """
    variable = environment.get("CONVOY_CONFIG")
    named = file or (Path(variable) if variable else None)
    chosen = named or DEFAULT_FILE
    layers = [
        (f"file {chosen}", _from_file(chosen, required=named is not None)),
        ("environment", _from_environment(environment)),
        ("flag", dict(flags)),
    ]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, "default")
    for source, layer in layers:
        for key, value in layer.items():
            if key not in Settings.model_fields:
                known = ", ".join(sorted(Settings.model_fields))
                raise InvalidSetting(key, source, f"unknown; use {known}")
            values[key] = value
            sources[key] = source
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise InvalidSetting(key, sources[key], _reason(first)) from None
    settings = _seen_from_here(settings, flags)
    _check_paths(settings, sources)
    _check_default_size(settings, sources)
    return Configuration(settings, sources)


# What a value should have been, by the beginning of the name of pydantic's error.
_WANTED = {
    "path": "a path",
    "string": "text",
    "float": "a number",
    "int": "a whole number",
    "tuple": "a list",
    "finite": "a number",
}


def _reason(error: ErrorDetails) -> str:
    """What is wrong with a value, in a user's words instead of pydantic's."""
    given, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "value_error":
            return str(context["error"])
        case "enum":
            return f"{given!r} is not {context['expected']}"
        case "greater_than_equal":
            return f"{given!r} is less than {context['ge']:g}"
        case "greater_than":
            return f"{given!r} is not more than {context['gt']:g}"
        case "less_than_equal":
            return f"{given!r} is more than {context['le']:g}"
        case kind:
            return f"{given!r} is not {_WANTED.get(kind.partition('_')[0], 'understood')}"


def _check_default_size(settings: Settings, sources: Mapping[str, str]) -> None:
    """Otherwise every create of a loopback volume without a size would fail, and only then."""
    smallest, largest = IMAGE_SIZES[settings.default_fs]
    if not smallest <= settings.default_size <= largest:
        # Whichever of the two was set last is the one to blame.
        key = "default_fs" if sources["default_size"] == "default" else "default_size"
        raise InvalidSetting(
            key,
            sources[key],
            f"{exact_size(settings.default_size)} is no size for {settings.default_fs}: use "
            f"{exact_size(smallest)} to {exact_size(largest)}",
        )


def _seen_from_here(settings: Settings, flags: Mapping[str, Any]) -> Settings:
    """Relative paths on the command line are taken from the current folder, as by any command."""
    given: dict[str, Any] = {}
    for key in flags:
        value = getattr(settings, key)
        if isinstance(value, Path) and not str(flags[key]):
            raise InvalidSetting(key, "flag", "it is empty")  # an unset variable of a script
        try:
            if isinstance(value, Path):
                given[key] = value.absolute()
            elif isinstance(value, tuple):
                given[key] = tuple(v.absolute() if isinstance(v, Path) else v for v in value)
        except FileNotFoundError:
            raise InvalidSetting(key, "flag", "the current folder is gone") from None
    return settings.model_copy(update=given)


def _check_paths(settings: Settings, sources: Mapping[str, str]) -> None:
    """Relative paths in a file would depend on where the daemon starts; answers are UTF-8."""
    for key, value in settings:
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path) and not path.is_absolute():
                raise InvalidSetting(key, sources[key], f"{str(path)!r} is not an absolute path")
            if isinstance(path, Path) and encodable(str(path)) != str(path):
                raise InvalidSetting(
                    key, sources[key], f"'{encodable(str(path))}' is not UTF-8, as Docker needs it"
                )


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        if required:
            raise InvalidSetting("config", str(path), "no such file") from None
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidSetting("config", str(path), str(error)) from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, value in environment.items():
        # An empty value is how Docker passes a plugin setting that was not set.
        if name.startswith(PREFIX) and name != "CONVOY_CONFIG" and value != "":
            found[name.removeprefix(PREFIX).lower()] = value
    return found
