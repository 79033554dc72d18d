"""The options of a volume on the command line, made from the table that Docker's are read by."""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, TypeVar

import click

from convoy_py import wire
from convoy_py.cli.terminal.arguments import complete_repositories, complete_sources
from convoy_py.cli.terminal.options import completed_from
from convoy_py.cli.terminal.output import show_json, show_table
from convoy_py.cli.terminal.session import Session
from convoy_py.models.options import BOOLEANS, OPTIONS, Option, asks_help, is_blank

F = TypeVar("F", bound=Callable[..., Any])
Flags = Mapping[str, str | bool | None]

# What has values that exist already.
_EXISTING = {
    "from": complete_sources,
    "backup": complete_repositories,
    "schedule.to": complete_repositories,
}
# What does not go with a volume that is there, or comes from a backup.
SCHEDULE = tuple(option.key for option in OPTIONS if option.key.startswith("schedule."))
# Convoy's word for an option, beside ours; every other alias works through --opt.
_CONVOY_FLAGS = {"backend": "--driver"}


def volume_options(*, without: Container[str] = (), defaults: bool = True) -> Callable[[F], F]:
    """One flag per row of the table, and -o; `without` has the keys that mean nothing here.

    Without `defaults` what is not given is as at the source, so no other default is told.
    The command gets `pairs` and one argument per key, for `chosen_options` to read.
    """

    def decorate(command: F) -> F:
        command = click.option(
            "--opt",
            "-o",
            "pairs",
            multiple=True,
            metavar="KEY=VALUE",
            help="as `docker volume create -o`; `-o help` explains",
        )(command)
        for option in reversed(OPTIONS):
            if option.key not in without:
                command = _flag(option, defaults=defaults)(command)
        return command

    return decorate


def _flag(option: Option, *, defaults: bool) -> Callable[[F], F]:
    name = option.key.replace(".", "_")  # of the argument; the daemon reads it as the key
    meaning = option.meaning if defaults else option.meaning.partition("; default:")[0]
    flag = "--" + option.key.replace("_", "-").replace(".", "-")
    if option.choices == BOOLEANS:
        names = [f"{flag}/--no-{flag[2:]}"]
        return click.option(*names, name, default=None, help=meaning)
    names = [flag, *([_CONVOY_FLAGS[option.key]] if option.key in _CONVOY_FLAGS else [])]
    return click.option(
        *names,
        name,
        metavar=option.values if option.choices else name.upper(),
        shell_complete=_EXISTING.get(option.key) or completed_from(option.choices),
        help=meaning if option.choices else f"{meaning}  [{option.values}]",
    )


def chosen_options(session: Session, pairs: Iterable[str], flags: Flags) -> dict[str, str]:
    """Options of both spellings, as text: the daemon reads them.

    Where help is asked for, the table is shown and the command ends; no daemon is needed for it.
    """
    options = _combine(pairs, flags)
    if asks_help(options):
        _explain(session)
        click.get_current_context().exit()
    return options


def _explain(session: Session) -> None:
    if session.output.asked_json:
        show_json(wire.daemon.option_table())
    else:
        rows = [(o.key, ", ".join(o.aliases), o.values, o.meaning) for o in OPTIONS]
        show_table(rows, ("OPTION", "ALSO", "VALUES", "MEANING"))


def _combine(pairs: Iterable[str], flags: Flags) -> dict[str, str]:
    options: dict[str, str] = {}
    given = [(key, _text(value)) for key, value in flags.items() if value is not None]
    # Without "=" the value is empty, as in Docker's command: `-o help`.
    for key, _, value in (pair.partition("=") for pair in pairs):
        given.append((key, value))
    for key, value in given:
        if is_blank(options.get(key, "")):
            options[key] = value
        elif not is_blank(value) and options[key] != value:
            raise click.UsageError(f"option {key} is given twice with different values")
    return options


def _text(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value
