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
from convoy_py.wire.backups import BackupInfo
from convoy_py.wire.base import Failure, Message
from convoy_py.wire.jobs import JobInfo
from convoy_py.wire.repositories import RepositoryInfo
from convoy_py.wire.snapshots import SnapshotInfo
from convoy_py.wire.trash import Removed
from convoy_py.wire.volumes import VolumeInfo


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    body: Any


@dataclass
class FakeDaemon:
    """Answers by (method, target); 404 in our form for everything else."""

    path: Path
    answers: dict[tuple[str, str], list[tuple[int, bytes]]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    # Cleared, it keeps every request waiting.
    may_answer: threading.Event = field(default_factory=threading.Event)

    def answer(
        self, method: str, target: str, message: Message | bytes = b"", status: int = 200
    ) -> None:
        body = message if isinstance(message, bytes) else message.model_dump_json(by_alias=True)
        encoded = body if isinstance(body, bytes) else body.encode()
        self.answers[method, target] = [(status, encoded)]

    def answer_in_turn(self, method: str, target: str, *messages: Message) -> None:
        """One after the other; the last again and again."""
        encoded = [message.model_dump_json(by_alias=True).encode() for message in messages]
        self.answers[method, target] = [(200, body) for body in encoded]

    def done(self, method: str, target: str, result: Message) -> None:
        """Long work that took no time: its job has ended already."""
        self.answer(method, target, job(result=result))

    def wait_for(self, request: Request) -> None:
        """Until it was asked this."""
        while request not in self.requests:
            self.asked.clear()
            if request not in self.requests and not self.asked.wait(30):
                raise TimeoutError(f"never asked: {request}")

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


def snapshot(full_name: str, **changes: Any) -> SnapshotInfo:
    owner, _, name = full_name.partition("@")
    values: dict[str, Any] = {
        "created_time": "2026-01-02T03:04:05Z",
        "way": "reflink",
        "consistency": "frozen",
        "state": "ready",
    }
    return SnapshotInfo(name=name, volume_name=owner, full_name=full_name, **(values | changes))


def job(**changes: Any) -> JobInfo:
    values: dict[str, Any] = {
        "id": "7",
        "verb": "clone",
        "volume": "db",
        "state": "done",
        "started": "2026-01-02T03:04:05Z",
    }
    return JobInfo(**(values | changes))


def removed(name: str, **changes: Any) -> Removed:
    values: dict[str, Any] = {
        "key": f"{name}.1",
        "driver": "loopback",
        "removed": "2026-01-02T03:04:05.6Z",
        "until": "2026-01-03T03:04:05.6Z",
        "snapshots": ["nightly"],
    }
    return Removed(name=name, **(values | changes))


def repository(name: str, **changes: Any) -> RepositoryInfo:
    values: dict[str, Any] = {
        "location": f"/srv/{name}",
        "id": "0123456789abcdef" * 4,
        "created": "2026-01-02T03:04:05.6Z",
        "password_file": f"/etc/convoy/{name}.pw",
    }
    return RepositoryInfo(name=name, **(values | changes))


def backup(volume: str, **changes: Any) -> BackupInfo:
    digits = str(changes.get("id", "fedcba9876543210" * 4))
    values: dict[str, Any] = {
        "url": f"/srv/offsite?backup=backup-{digits[:16]}&volume={volume}",
        "name": f"backup-{digits[:16]}",
        "id": digits,
        "repository": "offsite",
        "host": "here",
        "created": "2026-01-02T03:04:05.6Z",
        "size": 3 * 2**20,
        "added": 1024,
        "files": 12,
    }
    return BackupInfo(volume=volume, **(values | changes))


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
            turns = daemon.answers.get((self.command, self.path), [default])
            status, answer = turns.pop(0) if len(turns) > 1 else turns[0]
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
