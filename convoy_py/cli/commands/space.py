"""The commands on space: resize, trim, df."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from convoy_py import wire
from convoy_py.cli.terminal.arguments import not_empty, volume_argument
from convoy_py.cli.terminal.jobs import follow, no_wait_option, run, show_started
from convoy_py.cli.terminal.options import output_options
from convoy_py.cli.terminal.output import note, say, show_json, show_table, size_or_dash
from convoy_py.cli.terminal.session import Session
from convoy_py.cli.terminal.several import try_each
from convoy_py.models.names import joined
from convoy_py.models.sizes import exact_size, format_size
from convoy_py.wire.endpoints import REPORT_SPACE, RESIZE_VOLUME, TRIM_ALL, TRIM_VOLUME

if TYPE_CHECKING:
    from convoy_py.wire.jobs import JobInfo
    from convoy_py.wire.space import Space, SpaceReport, Trimmed, VolumeSpace


@click.command()
@volume_argument(metavar="VOLUME")
@click.argument("size", callback=not_empty)
@no_wait_option
@output_options
@click.pass_obj
def resize(session: Session, name: str, size: str, no_wait: bool) -> None:
    """Make a volume larger, in use or not, and print its new size.

    SIZE is the whole size, such as 20G, or +10G for so much more than it has. What cannot grow
    while it is mounted does so at its next mount; a line on stderr says it then. Smaller is not
    possible: clone into a smaller volume.
    """
    wanted = wire.space.ResizeVolume(size=size)
    told = run(session, RESIZE_VOLUME, wanted, of=name, no_wait=no_wait)
    session.output.answer(exact_size(told.size), told)
    if told.pending:
        note(f"{name} takes its new size at its next mount: {told.pending}")


@click.command()
@volume_argument("names", nargs=-1, metavar="[VOLUME...]")
@click.option("--all", "everything", is_flag=True, help="trim every volume that can be")
@no_wait_option
@output_options
@click.pass_obj
def trim(session: Session, names: tuple[str, ...], everything: bool, no_wait: bool) -> None:
    """Give blocks that volumes have freed back to the host, and show how much it was.

    A table on a terminal, else JSON. Every VOLUME is tried; the exit code is that of the first
    failure. With --all those that cannot be trimmed are told with the reason.
    """
    if everything == bool(names):
        raise click.UsageError("trim takes either volumes or --all")
    if everything:
        _show_trimmed(session, run(session, TRIM_ALL, no_wait=no_wait))
    elif no_wait:
        _start_trims(session, names)
    else:
        _trim(session, names)


def _trim(session: Session, names: Iterable[str]) -> None:
    client = session.client()
    given_back: dict[str, int] = {}

    def trim_one(name: str) -> None:
        job = client.start(TRIM_VOLUME, of=name)
        given_back[name] = follow(session, TRIM_VOLUME, job).bytes

    code = try_each("trim", names, trim_one)
    if given_back:
        freed = sum(given_back.values())
        _show_trimmed(session, wire.space.Trimmed(bytes=freed, volumes=given_back))
    click.get_current_context().exit(code)


def _start_trims(session: Session, names: Iterable[str]) -> None:
    client = session.client()
    started: list[JobInfo] = []

    def start(name: str) -> None:
        started.append(client.start(TRIM_VOLUME, of=name))

    code = try_each("trim", names, start)
    show_started(session, started)
    click.get_current_context().exit(code)


def _show_trimmed(session: Session, told: "Trimmed") -> None:
    if session.output.wants_json:
        show_json(told)
        return
    rows = [(name, format_size(count)) for name, count in told.volumes.items()]
    show_table([*rows, ("total", format_size(told.bytes))], ("NAME", "FREED"))
    for name, reason in told.skipped.items():
        say(f"{name} was not trimmed: {reason}")


@click.command()
@no_wait_option
@output_options
@click.pass_obj
def df(session: Session, no_wait: bool) -> None:
    """Show where the space is: per volume and snapshot, in the trash, on the host.

    A table on a terminal, else JSON. Below each volume stand its snapshots, with what deleting
    that one alone would give back. A dash: it is not known, or has no meaning. A volume whose
    storage hangs keeps nothing from the others: its note is "no answer".
    """
    report = run(session, REPORT_SPACE, no_wait=no_wait)
    if session.output.wants_json:
        show_json(report)
        return
    # Seldom has one to be told.
    shown = None if any(volume.note for volume in report.volumes) else -1
    show_table([row[:shown] for row in _rows(report)], _COLUMNS[:shown])
    say(f"trash: {format_size(report.trash)}")
    say(f"host: {_host(report.host)}")


_SIZES = ("promised", "used", "allocated", "shared", "reclaimable")
_COLUMNS = ("NAME", *map(str.upper, _SIZES), "INODES", "SNAPSHOTS", "NOTE")


def _rows(report: "SpaceReport") -> Iterator[tuple[str, ...]]:
    for volume in report.volumes:
        sizes = [size_or_dash(getattr(volume, size)) for size in _SIZES]
        yield volume.name, *sizes, _inodes(volume), str(len(volume.snapshots)), volume.note
        for snapshot in volume.snapshots:
            blank = [""] * (len(_SIZES) + 1)
            frees = f"frees {size_or_dash(snapshot.frees)}"
            yield f"  {joined(volume.name, snapshot.name)}", *blank, frees, ""
    count = sum(len(volume.snapshots) for volume in report.volumes)
    yield "total", *map(partial(_total, report.volumes), _SIZES), "", str(count), ""


def _inodes(volume: "VolumeSpace") -> str:
    """How many files there are, of how many there may be."""
    used, most = volume.inodes_used, volume.inodes
    return "-" if used is None else f"{used}/{'-' if most is None else most}"


def _total(volumes: Iterable["VolumeSpace"], size: str) -> str:
    """Of those where it is known; a dash where it is known of none."""
    known = [value for volume in volumes if (value := getattr(volume, size)) is not None]
    return format_size(sum(known)) if known else "-"


def _host(host: "Space") -> str:
    return (
        f"{format_size(host.free)} of {format_size(host.size)} free, "
        f"{format_size(host.promised)} promised, {format_size(host.may_promise)} may be"
    )
