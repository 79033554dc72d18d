"""What the Docker Engine knows of containers, and pausing and stopping them.

Blocking: for worker threads. While the engine stops or starts a container it calls Unmount and
Mount, and looking up a volume may call Get or List: so nobody may have a volume's lock, or keep a
filesystem frozen, across `stop` and `start`. Pausing, and looking at containers, calls nothing.
"""

import logging
import os
import re
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from convoy_py.errors import (
    ContainerRestarts,
    ConvoyError,
    InvalidSetting,
    NotFound,
    OperationFailed,
    Unavailable,
    Unsupported,
)
from convoy_py.logs import event

log = logging.getLogger("convoy.containers")

_SCHEME = "unix://"
_DEFAULT_HOST = f"{_SCHEME}/var/run/docker.sock"
# The second is for stop (beside its grace) and start, in which the engine calls plugins.
_QUICK_SECONDS, _SLOW_SECONDS = 10.0, 30.0
PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.swarm.service.name"
# One that restarts may run at the next moment; the others are "created", "exited", "dead" and
# "removing".
ALIVE = ["running", "paused", "restarting"]
# What Docker lets a container, or a volume of its own driver, be called.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_SHORT = 12
# Errors of the system that have no number if it was a library that noticed.
_NUMBERLESS = (TimeoutError, ConnectionError)
# How often a container that ends and begins at any moment is asked to stand still.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Container:
    """A container as it was when it was looked at; `state` is the engine's word, as "running"."""

    id: str
    name: str
    state: str
    labels: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    volumes: Sequence[str] = field(default=(), compare=False, repr=False)  # by name, of any driver

    def __str__(self) -> str:
        return f"container {self.name} ({self.id[:_SHORT]})"


