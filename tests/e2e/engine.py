"""A private Docker Engine: started, crashed and restarted at will, with one image and no network.

It shares the plugin folders with every other engine of the host, and nothing else.
"""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from tests.e2e import host
from tests.e2e.waiting import until

IMAGE = "convoy-test:latest"
# A folder of the image with content, an owner and a mode that no default would give.
CONTENT = "/content"
CONTENT_FILES = {"first": b"one\n", "deeper/second": b"two\n"}
CONTENT_OWNER = (999, 998)
CONTENT_MODE = 0o2770
# The command of a container that lives until it is stopped.
LIVE = "exec sleep 1000000"


class Engine:
    """One `dockerd` below one folder. The binary is CONVOY_TEST_DOCKERD, or `dockerd` on PATH."""

    def __init__(self, home: Path, *more_hosts: str) -> None:
        """`home` may be that of an earlier one; `more_hosts` are where it listens besides."""
        self.home = home
        self.client: Any = None  # a docker.DockerClient; a new one after each start
        self.version: tuple[int, ...] = ()  # such as (20, 10, 24)
        self._process: subprocess.Popen[bytes] | None = None
        self._config = home / "daemon.json"
        self._hosts = (f"unix://{home}/docker.sock", *more_hosts)
        home.mkdir(parents=True, exist_ok=True)
        self._config.write_text("{}")

    # Life

    def start(self) -> None:
        """Start and wait until the API answers; imports the image when it is not there."""
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(self._arguments(), stdout=log, stderr=log)
        until(self._answers, f"an answer of dockerd, see {self.home}/log")
        text = self.client.version()["Version"]
        self.version = tuple(map(int, re.findall(r"\d+", text.partition("-")[0].partition("+")[0])))
        if not self.client.images.list(name=IMAGE):
            repository, _, tag = IMAGE.partition(":")
            self.client.api.import_image_from_data(image(), repository=repository, tag=tag)

    def stop(self) -> None:
        """End it as `systemctl stop docker` does: containers are stopped, unless live-restored."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Crash it together with its containerd; the containers themselves live on."""
        self._end(signal.SIGKILL)
        pidfile = self.home / "exec/containerd/containerd.pid"
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(pidfile.read_text()), signal.SIGKILL)
        pidfile.unlink(missing_ok=True)
        (self.home / "pid").unlink(missing_ok=True)

    def restart(self) -> None:
        self.stop()
        self.start()

    def ensure_running(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self.start()

    @contextmanager
    def live_restore(self) -> Iterator[None]:
        """Let containers live on while the engine is down, as --live-restore does."""
        self._set_live_restore(on=True)
        try:
            yield
        finally:
            self.ensure_running()
            self._set_live_restore(on=False)

    @contextmanager
    def runtime(self, before: str) -> Iterator[str]:
        """The name of a runtime that runs a command of the shell before it makes a container."""
        script = self.home / "runtime"
        case = f'case " $* " in *" create "*) {before} ;; esac'
        script.write_text(f'#!/bin/sh\n{case}\nexec runc "$@"\n')
        script.chmod(0o755)
        self._reload({"runtimes": {"late": {"path": str(script)}}})
        until(lambda: "late" in self.client.info()["Runtimes"], "a reloaded configuration")
        try:
            yield "late"
        finally:
            self._reload({})

    def clear(self, driver: str) -> None:
        """Remove all containers, and the volumes of `driver` and of `local`."""
        self.clear_containers()
        until(lambda: not self._volumes_left(driver), "the removal of all volumes")

    def clear_containers(self) -> None:
        for container in self.client.containers.list(all=True, ignore_removed=True):
            with suppress(NotFound):
                container.remove(force=True, v=True)

    def close(self) -> None:
        """End everything that was started here, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGTERM)
        host.end_processes_of(self.home)
        host.unmount_below(self.home)
        # Unused mountpoints of a managed plugin refuse to be written to, and to be deleted.
        subprocess.run(["chattr", "-R", "-f", "-i", self.home / "data/plugins"], check=False)

    # Containers

    def run(self, command: str | Sequence[str], *volumes: str, **options: Any) -> str:
        """Run a container to its end and return its output; a string is a shell's command.

        `volumes` are those of `docker run -v`. Raises APIError if it cannot be started.
        """
        container = self.create(*volumes, command=command, **options)
        try:
            container.start()
            status = container.wait()["StatusCode"]
            output: bytes = container.logs()
            assert status == 0, f"{command}: exit status {status}: {output.decode()}"
            return output.decode()
        finally:
            container.remove(force=True, v=True)

    def background(self, *volumes: str, command: str | Sequence[str] = LIVE, **options: Any) -> Any:
        """Start a container that lives until it is stopped; returns the SDK's Container."""
        container = self.create(*volumes, command=command, **options)
        container.start()
        return container

    def create(self, *volumes: str, command: str | Sequence[str] = LIVE, **options: Any) -> Any:
        """As `background`, but not started."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        # Else the engine starts itself for each, to give it a network that nobody asked for.
        settings = {"network_disabled": True, "volumes": list(volumes), **options}
        # A shell as process 1 ignores SIGTERM, and every stop would take its ten seconds.
        return self.client.containers.create(IMAGE, argv, stop_signal="SIGKILL", **settings)

    def told(self, container: Any) -> str:
        """How a container stands, and the end of the engine's log: for who waited in vain."""
        container.reload()
        lines = (self.home / "log").read_text().splitlines()
        told = [line for line in lines if "setting up exec" not in line and "rpc error" not in line]
        return "\n".join([str(container.attrs["State"]), *told[-40:]])

    # Volumes

    def create_volume(self, name: str, driver: str, options: Mapping[str, str] = {}) -> None:
        """`docker volume create`, with a label by which a forgotten record can be told."""
        self.client.volumes.create(
            name, driver=driver, driver_opts=dict(options), labels={"kept": "yes"}
        )

    def inspect(self, name: str) -> dict[str, Any]:
        """`docker volume inspect`; raises NotFound."""
        found: dict[str, Any] = self.client.api.inspect_volume(name)
        return found

    def volume_names(self) -> list[str]:
        """`docker volume ls`, of all drivers."""
        return [volume["Name"] for volume in self.client.api.volumes()["Volumes"] or []]

    def remove_volume(self, name: str, *, force: bool = False) -> None:
        self.client.api.remove_volume(name, force=force)

    # Its process

    def _arguments(self) -> list[str]:
        home = self.home
        return [
            os.environ.get("CONVOY_TEST_DOCKERD", "dockerd"),
            *("--data-root", f"{home}/data", "--exec-root", f"{home}/exec"),
            *("--pidfile", f"{home}/pid", *(f"--host={host}" for host in self._hosts)),
            *("--config-file", str(self._config)),
            *("--bridge=none", "--iptables=false", "--ip6tables=false", "--userland-proxy=false"),
        ]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.home / "log").read_text()[-2000:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(f"{self.home}/docker.sock"):
                return False
        url = f"unix://{self.home}/docker.sock"
        self.client = docker.DockerClient(base_url=url, timeout=180, version="auto")
        return True

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(180)
        if self.client is not None:
            self.client.close()

    def _set_live_restore(self, *, on: bool) -> None:
        self._reload({"live-restore": on})
        until(lambda: self.client.info()["LiveRestoreEnabled"] is on, "a reloaded configuration")

    def _reload(self, settings: Mapping[str, object]) -> None:
        assert self._process is not None
        self._config.write_text(json.dumps(settings))
        self._process.send_signal(signal.SIGHUP)

    def _volumes_left(self, driver: str) -> list[str]:
        """Try to remove the volumes; returns what would not go, with the reason."""
        left = []
        for name in (driver, "local"):
            found = self.client.api.volumes(filters={"driver": name})["Volumes"] or []
            for volume in found:
                try:
                    self.remove_volume(volume["Name"])
                except NotFound:
                    continue
                except APIError as error:
                    left.append(str(error))
        return left


def image() -> bytes:
    """A root with a static busybox, as a tar: no registry is needed."""
    busybox = shutil.which("busybox")
    assert busybox, "these tests need the package busybox-static"
    programs = subprocess.run([busybox, "--list"], capture_output=True, check=True, text=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("bin", "tmp"):
            _add_folder(tar, folder)
        _add_file(tar, "bin/busybox", Path(busybox).read_bytes(), mode=0o755)
        for program in programs.stdout.split():
            if program != "busybox":
                _add_link(tar, f"bin/{program}", "busybox")
        _add_folder(tar, CONTENT[1:], CONTENT_MODE, CONTENT_OWNER)
        _add_folder(tar, f"{CONTENT[1:]}/deeper", 0o755, CONTENT_OWNER)
        for name, data in CONTENT_FILES.items():
            _add_file(tar, f"{CONTENT[1:]}/{name}", data, owner=CONTENT_OWNER)
    return buffer.getvalue()


def _add_folder(
    tar: tarfile.TarFile, name: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    entry.uid, entry.gid = owner
    tar.addfile(entry)


def _add_file(
    tar: tarfile.TarFile,
    name: str,
    data: bytes,
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    entry.uid, entry.gid = owner
    tar.addfile(entry, io.BytesIO(data))


def state(container: Any) -> str:
    """The engine's word for it, as it is now: "running", "paused", "restarting", "exited"."""
    container.reload()
    return str(container.status)


def prints(container: Any, command: Sequence[str]) -> bytes:
    """What a command prints that always prints something and changes nothing.

    Asked again where that was lost, as engines do now and then (moby issue 27289).
    """
    output = b""
    for _ in range(3):
        output = output or container.exec_run(command).output
    return output


def crash_loop(engine: Engine, *volumes: str, **options: Any) -> Any:
    """A container that ends as soon as it runs and is started again, with longer and longer waits.

    It is between two of its lives.
    """
    container = engine.background(
        *volumes, command="exit 1", restart_policy={"Name": "always"}, **options
    )

    def waits() -> bool:
        return state(container) == "restarting" and container.attrs["RestartCount"] > 3

    until(waits, "some crashes")
    return container


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)
