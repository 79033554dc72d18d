"""The commands on volumes that exist: delete, rename, protect, mount, umount, list, inspect."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from convoy_py import models, wire
from convoy_py.cli.client.answers import Told
from convoy_py.cli.commands.trash import note_trash
from convoy_py.cli.terminal.arguments import source_argument, volume_argument
from convoy_py.cli.terminal.options import completed_from, output_options, refused
from convoy_py.cli.terminal.output import moment, say, show_json, show_table, size_or_dash
from convoy_py.cli.terminal.session import Session
from convoy_py.cli.terminal.several import delete_each
from convoy_py.models.names import check_name
from convoy_py.wire.endpoints import (
    DELETE_VOLUME,
    INSPECT_VOLUME,
    LIST_VOLUMES,
    MOUNT_VOLUME,
    PROTECT_VOLUME,
    RENAME_VOLUME,
    UMOUNT_VOLUME,
)

if TYPE_CHECKING:
    from convoy_py.wire.volumes import MountVolume


@click.command()
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
    how = wire.volumes.DeleteQuery(reference=reference)
    gone, code = delete_each(session, names, lambda name: client.ask(DELETE_VOLUME, how, of=name))
    if gone and not reference:
        note_trash(client, gone)
    click.get_current_context().exit(code)


@click.command()
@volume_argument("old", metavar="OLD")
@click.argument("new")
@output_options
@click.pass_obj
def rename(session: Session, old: str, new: str) -> None:
    """Give a volume another name, and print that; its snapshots go with it."""
    wanted = wire.volumes.RenameVolume(name=check_name(new))
    volume = session.client().ask(RENAME_VOLUME, wanted, of=old)
    session.output.answer(volume.name, volume)


@click.command()
@volume_argument(metavar="VOLUME")
@click.option("--off", is_flag=True, help="let it be removed again")
@output_options
@click.pass_obj
def protect(session: Session, name: str, off: bool) -> None:
    """Have every removal of a volume refused, Docker's too, until `protect --off`."""
    volume = session.client().ask(PROTECT_VOLUME, wire.volumes.ProtectVolume(on=not off), of=name)
    if session.output.asked_json:
        show_json(volume)


def _held(hold: str) -> "MountVolume":
    from pydantic import ValidationError  # noqa: PLC0415 - the other commands need none of it

    try:
        return wire.volumes.MountVolume(reference=hold)
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"], param_hint="--hold") from error


_hold_option = click.option(
    "--hold",
    default="convoy",
    show_default=True,
    metavar="TEXT",
    help="who holds the mount; each holder ends only its own hold",
)


@click.command()
@source_argument()
@_hold_option
@output_options
@refused("--mountpoint", "the daemon chooses; `convoy daemon --mounts-dir` names the folder")
@click.pass_obj
def mount(session: Session, name: str, hold: str) -> None:
    """Mount a volume, or a snapshot such as db@nightly, on the host and print its mountpoint.

    It stays mounted until `convoy umount` ends the same hold, and as long as a container uses it.
    """
    client = session.client()
    mountpoint = client.ask(MOUNT_VOLUME, _held(hold), of=name).mount_point
    if session.output.asked_json:
        show_json(client.ask(INSPECT_VOLUME, of=name))
    else:
        say(mountpoint)


@click.command()
@source_argument()
@_hold_option
@output_options
@click.pass_obj
def umount(session: Session, name: str, hold: str) -> None:
    """End a hold of `convoy mount`; the last hold of all unmounts the volume."""
    client = session.client()
    client.ask(UMOUNT_VOLUME, _held(hold), of=name)
    if session.output.asked_json:
        show_json(client.ask(INSPECT_VOLUME, of=name))


@click.command()
@source_argument()
@output_options
@click.pass_obj
def inspect(session: Session, name: str) -> None:
    """Show one volume, or a snapshot as if it were one: JSON, with or without --json."""
    show_json(session.client().look(INSPECT_VOLUME, of=name).having("Name"))


# In Convoy --driver was a switch.
_ALONE = "*"


def _wanted(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value in (None, _ALONE):
        return value
    try:
        return models.options.backend_named(str(value))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def _filter(flag: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(
        flag, metavar="BACKEND", callback=_wanted, shell_complete=_backends, **attributes
    )


def _backends(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    known = models.options.BACKEND_NAMES
    return completed_from(known)(context, parameter, incomplete)


@click.command("list")
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
    found = session.client().look(LIST_VOLUMES).named("Volumes")
    volumes = {
        name: each for name, each in sorted(found.items()) if wanted <= {each.read("Driver", str)}
    }
    if driver == _ALONE:
        show_json({name: each.read("DriverInfo", dict) for name, each in volumes.items()})
    elif session.output.wants_json:
        show_json(volumes)
    else:
        if any(volume.read("Status", dict).get("hosts") for volume in volumes.values()):
            show_table(map(_row_with_hosts, volumes.values()), (*_COLUMNS, "HOST"))
        else:
            show_table(map(_row, volumes.values()), _COLUMNS)
        for volume in volumes.values():
            if reason := volume.read("Status", dict).get("reason"):
                say(f"{volume.read('Name', str)} is {volume.read('State', str)}: {reason}")


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


def _row_with_hosts(volume: Told) -> tuple[str, ...]:
    hosts = volume.read("Status", dict).get("hosts", [])
    return (*_row(volume), ", ".join(map(str, hosts)) or "-")


def _row(volume: Told) -> tuple[str, ...]:
    status = volume.read("Status", dict)
    return (
        volume.read("Name", str),
        volume.read("Driver", str),
        volume.read("State", str),
        size_or_dash(status.get("size")),
        size_or_dash(status.get("used")),
        str(volume.read("References", int)),
        str(len(volume.read("Snapshots", dict))),
        moment(volume.read("CreatedTime", str)),
        volume.read("MountPoint", str),
    )
