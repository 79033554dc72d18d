"""What one run of the command carries from its global options to the command it names."""

from collections.abc import Callable
from dataclasses import dataclass, field

from convoy_py.cli.client.calls import ANSWER_SECONDS, Client
from convoy_py.cli.terminal.output import Output, complain
from convoy_py.config import Configuration, client_socket

Serve = Callable[[Configuration], int]


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
    return Client(client_socket(socket), timeout, trace)


def _debug(text: str) -> None:
    complain(f"debug: {text}")
