"""The managed plugin, built by the project's own script; called by the docker command of a user.

Its manifest names /var/lib and /run, so what it makes there is made in folders of the tests' own.
"""

import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker.errors import APIError

from tests.e2e import command, host
from tests.e2e.command import CommandError
from tests.e2e.engine import Engine, prints
from tests.e2e.forks import PROJECT
from tests.e2e.namespace import own_mounts
from tests.e2e.waiting import until

NAME = "convoy:latest"
# Where the manifest has the plugin keep its volumes, its references and its admin socket.
ROOT, RUN_DIR = Path("/var/lib/convoy"), Path("/run/convoy")
SOCKET = RUN_DIR / "convoy.sock"

_BASE = "convoy-test-base:latest"
_SUITE = "bookworm"
# With these in the base the Dockerfile's apt-get has nothing to fetch; the tests are half as slow.
_PACKAGES = "binutils,btrfs-progs,ca-certificates,e2fsprogs,python3,python3-pip,tzdata,xfsprogs"
_CACHE = Path("/var/cache/convoy-py")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


class Plugin:
    """The plugin `convoy:latest` of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._url = f"unix://{engine.home}/docker.sock"

    # Commands of the user's

    def docker(self, *arguments: str) -> str:
        """`docker …`; raises CommandError."""
        return command.run(["docker", *arguments], DOCKER_HOST=self._url)

    def convoy(self, *arguments: str) -> str:
        """The `convoy` command on the host, which finds the plugin by itself."""
        return command.convoy(*arguments)

    def build(self, *flags: str) -> str:
        """`make plugin`, but from a base image that is here."""
        return command.run([f"{PROJECT}/plugin/build", *flags], DOCKER_HOST=self._url, BASE=_BASE)

    def enable(self) -> None:
        self.docker("plugin", "enable", NAME)

    def disable(self, *flags: str) -> None:
        self.docker("plugin", "disable", *flags, NAME)

    def set(self, *pairs: str) -> None:
        self.docker("plugin", "set", NAME, *pairs)

    # Its life

    def crash(self) -> None:
        """Kill its process; the engine starts another one."""
        os.kill(self.pid(), signal.SIGKILL)

    def ensure_enabled(self) -> None:
        """Enable it if it is not; build it if it is not there."""
        if not self.identity():
            self.build()
        elif not self.inspect()["Enabled"]:
            self.enable()
        until(self.answers, "an answer of the plugin")

    def pack(self, folder: Path, name: str, **changes: object) -> None:
        """Lay out a plugin as it is now, with another manifest and another root, to create it.

        If one is laid out there, it becomes this one.
        """
        if not folder.exists():
            self._export(folder / "rootfs")
        manifest = json.loads((PROJECT / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**manifest, **changes}))
        # Engines refuse two plugins with the same content.
        (folder / "rootfs/etc/name").write_text(name)

    def _export(self, rootfs: Path) -> None:
        rootfs.mkdir(parents=True)
        container = self._engine.client.containers.create("convoy-rootfs")
        with subprocess.Popen(["tar", "-xC", rootfs], stdin=subprocess.PIPE) as tar:
            assert tar.stdin is not None
            for chunk in container.export():
                tar.stdin.write(chunk)
        container.remove()

    # What is seen of it

    def identity(self) -> str:
        """The id under which the engine has it, a new one each time it is made; "" if it is not."""
        try:
            return str(self.inspect()["Id"])
        except CommandError:
            return ""

    def inspect(self) -> dict[str, Any]:
        (found,) = json.loads(self.docker("plugin", "inspect", NAME))
        return dict(found)

    def pid(self) -> int:
        """Its process, by who listens at the admin socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(SOCKET))
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("=iII", peer)[0])

    def rootfs(self) -> Path:
        return self._engine.home / "data/plugins" / self.identity() / "rootfs"

    def propagated(self) -> Path:
        """Where the host has what the plugin mounts."""
        return self._engine.home / "data/plugins" / self.identity() / "propagated-mount"

    def log(self) -> list[str]:
        """What it wrote, as it stands in the engine's log."""
        mark = f"plugin={self.identity()}"
        lines = (self._engine.home / "log").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if mark in line]

    def mounts(self, volume: str) -> list[str]:
        """Where the host sees the volume mounted; containers' own views of it are not here."""
        below = host.mounts_below(self._engine.home / "data/plugins")
        return [path for path in below if path.endswith(f"/volumes/guarded/{volume}")]

    def devices(self, volume: str) -> list[str]:
        """The loop devices of a volume's image, by whatever path its folder was reached."""
        files = Path("/sys/block").glob("loop*/loop/backing_file")
        return [file.parts[3] for file in files if f"/{volume}/image" in file.read_text()]

    def holds(self, volume: str) -> dict[str, int]:
        """Mount ID -> how often it is counted."""
        try:
            text = (RUN_DIR / "references" / f"{volume}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        return {key: hold["count"] for key, hold in json.loads(text)["holds"].items()}

    def is_released(self, volume: str) -> bool:
        """Whether nothing is mounted, attached or counted."""
        return not (self.mounts(volume) or self.devices(volume) or self.holds(volume))

    def leftovers(self) -> list[str]:
        """What should not be there when there is no volume."""
        folders = (ROOT / "volumes", ROOT / "trash", RUN_DIR / "references")
        files = [str(path) for folder in folders for path in folder.iterdir()]
        below = host.mounts_below(self._engine.home / "data/plugins")
        return files + [path for path in below if "/volumes/guarded/" in path]

    def clear_trash(self) -> None:
        if any((ROOT / "trash").iterdir()):
            self.convoy("trash", "purge", "--all")

    def answers(self) -> bool:
        try:
            return bool(self.convoy("list"))
        except CommandError:
            return False


@contextmanager
def own_host_folders(home: Path) -> Iterator[None]:
    """Cover /var/lib by `home`, and /run by nothing, for all that is started meanwhile."""
    home.mkdir(exist_ok=True)
    with own_mounts():
        command.run(["mount", "--bind", str(home), "/var/lib"])
        command.run(["mount", "-t", "tmpfs", "run", "/run"])
        yield


def base_tar() -> Path:
    """A Debian root with what the Dockerfile installs, as a tar; made once per machine."""
    digest = hashlib.sha256(f"{_SUITE} {_PACKAGES}".encode()).hexdigest()[:12]
    tar = _CACHE / f"{_SUITE}-{digest}.tar"
    if not tar.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        for outdated in _CACHE.glob("*.tar*"):
            outdated.unlink()
        new = tar.with_suffix(f".tar.{os.getpid()}")
        argv = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"]
        argv += [f"--include={_PACKAGES}", _SUITE, str(new)]
        # It trusts whom this machine trusts, a company's own authority included.
        folder = str(Path(_CERTIFICATES).parent)
        command.run([*argv, f"--customize-hook=copy-in {_CERTIFICATES} {folder}"])
        new.rename(tar)
    return tar


def import_base(engine: Engine, tar: Path) -> None:
    """Have the base among the engine's images; where the plugin was built it is there."""
    if engine.client.images.list(name=_BASE):
        return
    repository, _, tag = _BASE.partition(":")
    engine.client.api.import_image_from_file(str(tar), repository=repository, tag=tag)


def read(container: Any) -> str:
    """The text of the container's /data/file; empty when it cannot be had."""
    try:
        said = container.exec_run(["cat", "/data/file"])
    except APIError:  # it does not run
        return ""
    return str(said.output.decode()) if said.exit_code == 0 else ""


def goes_on(container: Any) -> bool:
    """Whether a container still reads its volume, and writes more to it."""

    def lines() -> int:
        return int(prints(container, ["wc", "-l", "/data/log"]).split()[0])

    before = lines()
    until(lambda: lines() > before, "one more line")
    return read(container) == "precious\n"
