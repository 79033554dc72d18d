"""The progress bar of a job, on a terminal. Loads rich: import it only where one is there."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from convoy_py.cli.client.calls import Tell
from convoy_py.escapes import printable
from convoy_py.models.sizes import format_size
from convoy_py.wire.jobs import JobInfo


@contextmanager
def bar() -> Iterator[Tell]:
    """Shows the job it is told of on stderr, and is gone from the screen at the end.

    A spinner and what is done, as long as the whole is not known; then a bar, bytes, bytes per
    second and the time that is left.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        _OnceKnown(BarColumn(bar_width=30)),
        _Bytes(),
        _OnceKnown(TimeRemainingColumn(compact=True)),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def tell(job: JobInfo) -> None:
            progress.update(
                task,
                description=_description(job),
                completed=job.done,
                total=job.total or None,
            )

        yield tell


def _description(job: JobInfo) -> str:
    what = f"{job.verb} {job.volume}".strip()
    return printable(f"{what}: {job.note}" if job.note else what)


class _OnceKnown(ProgressColumn):
    """Another column, as soon as it is known how much there is to do."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__()
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return self._column(task) if task.total else Text()


class _Bytes(ProgressColumn):
    """`1.2GiB of 3GiB, 210MiB/s`; what is not known is left out."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))  # on a narrow screen the bar gives way

    def render(self, task: Task) -> Text:
        text = format_size(int(task.completed)) if task.completed or task.total else ""
        if task.total:
            text += f" of {format_size(int(task.total))}"
        if task.speed:
            text += f", {format_size(int(task.speed))}/s"
        return Text(text)
