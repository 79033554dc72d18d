"""The options of what is done to containers around a snapshot, and how they are asked for."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--before",
        multiple=True,
        metavar="'CONTAINER: COMMAND'",
        help="run this in a container beforehand; if it fails nothing is taken  [repeatable]",
    ),
    click.option(
        "--after",
        multiple=True,
        metavar="'CONTAINER: COMMAND'",
        help="run this in a container afterwards, whatever became of it  [repeatable]",
    ),
    click.option("--pause", is_flag=True, help="pause the containers that use it meanwhile"),
    click.option("--stop", is_flag=True, help="stop them meanwhile, and start them again"),
)


def hook_options(command: F) -> F:
    """The command gets them as arguments, with the names of the wire's fields."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
