"""The commands on volumes' data: clone, convert, adopt, release, diff, restore-file."""

from typing import TYPE_CHECKING

import click

from convoy_py import wire
from convoy_py.cli.commands.trash import note_trash
from convoy_py.cli.terminal.arguments import (
    Snapshot,
    full_name,
    not_empty,
    project_option,
    snapshot_argument,
    source_argument,
    volume_argument,
)
from convoy_py.cli.terminal.jobs import no_wait_option, run
from convoy_py.cli.terminal.options import output_options
from convoy_py.cli.terminal.output import note, say, show_json, show_table
from convoy_py.cli.terminal.session import Session
from convoy_py.cli.terminal.volume_options import SCHEDULE, chosen_options, volume_options
from convoy_py.escapes import encodable, escaped
from convoy_py.models.names import AT, check_name, check_volume, split_source
from convoy_py.models.places import BACKUP_URL
from convoy_py.models.sizes import format_size
from convoy_py.wire.endpoints import (
    ADOPT,
    CLONE_VOLUME,
    CONVERT_VOLUME,
    DIFF,
    RELEASE,
    RESTORE_FILE,
    TAKE_OVER,
)

if TYPE_CHECKING:
    from convoy_py.wire.copies import Adopted, Difference, Released


@click.command()
@source_argument("source", metavar="SOURCE")
@click.argument("new")
@volume_options(without=("from", "path", "backup"), defaults=False)
@no_wait_option
@output_options
@click.pass_obj
def clone(
    session: Session,
    /,
    source: str,
    new: str,
    pairs: tuple[str, ...],
    no_wait: bool,
    **flags: str | bool | None,
) -> None:
    """Make the volume NEW with the content of SOURCE, and print its name.

    SOURCE is a volume, such as db, or a snapshot, such as db@nightly. The options that are not
    given are as there.
    """
    options = chosen_options(session, pairs, flags)
    volume, snapshot = split_source(source)
    wanted = wire.copies.CloneVolume(name=check_name(new), snapshot=snapshot, options=options)
    made = run(session, CLONE_VOLUME, wanted, of=volume, no_wait=no_wait)
    session.output.answer(made.name, made)


@click.command()
@volume_argument(metavar="VOLUME")
@click.option("--host-is-off", is_flag=True, help="the host that has it writes nothing any more")
@no_wait_option
@output_options
@click.pass_obj
def takeover(session: Session, name: str, host_is_off: bool, no_wait: bool) -> None:
    """Take a volume of a shared root from a host that is dead, and print its name.

    The host must have been silent for longer than its lease, and its machine must have let go of
    the image. An image is copied first, out of the host's reach; what it was, and what the host may
    still write, is kept as the snapshot that is told.
    """
    wanted = wire.copies.TakeOver(host_is_off=host_is_off)
    taken = run(session, TAKE_OVER, wanted, of=name, no_wait=no_wait)
    session.output.answer(taken.volume.name, taken)
    if taken.lost:
        note(f"what {', '.join(taken.hosts)} had is kept as {taken.lost}")


@click.command()
@volume_argument(metavar="VOLUME")
@volume_options(without=("from", "path", "per_mount", "backup", *SCHEDULE), defaults=False)
@no_wait_option
@output_options
@click.pass_obj
def convert(
    session: Session,
    /,
    name: str,
    pairs: tuple[str, ...],
    no_wait: bool,
    **flags: str | bool | None,
) -> None:
    """Copy a volume that nobody uses into one of other options that takes its name; print that.

    The copy is compared with the original, which then goes to the trash. The options that are not
    given are as they were.
    """
    options = chosen_options(session, pairs, flags)
    if not options:
        raise click.UsageError(
            "say what the volume shall become, such as --backend loopback --size 20G"
        )
    wanted = wire.copies.ConvertVolume(options=options)
    made = run(session, CONVERT_VOLUME, wanted, of=name, no_wait=no_wait)
    session.output.answer(made.name, made)
    note_trash(session.client(), [name], replaced=True)


@click.command()
@click.option(
    "--from-docker-volume", metavar="NAME", callback=not_empty, help="the volume to take over"
)
@click.option("--as", "as_name", metavar="NEW", help="what to call it here; default: the same")
@project_option("take over all of a compose project")
@click.option("--dry-run", is_flag=True, help="only show what would be done")
@click.option("--stop-containers", is_flag=True, help="stop the containers that use them")
@volume_options(without=("from", "path", "per_mount", "backup", *SCHEDULE))
@no_wait_option
@output_options
@click.pass_obj
def adopt(
    session: Session,
    /,
    *,
    from_docker_volume: str | None,
    as_name: str | None,
    compose_project: str | None,
    dry_run: bool,
    stop_containers: bool,
    pairs: tuple[str, ...],
    no_wait: bool,
    **flags: str | bool | None,
) -> None:
    """Copy volumes of Docker's `local` driver into volumes of convoy's, and show them.

    The copies are compared with the originals, which stay as they are. A table on a terminal,
    else JSON.
    """
    options = chosen_options(session, pairs, flags)
    if bool(from_docker_volume) == bool(compose_project):
        raise click.UsageError("adopt takes either --from-docker-volume or --compose-project")
    if as_name is not None and not from_docker_volume:
        raise click.UsageError("--as names the one volume of --from-docker-volume")
    wanted = wire.copies.Adopt(
        docker_volume=from_docker_volume or "",
        compose_project=compose_project or "",
        name="" if as_name is None else check_name(as_name),
        options=options,
        dry_run=dry_run,
        stop_containers=stop_containers,
    )
    _show(session, run(session, ADOPT, wanted, no_wait=no_wait), _DOCKERS, _OURS)


