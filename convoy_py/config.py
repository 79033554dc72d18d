"""The daemon's settings and where each came from: flag, environment, file, default, in that order.

Importing this module stays cheap: the daemon reads its settings before it opens its sockets.
"""

import grp
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from convoy_py.errors import InvalidSetting
from convoy_py.escapes import encodable
from convoy_py.models.filesystem import IMAGE_SIZES
from convoy_py.models.sizes import exact_size
from convoy_py.settings import Settings

DEFAULT_FILE = Path("/etc/convoy/convoy.toml")
PREFIX = "CONVOY_"


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
