"""A Podman of the tests' own: its stores below one folder, its plugins in a file of its own."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e import host
from tests.e2e.engine import IMAGE, LIVE, image

# Which runtime it is does not matter here; this one comes with the engine and knows old cgroups.
# Without limits of ours Podman would raise them, which root in a container may not do.
_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"

[engine.volume_plugins]
{plugins}
"""


class PodmanError(Exception):
    """A command that failed: its exit status, and what it said on standard error."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Podman:
    """`podman` as root, with one image and no network."""

    def __init__(self, home: Path, plugins: Mapping[str, Path]) -> None:
        """`plugins` are the sockets by the names of their drivers."""
        self.home = home
        home.mkdir(parents=True)
        self._configuration = home / "containers.conf"
        # Podman leaves an empty one of each container's behind.
        self._cgroup = f"{home.parent.name}-podman"
        lines = "\n".join(f'{name} = "{socket}"' for name, socket in plugins.items())
        self._configuration.write_text(_CONFIGURATION.format(plugins=lines))
        self("import", "-", IMAGE, stdin=image())

    def __call__(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a command, return what it prints; raises PodmanError."""
        argv = ["podman", *("--root", f"{self.home}/root", "--runroot", f"{self.home}/run")]
        argv += ["--tmpdir", f"{self.home}/tmp", *arguments]
        environment = {**os.environ, "CONTAINERS_CONF": str(self._configuration)}
        # Not a pipe: a container's monitor would hold it open.
        with (self.home / "out").open("w+b") as out, (self.home / "err").open("w+b") as err:
            done = subprocess.run(
                argv, input=stdin, stdout=out, stderr=err, env=environment, timeout=60, check=False
            )
        if done.returncode:
            raise PodmanError(done.returncode, (self.home / "err").read_text())
        return (self.home / "out").read_text()

    def run(self, command: str, *volumes: str) -> str:
        """Run a shell's command in a container to its end, return its output."""
        return self("run", "--rm", *self._container(volumes), IMAGE, "sh", "-c", command)

    def background(self, *volumes: str, command: str = LIVE) -> str:
        """Start a container that lives until it is removed; returns its id."""
        return self(
            "run", "--detach", *self._container(volumes), IMAGE, "sh", "-c", command
        ).strip()

    def create_volume(self, name: str, driver: str, options: Mapping[str, str] = {}) -> None:
        flags = [f"--opt={key}={value}" for key, value in options.items()]
        self("volume", "create", "--driver", driver, *flags, name)

    def inspect(self, name: str) -> dict[str, Any]:
        (found,) = json.loads(self("volume", "inspect", name))
        return dict(found)

    def volume_names(self) -> list[str]:
        return self("volume", "ls", "--quiet").split()

    def remove_containers(self) -> None:
        self("rm", "--all", "--force", "--time", "0")

    def clear(self) -> None:
        """Remove all containers and volumes."""
        self.remove_containers()
        self("volume", "rm", "--all", "--force")

    def forget_boot(self) -> None:
        """End all containers as a reset of the machine does; what a reboot empties is emptied."""
        host.end_processes_of(self.home)
        host.unmount_below(self.home)
        for folder in ("run", "tmp"):
            shutil.rmtree(self.home / folder)

    def close(self) -> None:
        """End everything that was started here, whatever state it is in."""
        host.end_processes_of(self.home)
        host.unmount_below(self.home)
        host.remove_cgroups(self._cgroup)

    def _container(self, volumes: Sequence[str]) -> list[str]:
        mounts = [f"--volume={volume}" for volume in volumes]
        return ["--network", "none", "--cgroup-parent", f"/{self._cgroup}", *mounts]
