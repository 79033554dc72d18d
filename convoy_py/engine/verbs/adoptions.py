"""The verb that takes over volumes of Docker's own driver `local`: the way in."""

import logging
from collections.abc import Sequence
from functools import partial

from convoy_py.docker_volumes import Docker, LocalVolume
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.running.pausing import Pausing, stopped
from convoy_py.engine.steps.cloning import Cloning
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.volumes import Volumes
from convoy_py.errors import (
    AlreadyExists,
    ConvoyError,
    Invalid,
    NoAnswer,
    NotFound,
    Unsettled,
    VolumeInUse,
    failed,
)
from convoy_py.escapes import one_line
from convoy_py.linux import files, trees
from convoy_py.logs import event
from convoy_py.models.names import check_name
from convoy_py.models.volume import Options
from convoy_py.wire.copies import AdoptedVolume

log = logging.getLogger("convoy.engine")


class Adoptions:
    """Volumes that arrive."""

    def __init__(
        self,
        operations: Operations,
        volumes: Volumes,
        room: Room,
        cloning: Cloning,
        docker: Docker,
        pausing: Pausing,
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._volumes = volumes
        self._room = room
        self._cloning = cloning
        self._docker = docker
        self._pausing = pausing

    async def adopt(
        self,
        docker_volume: str,
        compose_project: str,
        name: str,
        options: Options,
        progress: Progress,
        *,
        dry_run: bool = False,
        stop_containers: bool = False,
    ) -> list[AdoptedVolume]:
        """Copy volumes of Docker's `local` driver, which stay as they are, into volumes of ours.

        All or none. Containers that were stopped stay so, for they would go on writing to the old
        volumes; if it fails they are started again. With `dry_run` only say what would be done.
        """
        run = self._operations.blocking.run
        if docker_volume:
            found = [await run(self._docker.local_volume, docker_volume)]
        else:
            found = await run(self._docker.local_volumes_of_project, compose_project)
        if not found:
            raise NotFound(
                f"compose project {compose_project} has no volume of Docker's own driver local"
            )
        if name and len(found) != 1:
            raise Invalid("one name fits one volume: leave it out")
        plans = [
            await self._adoption(local, name or local.name, options, dry_run=dry_run)
            for local in found
        ]
        if dry_run:
            return plans
        users = {user.id: user for local in found for user in local.users}
        if users and not stop_containers:
            used = ", ".join(local.name for local in found if local.users)
            holders = [*map(str, users.values())]
            raise VolumeInUse(used, [f"{', '.join(holders)} (--stop-containers stops them)"])
        progress.total = 2 * sum(plan.bytes for plan in plans)
        adopted: list[AdoptedVolume] = []
        blocking = self._operations.blocking
        async with stopped(self._pausing, blocking, list(users.values()), stay=True):
            try:
                for local, plan in zip(found, plans, strict=True):
                    adopted.append(await self._adopt(local, plan, options, progress))
            except BaseException as error:
                if stay := await self._take_back(adopted):
                    told = f"{error}; adopted all the same: {', '.join(stay)}"
                    raise Unsettled(told) from error
                raise
        return adopted

    async def _take_back(self, adopted: Sequence[AdoptedVolume]) -> list[str]:
        """Delete volumes again that were adopted; returns the names of those that stay.

        The first Mount of one is its point of no return: then it may have more than was copied.
        """
        stay = []
        for each in adopted:
            entry = self._entries.volumes.get(each.name)
            if entry is None:
                continue  # somebody else deleted it
            if entry.mounted_at:
                stay.append(each.name)
                continue
            try:
                await self._volumes.remove(each.name, to_trash=False)
            except ConvoyError as error:
                event(log, logging.WARNING, "adopted all the same", volume=each.name, failure=error)
                stay.append(each.name)
        return stay

    async def _adoption(
        self, local: LocalVolume, name: str, options: Options, *, dry_run: bool
    ) -> AdoptedVolume:
        """What taking over a volume would come to; raises what stands in the way.

        That its storage hangs is told, in a `dry_run`, beside what is known of the others.
        """
        check_name(name)
        if name in self._entries.volumes:
            raise AlreadyExists(f"volume {name} exists already: give another name")
        threads = await self._operations.blocking.of(str(local.mountpoint))
        try:
            size, takes = await threads.ask(
                f"Docker volume {local.name}", partial(_measured, local)
            )
        except NoAnswer as error:
            if not dry_run:
                raise
            note = one_line(str(error))
            return AdoptedVolume(docker_volume=local.name, name=name, bytes=0, note=note)
        except OSError as error:
            raise failed(f"volume {name}: adopt failed", error) from error
        await self._operations.do(name, "adopt", self._cloning.check_adoption, name, takes, options)
        users = ", ".join(map(str, local.users))
        note = f"in use by {users}, to be stopped first" if users else ""
        return AdoptedVolume(docker_volume=local.name, name=name, bytes=size, note=one_line(note))

    async def _adopt(
        self, local: LocalVolume, plan: AdoptedVolume, options: Options, progress: Progress
    ) -> AdoptedVolume:
        name = plan.name
        progress.note = f"copying and comparing {local.name}"
        async with self._operations.locked(name):
            if name in self._entries.volumes:
                raise AlreadyExists(f"volume {name} exists already: give another name")
            entry, files = await self._room.made_for(
                lambda: self._operations.do_long_at(
                    str(local.mountpoint),
                    name,
                    "adopt",
                    lambda: self._cloning.adopt(name, local.folder, options, progress),
                )
            )
            self._entries.put(entry)
        note = (
            f"Docker's own {local.name} is as it was: remove its containers and `docker volume rm "
            f"{local.name}`, then start them with driver convoy"
        )
        return plan.model_copy(update={"files": files, "note": note})


def _measured(local: LocalVolume) -> tuple[int, int]:
    """(bytes to be copied, bytes of the host that the copy takes)."""
    folder = local.folder
    return trees.measure(folder)[1], files.disk_usage(folder)[1]