class DockerContainers:
    """The containers of the Docker Engine at one socket; each call makes its own connection.

    Every call raises Unavailable if no engine answers, and OperationFailed with the engine's own
    words if it refuses.
    """

    def __init__(self, host: str | None) -> None:
        """`host` is such as unix:///run/docker.sock; None: DOCKER_HOST, or Docker's default."""
        self._host = host or os.environ.get("DOCKER_HOST") or _DEFAULT_HOST

    @property
    def is_absent(self) -> bool:
        """Whether there is no socket at all, for which the SDK need not be loaded."""
        return not Path(self._host.removeprefix(_SCHEME)).exists()

    # Who uses what

    def users(self, volumes: Collection[str]) -> list[Container]:
        """The containers that mount any of these volumes by name, and run, are paused or restart.

        A bind mount of a folder below a volume's mountpoint is not found here.
        """
        wanted = set(volumes)
        with self._client() as client:
            return [
                container_of(entry)
                for entry in alive(client)
                if wanted.intersection(volumes_of(entry))
            ]

    def volumes_of_container(self, container: str) -> list[str]:
        """The names of the volumes of a container, given its name or id; raises NotFound."""
        check_name("container", container)
        with self._client() as client:
            return list(dict.fromkeys(volumes_of(client.inspect_container(container))))

    def volumes_of_project(self, project: str) -> list[str]:
        """The names of the volumes that a compose project made, or that its containers mount.

        Those of all drivers, sorted; empty if there is no such project.
        """
        label = {"label": f"{PROJECT}={project}"}
        with self._client() as client:
            entries = client.containers(all=True, filters=label)
            names = {name for entry in entries for name in volumes_of(entry)}
            names.update(info["Name"] for info in listed(client, label))
        return sorted(names)

    # Pause, stop, start

    @contextmanager
    def paused(self, containers: Iterable[Container]) -> Iterator[None]:
        """Pause those that run, and unpause exactly these at the end, whatever happens.

        One that was paused already stays paused, one that ended meanwhile is no error. Raises
        OperationFailed if one cannot be paused, with none left paused, or cannot be unpaused:
        ContainerRestarts for one that is between two of its lives, which has to be stopped.
        """
        ours: list[Container] = []
        try:
            for container in containers:
                ours.append(container)  # first, for it may be paused even if no answer comes
                if not self._pause(container):
                    ours.pop()
            yield
        except BaseException:
            self._restore(self.unpause, ours)
            raise
        self.unpause(ours)

    def unpause(self, containers: Iterable[Container]) -> None:
        """Unpause those that are paused; raises OperationFailed naming each that stays so."""
        self._each("unpause", containers, self._unpause)

    def stoppable(self, containers: Iterable[Container]) -> list[Container]:
        """Those that are alive, in the state in which they are now, by the time of their start.

        Raises Unsupported if a stop would be the end of one.
        """
        started: list[tuple[datetime, Container]] = []
        for container in containers:
            try:
                with self._client() as client:
                    info = client.inspect_container(container.id)
            except NotFound:
                continue
            state = info["State"]
            if state["Status"] in ALIVE:
                _check_comes_back(container, info)
                # As text the times do not compare: the engine leaves out zeros at the end.
                began = datetime.fromisoformat(state["StartedAt"])
                started.append((began, replace(container, state=state["Status"])))
        return [container for _, container in sorted(started, key=lambda pair: pair[0])]

    def stop(self, containers: Iterable[Container], grace: int = 10) -> list[Container]:
        """Stop those that are alive, the youngest first; returns them as `start` takes them.

        After `grace` seconds they are killed. Raises Unsupported, with none stopped, if one would
        not be there to be started again; OperationFailed if one cannot be stopped, with those
        started again that were.
        """
        alive = self.stoppable(containers)
        stopped: list[Container] = []
        try:
            for container in reversed(alive):
                stopped.insert(0, container)  # first, for it may stop even if no answer comes
                if not self._stop(container, grace):
                    stopped.pop(0)
        except BaseException:
            self._restore(self.start, stopped)
            raise
        return stopped

    def start(self, containers: Iterable[Container]) -> None:
        """Start them in this order, also past one that fails; OperationFailed names all such.

        Those that were paused are paused again; those that are gone by now stay so.
        """
        self._each("start", containers, self._start)

    def _pause(self, container: Container) -> bool:
        """Whether it was paused by this call; if not, then there was nothing to pause."""
        for tries_left in reversed(range(_ATTEMPTS)):
            try:
                with self._client() as client:
                    client.pause(container.id)
            except (NotFound, OperationFailed) as error:
                state = self._state(container)
                if state == "restarting":
                    raise ContainerRestarts(container.id, str(container)) from error
                if state != "running":
                    break
                if not tries_left:
                    raise OperationFailed(f"{container} cannot be paused: {error}") from error
            else:
                return True
        return False

    def _unpause(self, container: Container) -> None:
        try:
            with self._client() as client:
                client.unpause(container.id)
        except (NotFound, OperationFailed):
            if self._state(container) == "paused":
                raise

    def _stop(self, container: Container, grace: int) -> bool:
        """Whether it was there to be stopped."""
        # The SDK adds the grace to the time within which an answer has to come.
        try:
            with self._client(slow=True) as client:
                client.stop(container.id, timeout=grace)
        except NotFound:
            return False
        except OperationFailed as error:
            raise OperationFailed(f"{container} cannot be stopped: {error}") from error
        return True

    def _start(self, container: Container) -> None:
        try:
            with self._client(slow=True) as client:
                client.start(container.id)
        except (NotFound, OperationFailed):  # a network of its own may not be found either
            state = self._state(container)
            if state and state not in ALIVE:
                raise
        if container.state == "paused":
            self._pause(container)

    def _state(self, container: Container) -> str:
        """Its state by now; "" if it is gone."""
        try:
            with self._client() as client:
                return str(client.inspect_container(container.id)["State"]["Status"])
        except NotFound:
            return ""

    def _each(
        self, verb: str, containers: Iterable[Container], do: Callable[[Container], None]
    ) -> None:
        """Do it to every one of them, and only then raise what went wrong."""
        failures: list[str] = []
        kind: type[ConvoyError] = OperationFailed
        for container in containers:
            try:
                do(container)
            except ConvoyError as error:
                failures.append(f"{container}: {error}")
                kind = Unavailable if isinstance(error, Unavailable) else kind
        if failures:
            raise kind(f"could not {verb} {'; '.join(failures)}; do it by hand")

    def _restore(self, undo: Callable[[list[Container]], None], done: list[Container]) -> None:
        """Undo after a failure, which is what the caller is told of; this one only the log."""
        try:
            undo(done)
        except ConvoyError as error:
            event(log, logging.ERROR, "containers are not as they were", failure=error)

    # The SDK

    @contextmanager
    def _client(self, *, slow: bool = False) -> Iterator[Any]:
        """A client of the SDK, closed at the end; what it raises becomes an error of ours."""
        # Not at the top: it takes 6 MB and 60 ms, and many a daemon never looks at a container.
        from docker import errors  # noqa: PLC0415

        try:
            with closing(_connect(self._host, _SLOW_SECONDS if slow else _QUICK_SECONDS)) as client:
                yield client
        except errors.NotFound as error:
            raise NotFound(_line(error.explanation or error)) from error
        except errors.APIError as error:
            raise OperationFailed(_line(error.explanation or error)) from error
        except (ValueError, LookupError, TypeError) as error:
            raise OperationFailed(
                f"{self._host} does not answer as a Docker Engine does: {_line(error)}"
            ) from error
        except (errors.DockerException, OSError) as error:  # what requests raises are OSErrors
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Unavailable:
        where, cause = f"the Docker Engine at {self._host}", _system_error(error)
        if isinstance(cause, TimeoutError):
            return Unavailable(f"{where} did not answer in time")
        return Unavailable(
            f"{where} does not answer: {cause.strerror or _line(cause)}; start it, or name its "
            "socket with the setting docker_host"
        )