@click.command()
@volume_argument(metavar="VOLUME", required=False)
@click.option(
    "--to-docker-volume",
    metavar="NAME",
    callback=not_empty,
    help="what Docker is to call it; default: the same",
)
@project_option("give away all of a compose project")
@click.option("--dry-run", is_flag=True, help="only show what would be done")
@no_wait_option
@output_options
@click.pass_obj
def release(
    session: Session,
    /,
    *,
    name: str | None,
    to_docker_volume: str | None,
    compose_project: str | None,
    dry_run: bool,
    no_wait: bool,
) -> None:
    """Copy volumes that nobody uses into volumes of Docker's driver `local`, and show them.

    The copies are compared with ours, which then go to the trash. A table on a terminal, else
    JSON.
    """
    if (name is None) == (not compose_project):
        raise click.UsageError("release takes either VOLUME or --compose-project")
    if to_docker_volume and name is None:
        raise click.UsageError("--to-docker-volume names the one VOLUME")
    wanted = wire.copies.Release(
        name="" if name is None else check_volume(name),
        compose_project=compose_project or "",
        docker_volume=check_name(to_docker_volume) if to_docker_volume else "",
        dry_run=dry_run,
    )
    _show(session, run(session, RELEASE, wanted, no_wait=no_wait), _OURS, _DOCKERS)


_DOCKERS, _OURS = ("DOCKER VOLUME", "docker_volume"), ("NAME", "name")


def _show(session: Session, done: "Adopted | Released", *names: tuple[str, str]) -> None:
    """The volumes, with these columns of their names before the others."""
    if session.output.wants_json:
        show_json(done)
        return
    rows = [
        (
            *(getattr(each, key) for _, key in names),
            format_size(each.bytes),
            str(each.files),
            each.note or "-",
        )
        for each in done.volumes
    ]
    show_table(rows, (*(title for title, _ in names), "SIZE", "FILES", "NOTE"))
    if done.dry_run:
        say("nothing was done, as --dry-run asks")


@click.command()
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
    wanted = wire.copies.DiffQuery.model_validate({"from": before, "to": after})
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


def _show_difference(found: "Difference") -> None:
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


@click.command("restore-file")
@snapshot_argument("source", metavar="SOURCE:PATH")
@no_wait_option
@output_options
@click.pass_obj
def restore_file(session: Session, source: str, no_wait: bool) -> None:
    """Bring a file, or a folder with all in it, back, and print its path.

    SOURCE is a snapshot, such as db@nightly; a backup of the volume db, such as offsite:db@latest
    or, by the first digits of its id, offsite:db@0123abcd; or the URL of a backup. PATH is below
    the volume's root, as in a container, or as `diff` shows it. It replaces what is there now.
    """
    name, volume, asked, path = _file_of(source)
    if not path:
        raise click.UsageError(f"say which file: {name}:PATH, below the volume's root")
    # What the shell gives byte for byte is a name itself; anything else may be one that was shown.
    path = path if encodable(path) == path else escaped(path)
    wanted = wire.copies.RestoreFile.model_validate({**asked, "path": path})
    done = run(session, RESTORE_FILE, wanted, of=volume, no_wait=no_wait)
    session.output.answer(done.path, done)


def _file_of(source: str) -> tuple[str, str, dict[str, str], str]:
    """(name, volume, what the request says of it, path) of what a file is to come from."""
    if url := BACKUP_URL.match(source):
        return url[0], url["volume"], {"backup": url[0]}, source[url.end() :].removeprefix(":")
    first, _, rest = source.partition(":")
    if AT not in first and AT in rest.partition(":")[0]:
        backup, _, path = rest.partition(":")
        volume, which = full_name("restore-file", backup)
        asked = {"backup": which, "repository": first}
        return f"{first}:{backup}", volume, asked, path
    if AT not in first and "?backup=" in source:
        raise click.UsageError(
            f"{source} is not URL:PATH: `convoy backup list --json` shows the URLs of backups"
        )
    volume, snapshot = full_name("restore-file", first)
    return first, volume, {"snapshot": snapshot}, rest
