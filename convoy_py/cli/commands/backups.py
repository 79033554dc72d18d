"""The commands on backups: create, list, inspect, delete, forget, prune, prove, verify."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from convoy_py import wire
from convoy_py.cli.client.calls import Client
from convoy_py.cli.commands.protection import protect
from convoy_py.cli.terminal.arguments import (
    not_empty,
    project_option,
    repository_argument,
    repository_option,
    source_argument,
    volume_argument,
)
from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.cli.terminal.hooks import hook_options
from convoy_py.cli.terminal.jobs import no_wait_option, run
from convoy_py.cli.terminal.options import help_without_command, output_options
from convoy_py.cli.terminal.output import complain, moment, say, show_json, show_table
from convoy_py.cli.terminal.places import (
    each_reached,
    endpoint_option,
    is_place,
    keep_endpoint,
    reached,
)
from convoy_py.cli.terminal.session import Session
from convoy_py.errors import Kind, NotFound
from convoy_py.models.names import AT, check_name, check_volume, split_source
from convoy_py.models.sizes import format_size
from convoy_py.wire.endpoints import (
    CREATE_BACKUPS,
    DELETE_BACKUPS,
    FORGET_BACKUPS,
    INSPECT_BACKUP,
    INSPECT_SNAPSHOT,
    LIST_BACKUPS,
    PROVE_BACKUPS,
    PRUNE_REPOSITORY,
    VERIFY_REPOSITORY,
)

if TYPE_CHECKING:
    from convoy_py.wire.backups import BackupInfo


@click.group(invoke_without_command=True)
@endpoint_option
@click.pass_context
def backup(context: click.Context, s3_endpoint: str | None) -> None:
    """Backups of volumes in repositories of restic: make, show, verify, delete them.

    BACKUP is a URL, as `create` prints it, or the first digits of an id, as `list` shows it.
    """
    help_without_command(context)
    keep_endpoint(context, s3_endpoint)


_from_option = repository_option("--from", "the repository; else the default, or the only one")


@backup.command(short_help="Back up volumes and print the backups' URLs.")
@source_argument("sources", nargs=-1, metavar="[VOLUME|VOLUME@SNAPSHOT...]")
@click.option("--all", "everything", is_flag=True, help="all volumes")
@project_option("the volumes of a compose project")
@repository_option("--to", "the repository; else the default, or the only one")
@click.option(
    "--dest",
    metavar="DEST",
    callback=not_empty,
    help="as in Convoy: where a repository is, instead of --to",
)
@click.option(
    "--raw", is_flag=True, help="the filesystem of each volume as one file: of loopback alone"
)
@hook_options
@no_wait_option
@output_options
@click.pass_obj
def create(
    session: Session,
    /,
    *,
    sources: tuple[str, ...],
    everything: bool,
    compose_project: str | None,
    repository: str | None,
    dest: str | None,
    raw: bool,
    no_wait: bool,
    **hooks: Any,
) -> None:
    """Back up volumes, and print the URL of each backup.

    Of all volumes one snapshot is taken at one moment, which stays, unlisted, if that costs
    nothing: what has not changed by the next backup is not read again. VOLUME@SNAPSHOT backs up a
    snapshot that is there. --raw is for millions of small files, or for a filesystem that is to
    come back to the byte: it is restored as it was, and never into another backend or filesystem.
    """
    if bool(sources) + everything + bool(compose_project) != 1:
        raise click.UsageError("backup takes either volumes and snapshots, --all, or a project")
    if dest and repository:
        raise click.UsageError("--to and --dest name the same: give one")
    for each in sources:
        split_source(each)
    client = session.client()
    if dest:
        repository = reached(dest)
        sources = tuple(_snapshot(client, each) for each in sources)
    wanted = wire.backups.CreateBackups(
        sources=list(dict.fromkeys(sources)),
        all=everything,
        compose_project=compose_project or "",
        repository=repository or "",
        raw=raw,
        **hooks,
    )
    _show_urls(session, run(session, CREATE_BACKUPS, wanted, no_wait=no_wait).backups)


def _snapshot(client: Client, name: str) -> str:
    """Convoy's scripts name a snapshot alone."""
    if AT in name:
        return name
    try:
        return client.look(INSPECT_SNAPSHOT, of=name).read("FullName", str)
    except NotFound as error:
        raise NotFound(
            f"{error}; with --dest a name alone is a snapshot's: to back up a volume as it is now "
            "give --to REPOSITORY"
        ) from None


