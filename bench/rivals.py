"""Whose calls are measured: ours, other plugins at their sockets, and Docker's own driver."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode

from bench import client
from bench.engine import dockerd
from bench.together import CallFailed, together

CHANGES = ("Create", "Mount", "Unmount", "Remove")
_START_LIMIT = 60.0
_MOUNT_ID = "bench"
# Else the engine asks all plugins of the host.
_OF_LOCAL = urlencode({"filters": '{"driver":["local"]}'})

Speak = Callable[[str, str, Mapping[str, str]], bytes]


def as_engine(verb: str, name: str, options: Mapping[str, str]) -> bytes:
    """A call as an engine makes it to a plugin."""
    more: dict[str, dict[str, object]] = {
        "Create": {"Opts": options},
        "Mount": {"ID": _MOUNT_ID},
        "Unmount": {"ID": _MOUNT_ID},
    }
    return client.request(f"VolumeDriver.{verb}", Name=name, **more.get(verb, {}))


def _to_engine(verb: str, name: str, _: Mapping[str, str]) -> bytes:
    """A call to an engine on a volume of its own driver; it mounts none of these by itself."""
    calls: dict[str, tuple[str, str, object]] = {
        "Create": ("POST", "volumes/create", {"Name": name, "Driver": "local"}),
        "Remove": ("DELETE", f"volumes/{name}", None),
        "Get": ("GET", f"volumes/{name}", None),
        "List": ("GET", f"volumes?{_OF_LOCAL}", None),
    }
    if verb not in calls:
        raise CallFailed(f"the engine has no {verb}")
    return client.message(*calls[verb])


@dataclass(frozen=True)
class Subject:
    """Whoever answers calls on volumes at a socket; `speak` puts them as it has to be asked."""

    name: str
    socket: Path
    options: Mapping[str, str] = field(default_factory=dict)  # of the volumes that are created
    speak: Speak = as_engine
    one_by_one: frozenset[str] = frozenset()  # calls of which several at once hang

    def calls(self, verb: str, names: Sequence[str]) -> list[Callable[[], bytes]]:
        """One call for each name. Raises CallFailed where it has no such call."""
        asked = [self.speak(verb, name, self.options) for name in names]
        return [partial(client.call, self.socket, each) for each in asked]

    def ask(self, verb: str, name: str = "") -> bytes:
        """The answer. Raises CallFailed."""
        return self.calls(verb, [name])[0]()

    def able(self) -> frozenset[str]:
        """The changes that succeed here; what is made to find out is removed."""
        done = set()
        for verb in CHANGES:
            with suppress(CallFailed):
                self.ask(verb, "bench-able")
                done.add(verb)
        return frozenset(done)

    def fill(self, names: Sequence[str], clients: int = 4) -> None:
        """Create volumes that are to exist."""
        if names:
            together(self.calls("Create", names), clients)

    def empty(self, names: Sequence[str]) -> None:
        """Remove volumes, also those that are no longer there."""
        for name in names:
            with suppress(CallFailed, OSError):
                self.ask("Remove", name)


def given(text: str) -> Subject:
    """A plugin as `NAME=/path.sock`, with options for its volumes: `,KEY=VALUE`, ….

    Raises ValueError.
    """
    first, *more = text.split(",")
    name, _, path = first.partition("=")
    if not name or not path.startswith("/") or not all("=" in pair for pair in more):
        raise ValueError(f"{text!r} is not NAME=/path.sock, or that with ,KEY=VALUE for volumes")
    return Subject(name, Path(path), dict(pair.split("=", 1) for pair in more))


@contextmanager
def docker_local(folder: Path) -> Iterator[Subject]:
    """Docker's driver `local`, by the API of an engine of our own, which is all that reaches it."""
    folder.mkdir()
    with dockerd(folder) as host:
        yield Subject("local", Path(host.removeprefix("unix://")), speak=_to_engine)


@contextmanager
def rclone(folder: Path, program: str) -> Iterator[Subject]:
    """`rclone serve docker`, its volumes folders of the host seen through FUSE."""
    folder.mkdir()
    remote, path = folder / "remote", folder / "rclone.sock"
    remote.mkdir()
    argv: list[str | Path] = [program, "serve", "docker", "--socket-addr", path, "--no-spec"]
    argv += ["--base-dir", folder / "mounts", "--cache-dir", folder, "--config", os.devnull]
    environment = {**os.environ, "PATH": f"{_with_fusermount3(folder)}:{os.environ['PATH']}"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.perf_counter() + _START_LIMIT
        while not path.exists():
            if process.poll() is not None or time.perf_counter() > deadline:
                raise RuntimeError(f"rclone did not start: exit code {process.poll()}")
            time.sleep(0.05)
        options, hanging = {"remote": str(remote)}, frozenset({"Mount", "Unmount"})
        yield Subject("rclone", path, options, one_by_one=hanging)
    finally:
        process.kill()  # it would wait for mounts that hang
        process.wait()


def _with_fusermount3(folder: Path) -> Path:
    """A folder for PATH in which the older fusermount bears the name that rclone asks for."""
    programs = folder / "bin"
    programs.mkdir()
    if shutil.which("fusermount3") is None and (older := shutil.which("fusermount")):
        (programs / "fusermount3").symlink_to(older)
    return programs


def runs_on_uvloop() -> bool:
    """Whether our daemon does where nothing else is asked for."""
    return find_spec("uvloop") is not None
