"""The command that brings backups back: restore."""

import click

from convoy_py import wire
from convoy_py.cli.terminal.arguments import not_empty, repository_option, volume_argument
from convoy_py.cli.terminal.jobs import no_wait_option, run
from convoy_py.cli.terminal.options import output_options
from convoy_py.cli.terminal.output import note
from convoy_py.cli.terminal.session import Session
from convoy_py.cli.terminal.volume_options import SCHEDULE, chosen_options, volume_options
from convoy_py.models.names import check_name
from convoy_py.wire.endpoints import RESTORE_BACKUP


@click.command()
@volume_argument("reference", metavar="VOLUME|BACKUP", callback=not_empty)
@repository_option("--from", "the repository; default: all, or for an id the only one")
@click.option(
    "--at",
    metavar="TIME|ID",
    callback=not_empty,
    help="not the newest of VOLUME, but the newest up to a time, or one by its id",
)
@click.option("--as", "as_name", metavar="OTHER", help="give the volume another name")
@volume_options(without=("from", "path", "per_mount", "backup", *SCHEDULE), defaults=False)
@no_wait_option
@output_options
@click.pass_obj
def restore(
    session: Session,
    /,
    reference: str,
    *,
    repository: str | None,
    at: str | None,
    as_name: str | None,
    pairs: tuple[str, ...],
    no_wait: bool,
    **flags: str | bool | None,
) -> None:
    """Bring the data of a backup back, and print the volume's name.

    VOLUME is the newest backup of the volume of that name, or the one that --at says: TIME is as in
    `convoy backup list`, or a day, to its end. It becomes a volume again, with options
    as they were unless they are given; any backend, filesystem and size that holds the data will
    do. A volume that is there, and not in use, gets the data in the place of its own, which stays
    as a snapshot: `convoy snapshot list` shows it, and `convoy rollback` goes back to it.
    """
    wanted = wire.backups.RestoreBackup(
        backup=reference,
        repository=repository or "",
        at=at or "",
        name="" if as_name is None else check_name(as_name),
        options=chosen_options(session, pairs, flags),
    )
    made = run(session, RESTORE_BACKUP, wanted, no_wait=no_wait)
    session.output.answer(made.name, made)
    # What was made anew has none.
    if saved := [each for each in made.snapshots.values() if each.automatic]:
        full = max(saved, key=lambda each: each.created_time).full_name
        note(f"{made.name} is as the backup was; `convoy rollback {full}` undoes it")
