"""Options that several commands share, and the refusal of Convoy's old ones."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from convoy_py.cli.terminal.session import Session
from convoy_py.errors import Unsupported

F = TypeVar("F", bound=Callable[..., Any])


def output_options(command: F) -> F:
    """`--json` and `--verbose`, which are global but may also stand after the command."""
    for flag, meaning in (
        ("verbose", "the same as --json, as Convoy had it"),
        ("json", "show JSON"),
    ):
        command = click.option(
            f"--{flag}", is_flag=True, expose_value=False, callback=_turn_on, help=meaning
        )(command)
    return command


def _turn_on(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    session = context.find_object(Session)  # None while the shell completes a line
    if value and session:
        setattr(session.output, str(parameter.name), True)


def without_json(session: Session, command: str, instead: str) -> None:
    """Refuse the global --json and --verbose before a command that has no use for them."""
    if session.output.asked_json:
        raise click.UsageError(f"--json and --verbose mean nothing to {command}: {instead}")


def help_without_command(context: click.Context) -> None:
    """Show a group's help where none of its commands is named."""
    if context.invoked_subcommand is None:
        path = context.command_path
        without_json(context.obj, f"{path} without a command", "name one, such as list")
        click.echo(context.get_help())


def refused(flag: str, instead: str, *, is_flag: bool = False) -> Callable[[F], F]:
    """A flag that Convoy had and we have not; using it tells what to do instead."""

    def refuse(_: click.Context, __: click.Parameter, value: object) -> None:
        if value not in (None, False):
            raise Unsupported(f"{flag} is an option of the original Convoy only: {instead}")

    return click.option(
        flag, is_flag=is_flag, hidden=True, expose_value=False, callback=refuse, default=None
    )


def completed_from(choices: Iterable[str]) -> Callable[..., list[str]]:
    """What the shell offers for an option's value; whether a value is right, the daemon says."""
    return lambda _, __, incomplete: [c for c in choices if c.startswith(incomplete.lower())]
