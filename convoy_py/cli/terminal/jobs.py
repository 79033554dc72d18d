"""Follows long work to its end: shows how far it is, and lets Ctrl-C leave it to the daemon."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from convoy_py import models, wire
from convoy_py.cli.client.calls import Tell, name_of
from convoy_py.cli.terminal.exits import INTERRUPTED
from convoy_py.cli.terminal.output import show_event
from convoy_py.cli.terminal.session import Session
from convoy_py.wire.endpoints import Answer, Form, Long

if TYPE_CHECKING:
    from convoy_py.wire.jobs import JobInfo

F = TypeVar("F", bound=Callable[..., Any])


class Interrupted(click.ClickException):
    """Ctrl-C ended the command, and nothing else."""

    exit_code = INTERRUPTED


def no_wait_option(command: F) -> F:
    """`--no-wait`, for every verb that may take long."""
    return click.option(
        "--no-wait", is_flag=True, help="print the job's id instead of waiting for its end"
    )(command)


def run(
    session: Session,
    endpoint: Long[Form, Answer],
    message: Form | None = None,
    *,
    of: str = "",
    no_wait: bool,
) -> Answer:
    """What the work comes to; with `no_wait` the command shows the job and ends here instead."""
    client = session.client()
    job = client.start(endpoint, message, of=of)
    if no_wait:
        show_started(session, job)
        click.get_current_context().exit()
    return follow(session, endpoint, job)


def follow(session: Session, endpoint: Long[Any, Answer], job: "JobInfo") -> Answer:
    """What a job that was begun comes to; raises its error, or Interrupted."""
    client = session.client()
    if job.state != models.job.JobState.RUNNING:
        return client.finish(endpoint, job, _nobody)
    try:
        with _display(session) as tell:
            return client.finish(endpoint, job, tell)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{name_of(job)} goes on: `convoy jobs` shows how far it is, "
            f"`convoy jobs cancel {job.id}` ends it"
        ) from None


def show_started(session: Session, job: "JobInfo | Sequence[JobInfo]") -> None:
    """One job, or several in a list; their ids unless JSON was asked for."""
    jobs = [job] if isinstance(job, wire.jobs.JobInfo) else job
    session.output.answers([each.id for each in jobs], job)


@contextmanager
def _display(session: Session) -> Iterator[Tell]:
    """Whom to tell of a job's progress: a bar if a person can see it, or who reads JSON."""
    if not sys.stderr.isatty():
        yield show_event if session.output.json else _nobody
        return
    # Here, as it takes longer to load than most commands take in all.
    from convoy_py.cli.terminal.progress import bar  # noqa: PLC0415

    with bar() as tell:
        yield tell


def _nobody(_: "JobInfo") -> None:
    """What a program that reads stderr is told of progress."""
