"""A daemon in name only: an HTTP server on a Unix socket that records what it is asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from convoy_py.errors import Kind
from convoy_py.wire.admin import Failure, Message, VolumeInfo


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    body: Any


@dataclass
class FakeDaemon:
    """Answers by (method, target); 404 in our form for everything else."""

    path: Path
    answers: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    # Cleared, it keeps every request waiting.
    may_answer: threading.Event = field(default_factory=threading.Event)

    def answer(
        self, method: str, target: str, message: Message | bytes = b"", status: int = 200
    ) -> None:
        body = message if isinstance(message, bytes) else message.model_dump_json(by_alias=True)
        encoded = body if isinstance(body, bytes) else body.encode()
        self.answers[method, target] = (status, encoded)

    def fail(self, method: str, target: str, error: str, kind: str, status: int = 500) -> None:
        self.answer(method, target, Failure(error=error, kind=kind), status)


def volume(name: str, **changes: Any) -> VolumeInfo:
    values: dict[str, Any] = {
        "driver": "directory",
        "mount_point": "",
        "created_time": "2026-01-02T03:04:05Z",
        "state": "ready",
    }
    return VolumeInfo(name=name, **(values | changes))


@contextmanager
def running(path: Path) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon(path)
    daemon.may_answer.set()
    with _Server(str(path), _handler(daemon)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield daemon
        finally:
            daemon.may_answer.set()
            server.shutdown()
            thread.join()


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = False  # so that none outlives its test

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


def _handler(daemon: FakeDaemon) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            daemon.requests.append(Request(self.command, self.path, body))
            daemon.asked.set()
            daemon.may_answer.wait(30)
            unknown = Failure(error=f"no such thing: {self.path}", kind=Kind.NOT_FOUND)
            default = (404, unknown.model_dump_json(by_alias=True).encode())
            status, answer = daemon.answers.get((self.command, self.path), default)
            if not status:
                return  # the connection ends without a word
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names are http.server's

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name too
            """Quiet: stderr is what the tests look at."""

    return Handler