def _connect(host: str, timeout: float) -> Any:
    """A client of the SDK that speaks the newest version of the API which the engine knows."""
    import docker  # noqa: PLC0415 - see above
    from docker.utils import config  # noqa: PLC0415

    if not host.startswith(_SCHEME + "/"):
        raise InvalidSetting("docker_host", host, "use unix:///PATH, for containers of this host")
    # The SDK would leave a socket open that cannot be connected.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(timeout)
        probe.connect(host.removeprefix(_SCHEME))
    # A user's ~/.docker/config.json is of no concern, and a broken one would stop the SDK.
    config.find_config_file = lambda *_: None
    return docker.APIClient(base_url=host, version="auto", timeout=timeout)


def _system_error(error: BaseException) -> OSError:
    """What the system said, below the layers of libraries that wrapped it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (cause.errno or isinstance(cause, _NUMBERLESS)):
            return cause
        cause = cause.__cause__ or cause.__context__
    return OSError(_line(error))


def _line(said: object) -> str:
    return " ".join(str(said).split()) or type(said).__name__


# What the engine answers


def alive(client: Any) -> list[dict[str, Any]]:
    return list(client.containers(filters={"status": ALIVE}))


def listed(client: Any, filters: Mapping[str, str]) -> list[dict[str, Any]]:
    """Volumes; unless `filters` names a driver, the engine asks each for its own."""
    return list(client.volumes(filters=filters)["Volumes"] or ())


def volumes_of(entry: Mapping[str, Any]) -> list[str]:
    """The names of the volumes among the mounts of a container."""
    return [mount["Name"] for mount in entry["Mounts"] or () if mount["Type"] == "volume"]


def container_of(entry: Mapping[str, Any]) -> Container:
    # Beside its own name, as /db, there are those that others gave it by a link, as /web/db.
    names = [name[1:] for name in entry["Names"] or () if "/" not in name[1:]]
    name = names[0] if names else entry["Id"][:_SHORT]
    labels, volumes = entry.get("Labels") or {}, volumes_of(entry)
    return Container(entry["Id"], name, entry["State"], labels, volumes)


def _check_comes_back(container: Container, info: Mapping[str, Any]) -> None:
    """Raise Unsupported for a container of which a stop would be the end."""
    if info["HostConfig"]["AutoRemove"]:
        raise Unsupported(f"{container} runs with --rm: a stop would remove it; end it yourself")
    if service := (info["Config"]["Labels"] or {}).get(_SERVICE):
        raise Unsupported(
            f"{container} belongs to the service {service}, which would put another in its place; "
            "scale it to 0"
        )


def check_name(what: str, name: str) -> None:
    """The name becomes part of a URL."""
    if not _NAME.fullmatch(name):
        raise NotFound(f"no such {what}: {name}")
