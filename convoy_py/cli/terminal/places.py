"""Repositories named by where they are, as Convoy's scripts do."""

from collections.abc import Iterable

import click

from convoy_py.cli.terminal.arguments import not_empty
from convoy_py.models.places import located

endpoint_option = click.option(
    "--s3-endpoint",
    metavar="URL",
    callback=not_empty,
    help="as in Convoy: the server of an s3:// place that is not Amazon's",
)


_ENDPOINT = f"{__name__}.endpoint"


def keep_endpoint(context: click.Context, endpoint: str | None) -> None:
    """Remember what stood after `backup`, for the command below it."""
    context.meta[_ENDPOINT] = endpoint or ""


def reached(place: str) -> str:
    """A place, or a backup's URL, by the server that stood after `backup`; raises Invalid."""
    return located(place, str(click.get_current_context().meta[_ENDPOINT]))


def each_reached(references: Iterable[str]) -> list[str]:
    """Backups, each once, as they are named to the daemon."""
    return [reached(each) for each in dict.fromkeys(references)]


def is_place(text: str) -> bool:
    """Whether this is where a repository is, and no name."""
    return "/" in text or ":" in text
