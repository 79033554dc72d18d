"""The blocking steps by which a volume's data becomes a volume of Docker's own driver.

The copy is made and compared in a volume beside, and takes its name by an exchange of two folders:
nobody sees a half one, and ours stays as it is meanwhile. A note on disk tells the next daemon what
may be half made. The engine is called, so nobody may have a lock.
"""

import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from convoy_py.docker_volumes import LOCAL, Docker, LocalVolume
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.steps.parts import opened
from convoy_py.errors import AlreadyExists, ConvoyError, NoSpace, NotFound, VolumeInUse
from convoy_py.linux import files, trees
from convoy_py.linux.reflink import Step
from convoy_py.logs import event
from convoy_py.models.sizes import format_size
from convoy_py.state.notes import Notes
from convoy_py.state.records import RELEASE, Release

log = logging.getLogger("convoy.engine")

LABEL = "convoy.release"  # on what is half made: of which volume
# Compose compares it with its file, which will name another driver, and then offers to empty the
# volume.
_HASH_LABEL = "com.docker.compose.config-hash"


@dataclass(frozen=True)
class Target:
    """What a volume is to be called under Docker, and whether that is still to be made."""

    name: str
    labels: Mapping[str, str]
    new: bool


@dataclass(frozen=True)
class Copied:
    """A whole copy in Docker's volume `beside`; once `switched`, the target has it."""

    volume: str
    target: Target
    beside: LocalVolume
    note: Path
    release: Release
    files: int = 0
    switched: bool = False


class Handover:
    """What a release does on this host; `notes` is a folder below the root."""

    def __init__(self, docker: Docker, notes: Path) -> None:
        self._docker = docker
        self._notes = Notes(RELEASE, "half released", notes)

    def sweep(self) -> None:
        """Take away what a daemon that ended, or an engine that failed, left half made."""
        for note, release in self._notes.left():
            self._take_back(note, release)

    def target(self, volume: str, name: str) -> Target:
        """Where a volume would go; raises what stands in the way, but for its own users."""
        ours, labels = self._docker.driver_and_labels(volume)
        driver = ours if name == volume else self._docker.driver_and_labels(name)[0]
        if driver == LOCAL:
            _refuse_used(self._docker.local_volume(name))
        elif driver and name != volume:
            raise AlreadyExists(f"Docker has a volume {name} of driver {driver}: give another name")
        labels = {} if ours == LOCAL else labels
        labels.pop(_HASH_LABEL, None)
        return Target(name, labels, driver != LOCAL)

    def users(self, volume: str, target: Target) -> list[str]:
        """Who has to let go of a volume first, in words."""
        if target.name != volume:
            return [str(user) for user in self._docker.users([volume])]
        if not target.new:
            return []  # what has that name has Docker's
        return [f"{user}, which is {user.state}" for user in self._docker.having(volume)]

    def check_room(self, size: int) -> None:
        """Raise NoSpace if so many bytes do not fit where Docker's own volumes lie."""
        folder = self._docker.folder()
        found = os.statvfs(folder)
        if (free := found.f_bavail * found.f_frsize) < size:
            raise NoSpace(
                f"{folder} has {format_size(free)} free, and {format_size(size)} are needed"
            )

    def copy(self, volume: Entry, target: Target, step: Step) -> Copied:
        """Copy a volume that nobody uses into a new one of Docker's, compared byte for byte."""
        name = f"convoy-release-{secrets.token_hex(8)}"
        release = Release(volume=volume.name, target=target.name, new=target.new, beside=name)
        note = self._notes.begin(release)
        try:
            beside = self._docker.create_local(name, {LABEL: volume.name})
            with opened(volume) as folder:
                tree = trees.copy(folder, beside.folder, step)
                trees.verify(folder, beside.folder, step)
            files.sync_filesystem(beside.folder)
        except BaseException:
            self._take_back(note, release)
            raise
        return Copied(volume.name, target, beside, note, release, tree.files)

    def switch(self, copied: Copied) -> Copied:
        """Let the copy trade places with the empty folder of the target, durably."""
        target = copied.target
        if target.new:
            self._docker.create_local(target.name, target.labels)
        local = self._docker.local_volume(target.name)
        _refuse_used(local)  # for that name was anybody's until now
        files.exchange(copied.beside.folder, local.folder)
        try:
            files.sync_filesystem(local.folder)
        except BaseException:
            files.exchange(copied.beside.folder, local.folder)
            raise
        return replace(copied, switched=True)

    def back(self, copied: Copied) -> None:
        """Undo what was done so far; what cannot be undone now stays noted."""
        try:
            if copied.switched:
                local = self._docker.local_volume(copied.target.name)
                if local.users:
                    raise VolumeInUse(local.name, map(str, local.users))
                files.exchange(copied.beside.folder, local.folder)
        except (OSError, ConvoyError) as error:
            event(
                log, logging.WARNING, "released all the same", volume=copied.volume, failure=error
            )
        self._take_back(copied.note, copied.release)

    def _take_back(self, note: Path, release: Release) -> None:
        """Take away what a note says was half made; what cannot be just now stays noted.

        A copy that has its name stays, and so does whatever somebody else wrote.
        """
        try:
            self._remove(release)
            self._notes.end(note)
        except (OSError, ConvoyError) as error:
            self._notes.tell(note, error)
        finally:
            self._notes.leave(note)

    def _remove(self, release: Release) -> None:
        volume, target, beside = release.volume, release.target, release.beside
        named, half = self._local(target), self._local(beside)
        taken = named is not None and not _is_empty(named)
        if half is not None:
            if taken and not _is_empty(half):
                log.warning(
                    "the release of %s was cut off: Docker's volumes %s and %s both have data; "
                    "look at them, and `docker volume rm` what is not wanted",
                    volume,
                    target,
                    beside,
                )
            else:
                self._docker.remove_volume(beside)
        if taken:
            log.warning(
                "the release of %s was cut off: Docker's own volume %s has its data, and so has "
                "ours, where it is still there: `convoy delete` or `docker volume rm` one of them",
                volume,
                target,
            )
        elif named is not None and release.new:
            self._docker.remove_volume(target)

    def end(self, copied: Copied) -> None:
        """Take away what is left of a release that is done; what cannot be stays noted."""
        try:
            if _is_empty(copied.beside):
                self._docker.remove_volume(copied.beside.name)
            else:
                log.warning(
                    "somebody wrote into %s while volume %s was released as %s: look at it, and "
                    "`docker volume rm` it",
                    copied.beside.name,
                    copied.volume,
                    copied.target.name,
                )
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "left", volume=copied.beside.name, failure=error)
        else:
            self._notes.end(copied.note)
        finally:
            self._notes.leave(copied.note)  # only now: what is half made is looked for meanwhile

    def _local(self, name: str) -> LocalVolume | None:
        """A volume of Docker's own; None if there is none, or what has the name is another's."""
        try:
            if self._docker.driver_and_labels(name)[0] == LOCAL:
                return self._docker.local_volume(name)
        except NotFound:  # gone just now
            pass
        return None


def _refuse_used(local: LocalVolume) -> None:
    """Raise if a volume of Docker's is not free to be filled."""
    if not _is_empty(local):
        raise AlreadyExists(
            f"Docker has a volume {local.name} of its own, and it is not empty: `docker volume rm` "
            "it, or give another name"
        )
    if local.users:
        raise VolumeInUse(local.name, map(str, local.users))


def _is_empty(local: LocalVolume) -> bool:
    with os.scandir(local.folder) as entries:
        return next(entries, None) is None
