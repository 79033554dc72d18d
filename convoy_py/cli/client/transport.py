"""One request and its answer: HTTP over the daemon's Unix socket.

One connection per request: the command starts, asks a few times, and ends. Not by http.client,
which loads mail and TLS: a fifth of what a short command takes.
"""

import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from time import perf_counter

from convoy_py.cli.client.answers import read_answer
from convoy_py.errors import (
    Cancelled,
    Conflict,
    ConvoyError,
    Corrupt,
    DaemonUnreachable,
    Denied,
    InUse,
    Invalid,
    NoSpace,
    NotFound,
    OperationFailed,
    Unavailable,
    Unsupported,
)

_ERRORS: dict[str, type[ConvoyError]] = {
    error.kind: error
    for error in (
        Cancelled,
        Conflict,
        Corrupt,
        Denied,
        Invalid,
        InUse,
        NoSpace,
        NotFound,
        OperationFailed,
        Unavailable,
        Unsupported,
    )
}


_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


def error_of(kind: str, text: str) -> ConvoyError:
    """The daemon's error; one of a kind that only a newer daemon knows is a failure."""
    return _ERRORS.get(kind, OperationFailed)(text)


class Transport:
    """The daemon behind one socket; see Client for what is raised."""

    def __init__(self, path: Path, timeout: float, trace: Callable[[str], None] | None) -> None:
        self._path = path
        self._timeout = timeout
        self._trace = trace

    def send(self, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and body of a success."""
        started = perf_counter()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
            daemon.settimeout(self._timeout)
            self._connect(daemon)
            status, answer = self._ask(daemon, method, target, body or b"")
        if self._trace:
            took = (perf_counter() - started) * 1000
            self._trace(f"{method} {target}: {status}, {len(answer)} bytes in {took:.1f} ms")
        if status >= HTTPStatus.BAD_REQUEST:
            failure = read_answer(answer, self.not_ours(status))
            raise error_of(failure.read("Kind", str), failure.read("Error", str))
        return status, answer

    def _connect(self, daemon: socket.socket) -> None:
        try:
            daemon.connect(str(self._path))
        except PermissionError as error:
            raise Denied(
                f"no permission to use {self._path}: be root, or a member of the group "
                "that the daemon's --socket-group names"
            ) from error
        except OSError as error:
            raise DaemonUnreachable(str(self._path), error.strerror or str(error)) from error

    def _ask(
        self, daemon: socket.socket, method: str, target: str, body: bytes
    ) -> tuple[int, bytes]:
        try:
            return _exchange(daemon, method, target, body)
        except TimeoutError as error:
            raise Unavailable(
                f"the daemon at {self._path} gave no answer in {self._timeout:.0f} s; "
                "what it began goes on: look with `convoy jobs` and `convoy list` before "
                "you repeat the command"
            ) from error
        except OSError as error:
            raise Unavailable(
                f"the daemon at {self._path} ended the connection without an answer; "
                "look with `convoy list` whether the work was done"
            ) from error
        except _NotHTTP as error:
            raise OperationFailed(f"the answer of {self._path} is not HTTP: {error}") from error

    def not_ours(self, status: int) -> ConvoyError:
        """The error to raise for an answer that cannot be read."""
        return OperationFailed(
            f"{self._path} answered {status} with something that is not convoy's: "
            "is it the admin socket of a convoy daemon?"
        )


class _NotHTTP(Exception):
    """What was answered is something else."""


def _exchange(daemon: socket.socket, method: str, target: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of one request; the answer ends with the connection, as HTTP/1.0 has it."""
    asked = f"{method} {target} HTTP/1.0\r\nHost: convoy\r\nConnection: close\r\n"
    if body:
        asked += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    daemon.sendall(f"{asked}\r\n".encode() + body)
    told = b"".join(iter(lambda: daemon.recv(2**16), b""))
    head, blank, answer = told.partition(b"\r\n\r\n")
    status, length = _STATUS.match(head), _LENGTH.search(head)
    if told and not status:
        raise _NotHTTP(repr(told[:80]))
    if not status or not blank or (length and len(answer) < int(length[1])):
        raise ConnectionResetError("it ended early")
    return int(status[1]), answer
