"""The commands on the trash: list, restore, purge; and the word on it after a removal."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from convoy_py import wire
from convoy_py.cli.client.calls import Client
from convoy_py.cli.terminal.arguments import trash_argument
from convoy_py.cli.terminal.options import help_without_command, output_options
from convoy_py.cli.terminal.output import moment, note, say, show_json, show_table
from convoy_py.cli.terminal.session import Session
from convoy_py.errors import ConvoyError
from convoy_py.models.names import check_name
from convoy_py.wire.endpoints import LIST_TRASH, PURGE_TRASH, RESTORE_TRASH

if TYPE_CHECKING:
    from convoy_py.wire.trash import Removed


@click.group(invoke_without_command=True)
@click.pass_context
def trash(context: click.Context) -> None:
    """Removed volumes, which are kept for a while: show them, bring one back, delete for good."""
    help_without_command(context)


@trash.command("list", short_help="Show what is in the trash.")
@output_options
@click.pass_obj
def list_trash(session: Session) -> None:
    """Show what is in the trash, and until when: a table on a terminal, else JSON."""
    removed = session.client().ask(LIST_TRASH).volumes
    if session.output.wants_json:
        show_json(removed)
    else:
        show_table(map(_row, removed), _COLUMNS)


@trash.command(short_help="Bring a removed volume back and print its name.")
@trash_argument()
@click.option("--as", "as_name", metavar="OTHER", help="give it another name")
@output_options
@click.pass_obj
def restore(session: Session, name: str, as_name: str | None) -> None:
    """Bring a removed volume back, with its data and its snapshots, and print its name.

    NAME is a name or a key of `convoy trash list`; of several of one name the last removed.
    """
    other = "" if as_name is None else check_name(as_name)
    volume = session.client().ask(RESTORE_TRASH, wire.trash.RestoreTrash(name=name, as_name=other))
    session.output.answer(volume.name, volume)


@trash.command(short_help="Delete removed volumes for good.")
@trash_argument(required=False)
@click.option("--all", "everything", is_flag=True, help="delete all that is in the trash")
@output_options
@click.pass_obj
def purge(session: Session, name: str | None, everything: bool) -> None:
    """Delete removed volumes for good, and print the keys of what is gone.

    NAME is a key, or a name for all of that name.
    """
    if everything == (name is not None):
        raise click.UsageError("purge takes either a NAME or --all")
    wanted = wire.trash.PurgeTrash(name=name or "", all=name is None)
    keys = session.client().ask(PURGE_TRASH, wanted).keys
    if session.output.asked_json:
        show_json(keys)
    else:
        for key in keys:
            say(key)


def note_trash(client: Client, names: Iterable[str], *, replaced: bool = False) -> None:
    """Tell a person how to get back what was just removed, or replaced by something of its name."""
    if not sys.stderr.isatty():
        return
    newest: dict[str, Removed] = {}
    with suppress(ConvoyError):  # the removal went well, and this is but a hint
        newest = {each.name: each for each in client.ask(LIST_TRASH).volumes}
    for name in names:
        # What is deleted at once, as with --path or with no trash at all, is not there.
        if removed := newest.get(name):
            what = f"what {name} was" if replaced else name
            how = f"{name} --as OTHER" if replaced else name
            note(
                f"{what} is in the trash until {moment(removed.until)}; "
                f"`convoy trash restore {how}` brings it back"
            )


_COLUMNS = ("NAME", "KEY", "BACKEND", "REMOVED", "UNTIL", "SNAPSHOTS")


def _row(removed: "Removed") -> tuple[str, ...]:
    return (
        removed.name,
        removed.key,
        removed.driver or "-",
        moment(removed.removed),
        moment(removed.until),
        str(len(removed.snapshots)),
    )
