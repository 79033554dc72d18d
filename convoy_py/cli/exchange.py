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
from typing import TypeVar
from urllib.parse import quote

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

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
from convoy_py.models.names import check_name, split_source
from convoy_py.wire.admin import Failure, Message

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

M = TypeVar("M", bound=Message)


def error_of(kind: str, text: str) -> ConvoyError:
    """The daemon's error; one of a kind that only a newer daemon knows is a failure."""
    return _ERRORS.get(kind, OperationFailed)(text)


def volume_path(name: str) -> str:
    """The volume's path; the name is checked here, as `..` would lead to another path."""
    return f"/v1/volumes/{quote(check_name(name), safe='')}"


def mountable_path(name: str) -> str:
    """The path of what can be mounted: a volume, or a snapshot such as db@nightly."""
    split_source(name)
    return f"/v1/volumes/{quote(name, safe='@')}"


class Exchange:
    """The daemon behind one socket; see Client for what is raised."""

    def __init__(self, path: Path, timeout: float, trace: Callable[[str], None] | None) -> None:
        self._path = path
        self._timeout = timeout
        self._trace = trace

    def ask(self, answer: type[M], method: str, target: str, message: Message | None = None) -> M:
        status, body = self._exchange(method, target, message)
        try:
            # A newer daemon may tell more than this command knows; that is no reason to fail.
            return answer.model_validate_json(body, extra="ignore")
        except ValidationError as error:
            raise self.not_ours(status) from error

    def do(self, method: str, target: str, message: Message | None = None) -> None:
        status, _ = self._exchange(method, target, message)
        if status != HTTPStatus.NO_CONTENT:
            raise self.not_ours(status)

    def _exchange(self, method: str, target: str, message: Message | None) -> tuple[int, bytes]:
        """Status and body of a success."""
        started = perf_counter()
        with closing(_Connection(self._path, self._timeout)) as connection:
            self._connect(connection)
            status, body = self._send(connection, method, target, message)
        if self._trace:
            took = (perf_counter() - started) * 1000
            self._trace(f"{method} {target}: {status}, {len(body)} bytes in {took:.1f} ms")
        if status >= HTTPStatus.BAD_REQUEST:
            raise self._failure(status, body)
        return status, body

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
        self, connection: "_Connection", method: str, target: str, message: Message | None
    ) -> tuple[int, bytes]:
        body = _encoded(message) if message else None
        headers = {"Content-Type": "application/json"} if message else {}
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

    def _failure(self, status: int, body: bytes) -> ConvoyError:
        try:
            told = Failure.model_validate_json(body, extra="ignore")
        except ValidationError:
            return self.not_ours(status)
        return error_of(told.kind, told.error)

    def not_ours(self, status: int) -> ConvoyError:
        """The error to raise for an answer that cannot be read."""
        return OperationFailed(
            f"{self._path} answered {status} with something that is not convoy's: "
            "is it the admin socket of a convoy daemon?"
        )


def _encoded(message: Message) -> bytes:
    try:
        return message.model_dump_json(by_alias=True).encode()
    except PydanticSerializationError as error:
        raise Invalid(
            "an argument is not UTF-8: no other text is taken, but for the PATH of restore-file"
        ) from error


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("convoy", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