def _show_urls(session: Session, backups: "Sequence[BackupInfo]") -> None:
    session.output.answers([each.url for each in backups], backups)


@backup.command("list", short_help="Show the backups of a volume, or all.")
@volume_argument("volume", required=False, metavar="[VOLUME|DEST]", callback=not_empty)
@repository_option("--from", "only those in this repository; default: in all that are known")
@click.option("--volume-name", metavar="VOLUME", callback=not_empty, help="as in Convoy: VOLUME")
@no_wait_option
@output_options
@click.pass_obj
def list_backups(
    session: Session,
    /,
    *,
    volume: str | None,
    repository: str | None,
    volume_name: str | None,
    no_wait: bool,
) -> None:
    """Show the backups of VOLUME, or all, of this host and of others, oldest first.

    A table on a terminal, else JSON. With DEST, where a repository is, as in Convoy: a map of URL
    to backup, JSON.
    """
    dest = volume if volume and is_place(volume) else None
    volume = None if dest else volume
    if (dest and repository) or (volume and volume_name):
        raise click.UsageError("the volume, or the repository, is named twice")
    if dest:
        repository = reached(dest)
    asked = volume or volume_name or ""
    wanted = wire.backups.BackupsQuery(
        volume=check_name(asked) if asked else "",
        repository=repository or "",
        described=bool(dest),
    )
    found = run(session, LIST_BACKUPS, wanted, no_wait=no_wait).backups
    found.sort(key=lambda each: (each.created, each.volume))
    if dest and asked and not found:
        raise NotFound(f"there is no backup of a volume {asked} in {dest}")
    if dest:
        show_json({each.url: each for each in found})
    elif session.output.wants_json:
        show_json(found)
    else:
        show_table(map(_row, found), _COLUMNS)


_COLUMNS = ("ID", "VOLUME", "CREATED", "SIZE", "ADDED", "FILES", "PROVEN", "HOST", "REPOSITORY")


def _row(each: "BackupInfo") -> tuple[str, ...]:
    return (
        each.id[:8],
        each.volume,
        moment(each.created),
        format_size(each.size),
        format_size(each.added),
        "raw" if each.raw else str(each.files),
        moment(each.proven) if each.proven else "",
        each.host,
        each.repository,
    )


@backup.command(short_help="Show one backup as JSON.")
@click.argument("reference", metavar="BACKUP", callback=not_empty)
@_from_option
@no_wait_option
@output_options
@click.pass_obj
def inspect(session: Session, reference: str, repository: str | None, no_wait: bool) -> None:
    """Show one backup: JSON, with or without --json."""
    wanted = wire.backups.BackupQuery(backup=reached(reference), repository=repository or "")
    show_json(run(session, INSPECT_BACKUP, wanted, no_wait=no_wait))


@backup.command(short_help="Delete backups.")
@click.argument("references", metavar="BACKUP...", nargs=-1, required=True)
@_from_option
@no_wait_option
@output_options
@click.pass_obj
def delete(
    session: Session, /, *, references: tuple[str, ...], repository: str | None, no_wait: bool
) -> None:
    """Delete backups, and print the URLs of those that are gone: all that are named, or none.

    What no other backup needs of their data is given back by `convoy backup prune`.
    """
    named = each_reached(references)
    wanted = wire.backups.DeleteBackups(backups=named, repository=repository or "")
    gone = run(session, DELETE_BACKUPS, wanted, no_wait=no_wait).backups
    urls = [each.url for each in gone]
    session.output.answers(urls, urls)


backup.add_command(protect)


@backup.command(short_help="Delete the backups that a policy does not keep.")
@volume_argument(metavar="[VOLUME]", required=False)
@click.option(
    "--keep",
    required=True,
    callback=not_empty,
    metavar="POLICY",
    help="such as 24h,7d,4w,12m,3y: the newest of each of so many hours, days, weeks, months and "
    "years; 5last: the last five",
)
@_from_option
@click.option("--dry-run", is_flag=True, help="only show what would go")
@no_wait_option
@output_options
@click.pass_obj
def forget(
    session: Session,
    /,
    *,
    name: str | None,
    keep: str,
    repository: str | None,
    dry_run: bool,
    no_wait: bool,
) -> None:
    """Delete the backups of this host that a policy does not keep, and show them.

    Of VOLUME, or of each volume by itself. The rules are restic's: what one of them keeps stays,
    days are those of the zone in which a backup was made, and the oldest stays until there are as
    many as a rule asks for. Backups of other hosts stay. A table on a terminal, else JSON.
    """
    wanted = wire.backups.ForgetBackups(
        volume=check_volume(name) if name else "",
        repository=repository or "",
        keep=keep,
        dry_run=dry_run,
    )
    done = run(session, FORGET_BACKUPS, wanted, no_wait=no_wait)
    if session.output.wants_json:
        show_json(done)
    else:
        show_table(map(_row, done.backups), _COLUMNS)
        if dry_run:
            say("nothing was done, as --dry-run asks")
    _end_with(done.problems, Kind.FAILED)


