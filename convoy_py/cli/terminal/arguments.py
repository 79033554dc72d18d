"""Arguments that several commands share: names of what exists, which the shell completes."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import click
from click.shell_completion import CompletionItem

from convoy_py.cli.client.calls import Client
from convoy_py.cli.terminal.session import connect
from convoy_py.errors import ConvoyError
from convoy_py.models.names import AT, is_valid_name
from convoy_py.wire.endpoints import (
    LIST_JOBS,
    LIST_REPOSITORIES,
    LIST_SCHEDULES,
    LIST_SNAPSHOTS,
    LIST_TRASH,
    LIST_VOLUMES,
)

F = TypeVar("F", bound=Callable[..., Any])

# A person waits for the answer between two key strokes.
_COMPLETION_SECONDS = 1.0


class Snapshot(NamedTuple):
    """`db@nightly` in its two parts."""

    volume: str
    name: str


def volume_argument(name: str = "name", **attributes: Any) -> Callable[[F], F]:
    """The name of an existing volume."""
    return click.argument(name, shell_complete=_offer(_volumes), **attributes)


def source_argument(name: str = "name", **attributes: Any) -> Callable[[F], F]:
    """The name of an existing volume, or of a snapshot such as db@nightly."""
    return click.argument(name, shell_complete=complete_sources, **attributes)


def snapshot_argument(name: str = "name", **attributes: Any) -> Callable[[F], F]:
    """The full name of an existing snapshot."""
    return click.argument(name, shell_complete=_offer(_snapshots), **attributes)


def trash_argument(name: str = "name", **attributes: Any) -> Callable[[F], F]:
    """The name or the key of something in the trash; never empty, as that would mean all."""
    return click.argument(name, shell_complete=_offer(_trash), callback=not_empty, **attributes)


def job_argument() -> Callable[[F], F]:
    """The id of a job; a number, so that it leads to no other path of the API."""
    return click.argument(
        "job_id", metavar="ID", type=click.IntRange(min=1), shell_complete=_offer(_jobs)
    )


def schedule_argument(name: str = "name", **attributes: Any) -> Callable[[F], F]:
    """The name of a volume that has a schedule."""
    return click.argument(name, shell_complete=_offer(_schedules), **attributes)


def repository_argument(name: str = "name", **attributes: Any) -> Callable[[F], F]:
    """The name of a repository that is known."""
    return click.argument(name, shell_complete=_offer(_repositories), **attributes)


def repository_option(flag: str, text: str) -> Callable[[F], F]:
    """The same as an option, for the argument `repository`; `text` is its help."""
    return click.option(
        flag,
        "repository",
        metavar="REPOSITORY",
        callback=not_empty,
        shell_complete=_offer(_repositories),
        help=text,
    )


def full_name(command: str, text: str) -> Snapshot:
    """`db@nightly` in its parts; else a usage error that says what would be right."""
    volume, _, name = text.partition(AT)
    known = is_valid_name(volume)
    if known and is_valid_name(name):
        return Snapshot(volume, name)
    example = volume if known else "db"
    listing = f"convoy snapshot list {volume if known else ''}".rstrip()
    raise click.UsageError(
        f"{command} takes VOLUME@SNAPSHOT, such as {example}@nightly; `{listing}` shows them"
    )


def not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A callback that refuses what is most likely an unset variable of a script."""
    if value == "":
        raise click.BadParameter("it is empty", context, parameter)
    return value


def project_option(text: str) -> Callable[[F], F]:
    """A compose project whose volumes are meant; `text` is its help."""
    return click.option("--compose-project", metavar="PROJECT", callback=not_empty, help=text)


def _offer(
    names: Callable[[Client, str], Iterable[str]],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What the shell offers; nothing if the daemon cannot be asked, as errors garble the line."""

    def complete(
        context: click.Context, _: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        client = connect(context.find_root().params.get("socket"), _COMPLETION_SECONDS)
        try:
            found = sorted(set(names(client, incomplete)))
        except ConvoyError:
            return []
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]

    return complete


def _volumes(client: Client, _: str) -> Iterable[str]:
    return client.look(LIST_VOLUMES).named("Volumes")


def _snapshots(client: Client, _: str) -> Iterable[str]:
    return [each.read("FullName", str) for each in client.look(LIST_SNAPSHOTS).each("Snapshots")]


def _sources(client: Client, incomplete: str) -> Iterable[str]:
    return _snapshots(client, incomplete) if AT in incomplete else _volumes(client, incomplete)


def _trash(client: Client, _: str) -> Iterable[str]:
    removed = client.look(LIST_TRASH).each("Volumes")
    return [each.read(key, str) for each in removed for key in ("Name", "Key")]


def _jobs(client: Client, _: str) -> Iterable[str]:
    return [job.read("Id", str) for job in client.look(LIST_JOBS).each("Jobs")]


def _repositories(client: Client, _: str) -> Iterable[str]:
    return [each.read("Name", str) for each in client.look(LIST_REPOSITORIES).each("Repositories")]


def _schedules(client: Client, _: str) -> Iterable[str]:
    return [each.read("Volume", str) for each in client.look(LIST_SCHEDULES).each("Schedules")]


complete_sources = _offer(_sources)
complete_repositories = _offer(_repositories)
