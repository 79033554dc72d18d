"""Runs a real daemon in a folder of its own, speaks to it as Docker does, leaves nothing behind.

A daemon lives below one folder: its root, its run folder, its sockets and its log. `Daemon.clean`
takes everything down that an experiment may have left there, whatever state it is in.
"""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from convoy_py.linux import files, freeze, loop, mounts
from tests import holding
from tests.launches import Launch, Running, launch_forked

# Generous: these machines are small and busy. Nothing waits that long unless it is broken.
PATIENCE = 120.0
_PIECE = 1 << 16
T = TypeVar("T")


class Refused(Exception):
    """The daemon answered that it did not do it; the text is its one line."""


class Unanswered(Exception):
    """The connection ended without an answer: it may be done or not."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


def eventually(
    look: Callable[[], T], what: str | Callable[[], str], patience: float = PATIENCE
) -> T:
    """What `look` returns as soon as that is true; AssertionError after `patience` seconds.

    `what` was waited for, and how it stands then, if that is a function.
    """
    deadline, pause = time.monotonic() + patience, 0.001
    while not (found := look()):
        if time.monotonic() > deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {patience:g} s: {told}")
        time.sleep(pause)
        # Who waits for long would keep busy those for whom it waits.
        pause = min(pause * 1.5, 0.03)
    return found


def request(
    path: Path, method: str, target: str, body: object = None, timeout: float = PATIENCE
) -> Answer:
    """One call on a Unix socket, on a connection of its own; raises Unanswered."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + content)
            said = b"".join(iter(partial(connection.recv, _PIECE), b""))
    except OSError as error:
        raise Unanswered(f"{method} {target}: {error!r}") from error
    if (answer := _answer(said)) is None:
        raise Unanswered(f"{method} {target}: only {said!r}")
    return answer


def _answer(said: bytes) -> Answer | None:
    """What a daemon said before it closed the connection; None if that is not all of an answer.

    By hand: the standard library's takes a tenth of the processors' time in the crash tests.
    """
    head, _, text = said.partition(b"\r\n\r\n")
    first = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    length = re.search(rb"\r\nContent-Length: (\d+)", head, re.IGNORECASE)
    if first is None or len(text) != (int(length[1]) if length else 0):
        return None
    return Answer(int(first[1]), json.loads(text) if text else None)


class Daemon:
    """One daemon and its folder; it can be killed and started again on what it left."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        root: Path | None = None,
        plugin_socket: Path | None = None,
    ) -> None:
        """`flags` are those of `convoy daemon` beside its paths, which lie below `folder`."""
        self.folder = folder
        self.root = root or folder / "root"
        self.run_dir = folder / "run"
        self.plugin_socket = plugin_socket or folder / "plugin.sock"
        self.admin_socket = folder / "admin.sock"
        self.log = folder / "daemon.log"
        self.flags = flags
        self.launch: Launch = launch_forked
        self.process: Running | None = None

    # Life

    def start(self, launch: Launch | None = None) -> None:
        """Start, and return when the sockets are open; whoever calls then waits for the records."""
        assert self.process is None, "it runs already"
        self.process = (launch or self.launch)(self.arguments(), self.log)
        eventually(self._is_open, "the daemon opens its sockets")

    def kill(self) -> None:
        """End it as a crash does: SIGKILL."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.gone()

    def gone(self) -> int:
        """Wait until it has ended, and return its exit code."""
        assert self.process is not None
        code = self.process.wait(PATIENCE)
        self.process = None
        return code

    def stop(self) -> int:
        """End it as an administrator does: SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.gone()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def clean(self) -> None:
        """End the daemon and take down every mount and loop device below its folder."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        self.process = None
        clean(self.folder)
        for mountpoint in (self.run_dir / "mounts").glob("*"):
            files.set_immutable(mountpoint, on=False)

    def left(self) -> list[object]:
        """Mounts and loop devices that are still there below the folder."""
        return [*mounts.below(self.folder), *holding.attached_below(self.folder)]

    def let_go(self, patience: float = PATIENCE) -> None:
        """Wait until nothing is left; otherwise the error tells what, and who has it."""

        def told() -> str:
            return "\n".join(["mounts and loop devices are gone", *holding.told(self.folder)])

        eventually(lambda: not self.left(), told, patience)

    # Docker's calls

    def call(self, endpoint: str, body: object = None, timeout: float = PATIENCE) -> Any:
        """One call of the plugin protocol; raises Refused with its `Err`, or Unanswered."""
        answer = request(self.plugin_socket, "POST", f"/{endpoint}", body, timeout)
        if answer.status != 200:
            raise Refused(answer.body["Err"])
        assert answer.body.get("Err", "") == ""
        return answer.body

    def create(self, name: str, **options: str) -> None:
        """As often as it is told to be repeated, for a disk may be busy."""
        while True:
            try:
                self.call("VolumeDriver.Create", {"Name": name, "Opts": options})
            except Refused as error:
                if not str(error).endswith("repeat the command to join it"):
                    raise
            else:
                return

    def remove(self, name: str) -> None:
        self.call("VolumeDriver.Remove", {"Name": name})

    def mount(self, name: str, mount_id: str) -> Path:
        """Mount and return what a container would see."""
        return Path(self._named("Mount", name, mount_id)["Mountpoint"])

    def unmount(self, name: str, mount_id: str) -> None:
        self._named("Unmount", name, mount_id)

    def get(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.call("VolumeDriver.Get", {"Name": name})["Volume"]
        return found

    def listed(self) -> dict[str, str]:
        """Name -> mountpoint, "" where it is not mounted."""
        found = self.call("VolumeDriver.List")["Volumes"]
        return {volume["Name"]: volume["Mountpoint"] for volume in found}

    # The operator's calls

    def admin(self, method: str, target: str, body: object = None) -> Any:
        """One call of the admin API; raises Refused with its error, or Unanswered."""
        answer = request(self.admin_socket, method, target, body)
        if answer.status >= 400:
            raise Refused(answer.body["Error"])
        return answer.body

    def forget(self, name: str) -> None:
        """`convoy delete --reference`: the data stays."""
        self.admin("DELETE", f"/v1/volumes/{name}?reference=true")

    def adopt(self, name: str) -> None:
        """`convoy create --adopt`: take over the data that is there."""
        self.admin("POST", "/v1/volumes", {"Name": name, "Adopt": True})

    def _named(self, verb: str, name: str, mount_id: str) -> Any:
        return self.call(f"VolumeDriver.{verb}", {"Name": name, "ID": mount_id})

    def arguments(self) -> list[str]:
        """The command line, after the program's name."""
        settings = self.folder / "convoy.toml"
        settings.touch()  # so that the host's own settings do not count
        paths = {
            "root": self.root,
            "run-dir": self.run_dir,
            "plugin-socket": self.plugin_socket,
            "socket": self.admin_socket,
            "config": settings,
        }
        return ["daemon", *(f"--{key}={path}" for key, path in paths.items()), *self.flags]

    def _is_open(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"the daemon ended with {code}: {self.log.read_text()[-2000:]}"
        return is_open(self.plugin_socket) and is_open(self.admin_socket)


def is_open(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def clean(folder: Path) -> None:
    """Take down every mount and loop device below a folder, also those in use, or frozen."""
    # What an earlier unmount uncovers is seen at the next look.
    while found := mounts.below(folder):
        with suppress(OSError):
            freeze.thaw(Path(found[-1].mountpoint))
        mounts.detach(found[-1].mountpoint)
    for device in map(Path, holding.attached_below(folder)):
        loop.detach(loop.LoopDevice(device, int(device.name.removeprefix("loop"))))
