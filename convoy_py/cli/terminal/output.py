"""What the user sees: JSON or tables on stdout, one line per error on stderr."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from convoy_py.escapes import printable
from convoy_py.models.sizes import format_size

if TYPE_CHECKING:
    from convoy_py.wire.base import Message


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

    def answer(self, word: str, message: "Message") -> None:
        """One word, or the message it was taken from where JSON was asked for."""
        if self.asked_json:
            show_json(message)
        else:
            say(word)

    def answers(self, words: Iterable[str], messages: object) -> None:
        """The same with a word, and a line, of each."""
        if self.asked_json:
            show_json(messages)
        else:
            for word in words:
                say(word)


def have_streams() -> None:
    """Give the command somewhere to write where its user has closed stdout or stderr."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere())


def drop_output() -> None:
    """Forget what could not be written to stdout, which Python would try again at its end."""
    sys.stdout = _nowhere()


def wants_color() -> bool | None:
    """False where there are to be no escape sequences (https://no-color.org), else as ever."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return False if unwanted else None


def say(text: str) -> None:
    click.echo(printable(text))


def complain(text: str) -> None:
    """One line on stderr, whatever the text holds; where it cannot be written, it is not."""
    with suppress(OSError):
        click.echo(f"convoy: {printable(' '.join(text.split()))}", err=True)


def note(text: str) -> None:
    """What is worth knowing beside the answer: on stderr, where no script takes it for one."""
    complain(text)


def show_json(value: object) -> None:
    """Indented, in the keys of the wire and in their order, ASCII in every locale."""
    click.echo(json.dumps(value, indent=2, default=_keys))


def show_event(value: object) -> None:
    """One line of JSON on stderr, beside the answer; where it cannot be written, it is not."""
    with suppress(OSError):
        click.echo(json.dumps(value, default=_keys), err=True)


def show_heading(text: str) -> None:
    click.secho(text, bold=True)


def show_table(rows: Iterable[Sequence[str]], columns: Sequence[str] = ()) -> None:
    """Aligned columns, under headings if there are any; lines are never cut or wrapped."""
    body = [[printable(cell) for cell in row] for row in rows]
    table = [list(columns), *body] if columns else body
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = [
        "  ".join(map(str.ljust, row, widths)).rstrip()  # rstrip: the last column may be long
        for row in table
    ]
    if columns:
        show_heading(lines.pop(0))
    for line in lines:
        click.echo(line)


def moment(time: str) -> str:
    """RFC 3339 in UTC without its fraction; a dash where it is not known."""
    whole, point, _ = time.partition(".")
    return (whole or "-") + ("Z" if point else "")


def size_or_dash(value: object) -> str:
    """Bytes (as text where they are too many for a JSON number), or a dash if not known."""
    return "-" if value is None else format_size(int(str(value)))


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _keys(message: "Message") -> object:
    return message.model_dump(mode="json", by_alias=True)