def _end_with(problems: Sequence[str], kind: Kind) -> None:
    """Tell each of a verb that did the rest; exit as that kind of error does, if there is one."""
    for problem in problems:
        complain(problem)
    if problems:
        click.get_current_context().exit(EXIT_CODES[kind])


@backup.command(short_help="Give back the room that no backup needs any more.")
@_from_option
@click.option("--dry-run", is_flag=True, help="only show what would be done")
@no_wait_option
@output_options
@click.pass_obj
def prune(session: Session, repository: str | None, dry_run: bool, no_wait: bool) -> None:
    """Delete the data that no backup in a repository needs any more, of whichever host.

    By restic's rules: what else a restic keeps there counts, too, and 5 % of what is stored may be
    data that nobody needs. Backups wait meanwhile. If anything of the repository is damaged, or
    cannot be read, nothing is deleted. In a pipe JSON.
    """
    wanted = wire.backups.PruneRepository(repository=repository or "", dry_run=dry_run)
    done = run(session, PRUNE_REPOSITORY, wanted, no_wait=no_wait)
    if session.output.wants_json:
        show_json(done)
        return
    say(f"{done.snapshots} snapshots; packs: {done.kept} stay, {done.deleted} deleted")
    say(f"packed anew: {done.repacked} packs, {format_size(done.repacked_bytes)}")
    say(f"freed: {format_size(done.freed_bytes)}")
    say(f"not needed, and stay: {format_size(done.unneeded_bytes)}")
    if dry_run:
        say("nothing was done, as --dry-run asks")


def _percent(context: click.Context, parameter: click.Parameter, value: str | None) -> int:
    digits = "0" if value is None else value.removesuffix("%")
    if not digits.isdecimal() or int(digits[:4]) > 100:
        raise click.BadParameter("give a part, as =10%, or REPOSITORY first", context, parameter)
    return int(digits)


@backup.command(short_help="Restore backups beside, and compare.")
@click.argument("references", metavar="[BACKUP...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="the newest of each volume of each host")
@repository_option("--from", "the repository; else the default; with --all every one")
@no_wait_option
@output_options
@click.pass_obj
def prove(
    session: Session,
    /,
    *,
    references: tuple[str, ...],
    everything: bool,
    repository: str | None,
    no_wait: bool,
) -> None:
    """Restore backups into a place beside, which goes again, and compare all with the backup.

    Prints the URLs of those that are what they should be, which `list` tells from then on. What is
    not so is told on stderr, with exit code 10.
    """
    if bool(references) == everything:
        raise click.UsageError("name backups, or --all for the newest of each volume")
    named = each_reached(references)
    wanted = wire.backups.ProveBackups(backups=named, all=everything, repository=repository or "")
    done = run(session, PROVE_BACKUPS, wanted, no_wait=no_wait)
    if session.output.asked_json:
        show_json(done)
    else:
        _show_urls(session, done.backups)
    _end_with(done.problems, Kind.CORRUPT)


@backup.command(short_help="Look whether a repository is whole.")
@repository_argument("repository", required=False, callback=not_empty)
@click.option(
    "--read-data",
    is_flag=False,
    flag_value="100%",
    callback=_percent,
    metavar="[=N%]",
    help="read the data as well, all of it or a part that is drawn anew each time",
)
@no_wait_option
@output_options
@click.pass_obj
def verify(session: Session, repository: str | None, read_data: int, no_wait: bool) -> None:
    """Look whether all that the backups in a repository need is there, and whole.

    A line for each problem, and exit code 10 if there is one. In a pipe JSON.
    """
    wanted = wire.backups.VerifyRepository(repository=repository or "", read_data=read_data)
    found = run(session, VERIFY_REPOSITORY, wanted, no_wait=no_wait)
    if session.output.wants_json:
        show_json(found)
    else:
        for problem in found.problems or ["no problem was found"]:
            say(problem)
    if found.problems:
        complain(f"{len(found.problems)} found wrong: restore what can be, and back up anew")
        click.get_current_context().exit(EXIT_CODES[Kind.CORRUPT])
