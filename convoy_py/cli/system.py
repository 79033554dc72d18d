"""The command on the whole: what the daemon is."""

from collections.abc import Iterable

import click

from convoy_py.cli.options import output_options
from convoy_py.cli.output import say, show_heading, show_json, show_table
from convoy_py.cli.session import Session
from convoy_py.models.sizes import format_size
from convoy_py.models.volume import show
from convoy_py.wire.admin import Info
from convoy_py.wire.endpoints import INFO


@click.command(short_help="Show the daemon, its settings, space and backends.")
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
    general = dict(told.general) | {"uptime": f"{told.general.uptime:.0f} s"}
    _section("General", [(_words(key), _text(value)) for key, value in general.items()])
    settings = told.settings.items()
    _section(
        "Settings", [(key, _setting(each.value), f"from {each.source}") for key, each in settings]
    )
    _section(
        "Space below the root", [(_words(key), format_size(value)) for key, value in told.space]
    )
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


def _setting(value: object) -> str:
    """The settings' whole numbers are sizes."""
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
