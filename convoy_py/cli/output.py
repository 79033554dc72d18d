"""What the user sees: JSON or tables on stdout, one line per error on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from convoy_py.wire.admin import Message


@dataclass
class Output:
    """Whether the user asked for JSON, and by which of the two flags."""

    json: bool = False
    verbose: bool = False

    @property
    def asked_json(self) -> bool:
        """For commands whose answer is one word unless JSON is asked for."""
        return self.json or self.verbose

    @property
    def wants_json(self) -> bool:
        """For commands that show a table to people and JSON to programs."""
        return self.asked_json or not sys.stdout.isatty()


def say(text: str) -> None:
    click.echo(printable(text))


def complain(text: str) -> None:
    """One line on stderr, whatever the text holds."""
    click.echo(f"convoy: {printable(' '.join(text.split()))}", err=True)


def show_json(value: object) -> None:
    """Indented, in the keys of the wire and in their order, ASCII in every locale."""
    click.echo(json.dumps(_plain(value), indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns without lines; `columns` may be empty strings for no headings."""
    # Only a table needs rich, and only a terminal gets tables.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold", header_style="bold")
    for row in rows:
        # Text, as brackets in a plain string would be taken for markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(highlight=False).print(table)


def printable(text: str) -> str:
    """Control characters made visible: a process or a path may carry escape sequences."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _plain(value: object) -> Any:
    match value:
        case Message():
            return value.model_dump(mode="json", by_alias=True)
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value
