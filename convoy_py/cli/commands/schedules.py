"""The commands on schedules, what is done by itself: set, list, inspect, remove."""

from typing import Any

import click

from convoy_py import wire
from convoy_py.cli.client.answers import Told
from convoy_py.cli.terminal.arguments import (
    complete_repositories,
    not_empty,
    schedule_argument,
    volume_argument,
)
from convoy_py.cli.terminal.hooks import hook_options
from convoy_py.cli.terminal.options import completed_from, help_without_command, output_options
from convoy_py.cli.terminal.output import moment, note, show_json, show_table
from convoy_py.cli.terminal.session import Session
from convoy_py.cli.terminal.several import delete_each
from convoy_py.wire.endpoints import (
    INSPECT_SCHEDULE,
    LIST_SCHEDULES,
    REMOVE_SCHEDULE,
    SET_SCHEDULE,
)

_NAMED = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly", "12h", "7d")
_TASKS = ("Snapshot", "Backup", "Prove")
_WHERE = {"backup": " to ", "prove": " in "}


@click.group(invoke_without_command=True)
@click.pass_context
def schedule(context: click.Context) -> None:
    """Schedules: have snapshots and backups of volumes made by themselves, show how they went."""
    help_without_command(context)


@schedule.command("set", short_help="Have snapshots or backups of a volume made by themselves.")
@volume_argument()
@click.option(
    "--snapshot",
    metavar="CRON",
    callback=not_empty,
    shell_complete=completed_from(_NAMED),
    help="when to take a snapshot: '0 * * * *', @hourly, @daily, @weekly, @monthly, @yearly, 12h",
)
@click.option(
    "--backup",
    metavar="CRON",
    callback=not_empty,
    shell_complete=completed_from(_NAMED),
    help="when to make a backup: '30 2 * * *' is each day at 02:30",
)
@click.option(
    "--to",
    metavar="REPOSITORY",
    callback=not_empty,
    shell_complete=complete_repositories,
    help="where backups go; else the default repository, or the only one",
)
@click.option(
    "--keep",
    metavar="POLICY",
    callback=not_empty,
    help="which of both stay, such as 24h,7d,4w,12m; without it all",
)
@click.option(
    "--prove",
    "--every",
    "prove",
    metavar="CRON",
    callback=not_empty,
    shell_complete=completed_from(_NAMED),
    help="when to restore the newest backup beside, and compare: 7d, @weekly",
)
@click.option(
    "--raw/--no-raw",
    default=None,
    help="backups are of the whole image, as one file (backend loopback), or again of files",
)
@click.option("--no-snapshot", is_flag=True, help="take no more snapshots")
@click.option("--no-backup", is_flag=True, help="make no more backups")
@click.option("--no-prove", is_flag=True, help="prove no more")
@click.option("--no-keep", is_flag=True, help="keep all from now on")
@hook_options
@click.option("--no-hooks", is_flag=True, help="from now on none of these four that is not given")
@output_options
@click.pass_obj
def set_schedule(
    session: Session,
    /,
    *,
    name: str,
    no_snapshot: bool,
    no_backup: bool,
    no_prove: bool,
    no_keep: bool,
    **given: Any,
) -> None:
    """Have snapshots or backups of a volume made by themselves, and print its name.

    What is not given stays as it was. A run begins a little after its time, each volume by a delay
    of its own; one that was missed while the daemon was not there is made up for, once.
    """
    dropped = {"snapshot": no_snapshot, "backup": no_backup, "prove": no_prove, "keep": no_keep}
    for key in [key for key, drop in dropped.items() if drop]:
        if given[key] is not None:
            raise click.UsageError(f"--{key} and --no-{key} exclude each other")
        given[key] = ""
    without = given.pop("no_hooks")
    for key in ("before", "after"):
        given[key] = "\n".join(given[key]) or ("" if without else None)
    for key in ("pause", "stop"):
        given[key] = "true" if given[key] else ("" if without else None)
    if given["raw"] is not None:
        given["raw"] = "true" if given["raw"] else ""
    if all(value is None for value in given.values()):
        raise click.UsageError("say what is to be done and when, such as --snapshot @hourly")
    wanted = wire.schedules.SetSchedule.model_validate(given)
    found = session.client().ask(SET_SCHEDULE, wanted, of=name)
    session.output.answer(found.volume, found)
    if not found.keep:
        note(f"nothing of what is made of {name} goes by itself: --keep 24h,7d,4w,12m has it go")


@schedule.command("list", short_help="Show all schedules, and how they went.")
@output_options
@click.pass_obj
def list_schedules(session: Session) -> None:
    """Show what is done by itself: when next, and how it went last. A table on a terminal, or JSON.

    Times are UTC. Expressions are in the time of the daemon's zone (setting timezone).
    """
    found = session.client().look(LIST_SCHEDULES).each("Schedules")
    if session.output.wants_json:
        show_json(found)
        return
    rows = [
        _row(each, key.lower(), each.read(key, Told))
        for each in found
        for key in _TASKS
        if each.get(key) is not None
    ]
    show_table(rows, ("VOLUME", "WHAT", "WHEN", "KEEP", "NEXT", "LAST", "RESULT"))


def _row(schedule: Told, what: str, task: Told) -> tuple[str, ...]:
    to = schedule.read("To", str)
    image = "raw " if what == "backup" and schedule.get("Raw") else ""
    last = task.read("Last", Told) if task.get("Last") is not None else None
    return (
        schedule.read("Volume", str),
        f"{image}{what}{_WHERE[what]}{to}" if what in _WHERE else what,
        task.read("Expression", str),
        "" if what == "prove" else schedule.read("Keep", str) or "all",
        moment(task.read("Next", str)),
        moment(last.read("Began", str)) if last else "-",
        _result(task, last),
    )


def _result(task: Told, last: Told | None) -> str:
    """In words; what is wrong stands in full in the error of `inspect`."""
    if task.read("Running", bool):
        return "running"
    if last is None:
        return "not yet"
    if not (error := last.read("Error", str)):
        notes = last.read("Notes", list)
        return "; ".join(["good", *map(str, notes)])
    failures = task.read("Failures", int)
    times = f" {failures} times" if failures > 1 else ""
    return f"failed{times}: {error}"


@schedule.command(short_help="Show one schedule as JSON.")
@schedule_argument()
@output_options
@click.pass_obj
def inspect(session: Session, name: str) -> None:
    """Show the schedule of one volume, and how its last runs went: JSON, with or without --json."""
    show_json(session.client().look(INSPECT_SCHEDULE, of=name).having("Volume"))


@schedule.command(short_help="Have nothing done by itself any more.")
@schedule_argument("names", nargs=-1, required=True, metavar="NAME...")
@output_options
@click.pass_obj
def remove(session: Session, names: tuple[str, ...]) -> None:
    """Have nothing done by itself any more with volumes, and print their names.

    The snapshots and backups that were made stay.
    """
    client = session.client()
    _, code = delete_each(
        session, names, lambda name: client.ask(REMOVE_SCHEDULE, of=name), "remove"
    )
    click.get_current_context().exit(code)
