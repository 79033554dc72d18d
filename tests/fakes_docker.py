"""Stand-ins for a Docker Engine: the SDK's client of one, and a socket that answers HTTP."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socketpair
from typing import Any

import pytest
from docker.errors import APIError
from docker.errors import NotFound as SdkNotFound

from convoy_py import containers
from convoy_py.containers import Container

# A request's path -> what to send, or None for no answer ever.
Answer = Callable[[str], bytes | None]


class Sdk:
    """Does to its containers what is asked of it; the tests set them up, and what is refused."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.known: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.broken: dict[str, Exception] = {}
        self.meanwhile: dict[str, Callable[[], object]] = {}  # what others do before such a call
        self.open = 0
        self.prints: list[bytes] = []  # what a command prints
        self.code, self.runs_on, self.hangs = 0, 0, False  # how it ends, and when that shows
        self._streams: list[socket.socket] = []
        self.kept: list[socket.socket] = []
        self.root = Path("/var/lib/docker")

    def put(self, name: str, *volumes: str, state: str = "running", **extra: Any) -> Container:
        """A container; `extra` are labels, started (a time), auto_remove."""
        mounts = [{"Type": "volume", "Name": volume} for volume in volumes]
        self.entries[name] = {
            "Id": name.ljust(64, "0"),
            "Names": [f"/web/{name}", f"/{name}"],
            "State": state,
            "Mounts": [*mounts, {"Type": "bind", "Source": "/db"}],
            "Labels": extra.get("labels", {}),
            "Image": extra.get("image", "app"),
            "ImageID": extra.get("image_id", "sha256:1"),
            "started": extra.get("started", "2026-01-01T00:00:00Z"),
            "auto_remove": extra.get("auto_remove", False),
        }
        return Container(name.ljust(64, "0"), name, state)

    def put_volume(self, name: str, driver: str = "local", **options: str) -> None:
        self.known[name] = {
            "Name": name,
            "Driver": driver,
            "Mountpoint": f"/var/lib/docker/volumes/{name}/_data",
            "Options": options or None,
            "Labels": None,
        }

    def state(self, name: str) -> str:
        return str(self.entries[name]["State"])

    # What the SDK has

    def containers(self, filters: dict[str, Any] | None = None, **_: Any) -> list[dict[str, Any]]:
        filters = filters or {}
        label, states = filters.get("label"), filters.get("status")
        return [
            entry
            for entry in self.entries.values()
            if (not label or label in [f"{k}={v}" for k, v in entry["Labels"].items()])
            and (not states or entry["State"] in states)
        ]

    def images(self) -> list[dict[str, Any]]:
        if failure := self.broken.get("images"):
            raise failure
        return [
            {"Id": "sha256:1", "RepoDigests": ["app@sha256:b", "app@sha256:a"]},
            {"Id": "sha256:2", "RepoDigests": None},
        ]

    def inspect_container(self, key: str) -> dict[str, Any]:
        self._let_others(f"inspect {key.rstrip('0')}")
        entry = self._found(key)
        return {
            **entry,
            "State": {"Status": entry["State"], "StartedAt": entry["started"]},
            "HostConfig": {"AutoRemove": entry["auto_remove"]},
            "Config": {"Labels": entry["Labels"]},
        }

    def pause(self, key: str) -> None:
        self._change("pause", key, "running", "paused")

    def unpause(self, key: str) -> None:
        self._change("unpause", key, "paused", "running")

    def stop(self, key: str, timeout: int) -> None:
        self._change(f"stop {timeout}", key, None, "exited")

    def start(self, key: str) -> None:
        if self.entries.get(key.rstrip("0"), {}).get("State") == "paused":
            raise APIError("409", explanation="cannot start a paused container")
        self._change("start", key, None, "running")

    def exec_create(self, key: str, words: list[str]) -> dict[str, str]:
        self.calls.append(f"execute {key} {' '.join(words)}")
        self._found(key)
        return {"Id": "1"}

    def exec_start(self, key: str, *, socket: bool) -> Any:
        ours, theirs = socketpair()
        for piece in self.prints:
            theirs.sendall(struct.pack(">BxxxL", 1, len(piece)) + piece)
        if self.hangs:
            self.kept.append(theirs)
        else:
            theirs.close()
        self._streams.append(ours)
        return ours

    def exec_inspect(self, key: str) -> dict[str, Any]:
        self.runs_on -= 1
        return {"Running": self.runs_on >= 0, "ExitCode": self.code}

    @property
    def streams(self) -> list[socket.socket]:
        """Those that are still open."""
        return [each for each in self._streams if each.fileno() >= 0]

    def volumes(self, filters: dict[str, str]) -> dict[str, Any]:
        driver = filters.get("driver")
        found = [v for v in self.known.values() if driver in (None, v["Driver"])]
        label = filters.get("label")
        labelled = [v for v in found if label is None or label in (v["Labels"] or ())]
        return {"Volumes": labelled or None}

    def inspect_volume(self, name: str) -> dict[str, Any]:
        if name not in self.known:
            raise SdkNotFound("404", explanation=f"get {name}: no such volume")
        return self.known[name]

    def create_volume(self, name: str, driver: str, labels: dict[str, str]) -> None:
        self.put_volume(name, driver)
        self.known[name]["Labels"] = labels

    def remove_volume(self, name: str) -> None:
        self.inspect_volume(name)
        if failure := self.broken.get(f"remove {name}"):
            raise failure
        del self.known[name]

    def info(self) -> dict[str, str]:
        return {"DockerRootDir": str(self.root)}

    def close(self) -> None:
        self.open -= 1

    def _let_others(self, call: str) -> None:
        self.meanwhile.pop(call, lambda: None)()

    def _found(self, key: str) -> dict[str, Any]:
        if (name := key.rstrip("0")) not in self.entries:
            raise SdkNotFound("404", explanation=f"No such container: {name}")
        return self.entries[name]

    def _change(self, verb: str, key: str, before: str | None, after: str) -> None:
        name = key.rstrip("0")
        self.calls.append(f"{verb} {name}")
        self._let_others(f"{verb.split(maxsplit=1)[0]} {name}")
        entry = self._found(key)
        if before and entry["State"] != before:
            raise APIError("409", explanation=f"Container {name} is not {before}")
        if failure := self.broken.get(f"{verb.split(maxsplit=1)[0]} {name}"):
            raise failure
        entry["State"] = after


