"""Containers that are held up for a snapshot or a rollback: noted first, so that none stays so."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from convoy_py.containers import Container, DockerContainers
from convoy_py.engine.running.threads import Blocking
from convoy_py.errors import ConvoyError, OperationFailed, Unavailable, failed
from convoy_py.logs import event
from convoy_py.state.notes import Notes
from convoy_py.state.records import PAUSE, Halt, Pause

log = logging.getLogger("convoy.engine")

PAUSED: Final = "paused"
STOPPED: Final = "stopped"


@dataclass(frozen=True)
class Stopped:
    """Containers that were stopped, each in the state in which it was, and the note of it."""

    containers: list[Container]
    note: Path


class Pausing:
    """Pauses and stops through the Docker Engine.

    A note is there as long as a container may be held up by this daemon, or an earlier one. Each
    container ends in the state in which it was, unless its user has put it into another meanwhile.
    Methods block and run in worker threads.
    """

    def __init__(self, containers: DockerContainers, run_notes: Path, root_notes: Path) -> None:
        """Folders: of what ends with the boot, a pause, and of what outlives it, a stop."""
        self._containers = containers
        self._folders: dict[Halt, Path] = {PAUSED: run_notes, STOPPED: root_notes}
        self._notes = Notes(PAUSE, "containers stay held up", run_notes, root_notes)

    @contextmanager
    def paused(self, containers: Sequence[Container]) -> Iterator[None]:
        """Have them stand still while the block runs; those that did before go on doing so."""
        ours = [c for c in containers if c.state != PAUSED]
        note = self._noted(PAUSED, ours)
        done = False
        try:
            with self._containers.paused(containers):
                yield
                done = True
        except BaseException:
            left = self._go_on(note, PAUSED, ours)
            if left or not done:
                raise
        self._notes.end(note)

    def stop(self, containers: Sequence[Container]) -> Stopped:
        """Stop them until `start` or `leave`, the youngest first; none, if one cannot be."""
        chosen = self._containers.stoppable(containers)
        note = self._noted(STOPPED, ())
        stopped: list[Container] = []
        noted: list[Container] = []
        try:
            for container in reversed(chosen):
                noted = [container, *stopped]
                self._write(note, STOPPED, noted)
                # Not those that have ended by themselves, or by their user, by now.
                stopped = [*self._containers.stop([container]), *stopped]
        except BaseException:
            self._go_on(note, STOPPED, noted)
            raise
        return Stopped(stopped, note)

    def start(self, stopped: Stopped) -> None:
        """Start again what was stopped; raises OperationFailed or Unavailable, naming each.

        As long as no engine answers, `recover` goes on trying.
        """
        if error := self._go_on(stopped.note, STOPPED, stopped.containers):
            raise error

    def leave(self, stopped: Stopped) -> None:
        """Have them stay stopped."""
        try:
            self._notes.end(stopped.note)
        except OSError as error:
            self._tell(stopped.note, failed("the next daemon will start them", error), STOPPED)

    def recover(self) -> None:
        """Have those go on that an earlier daemon held up, or this one could not let go.

        Called again and again; what cannot be done yet is logged once.
        """
        for note, content in self._notes.left():
            state, rows = content.root
            containers = [_read(row, state) for row in rows]
            names = ", ".join(map(str, containers))
            if error := self._go_on(note, state, containers):
                self._tell(note, error, state)
            else:
                event(log, logging.WARNING, f"were {state}, and go on", containers=names)

    def _tell(self, note: Path, failure: Exception, state: Halt) -> None:
        """Log once that containers of a note do not go on."""
        self._notes.tell(note, failure, f"containers stay {state}")

    def _go_on(
        self, note: Path, state: Halt, containers: Sequence[Container]
    ) -> ConvoyError | None:
        """Have them go on, each on its own; the note stays for those who may do so later.

        A pause can be taken back at any time. But a container that the engine refuses to start is
        its user's from then on, who may well want it to stay as it is.
        """
        failures: list[ConvoyError] = []
        left: list[Container] = []
        try:
            for container in containers:
                try:
                    self._again(state)([container])
                except ConvoyError as error:
                    failures.append(error)
                    if state == PAUSED or isinstance(error, Unavailable):
                        left.append(container)
            if not left:
                self._notes.end(note)
            elif left != containers:
                self._write(note, state, left)
        except OSError as error:
            failures.append(failed(f"who goes on may be noted as {state} still", error))
        finally:
            self._notes.leave(note)  # from here on it is for `recover`
        if not failures:
            return None
        kind = Unavailable if any(isinstance(e, Unavailable) for e in failures) else OperationFailed
        return kind("; ".join(map(str, failures)))

    def _again(self, state: Halt) -> Callable[[list[Container]], None]:
        """How containers go on that are held up so."""
        return {PAUSED: self._containers.unpause, STOPPED: self._containers.start}[state]

    def _noted(self, state: Halt, containers: Sequence[Container]) -> Path:
        """A pause ends with the boot, and so does its note."""
        content, folder = _content(state, containers), self._folders[state]
        return self._notes.begin(content, folder, durable=state == STOPPED)

    def _write(self, note: Path, state: Halt, containers: Sequence[Container]) -> None:
        self._notes.write(note, _content(state, containers), durable=state == STOPPED)


@asynccontextmanager
async def stopped(
    pausing: Pausing, blocking: Blocking, containers: Sequence[Container], *, stay: bool = False
) -> AsyncIterator[list[Container]]:
    """Have containers stopped while the block runs; if it ends well, `stay` leaves them so.

    What the block raises is what is told, and a container that then cannot be started only logged.
    """
    if not containers:
        yield []
        return
    try:
        halted = await blocking.run(pausing.stop, containers)
    except OSError as error:
        raise failed("no container is stopped, for that could not be noted", error) from error
    try:
        yield halted.containers
    except BaseException:
        try:
            await blocking.run(pausing.start, halted)
        except ConvoyError as error:
            event(log, logging.ERROR, "containers are not as they were", failure=error)
        raise
    await blocking.run(pausing.leave if stay else pausing.start, halted)


def _content(state: Halt, containers: Sequence[Container]) -> Pause:
    rows = tuple(
        (c.id, c.name, c.state) if state == STOPPED else (c.id, c.name) for c in containers
    )
    return Pause((state, rows))


def _read(row: Sequence[str], state: Halt) -> Container:
    """A container of a note; older daemons did not note in which state it was."""
    key, name, *was = row
    return Container(id=key, name=name, state=was[0] if was else state)
