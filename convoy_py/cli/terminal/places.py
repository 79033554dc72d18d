"""Repositories named by where they are, as Convoy's scripts do; the daemon knows all spellings."""

import re

import click

from convoy_py.cli.terminal.arguments import not_empty
from convoy_py.errors import Invalid

endpoint_option = click.option(
    "--s3-endpoint",
    metavar="URL",
    callback=not_empty,
    help="as in Convoy: the server of an s3:// place that is not Amazon's",
)

_CONVOY_S3 = re.compile(r"s3://(?P<bucket>[^/@]+)(?:@[^/]*)?(?P<path>/.*)")


def is_place(text: str) -> bool:
    """Whether this is where a repository is, and no name."""
    return "/" in text or ":" in text


def located(place: str, endpoint: str) -> str:
    """A place, or a backup's URL, with the server of an s3:// place that is not Amazon's.

    Raises Invalid for an endpoint of anything else.
    """
    if not endpoint:
        return place
    found = _CONVOY_S3.fullmatch(place)
    if not found:
        raise Invalid(f"an endpoint is of s3://bucket/path alone, and this is {place}")
    return f"s3:{endpoint.rstrip('/')}/{found['bucket']}{found['path']}"