@contextmanager
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    """The SDK's client of any engine; at the end every client must have been closed."""
    found = Sdk()

    def connect(host: str, timeout: float) -> Sdk:
        found.open += 1
        return found

    monkeypatch.setattr(containers, "_connect", connect)
    yield found
    for kept in found.kept:
        kept.close()
    assert found.open == 0


def said(status: str, body: object) -> bytes:
    """An answer as the engine gives it."""
    text = json.dumps(body)
    length = f"Content-Length: {len(text)}\r\nContent-Type: application/json\r\n"
    return f"HTTP/1.1 {status}\r\n{length}\r\n{text}".encode()


@contextmanager
def serving(path: Path, answer: Answer) -> Iterator[str]:
    """Listen at `path`; yields it as the name of a host. Ends with all of its connections."""
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def start(target: Callable[..., None], *arguments: socket.socket) -> None:
        threads.append(threading.Thread(target=target, args=arguments))
        threads[-1].start()

    def handle(connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(65536).decode():
                if (sent := answer(request.split(" ")[1])) is None:
                    ended.wait()
                if not sent:
                    return
                connection.sendall(sent)

    def accept() -> None:
        with suppress(OSError):  # shut down
            while True:
                start(handle, listening.accept()[0])

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        start(accept)
        try:
            yield f"unix://{path}"
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
