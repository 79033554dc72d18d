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
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from convoy_py.cli.client.calls import Tell
from convoy_py.escapes import printable
from convoy_py.models.sizes import format_size
from convoy_py.wire.jobs import JobInfo

# Columns that are not the description's: the spinner; and `1000MiB of 1000MiB, 1000MiB/s` with
# the time that is left, where the whole is known.
_BESIDE, _BESIDE_NUMBERS = 8, 44


@contextmanager
def bar() -> Iterator[Tell]:
    """Shows the job it is told of on stderr, and is gone from the screen at the end.

    A spinner and what is done, as long as the whole is not known; then a bar, bytes, bytes per
    second and the time that is left. On a narrow screen the text and the bar give way to these.
    """
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        _What(console),
        _OnceKnown(BarColumn(bar_width=30)),
        _Bytes(),
        _OnceKnown(TimeRemainingColumn(compact=True)),
    )
    with Progress(*columns, console=console, transient=True) as progress:
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
    note = job.note.removeprefix(f"{job.volume}: ")
    return printable(f"{what}: {note}" if note else what)


class _What(ProgressColumn):
    """The job in words, cut where the screen has no room for them and the numbers."""

    def __init__(self, console: Console) -> None:
        super().__init__(Column(no_wrap=True))
        self._console = console

    def render(self, task: Task) -> Text:
        text = Text(task.description)
        beside = _BESIDE_NUMBERS if task.total else _BESIDE
        text.truncate(max(self._console.width - beside, 1), overflow="ellipsis")
        return text


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
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        text = format_size(int(task.completed)) if task.completed or task.total else ""
        if task.total:
            text += f" of {format_size(int(task.total))}"
        if task.speed:
            text += f", {format_size(int(task.speed))}/s"
        return Text(text)
