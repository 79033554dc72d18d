"""What one run of the command carries from its global options to the command it names."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from convoy_py.cli.client.calls import ANSWER_SECONDS, Client
from convoy_py.cli.terminal.output import Output, complain
from convoy_py.models.places import DEFAULT_SOCKET

if TYPE_CHECKING:
    from convoy_py.config import Configuration

Serve = Callable[["Configuration"], int]


@dataclass
class Session:
    """`serve` runs a daemon until it is told to stop and returns its exit code."""

    serve: Serve
    socket: str | None = None
    debug: bool = False
    output: Output = field(default_factory=Output)

    def client(self) -> Client:
        return connect(self.socket, trace=_debug if self.debug else None)


def connect(
    socket: str | None, timeout: float = ANSWER_SECONDS, trace: Callable[[str], None] | None = None
) -> Client:
    """The daemon at --socket, at CONVOY_SOCKET, or where one is by default."""
    path = socket or os.environ.get("CONVOY_SOCKET") or DEFAULT_SOCKET
    return Client(Path(path), timeout, trace)


def _debug(text: str) -> None:
    complain(f"debug: {text}")
