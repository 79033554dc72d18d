"""The Docker Engine's volumes: those of its own driver `local`, and what it knows of ours.

Blocking, as `containers`: while the engine makes or looks up a volume it calls Get or List, so
nobody may have a volume's lock across a call.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convoy_py.containers import (
    ALIVE,
    PROJECT,
    Container,
    alive,
    check_name,
    container_of,
    listed,
    volumes_of,
)
from convoy_py.docker_commands import DockerCommands
from convoy_py.errors import ConvoyError, NotFound, Unsupported
from convoy_py.logs import event

log = logging.getLogger("convoy.containers")

LOCAL = "local"
# Options by which the `local` driver mounts something instead of using its own folder.
_ELSEWHERE = ("type", "o", "device")


@dataclass(frozen=True)
class LocalVolume:
    """A volume of Docker's `local` driver; `mountpoint` is as the host sees it."""

    name: str
    driver: str
    mountpoint: Path
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    users: list[Container] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Its data as this daemon sees it."""
        return on_host(self.mountpoint)


@dataclass(frozen=True)
class Known:
    """What the engine knows of some volumes, by their names, and who is alive that uses any."""

    users: list[Container] = field(default_factory=list)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    # Of all containers that have it: what the image was called, and its digest.
    images: dict[str, dict[str, str]] = field(default_factory=dict)


class Docker(DockerCommands):
    """The Docker Engine at one socket, with its volumes."""

    def known(self, volumes: Collection[str]) -> Known:
        """What there is to be known of these; what takes the engine too long is left out."""
        if self.is_absent:
            return Known()
        with self._client() as client:
            entries = [
                entry
                for entry in client.containers(all=True)
                if not set(volumes).isdisjoint(volumes_of(entry))
            ]
        users = [container_of(entry) for entry in entries if entry["State"] in ALIVE]
        try:
            with self._client() as client:
                labels = {
                    info["Name"]: dict(info["Labels"])
                    for info in listed(client, {})
                    if info["Labels"] and info["Name"] in volumes
                }
                images = _images(client, entries, volumes) if entries else {}
        except ConvoyError as error:
            event(log, logging.WARNING, "labels and images are not known", failure=error)
            return Known(users)
        return Known(users, labels, images)

    def local_volume(self, name: str) -> LocalVolume:
        """A volume of the `local` driver; raises NotFound.

        Raises Unsupported for one of another driver, or whose data is not in Docker's folder.
        """
        check_name("Docker volume", name)
        with self._client() as client:
            return _local(client.inspect_volume(name), alive(client))

    def local_volumes_of_project(self, project: str) -> list[LocalVolume]:
        """Those that a compose project made, by name; its external and anonymous ones are not.

        Empty if there are none; raises Unsupported if one of them cannot be taken over.
        """
        made = {"label": f"{PROJECT}={project}", "driver": LOCAL}
        with self._client() as client:
            names = sorted(info["Name"] for info in listed(client, made))
            users = alive(client)
            return [_local(client.inspect_volume(name), users) for name in names]

    def foreign_volumes_of_project(self, project: str) -> list[str]:
        """The names of those that a compose project made of any other driver, sorted."""
        with self._client() as client:
            found = listed(client, {"label": f"{PROJECT}={project}"})
            return sorted(info["Name"] for info in found if info["Driver"] != LOCAL)

    def driver_and_labels(self, name: str) -> tuple[str, dict[str, str]]:
        """(driver, labels) of a volume of any driver; ("", {}) if the engine knows none."""
        check_name("Docker volume", name)
        try:
            with self._client() as client:
                info = client.inspect_volume(name)
        except NotFound:
            return "", {}
        return info["Driver"], dict(info["Labels"] or {})

    def having(self, name: str) -> list[Container]:
        """The containers that have a volume, in whatever state: the engine keeps it for them."""
        with self._client() as client:
            entries = client.containers(all=True)
            return [container_of(entry) for entry in entries if name in volumes_of(entry)]

    def folder(self) -> Path:
        """Where the volumes of the `local` driver lie, as this daemon sees it."""
        with self._client() as client:
            return on_host(Path(client.info()["DockerRootDir"]) / "volumes")

    def create_local(self, name: str, labels: Mapping[str, str]) -> LocalVolume:
        """Make a volume of the `local` driver, or find the one that is there already."""
        check_name("Docker volume", name)
        with self._client(slow=True) as client:
            client.create_volume(name, driver=LOCAL, labels=dict(labels))
        return self.local_volume(name)

    def remove_volume(self, name: str) -> None:
        """Delete a volume; raises OperationFailed if a container has it, NotFound."""
        with self._client(slow=True) as client:
            client.remove_volume(name)


def _images(
    client: Any, entries: Iterable[Mapping[str, Any]], volumes: Collection[str]
) -> dict[str, dict[str, str]]:
    """The digests of what containers were made of, by their volumes and what it is called."""
    digests = {each["Id"]: each["RepoDigests"] for each in client.images()}
    found: dict[str, dict[str, str]] = {}
    for entry in entries:
        # One that was built here has none of a registry.
        digest = min(digests.get(entry["ImageID"]) or [entry["ImageID"]])
        for volume in set(volumes).intersection(volumes_of(entry)):
            found.setdefault(volume, {})[entry["Image"]] = digest
    return {volume: dict(sorted(images.items())) for volume, images in found.items()}


def on_host(path: Path) -> Path:
    """A path of the host as this daemon sees it, which may be in a managed plugin."""
    root = Path("/proc/1/root") / path.relative_to("/")
    return path if path.is_dir() else root


def _local(info: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> LocalVolume:
    """A volume by its description and the containers that are alive; raises Unsupported."""
    name, driver = info["Name"], info["Driver"]
    if driver != LOCAL:
        raise Unsupported(
            f"Docker volume {name} is one of {driver}: only those of `local` can be taken over"
        )
    options = dict(info["Options"] or {})
    _check_is_here(name, options)
    users = [container_of(entry) for entry in entries if name in volumes_of(entry)]
    mountpoint = Path(info["Mountpoint"])
    return LocalVolume(name, driver, mountpoint, options, dict(info["Labels"] or {}), users)


def _check_is_here(name: str, options: Mapping[str, str]) -> None:
    """Raise Unsupported if the volume's data is not in the folder that Docker made for it."""
    if not any(options.get(key) for key in _ELSEWHERE):
        return
    device = options.get("device", "")
    if {"bind", "rbind"} & set(options.get("o", "").split(",")):
        raise Unsupported(
            f"Docker volume {name} is the folder {device}, not Docker's own: make a volume with "
            f"`-o path={device}`, or copy what is in it"
        )
    # The values of `o` stay unsaid: there may be a password among them.
    raise Unsupported(
        f"Docker volume {name} is type={options.get('type', '')}, device={device}, mounted only "
        "while in use: its data is not Docker's own; copy what is in it"
    )
