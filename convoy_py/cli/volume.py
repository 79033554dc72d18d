"""The commands on volumes: create, delete, mount, umount, list, inspect."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from convoy_py.cli.exits import exit_code
from convoy_py.cli.options import completed_from, output_options, refused, volume_argument
from convoy_py.cli.output import complain, say, show_json, show_table
from convoy_py.cli.session import Session
from convoy_py.errors import ConvoyError, DaemonUnreachable
from convoy_py.models.names import check_name
from convoy_py.models.options import BACKEND_ALIASES, OPTIONS, Option, asks_help
from convoy_py.models.sizes import format_size
from convoy_py.models.volume import Options
from convoy_py.wire.admin import CreateVolume, MountVolume, VolumeInfo, option_table

F = TypeVar("F", bound=Callable[..., Any])

# Convoy's word for an option, beside ours; every other alias works through --opt.
_CONVOY_FLAGS = {"backend": "--driver"}


def _option_flags(command: F) -> F:
    """One flag per row of the table of volume options."""
    for option in reversed(OPTIONS):
        command = _option_flag(option)(command)
    return command


def _option_flag(option: Option) -> Callable[[F], F]:
    flag = "--" + option.key.replace("_", "-")
    if Options.model_fields[option.key].annotation == bool | None:
        names = [f"{flag}/--no-{flag[2:]}"]
        return click.option(*names, option.key, default=None, help=option.meaning)
    names = [flag, *([_CONVOY_FLAGS[option.key]] if option.key in _CONVOY_FLAGS else [])]
    return click.option(
        *names,
        option.key,
        metavar=option.values if option.choices else option.key.upper(),
        shell_complete=completed_from(option.choices),
        help=option.meaning if option.choices else f"{option.meaning}  [{option.values}]",
    )


@click.command(short_help="Make a volume and print its name.")
@click.argument("name", required=False)
@_option_flags
@click.option(
    "--opt",
    "-o",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="as `docker volume create -o`; `-o help` explains",
)
@click.option("--adopt", is_flag=True, help="take over the data that `delete --reference` left")
@output_options
@refused("--backup", "restoring a backup is not offered")
@refused("--s3-endpoint", "backups are not offered")
@refused("--id", "a volume is known by its name alone")
@refused("--type", "there are no EBS volumes; choose with --backend and --fs")
@refused("--iops", "there are no EBS volumes")
@refused("--vm", "make a disk image with --backend loopback", is_flag=True)
@click.pass_obj
def create(
    session: Session,
    /,
    name: str | None,
    pairs: tuple[str, ...],
    adopt: bool,
    **flags: str | bool | None,
) -> None:
    """Make a volume and print its name; without NAME one is made up.

    A volume of that name with the same options is left as it is and counts as made.
    """
    options = _combine(pairs, flags)
    if asks_help(options):
        _explain_options(session)
        return
    # An empty NAME is an unset variable of a script, not the wish for a made-up one.
    chosen = "" if name is None else check_name(name)
    volume = session.client().create(CreateVolume(name=chosen, options=options, adopt=adopt))
    if session.output.asked_json:
        show_json(volume)
    else:
        say(volume.name)


def _explain_options(session: Session) -> None:
    """The table of volume options; no daemon is needed for it."""
    if session.output.asked_json:
        show_json(option_table())
    else:
        rows = [(o.key, ", ".join(o.aliases), o.values, o.meaning) for o in option_table()]
        show_table(rows, ("OPTION", "ALSO", "VALUES", "MEANING"))


def _combine(pairs: Iterable[str], flags: Mapping[str, str | bool | None]) -> dict[str, str]:
    """Options of both spellings, as text; the daemon reads them."""
    options: dict[str, str] = {}
    given = [(key, _text(value)) for key, value in flags.items() if value is not None]
    # Without "=" the value is empty, as in Docker's command: `-o help`.
    for key, _, value in (pair.partition("=") for pair in pairs):
        given.append((key, value))
    for key, value in given:
        if options.setdefault(key, value) != value:
            raise click.UsageError(f"option {key} is given twice with different values")
    return options


def _text(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


@click.command(short_help="Delete volumes.")
@volume_argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--reference", "-r", is_flag=True, help="forget the volume but keep its data")
@output_options
@click.pass_obj
def delete(session: Session, names: tuple[str, ...], reference: bool) -> None:
    """Delete volumes and their data, and print the names of those that are gone.

    Every name is tried; the exit code is that of the first failure.
    """
    client = session.client()
    deleted: list[str] = []
    failure: ConvoyError | None = None
    for name in dict.fromkeys(names):
        try:
            client.delete(name, keep_data=reference)
        except DaemonUnreachable as error:
            # It holds for every other name too, and once is enough to say it.
            failure = failure or error
            complain(str(error))
            break
        except ConvoyError as error:
            failure = failure or error
            complain(f"delete {name}: {error}")
        else:
            deleted.append(name)
            if not session.output.asked_json:
                say(name)
    if session.output.asked_json:
        show_json(deleted)
    if failure:
        click.get_current_context().exit(exit_code(failure))


def _hold(_: click.Context, __: click.Parameter, value: str) -> MountVolume:
    try:
        return MountVolume(reference=value)
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"]) from error


_hold_option = click.option(
    "--hold",
    default=MountVolume().reference,
    callback=_hold,
    show_default=True,
    metavar="TEXT",
    help="who holds the mount; each holder ends only its own hold",
)


@click.command(short_help="Mount a volume on the host and print where.")
@volume_argument()
@_hold_option
@output_options
@refused("--mountpoint", "the daemon chooses; `convoy daemon --mounts-dir` names the folder")
@click.pass_obj
def mount(session: Session, name: str, hold: MountVolume) -> None:
    """Mount a volume on the host and print its mountpoint.

    It stays mounted until `convoy umount` ends the same hold, and as long as a container uses it.
    """
    client = session.client()
    mountpoint = client.mount(name, hold)
    if session.output.asked_json:
        show_json(client.inspect(name))
    else:
        say(mountpoint)


@click.command(short_help="End a hold of `convoy mount`.")
@volume_argument()
@_hold_option
@output_options
@click.pass_obj
def umount(session: Session, name: str, hold: MountVolume) -> None:
    """End a hold of `convoy mount`; the last hold of all unmounts the volume."""
    client = session.client()
    client.umount(name, hold)
    if session.output.asked_json:
        show_json(client.inspect(name))


@click.command(short_help="Show one volume as JSON.")
@volume_argument()
@output_options
@click.pass_obj
def inspect(session: Session, name: str) -> None:
    """Show one volume: JSON, with or without --json."""
    show_json(session.client().inspect(name))


@click.command("list", short_help="Show all volumes.")
@click.option(
    "--driver",
    "--backend",
    "backend",
    type=click.Choice(sorted(BACKEND_ALIASES), case_sensitive=False),
    help="only the volumes of this backend",
)
@output_options
@click.pass_obj
def list_volumes(session: Session, backend: str | None) -> None:
    """Show all volumes: a table on a terminal, else JSON, a map of name to volume."""
    volumes = session.client().volumes()
    if backend:
        wanted = BACKEND_ALIASES[backend]
        volumes = {name: each for name, each in volumes.items() if each.driver == wanted}
    if session.output.wants_json:
        show_json(volumes)
    else:
        show_table(map(_row, volumes.values()), _COLUMNS)
        for volume in volumes.values():
            if reason := volume.status.get("reason"):
                say(f"{volume.name} is {volume.state}: {reason}")


_COLUMNS = ("NAME", "BACKEND", "STATE", "SIZE", "USED", "REFS", "CREATED", "MOUNTPOINT")


def _row(volume: VolumeInfo) -> tuple[str, ...]:
    return (
        volume.name,
        volume.driver,
        volume.state,
        _size(volume.status.get("size")),
        _size(volume.status.get("used")),
        str(volume.references),
        _seconds(volume.created_time),
        volume.mount_point,
    )


def _seconds(created: str) -> str:
    """RFC 3339 in UTC without its fraction; empty where it is not known."""
    whole, point, _ = created.partition(".")
    return whole + ("Z" if point else "")


def _size(value: object) -> str:
    """Bytes (as text where they are too many for a JSON number), or a dash if not known."""
    return "-" if value is None else format_size(int(str(value)))
