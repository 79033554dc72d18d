"""The commands on the daemon: `daemon`, whose flags are made of the settings, and `info`."""

import os
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from convoy_py.cli.client.answers import Told
from convoy_py.cli.terminal.options import output_options, refused, without_json
from convoy_py.cli.terminal.output import say, show_heading, show_json, show_table
from convoy_py.cli.terminal.session import Session
from convoy_py.config import DEFAULT_FILE, PREFIX, load
from convoy_py.errors import Unsupported
from convoy_py.models.driver_options import driver_settings
from convoy_py.models.durations import exact_duration, format_duration
from convoy_py.models.sizes import format_size
from convoy_py.models.volume import show
from convoy_py.settings import Duration, LogLevel, Settings, Size
from convoy_py.wire.daemon import Info
from convoy_py.wire.endpoints import INFO, LIST_HOSTS

F = TypeVar("F", bound=Callable[..., Any])


def _setting_flags(command: F) -> F:
    """One flag per setting; click keeps no defaults, so that only what was given counts."""
    for key, field in reversed(Settings.model_fields.items()):
        command = click.option(
            "--" + key.replace("_", "-"), key, help=_help(key, field), **_taken(field)
        )(command)
    return command


def _taken(field: FieldInfo) -> dict[str, Any]:
    """What a flag takes: a value, some, or none where it says all by itself."""
    if field.annotation is bool:
        return {"is_flag": True, "default": None}
    return {"multiple": _is_list(field), "metavar": _metavar(field)}


def _is_list(field: FieldInfo) -> bool:
    return getattr(field.annotation, "__origin__", None) is tuple


def _metavar(field: FieldInfo) -> str:
    for known, name in ((Duration, "DURATION"), (Size, "SIZE")):
        if any(mark in field.metadata for mark in get_args(known)):
            return name
    kinds = {field.annotation, *get_args(field.annotation)}
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return "|".join(str(member.value) for member in kind)
    for plain, name in ((SecretStr, "URL"), (Path, "PATH"), (int, "NUMBER"), (float, "NUMBER")):
        if plain in kinds:
            return name
    return "NAME"


def _help(key: str, field: FieldInfo) -> str:
    facts = ["repeatable"] if _is_list(field) else []
    default = _default(field)
    facts += [f"default: {default}"] if default else []
    facts.append(f"env: {PREFIX}{key.upper()}")
    return f"{field.description}  [{'; '.join(facts)}]"


def _default(field: FieldInfo) -> str:
    match field.default:
        case None | () | False:
            return ""
        case tuple() as values:
            return ",".join(map(str, values))
        case int() as size if _metavar(field) == "SIZE":
            return format_size(size)
        case value:
            return str(value)


@click.command(
    # Settings are spelled with underscores in the file and the environment.
    context_settings={"token_normalize_func": lambda token: token.replace("_", "-")},
)
@_setting_flags
@click.option(
    "--driver-opts",
    multiple=True,
    metavar="KEY=VALUE",
    help="Convoy's driver options, such as loopback.size=1G or vfs.paths=/srv  [repeatable]",
)
@click.option("--debug", is_flag=True, help="the same as --log-level debug")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=f"the settings file  [default: {DEFAULT_FILE}; env: {PREFIX}CONFIG]",
)
@refused("--mnt-ns", "start the daemon in the mount namespace it shall use, as with nsenter")
@refused(
    "--ignore-docker-delete",
    "`docker volume rm` deletes; make a volume with -o path=FOLDER to have its data kept, "
    "or use `convoy delete --reference`",
    is_flag=True,
)
@refused(
    "--create-on-docker-mount",
    "Docker itself creates a volume that `docker run --volume-driver convoy -v NAME:/at` names",
    is_flag=True,
)
@refused("--cmd-timeout", "nothing is cut off; what takes long goes on, and a repeat joins it")
@refused(
    "--ignore-config-file",
    "flags and environment always win over the file; name another with --config",
    is_flag=True,
)
@click.pass_context
def daemon(
    context: click.Context,
    /,
    driver_opts: tuple[str, ...],
    debug: bool,
    config: Path | None,
    **settings: str | tuple[str, ...] | None,
) -> None:
    """Run the daemon in the foreground until a signal such as SIGTERM ends it.

    A setting comes from its flag, else its environment variable, else the settings file, else
    its default; `convoy info` shows each value and where it came from.
    """
    session = context.ensure_object(Session)
    without_json(session, "daemon", "use --log-format and --log-level")
    if sys.flags.optimize:
        raise Unsupported(
            "the daemon relies on its assertions: start it without python -O and PYTHONOPTIMIZE"
        )
    given = [
        # Lists may be repeated as flags; config splits at commas, as in the environment.
        (key, ",".join(value) if isinstance(value, tuple) else value)
        for key, value in settings.items()
        if value not in (None, ())
    ]
    given += [item for pair in driver_opts for item in driver_settings((pair,)).items()]
    if debug or session.debug:
        given.append(("log_level", LogLevel.DEBUG))
    if session.socket is not None:
        given.append(("socket", session.socket))
    context.exit(session.serve(load(_agreed(given), os.environ, config)))


