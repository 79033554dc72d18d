"""The daemon as a process: started, crashed and suspended at will, called raw, and looked at.

What it did is read from its own log, its records and the kernel; nothing of the package is used.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tests.e2e import command, forks, host
from tests.e2e.waiting import until

PLUGINS = Path("/run/docker/plugins")
# Passes a listening socket on as systemd does, see sd_listen_fds(3): as descriptor 3.
_ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Answer:
    """What came back on the socket; `body` is the JSON, or None where there was none."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def error(self) -> str:
        return str(self.body["Err"])


class Daemon:
    """One `convoy daemon` below one folder; its driver's name is that of its socket file."""

    def __init__(self, home: Path, name: str = "", **settings: object) -> None:
        """`settings` are the daemon's, with underscores."""
        self.home = home
        self.name = name or f"convoy-t{os.getpid()}-{secrets.token_hex(2)}"
        self.socket = PLUGINS / f"{self.name}.sock"
        self.root, self.run_dir = home / "root", home / "run"
        self.log = home / "log"
        self.launcher: Sequence[str] = ()  # what to start it with; then it is no fork
        self._given = settings
        self._process: subprocess.Popen[bytes] | forks.Fork | None = None
        self._listening: socket.socket | None = None
        home.mkdir(parents=True)

    # Life

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        arguments = ["daemon"]
        for key, value in self.settings().items():
            arguments += [f"--{key.replace('_', '-')}", str(value)]
        with (self.home / "stderr").open("ab") as stderr:
            if self.launcher:
                self._process = self._launched(arguments, stderr)
            else:
                output = stderr.fileno()
                self._process = forks.convoy(arguments, command.variables(), output, output)
        if wait:
            until(self._answers, f"an answer of the daemon, see {self.home}")

    def stop(self) -> int:
        """End it as `systemctl stop` does; returns its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Crash it."""
        self._end(signal.SIGKILL)

    def ensure_running(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Keep it from running; what is sent to it waits in the kernel."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def listen(self) -> None:
        """Hold the plugin socket open outside of the daemon, as a systemd socket unit does."""
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(self.socket))
        self._listening.listen(4096)
        descriptor = str(self._listening.fileno())
        self.launcher = (sys.executable, "-c", _ACTIVATE, descriptor)

    def close(self) -> None:
        """Remove its volumes, end it, and take away whatever is left."""
        with suppress(AssertionError, OSError):
            self.ensure_running()
            self.clear()
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGKILL)
        if self._listening is not None:
            self._listening.close()
        self.socket.unlink(missing_ok=True)
        host.unmount_below(self.home)
        for device in host.loop_devices(self.home):
            subprocess.run(["losetup", "-d", f"/dev/{device}"], check=False)
        # An unused mountpoint refuses to be written to, and to be deleted.
        subprocess.run(["chattr", "-R", "-f", "-i", self.run_dir], check=False)

    # Commands

    def convoy(self, *arguments: str) -> str:
        """What `convoy …` prints; raises CommandError."""
        return command.convoy("--socket", str(self.home / "admin.sock"), *arguments)

    def told(self, *arguments: str) -> Any:
        """The JSON that `convoy … --json` prints."""
        return json.loads(self.convoy("--json", *arguments))

    # Calls

    def call(self, path: str, message: object = None) -> Answer:
        """POST as an engine does, with an empty Host; bytes are sent as they are, None as no body.

        Raises ConnectionError if the connection ends without an answer. That the answer ends the
        connection is waited for, so a daemon that keeps it open fails by timeout.
        """
        body = message if isinstance(message, bytes) else _encoded(message)
        with self.connect() as connection:
            connection.sendall(request(path, body))
            return answer(connection)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(60)
        try:
            connection.connect(str(self.socket))
        except BaseException:
            connection.close()
            raise
        return connection

    def create(self, name: str, options: Mapping[str, str] | None = None) -> None:
        """Create a volume behind the engine's back."""
        found = self.call("/VolumeDriver.Create", {"Name": name, "Opts": options})
        assert found.status == 200, found

    def mount(self, name: str, mount_id: str) -> Path:
        """Mount as an engine that is this process; returns the Mountpoint."""
        found = self.call("/VolumeDriver.Mount", {"Name": name, "ID": mount_id})
        assert found.status == 200, found
        return Path(found.body["Mountpoint"])

    def unmount(self, name: str, mount_id: str) -> None:
        found = self.call("/VolumeDriver.Unmount", {"Name": name, "ID": mount_id})
        assert found.status == 200, found

    def names(self) -> list[str]:
        found = self.call("/VolumeDriver.List", {})
        assert found.status == 200, found
        return [volume["Name"] for volume in found.body["Volumes"]]

    def clear(self) -> None:
        """Let go of all its volumes, and remove them."""
        for path in (self.run_dir / "references").glob("*.json"):
            for mount_id, count in self.holds(path.stem).items():
                for _ in range(count):
                    # The private clones of a volume are held by mounts of the volume's own name.
                    self.unmount(path.stem.partition("#")[0], mount_id)
        until(lambda: all(map(self._removed, self.names())), "no volume any more")
        if any((self.root / "trash").iterdir()):
            self.convoy("trash", "purge", "--all")

    # What is seen of it

    def settings(self) -> dict[str, object]:
        """All settings that it is started with."""
        return {
            "root": self.root,
            "run_dir": self.run_dir,
            "plugin_socket": self.socket,
            "socket": self.home / "admin.sock",
            "log": self.log,
            "log_format": "json",
            "log_level": "debug",
            "reserve": "0",
            "janitor_interval": "0.2",
            # Longer than a container's start takes on a busy machine.
            "reference_grace": "0.1",
            **self._given,
        }

    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def lines_of(self, volume: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("volume") == volume]

    def calls(self, volume: str | None = None) -> list[str]:
        """The plugin calls that were answered, as `get`, `create`, …; of one volume or of all."""
        lines = (line for line in self.lines() if line.get("api") == "docker")
        return [line["message"] for line in lines if volume in (None, line.get("volume"))]

    def failures(self) -> list[str]:
        """Tracebacks in the log, and whatever else was said: faults in the daemon itself."""
        lines = (line for line in self.lines() if "trace" in line)
        said = (self.home / "stderr").read_text(encoding="utf-8")
        return [json.dumps(line) for line in lines] + said.splitlines()

    def data(self, volume: str) -> Path:
        """Where the volume's bytes are: a folder, or an image file."""
        home = self.root / "volumes" / volume
        return home / "image" if (home / "image").exists() else home / "data"

    def mountpoint(self, volume: str) -> Path:
        return self.run_dir / "mounts" / volume

    def is_mounted(self, volume: str) -> bool:
        return bool(host.mounts_at(self.mountpoint(volume)))

    def is_released(self, volume: str) -> bool:
        """Whether nothing is mounted, attached or counted."""
        devices = host.loop_devices(self.root / "volumes" / volume)
        return not (self.is_mounted(volume) or devices or self.holds(volume))

    def holds(self, volume: str) -> dict[str, int]:
        """Mount ID -> how often it is counted."""
        try:
            text = (self.run_dir / "references" / f"{volume}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        return {key: hold["count"] for key, hold in json.loads(text)["holds"].items()}

    def leftovers(self) -> list[str]:
        """Mounts, devices and files that should not be there when there is no volume."""
        in_root = (self.root / "volumes", self.root / "trash")
        in_run_dir = (self.run_dir / kind for kind in ("mounts", "references", "frozen"))
        folders = (*in_root, *in_run_dir)
        found = (path for folder in folders if folder.exists() for path in folder.iterdir())
        files = [str(path) for path in found if path.name != ".lock"]
        return host.mounts_below(self.home) + host.loop_devices(self.root) + files

    # Its process

    def _launched(self, arguments: Sequence[str], output: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.launcher, sys.executable, "-m", "convoy_py", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=command.variables(),
            cwd=forks.PROJECT,
            pass_fds=[self._listening.fileno()] if self._listening else [],
        )

    def _removed(self, name: str) -> bool:
        return self.call("/VolumeDriver.Remove", {"Name": name}).status == 200

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.home / "stderr").read_text()[-2000:]
        try:
            return self.call("/VolumeDriver.List", {}).status == 200
        except OSError:
            return False

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)


def request(path: str, body: bytes = b"") -> bytes:
    """A POST as engine 20.10 writes it."""
    head = f"POST {path} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n"
    length = f"Content-Length: {len(body)}\r\n"
    accept = "Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n"
    return (head + length + accept).encode() + body


def answer(connection: socket.socket) -> Answer:
    """Read an answer up to the end of the connection."""
    data = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    if not data:
        raise ConnectionError("the connection ended without an answer")
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in rest)}
    assert len(body) == int(headers["content-length"])
    return Answer(int(first.split()[1]), headers, json.loads(body) if body else None)


def _encoded(message: object) -> bytes:
    return b"" if message is None else json.dumps(message).encode() + b"\n"
