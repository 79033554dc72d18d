"""The verb that gives volumes back to Docker's own driver `local`: the way out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from convoy_py.docker_volumes import Docker
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.handover import Copied, Handover, Target
from convoy_py.engine.steps.host import Host
from convoy_py.engine.verbs.trash import TrashBin
from convoy_py.engine.verbs.uses import Uses
from convoy_py.engine.verbs.volumes import Volumes
from convoy_py.errors import (
    AlreadyExists,
    ConvoyError,
    Invalid,
    NoAnswer,
    NotFound,
    OperationFailed,
    VolumeInUse,
    VolumeProtected,
    failed,
    replaced,
)
from convoy_py.wire.copies import ReleasedVolume


@dataclass(frozen=True)
class _Plan:
    entry: Entry
    target: Target
    bytes: int
    users: list[str]

    def as_message(self, note: str, files: int = 0) -> ReleasedVolume:
        return ReleasedVolume(
            name=self.entry.name,
            docker_volume=self.target.name,
            bytes=self.bytes,
            files=files,
            note=note,
        )


class Releases:
    """Volumes that leave."""

    def __init__(
        self,
        operations: Operations,
        volumes: Volumes,
        uses: Uses,
        trash: TrashBin,
        host: Host,
        docker: Docker,
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._volumes = volumes
        self._uses = uses
        self._trash = trash
        self._host = host
        self._docker = docker
        self._handover = Handover(docker, host.store.notes / "releasing")

    async def release(
        self,
        volume: str,
        compose_project: str,
        docker_volume: str,
        progress: Progress,
        *,
        dry_run: bool = False,
    ) -> list[ReleasedVolume]:
        """Copy volumes that nobody uses into volumes of Docker's own driver; ours go to the trash.

        Of one volume, under `docker_volume` or its own name, or of a compose project. All or none:
        until every copy is whole, compared and in its place, ours are as they were. With `dry_run`
        only say what would be done.
        """
        names = [volume] if volume else await self._of_project(compose_project)
        if docker_volume and len(names) != 1:
            raise Invalid("one name fits one volume: leave it out")
        plans, silent = [], []
        for name in names:
            target = docker_volume or name
            try:
                plans.append(await self._plan(name, target))
            except NoAnswer as error:
                if not dry_run:
                    raise
                told = ReleasedVolume(name=name, docker_volume=target, bytes=0, note=str(error))
                silent.append(told)
        run = self._operations.blocking.run
        await run(self._handover.check_room, sum(plan.bytes for plan in plans))
        if dry_run:
            return [*(plan.as_message(_foretold(plan)) for plan in plans), *silent]
        progress.total = 2 * sum(plan.bytes for plan in plans)
        async with self._operations.locked_idle(*names) as locked:
            for plan in plans:
                await self._refuse(plan)
                await self._uses.vacate(plan.entry, "release", *plan.entry.within())
            entries = [plan.entry for plan in plans]
            async with self._uses.steady("its release", locked, *entries, still=True):
                return await self._released(plans, progress)

    async def sweep(self) -> None:
        """Take away what a daemon that ended, or an engine that failed, left half made."""
        await self._operations.blocking.run_long(self._handover.sweep)

    async def _of_project(self, project: str) -> list[str]:
        run = self._operations.blocking.run
        found = await run(self._docker.foreign_volumes_of_project, project)
        names = [name for name in found if name in self._entries.volumes]
        if not names:
            raise NotFound(f"compose project {project} has no volume of this daemon's")
        return names

    async def _plan(self, name: str, target: str) -> _Plan:
        """What releasing a volume would come to; raises what stands in the way."""
        self._volumes.refuse_within(name, "release its volume, or clone it and release the clone")
        entry = self._entries.get(name)
        backend, place = entry.usable()
        _refuse_protected(entry)
        if target != name and target in self._entries.volumes:
            raise AlreadyExists(f"volume {target} exists already: give another name")
        run = self._operations.blocking.run
        wanted = await run(self._handover.target, name, target)
        users = await run(self._handover.users, name, wanted)
        threads = await self._operations.threads(name)
        try:
            usage = await threads.ask(name, partial(backend.usage, place, self._host.wall_clock()))
        except OSError as error:
            raise failed(f"volume {name}: release failed", error) from error
        return _Plan(entry, wanted, usage.content, users)

    async def _refuse(self, plan: _Plan) -> None:
        """Raise what has come to stand in the way; the caller has the volume's lock."""
        name = plan.entry.name
        if self._entries.get(name) is not plan.entry:
            raise replaced(f"volume {name}")
        if plan.users:
            raise VolumeInUse(name, [f"{', '.join(plan.users)}{_advice(plan)}"])

    async def _released(self, plans: Sequence[_Plan], progress: Progress) -> list[ReleasedVolume]:
        """Copy all, have all trade places with empty ones, and only then let ours go."""
        do, handover = self._operations.do_long, self._handover
        done: list[Copied] = []
        try:
            for plan in plans:
                name = plan.entry.name
                progress.note = f"copying and comparing {name}"
                copied = await do(name, "release", handover.copy, plan.entry, plan.target, progress)
                done.append(copied)
            for at, plan in enumerate(plans):
                _refuse_protected(plan.entry)  # or was it just now
                # Docker has one name space: it takes a name only from a driver that lacks it.
                plan.entry.leaving = plan.target.name == plan.entry.name
                done[at] = await do(plan.entry.name, "release", handover.switch, done[at])
        except BaseException:
            for plan in plans:
                plan.entry.leaving = False
            for copied in reversed(done):
                await self._operations.blocking.run_long(handover.back, copied)
            raise
        return await self._let_go(plans, done)

    async def _let_go(self, plans: Sequence[_Plan], done: Sequence[Copied]) -> list[ReleasedVolume]:
        """Take ours away: from here on Docker's are the volumes."""
        released: list[ReleasedVolume] = []
        failures: list[str] = []
        for plan, copied in zip(plans, done, strict=True):
            name = plan.entry.name
            note = _next_step(plan, kept=self._trash.keeps)
            try:
                await self._volumes.let_go(plan.entry)
            except ConvoyError as error:
                plan.entry.leaving = False
                failures.append(f"volume {name} is still here, too ({error}): delete it by hand")
            await self._operations.blocking.run_long(self._handover.end, copied)
            released.append(plan.as_message(note, copied.files))
        if failures:
            told = ", ".join(plan.target.name for plan in plans)
            raise OperationFailed(f"Docker has {told}, but {'; '.join(failures)}")
        return released


def _refuse_protected(entry: Entry) -> None:
    if entry.volume_record().protected:
        raise VolumeProtected(entry.name)


def _foretold(plan: _Plan) -> str:
    if plan.users:
        return f"in use by {', '.join(plan.users)}{_advice(plan)}"
    return "mounted, to be unmounted first" if plan.entry.references.holds else ""


def _advice(plan: _Plan) -> str:
    if plan.target.name != plan.entry.name:
        return " (stop them first)"
    return " (Docker keeps the name for them: remove them first, or give another name)"


def _next_step(plan: _Plan, *, kept: bool) -> str:
    name, target = plan.entry.name, plan.target.name
    use = f"use it as {target} of driver local, in a compose file without `driver:`"
    if (place := plan.entry.place) and place.spec.path:
        return f"{use}; the folder that {name} showed stays, with its data"
    if not kept:
        return use
    ours = f"{name}, with its snapshots," if plan.entry.snapshots else name
    return f"{use}; what was {ours} is in the trash"