def _agreed(given: list[tuple[str, str]]) -> dict[str, str]:
    """Settings that may be spelled in several ways, but not with several values."""
    flags: dict[str, str] = {}
    for key, value in given:
        if flags.setdefault(key, value) != value:
            raise click.UsageError(
                f"setting {key} is given twice with different values: {flags[key]} and {value}"
            )
    return flags


@click.command()
@output_options
@click.pass_obj
def info(session: Session) -> None:
    """Show the daemon, each setting with its source, the host's space and the backends.

    Tables on a terminal, else JSON.
    """
    told = session.client().ask(INFO)
    if session.output.wants_json:
        show_json(told)
    else:
        _show(told)


def _show(told: Info) -> None:
    general = dict(told.general) | {"uptime": format_duration(told.general.uptime)}
    _section("General", [(_words(key), _text(value)) for key, value in general.items()])
    settings = told.settings.items()
    _section(
        "Settings",
        [(key, _setting(key, each.value), f"from {each.source}") for key, each in settings],
    )
    _section(
        "Space below the root", [(_words(key), format_size(value)) for key, value in told.space]
    )
    if told.root:
        _section("Filesystem of the shared root", list(told.root.items()))
    backends = told.drivers.items()
    _section("Backends", [(name, *fact) for name, each in backends for fact in each.items()])
    _section(
        "Volume options (`convoy create -o help` explains them)",
        [(each.key, each.values) for each in told.options],
    )


def _section(title: str, rows: Iterable[tuple[str, ...]]) -> None:
    show_heading(title)
    show_table(rows)
    say("")


def _words(key: str) -> str:
    return key.replace("_", " ")


def _setting(key: str, value: object) -> str:
    """The settings' whole numbers are sizes, and all others seconds but for one, a ratio."""
    if isinstance(value, float) and key != "overcommit":
        return exact_duration(value)
    return show("size", value) if isinstance(value, int) else _text(value)


def _text(value: object) -> str:
    match value:
        case None | "" | [] | ():
            return "-"
        case list() | tuple():
            return ", ".join(map(str, value))
        case float():
            return f"{value:g}"
        case _:
            return str(value)


@click.command()
@output_options
@click.pass_obj
def hosts(session: Session) -> None:
    """Show the hosts that share the root, whether they live, and which volumes they use.

    A host is silent once it has shown no sign of life for longer than its lease.
    """
    told = session.client().look(LIST_HOSTS)
    found = told.each("Hosts")
    if session.output.wants_json:
        show_json(told)
    else:
        show_table(map(_host, found), ("HOST", "STATE", "SEEN", "VERSION", "VOLUMES"))


def _host(told: Told) -> tuple[str, ...]:
    seen = told.get("Seen")
    name = told.read("Name", str)
    return (
        f"{name} (here)" if told.read("Here", bool) else name,
        told.read("State", str),
        f"{seen:.0f} s ago" if isinstance(seen, float | int) else "never",
        told.read("Version", str),
        ", ".join(map(str, told.read("Volumes", list))) or "-",
    )
