"""The commands that look back: rollback, diff, restore-file."""

import click

from convoy_py.cli.arguments import Snapshot, full_name, snapshot_argument, source_argument
from convoy_py.cli.follow import no_wait_option, run
from convoy_py.cli.options import output_options
from convoy_py.cli.output import note, say, show_json, show_table
from convoy_py.cli.session import Session
from convoy_py.escapes import encodable, escaped
from convoy_py.models.sizes import format_size
from convoy_py.wire.copies import Difference, DiffQuery, RestoreFile, Rollback
from convoy_py.wire.endpoints import DIFF, RESTORE_FILE, ROLLBACK


@click.command(short_help="Put a volume back to a snapshot.")
@snapshot_argument(metavar="VOLUME@SNAPSHOT")
@click.option(
    "--stop-containers",
    is_flag=True,
    help="stop the containers that use the volume, and start them again afterwards",
)
@click.option("--no-keep", is_flag=True, help="keep no snapshot of what is there now")
@no_wait_option
@output_options
@click.pass_obj
def rollback(
    session: Session, name: str, stop_containers: bool, no_keep: bool, no_wait: bool
) -> None:
    """Put a volume back to a snapshot, and print what its present content was saved as.

    That is a snapshot too, so a rollback can itself be rolled back; the last few of them stay. With
    --no-keep nothing is saved, and the volume's name is printed. While the volume is in use it is
    refused, unless --stop-containers is given.
    """
    volume, snapshot = full_name("rollback", name)
    wanted = Rollback(snapshot=snapshot, stop_containers=stop_containers, keep=not no_keep)
    done = run(session, ROLLBACK, wanted, of=volume, no_wait=no_wait)
    session.output.answer(done.saved_as or volume, done)
    undo = f"`convoy rollback {done.saved_as}` undoes it" if done.saved_as else "nothing undoes it"
    note(f"{volume} is as {name} was; {undo}")
    if done.deleted:
        note(f"deleted, as there were more by rollbacks than stay: {', '.join(done.deleted)}")
    if done.stopped:
        note(f"stopped and started again: {', '.join(done.stopped)}")


@click.command(short_help="Show what came between two snapshots.")
@snapshot_argument("old", metavar="VOLUME@A")
@source_argument("new", metavar="[VOLUME@B]", required=False)
@no_wait_option
@output_options
@click.pass_obj
def diff(session: Session, old: str, new: str | None, no_wait: bool) -> None:
    """Show which files were added, changed and removed between two snapshots of a volume.

    Without the second: between the snapshot and the volume as it is now. A table on a terminal,
    else JSON.
    """
    volume, before = full_name("diff", old)
    after = _later(volume, new) if new is not None else ""
    wanted = DiffQuery.model_validate({"from": before, "to": after})
    found = run(session, DIFF, wanted, of=volume, no_wait=no_wait)
    if session.output.wants_json:
        show_json(found)
    else:
        _show_difference(found)


def _later(volume: str, new: str) -> str:
    """The name of the second snapshot; empty for the volume itself."""
    if new == volume:
        return ""
    other: Snapshot = full_name("diff", new)
    if other.volume != volume:
        raise click.UsageError(
            f"diff compares within one volume: {new} is not of {volume}; `convoy snapshot list "
            f"{volume}` shows what is"
        )
    return other.name


def _show_difference(found: Difference) -> None:
    rows = [
        (each.kind, format_size(each.size), ", ".join(each.what) or "-", each.path)
        for each in found.changes
    ]
    if rows:
        show_table(rows, ("CHANGE", "SIZE", "WHAT", "PATH"))
    if found.truncated:
        say(f"only the first {len(rows)} are shown")
    say(
        f"{found.added} added, {found.changed} changed, {found.removed} removed; "
        f"{format_size(found.bytes)} in added and changed files"
    )


@click.command("restore-file", short_help="Bring a file back from a snapshot.")
@snapshot_argument("source", metavar="VOLUME@SNAPSHOT:PATH")
@no_wait_option
@output_options
@click.pass_obj
def restore_file(session: Session, source: str, no_wait: bool) -> None:
    """Bring a file, or a folder with all in it, back from a snapshot, and print its path.

    PATH is below the volume's root, as in a container, or as `diff` shows it. It replaces what is
    there now.
    """
    name, _, path = source.partition(":")
    volume, snapshot = full_name("restore-file", name)
    if not path:
        raise click.UsageError(f"say which file: {name}:PATH, below the volume's root")
    # What the shell gives byte for byte is a name itself; anything else may be one that was shown.
    wanted = RestoreFile(snapshot=snapshot, path=path if encodable(path) == path else escaped(path))
    done = run(session, RESTORE_FILE, wanted, of=volume, no_wait=no_wait)
    session.output.answer(done.path, done)
