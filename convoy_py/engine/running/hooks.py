"""Commands and rests of containers around the taking of a snapshot: what is owed is noted first."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol, TypeVar

from convoy_py.containers import Container
from convoy_py.docker_volumes import Docker
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.locks import Locks
from convoy_py.engine.running.operations import translated
from convoy_py.engine.running.pausing import Pausing, stopped
from convoy_py.engine.running.threads import Blocking
from convoy_py.errors import ContainerRestarts, ConvoyError, OperationFailed, Unavailable, failed
from convoy_py.logs import event
from convoy_py.models.hooks import Command, Hooks
from convoy_py.state.notes import Notes
from convoy_py.state.records import OWED, Owed

log = logging.getLogger("convoy.engine")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Take(Protocol[T_co]):
    """Takes a snapshot, with containers paused for that time."""

    def __call__(self, users: Sequence[Container], *, still: bool) -> Awaitable[T_co]:
        """With `still`, nobody but `users` and operators uses the volumes."""
        ...


class Hooking:
    """Surrounds snapshots by what is done to containers; `notes` is a folder below the root.

    A note is there as long as a command of `after` may be owed, by this daemon or an earlier one.
    """

    def __init__(
        self,
        docker: Docker,
        pausing: Pausing,
        blocking: Blocking,
        notes: Path,
        limit: float,
    ) -> None:
        """`limit`: for how many seconds a command is waited for."""
        self._docker = docker
        self.pausing = pausing
        self._blocking = blocking
        self._notes = Notes(OWED, "hook failed", notes)
        self._limit = limit
        self._locks = Locks()  # of containers

    async def around(
        self, hooks: Hooks, volumes: Sequence[str], progress: Progress, take: Take[T]
    ) -> tuple[T, list[str]]:
        """What is taken, and what went wrong with containers after that.

        Raises what fails before it was taken. What is in `after` is run in any case. Who does
        something to the same containers meanwhile is waited for: else one would stop them under the
        commands of the other, or start them too early.
        """
        users = await self._blocking.run(self._docker.users, volumes) if hooks.halts else []
        commands = (*hooks.before, *hooks.after)
        names = {user.name for user in users} | {command.told for command in commands}
        async with AsyncExitStack() as held:
            for name in sorted(names):
                await held.enter_async_context(self._locks.locked(name))
            return await self._held(hooks, volumes, progress, take)

    def recover(self) -> None:
        """Run what is owed by an earlier daemon, or could not be run yet.

        Called again and again; what cannot be done yet is logged once.
        """
        for note, content in self._notes.left():
            owed = [Command(container=row[0], words=row[1:]) for row in content.commands if row]
            if problems := self._settle(note, owed):
                self._notes.tell(note, OperationFailed("; ".join(map(str, problems))))
            else:
                names = ", ".join(map(str, owed))
                event(log, logging.WARNING, "was owed, and is run", commands=names)

    # Steps

    async def _held(
        self, hooks: Hooks, volumes: Sequence[str], progress: Progress, take: Take[T]
    ) -> tuple[T, list[str]]:
        if not hooks.after:
            return await self._within(hooks, volumes, progress, take)
        with translated(", ".join(volumes), "hooks"):
            note = await self._blocking.run(self._notes.begin, _noted(hooks.after))
        try:
            taken, problems = await self._within(hooks, volumes, progress, take)
        except BaseException:
            for problem in await self._blocking.run_long(self._settle, note, hooks.after):
                event(log, logging.ERROR, "hook failed", failure=problem)
            raise
        progress.note = "running what comes after"
        later = await self._blocking.run_long(self._settle, note, hooks.after)
        return taken, [*problems, *map(str, later)]

    async def _within(
        self, hooks: Hooks, volumes: Sequence[str], progress: Progress, take: Take[T]
    ) -> tuple[T, list[str]]:
        for command in hooks.before:
            progress.note = f"running {command}"
            await self._blocking.run_long(self._run, command, lambda: progress(0))
        users = await self._blocking.run(self._docker.users, volumes) if hooks.halts else []
        halted = [user for user in users if hooks.stop or user.id in hooks.stopped]
        left = [user for user in users if user not in halted]
        paused = [user for user in left if hooks.pause or user.id in hooks.paused]
        taken: list[T] = []
        try:
            async with stopped(self.pausing, self._blocking, halted):
                taken.append(
                    await self._paused(paused, take, still=bool(paused) and paused == left)
                )
        except (OperationFailed, Unavailable) as error:
            if not taken:
                raise
            return taken[0], [str(error)]
        return taken[0], []

    async def _paused(self, users: Sequence[Container], take: Take[T], *, still: bool) -> T:
        async with AsyncExitStack() as restarting:
            while True:
                try:
                    return await take(users, still=still)
                except ContainerRestarts as error:
                    # It cannot be paused, and may run at any moment: so it is stopped, with
                    # nothing locked, for the engine calls Unmount and Mount.
                    found = [user for user in users if user.id == error.container]
                    users = [user for user in users if user not in found]
                    await restarting.enter_async_context(
                        stopped(self.pausing, self._blocking, found)
                    )

    def _run(self, command: Command, follow: Callable[[], object] = lambda: None) -> None:
        try:
            self._docker.execute(command.container, command.words, self._limit, follow)
        except (OperationFailed, Unavailable) as error:
            raise type(error)(f"{command}: {error}") from error

    def _settle(self, note: Path, owed: Sequence[Command]) -> list[ConvoyError]:
        """Run each on its own; the note stays for those whose containers do not run just now."""
        problems: list[ConvoyError] = []
        left: list[Command] = []
        try:
            for command in owed:
                try:
                    self._run(command)
                except ConvoyError as error:
                    problems.append(error)
                    if isinstance(error, Unavailable):
                        left.append(command)
            if not left:
                self._notes.end(note)
            elif left != owed:
                self._notes.write(note, _noted(left))
        except OSError as error:
            problems.append(failed("what ran may be run again", error))
        finally:
            self._notes.leave(note)  # from here on it is for `recover`
        return problems


def _noted(owed: Sequence[Command]) -> Owed:
    return Owed(commands=tuple((command.container, *command.words) for command in owed))
