"""The commands on snapshots: create, list, inspect, delete; and rollback."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from convoy_py import models, wire
from convoy_py.cli.client.answers import Told
from convoy_py.cli.client.calls import Client
from convoy_py.cli.terminal.arguments import (
    full_name,
    not_empty,
    project_option,
    snapshot_argument,
    volume_argument,
)
from convoy_py.cli.terminal.hooks import hook_options
from convoy_py.cli.terminal.jobs import no_wait_option, run
from convoy_py.cli.terminal.options import help_without_command, output_options
from convoy_py.cli.terminal.output import moment, note, say, show_json, show_table
from convoy_py.cli.terminal.session import Session
from convoy_py.cli.terminal.several import delete_each
from convoy_py.models.durations import format_duration
from convoy_py.models.names import check_name, check_volume
from convoy_py.models.sizes import format_size
from convoy_py.wire.endpoints import (
    CREATE_GROUP,
    CREATE_SNAPSHOT,
    DELETE_SNAPSHOT,
    INSPECT_SNAPSHOT,
    LIST_SNAPSHOTS,
    LIST_SNAPSHOTS_OF,
    PLAN_SNAPSHOT,
    ROLLBACK,
)

if TYPE_CHECKING:
    from convoy_py.wire.snapshots import PlanInfo, SnapshotInfo


@click.group(invoke_without_command=True)
@click.pass_context
def snapshot(context: click.Context) -> None:
    """Snapshots of volumes: make, show, delete them.

    db@nightly is the snapshot nightly of the volume db; it can be mounted as a volume of that name.
    """
    help_without_command(context)


@snapshot.command(short_help="Make a snapshot and print its name.")
@volume_argument("volume", required=False)
@click.option("--name", metavar="NAME", help="what to call it; default: one is made up")
@click.option(
    "--group",
    multiple=True,
    metavar="VOLUME,...",
    help="snapshots of all of these at one moment, instead of VOLUME  [repeatable]",
)
@project_option("the volumes of a compose project too")
@click.option(
    "--container",
    metavar="CONTAINER",
    callback=not_empty,
    help="the volumes of a container too",
)
@hook_options
@no_wait_option
@output_options
@click.pass_obj
def create(
    session: Session,
    /,
    *,
    volume: str | None,
    name: str | None,
    group: tuple[str, ...],
    compose_project: str | None,
    container: str | None,
    no_wait: bool,
    **hooks: Any,
) -> None:
    """Make a snapshot of VOLUME and print its name, such as db@nightly.

    Or of several volumes at one moment, which bear the same name: those of --group, of
    --compose-project and of --container together. If it takes longer than a moment, a line on
    stderr says beforehand why, how long roughly, and what would make it fast.
    """
    # An empty NAME is an unset variable of a script, not the wish for a made-up one.
    chosen = "" if name is None else check_name(name, "snapshot")
    members = list(dict.fromkeys(check_volume(name) for each in group for name in each.split(",")))
    one_moment = bool(members or compose_project or container)
    if (volume is not None) == one_moment:
        raise click.UsageError(
            "name either one VOLUME, or several by --group, --compose-project and --container"
        )
    _foretell(session.client(), [volume] if volume is not None else members)
    if volume is not None:
        wanted = wire.snapshots.CreateSnapshot(name=chosen, **hooks)
        made = run(session, CREATE_SNAPSHOT, wanted, of=volume, no_wait=no_wait)
        session.output.answer(made.full_name, made)
        return
    several = wire.snapshots.CreateGroup(
        volumes=members,
        compose_project=compose_project or "",
        container=container or "",
        name=chosen,
        **hooks,
    )
    _show_group(session, run(session, CREATE_GROUP, several, no_wait=no_wait).snapshots)


def _show_group(session: Session, made: "list[SnapshotInfo]") -> None:
    if session.output.asked_json:
        show_json(made)
    else:
        for each in made:
            say(each.full_name)


# Seconds that nobody wants to be told of beforehand.
_A_MOMENT = 2.0


def _foretell(client: Client, volumes: Iterable[str]) -> None:
    """Say of each volume whose snapshot takes longer than a moment what it will cost."""
    for volume in volumes:
        plan = client.ask(PLAN_SNAPSHOT, of=volume)
        if not plan.instant and plan.seconds >= _A_MOMENT:
            note(f"{volume}: {_cost(plan)}")


def _cost(plan: "PlanInfo") -> str:
    what = (
        f"a copy of {format_size(plan.bytes)}"
        if plan.way == models.snapshot.Way.COPY
        else "a clone, file by file"
    )
    parts = [f"{what}, roughly {format_duration(plan.seconds)}" if plan.seconds else what]
    parts += ["writers wait meanwhile"] if plan.freezes else []
    parts += [plan.hint] if plan.hint else []
    return "; ".join(parts)


@snapshot.command("list", short_help="Show the snapshots of a volume, or of all.")
@volume_argument("volume", required=False)
@output_options
@click.pass_obj
def list_snapshots(session: Session, volume: str | None) -> None:
    """Show the snapshots of VOLUME, or of all: a table on a terminal, else JSON."""
    client = session.client()
    if volume is None:
        told = client.look(LIST_SNAPSHOTS)
    else:
        told = client.look(LIST_SNAPSHOTS_OF, of=volume)
    found = told.each("Snapshots")
    if session.output.wants_json:
        show_json(found)
        return
    show_table(map(_row, found), _COLUMNS)
    for each in found:
        if reason := each.read("Reason", str):
            say(f"{each.read('FullName', str)} is {each.read('State', str)}: {reason}")


_COLUMNS = ("NAME", "CREATED", "WAY", "CONSISTENCY", "STATE", "REFS", "GROUP")


def _row(each: Told) -> tuple[str, ...]:
    return (
        each.read("FullName", str),
        moment(each.read("CreatedTime", str)),
        each.read("Way", str) or "-",
        each.read("Consistency", str) or "-",
        each.read("State", str),
        str(each.read("References", int)),
        each.read("Group", str) or "-",
    )


@snapshot.command(short_help="Show one snapshot as JSON.")
@snapshot_argument()
@output_options
@click.pass_obj
def inspect(session: Session, name: str) -> None:
    """Show one snapshot: JSON, with or without --json.

    NAME is db@nightly, or nightly where only one volume has a snapshot of that name.
    """
    show_json(session.client().look(INSPECT_SNAPSHOT, of=name).having("FullName"))


@snapshot.command(short_help="Delete snapshots.")
@snapshot_argument("names", nargs=-1, required=True, metavar="NAME...")
@output_options
@click.pass_obj
def delete(session: Session, names: tuple[str, ...]) -> None:
    """Delete snapshots for good, and print the names of those that are gone.

    NAME is db@nightly, or nightly where only one volume has a snapshot of that name. Every name is
    tried; the exit code is that of the first failure.
    """
    client = session.client()
    _, code = delete_each(session, names, lambda name: client.ask(DELETE_SNAPSHOT, of=name))
    click.get_current_context().exit(code)


@click.command()
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
    wanted = wire.snapshots.Rollback(
        snapshot=snapshot, stop_containers=stop_containers, keep=not no_keep
    )
    done = run(session, ROLLBACK, wanted, of=volume, no_wait=no_wait)
    session.output.answer(done.saved_as or volume, done)
    undo = f"`convoy rollback {done.saved_as}` undoes it" if done.saved_as else "nothing undoes it"
    note(f"{volume} is as {name} was; {undo}")
    if done.deleted:
        note(f"deleted, as there were more by rollbacks than stay: {', '.join(done.deleted)}")
    if done.stopped:
        note(f"stopped and started again: {', '.join(done.stopped)}")
