"""One request and its answer: HTTP over the daemon's Unix socket, by the standard library alone.

One connection per request: the command starts, asks a few times, and ends.
"""

import http.client
import socket
from collections.abc import Callable
from contextlib import closing
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
        with closing(_Connection(self._path, self._timeout)) as connection:
            self._connect(connection)
            status, answer = self._send(connection, method, target, body)
        if self._trace:
            took = (perf_counter() - started) * 1000
            self._trace(f"{method} {target}: {status}, {len(answer)} bytes in {took:.1f} ms")
        if status >= HTTPStatus.BAD_REQUEST:
            failure = read_answer(answer, self.not_ours(status))
            raise error_of(failure.read("Kind", str), failure.read("Error", str))
        return status, answer

    def _connect(self, connection: "_Connection") -> None:
        try:
            connection.connect()
        except PermissionError as error:
            raise Denied(
                f"no permission to use {self._path}: be root, or a member of the group "
                "that the daemon's --socket-group names"
            ) from error
        except OSError as error:
            raise DaemonUnreachable(str(self._path), error.strerror or str(error)) from error

    def _send(
        self, connection: "_Connection", method: str, target: str, body: bytes | None
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
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
        except http.client.HTTPException as error:
            raise OperationFailed(f"the answer of {self._path} is not HTTP: {error!r}") from error

    def not_ours(self, status: int) -> ConvoyError:
        """The error to raise for an answer that cannot be read."""
        return OperationFailed(
            f"{self._path} answered {status} with something that is not convoy's: "
            "is it the admin socket of a convoy daemon?"
        )


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("convoy", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
