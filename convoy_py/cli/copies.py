"""The commands that make volumes of others: clone, convert, adopt, release."""

import click

from convoy_py.cli.arguments import not_empty, source_argument, volume_argument
from convoy_py.cli.follow import no_wait_option, run
from convoy_py.cli.options import output_options
from convoy_py.cli.output import say, show_json, show_table
from convoy_py.cli.session import Session
from convoy_py.cli.trash import note_trash
from convoy_py.cli.volume_options import chosen_options, volume_options
from convoy_py.models.names import check_name, split_source
from convoy_py.models.sizes import format_size
from convoy_py.wire.copies import Adopt, Adopted, CloneVolume, ConvertVolume, Release, Released
from convoy_py.wire.endpoints import ADOPT, CLONE_VOLUME, CONVERT_VOLUME, RELEASE


@click.command(short_help="Make a volume that begins as a copy of another.")
@source_argument("source", metavar="SOURCE")
@click.argument("new")
@volume_options(without=("from", "path"), defaults=False)
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
    wanted = CloneVolume(name=check_name(new), snapshot=snapshot, options=options)
    made = run(session, CLONE_VOLUME, wanted, of=volume, no_wait=no_wait)
    session.output.answer(made.name, made)


@click.command(short_help="Change a volume's backend, filesystem or size.")
@volume_argument(metavar="VOLUME")
@volume_options(without=("from", "path", "per_mount"), defaults=False)
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
    wanted = ConvertVolume(options=options)
    made = run(session, CONVERT_VOLUME, wanted, of=name, no_wait=no_wait)
    session.output.answer(made.name, made)
    note_trash(session.client(), [name], replaced=True)


@click.command(short_help="Take over volumes of Docker's own driver.")
@click.option(
    "--from-docker-volume", metavar="NAME", callback=not_empty, help="the volume to take over"
)
@click.option("--as", "as_name", metavar="NEW", help="what to call it here; default: the same")
@click.option(
    "--compose-project",
    metavar="PROJECT",
    callback=not_empty,
    help="take over all of a compose project",
)
@click.option("--dry-run", is_flag=True, help="only show what would be done")
@click.option("--stop-containers", is_flag=True, help="stop the containers that use them")
@volume_options(without=("from", "path", "per_mount"))
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
    wanted = Adopt(
        docker_volume=from_docker_volume or "",
        compose_project=compose_project or "",
        name="" if as_name is None else check_name(as_name),
        options=options,
        dry_run=dry_run,
        stop_containers=stop_containers,
    )
    _show(session, run(session, ADOPT, wanted, no_wait=no_wait), _DOCKERS, _OURS)


@click.command(short_help="Give volumes to Docker's own driver.")
@volume_argument(metavar="VOLUME", required=False)
@click.option(
    "--to-docker-volume",
    metavar="NAME",
    callback=not_empty,
    help="what Docker is to call it; default: the same",
)
@click.option(
    "--compose-project",
    metavar="PROJECT",
    callback=not_empty,
    help="give away all of a compose project",
)
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
    wanted = Release(
        name="" if name is None else check_name(name),
        compose_project=compose_project or "",
        docker_volume=check_name(to_docker_volume) if to_docker_volume else "",
        dry_run=dry_run,
    )
    _show(session, run(session, RELEASE, wanted, no_wait=no_wait), _OURS, _DOCKERS)


_DOCKERS, _OURS = ("DOCKER VOLUME", "docker_volume"), ("NAME", "name")


def _show(session: Session, done: Adopted | Released, *names: tuple[str, str]) -> None:
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
