"""The commands on volumes: create, delete, rename, protect, mount, umount, list, inspect."""

from collections.abc import Callable
from typing import Any

import click
from pydantic import ValidationError

from convoy_py.cli.commands.trash import note_trash
from convoy_py.cli.terminal.arguments import source_argument, volume_argument
from convoy_py.cli.terminal.options import completed_from, output_options, refused
from convoy_py.cli.terminal.output import moment, say, show_json, show_table, size_or_dash
from convoy_py.cli.terminal.session import Session
from convoy_py.cli.terminal.several import delete_each
from convoy_py.cli.terminal.volume_options import chosen_options, volume_options
from convoy_py.models.names import check_name
from convoy_py.models.options import BACKEND_ALIASES, backend_named
from convoy_py.wire.endpoints import (
    CREATE_VOLUME,
    DELETE_VOLUME,
    INSPECT_VOLUME,
    LIST_VOLUMES,
    MOUNT_VOLUME,
    PROTECT_VOLUME,
    RENAME_VOLUME,
    UMOUNT_VOLUME,
)
from convoy_py.wire.volumes import (
    CreateVolume,
    DeleteQuery,
    MountVolume,
    ProtectVolume,
    RenameVolume,
    VolumeInfo,
)


@click.command(short_help="Make a volume and print its name.")
@click.argument("name", required=False)
@volume_options()
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
    options = chosen_options(session, pairs, flags)
    # An empty NAME is an unset variable of a script, not the wish for a made-up one.
    chosen = "" if name is None else check_name(name)
    wanted = CreateVolume(name=chosen, options=options, adopt=adopt)
    volume = session.client().ask(CREATE_VOLUME, wanted)
    session.output.answer(volume.name, volume)


@click.command(short_help="Move volumes to the trash.")
@volume_argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--reference", "-r", is_flag=True, help="forget the volume but keep its data")
@output_options
@click.pass_obj
def delete(session: Session, names: tuple[str, ...], reference: bool) -> None:
    """Move volumes to the trash, and print the names of those that are gone.

    `convoy trash restore NAME` brings one back with its data and its snapshots, until the time
    that `convoy trash list` shows. Every name is tried; the exit code is that of the first failure.
    """
    client = session.client()
    how = DeleteQuery(reference=reference)
    gone, code = delete_each(session, names, lambda name: client.ask(DELETE_VOLUME, how, of=name))
    if gone and not reference:
        note_trash(client, gone)
    click.get_current_context().exit(code)


@click.command(short_help="Give a volume another name.")
@volume_argument("old", metavar="OLD")
@click.argument("new")
@output_options
@click.pass_obj
def rename(session: Session, old: str, new: str) -> None:
    """Give a volume another name, and print that; its snapshots go with it."""
    wanted = RenameVolume(name=check_name(new))
    volume = session.client().ask(RENAME_VOLUME, wanted, of=old)
    session.output.answer(volume.name, volume)


@click.command(short_help="Keep a volume from being removed.")
@volume_argument(metavar="VOLUME")
@click.option("--off", is_flag=True, help="let it be removed again")
@output_options
@click.pass_obj
def protect(session: Session, name: str, off: bool) -> None:
    """Have every removal of a volume refused, Docker's too, until `protect --off`."""
    volume = session.client().ask(PROTECT_VOLUME, ProtectVolume(on=not off), of=name)
    if session.output.asked_json:
        show_json(volume)


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
@source_argument()
@_hold_option
@output_options
@refused("--mountpoint", "the daemon chooses; `convoy daemon --mounts-dir` names the folder")
@click.pass_obj
def mount(session: Session, name: str, hold: MountVolume) -> None:
    """Mount a volume, or a snapshot such as db@nightly, on the host and print its mountpoint.

    It stays mounted until `convoy umount` ends the same hold, and as long as a container uses it.
    """
    client = session.client()
    mountpoint = client.ask(MOUNT_VOLUME, hold, of=name).mount_point
    if session.output.asked_json:
        show_json(client.ask(INSPECT_VOLUME, of=name))
    else:
        say(mountpoint)


@click.command(short_help="End a hold of `convoy mount`.")
@source_argument()
@_hold_option
@output_options
@click.pass_obj
def umount(session: Session, name: str, hold: MountVolume) -> None:
    """End a hold of `convoy mount`; the last hold of all unmounts the volume."""
    client = session.client()
    client.ask(UMOUNT_VOLUME, hold, of=name)
    if session.output.asked_json:
        show_json(client.ask(INSPECT_VOLUME, of=name))


@click.command(short_help="Show one volume as JSON.")
@source_argument()
@output_options
@click.pass_obj
def inspect(session: Session, name: str) -> None:
    """Show one volume, or a snapshot as if it were one: JSON, with or without --json."""
    show_json(session.client().ask(INSPECT_VOLUME, of=name))


# In Convoy --driver was a switch.
_ALONE = "*"


def _wanted(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value in (None, _ALONE):
        return value
    try:
        return backend_named(str(value))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def _filter(flag: str, **attributes: Any) -> Callable[[Any], Any]:
    complete = completed_from(dict.fromkeys(BACKEND_ALIASES.values()))
    return click.option(
        flag, metavar="BACKEND", callback=_wanted, shell_complete=complete, **attributes
    )


@click.command("list", short_help="Show all volumes.")
@_filter("--backend", help="only the volumes of this backend")
@_filter(
    "--driver",
    is_flag=False,
    flag_value=_ALONE,
    help="the same; without BACKEND, as in Convoy: of every volume its DriverInfo alone, JSON",
)
@output_options
@click.pass_obj
def list_volumes(session: Session, backend: str | None, driver: str | None) -> None:
    """Show all volumes: a table on a terminal, else JSON, a map of name to volume."""
    wanted = {each for each in (backend, driver) if each not in (None, _ALONE)}
    found = session.client().ask(LIST_VOLUMES).volumes
    volumes = {name: each for name, each in sorted(found.items()) if wanted <= {each.driver}}
    if driver == _ALONE:
        show_json({name: each.driver_info for name, each in volumes.items()})
    elif session.output.wants_json:
        show_json(volumes)
    else:
        show_table(map(_row, volumes.values()), _COLUMNS)
        for volume in volumes.values():
            if reason := volume.status.get("reason"):
                say(f"{volume.name} is {volume.state}: {reason}")


_COLUMNS = (
    "NAME",
    "BACKEND",
    "STATE",
    "SIZE",
    "USED",
    "REFS",
    "SNAPSHOTS",
    "CREATED",
    "MOUNTPOINT",
)


def _row(volume: VolumeInfo) -> tuple[str, ...]:
    return (
        volume.name,
        volume.driver,
        volume.state,
        size_or_dash(volume.status.get("size")),
        size_or_dash(volume.status.get("used")),
        str(volume.references),
        str(len(volume.snapshots)),
        moment(volume.created_time),
        volume.mount_point,
    )
