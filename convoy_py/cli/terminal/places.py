"""Repositories named by where they are, as Convoy's scripts do."""

import click

from convoy_py.cli.terminal.arguments import not_empty

endpoint_option = click.option(
    "--s3-endpoint",
    metavar="URL",
    callback=not_empty,
    help="as in Convoy: the server of an s3:// place that is not Amazon's",
)


def is_place(text: str) -> bool:
    """Whether this is where a repository is, and no name."""
    return "/" in text or ":" in text
