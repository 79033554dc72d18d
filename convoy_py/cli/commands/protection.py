"""The command that has backups stay: backup protect."""

import click

from convoy_py import wire
from convoy_py.cli.terminal.arguments import repository_option
from convoy_py.cli.terminal.jobs import no_wait_option, run
from convoy_py.cli.terminal.options import output_options
from convoy_py.cli.terminal.places import each_reached
from convoy_py.cli.terminal.session import Session
from convoy_py.wire.endpoints import PROTECT_BACKUPS


@click.command(short_help="Have backups stay, whatever a policy keeps.")
@click.argument("references", metavar="BACKUP...", nargs=-1, required=True)
@click.option("--off", is_flag=True, help="no more")
@repository_option("--from", "the repository; else the default, or the only one")
@no_wait_option
@output_options
@click.pass_obj
def protect(
    session: Session,
    /,
    *,
    references: tuple[str, ...],
    off: bool,
    repository: str | None,
    no_wait: bool,
) -> None:
    """Have backups stay: no policy deletes them, and `delete` refuses. Prints their URLs.

    They get the tag `protected`, which a restic spares by `forget --keep-tag protected`.
    """
    wanted = wire.backups.ProtectBackups(
        backups=each_reached(references),
        repository=repository or "",
        on=not off,
    )
    found = run(session, PROTECT_BACKUPS, wanted, no_wait=no_wait).backups
    session.output.answers([each.url for each in found], found)
