"""The commands on jobs: list, show, cancel."""

from typing import TYPE_CHECKING

import click

from convoy_py import models
from convoy_py.cli.terminal.arguments import job_argument
from convoy_py.cli.terminal.options import output_options
from convoy_py.cli.terminal.output import moment, show_json, show_table
from convoy_py.cli.terminal.session import Session
from convoy_py.models.sizes import format_size
from convoy_py.wire.endpoints import CANCEL_JOB, INSPECT_JOB, LIST_JOBS

if TYPE_CHECKING:
    from convoy_py.wire.jobs import JobInfo


@click.group(invoke_without_command=True)
@output_options
@click.pass_context
def jobs(context: click.Context) -> None:
    """Show long work, as `jobs list` does; or show or cancel one job."""
    if context.invoked_subcommand is None:
        context.invoke(list_jobs)


@jobs.command("list", short_help="Show the jobs that run, and the last that have ended.")
@output_options
@click.pass_obj
def list_jobs(session: Session) -> None:
    """Show the jobs that run, and the last that have ended: a table on a terminal, else JSON.

    A job ends with its daemon, which then knows no more of it.
    """
    found = session.client().ask(LIST_JOBS).jobs
    if session.output.wants_json:
        show_json(found)
    else:
        show_table(map(_row, found), _COLUMNS)


@jobs.command(short_help="Show one job as JSON.")
@job_argument()
@output_options
@click.pass_obj
def show(session: Session, job_id: int) -> None:
    """Show one job: JSON, with or without --json. Once it is done, its result is in it."""
    show_json(session.client().ask(INSPECT_JOB, of=str(job_id)))


@jobs.command(short_help="End a job; nothing is left of it.")
@job_argument()
@output_options
@click.pass_obj
def cancel(session: Session, job_id: int) -> None:
    """Have a job end at its next step; what it has done so far is undone."""
    job = session.client().ask(CANCEL_JOB, of=str(job_id))
    if session.output.asked_json:
        show_json(job)


_COLUMNS = ("ID", "VERB", "VOLUME", "STATE", "DONE", "STARTED", "NOTE")


def _row(job: "JobInfo") -> tuple[str, ...]:
    return (
        job.id,
        job.verb,
        job.volume or "-",
        job.state,
        _done(job),
        moment(job.started),
        job.error or job.note,
    )


def _done(job: "JobInfo") -> str:
    """Per cent; bytes as long as the whole is not known."""
    if job.state == models.job.JobState.DONE:
        return "100%"
    if job.total:
        return f"{min(job.done, job.total) * 100 // job.total}%"
    return format_size(job.done) if job.done else "-"
