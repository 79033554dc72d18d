"""Containers that are held up for a snapshot or a rollback: noted first, so that none stays so."""

import json
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convoy_py.containers import Container, Engine
from convoy_py.errors import ConvoyError
from convoy_py.linux import files
from convoy_py.logs import event

log = logging.getLogger("convoy.engine")


PAUSED, STOPPED = "paused", "stopped"


@dataclass(frozen=True)
class Stopped:
    """Containers that were stopped, and the note of it."""

    containers: list[Container]
    note: Path


class Pausing:
    """Pauses and stops through the Docker Engine; `notes` is a folder below the run folder.

    Methods block and run in worker threads.
    """

    def __init__(self, containers: Engine, notes: Path) -> None:
        self._containers = containers
        self._notes = notes

    @contextmanager
    def paused(self, containers: Sequence[Container]) -> Iterator[None]:
        """Have them stand still while the block runs; those that did before go on doing so."""
        note = self._noted(PAUSED, [c for c in containers if c.state == "running"])
        try:
            with self._containers.paused(containers):
                yield
        finally:
            note.unlink()

    def stop(self, containers: Sequence[Container]) -> Stopped:
        """Stop them until `start`; none, if one cannot be."""
        note = self._noted(STOPPED, containers)
        try:
            return Stopped(self._containers.stop(containers), note)
        except BaseException:
            note.unlink()
            raise

    def start(self, stopped: Stopped) -> None:
        """Start again what was stopped."""
        self._containers.start(stopped.containers)
        stopped.note.unlink()

    def recover(self) -> None:
        """Have those go on that an earlier daemon held up; what cannot be done is logged."""
        for note in self._notes.glob("*.json"):
            try:
                state, rows = json.loads(note.read_bytes())
                containers = [Container(id=key, name=name, state=state) for key, name in rows]
                again = {PAUSED: self._containers.unpause, STOPPED: self._containers.start}[state]
            except (ValueError, TypeError, KeyError):
                log.warning("%s is not a note of ours; it is deleted", note)
                note.unlink()
                continue
            try:
                again(containers)
            except ConvoyError as error:
                event(log, logging.WARNING, f"containers stay {state}", failure=error)
                continue
            names = ", ".join(map(str, containers))
            event(log, logging.WARNING, f"were {state}, and go on", containers=names)
            note.unlink()

    def _noted(self, state: str, containers: Sequence[Container]) -> Path:
        note = self._notes / f"{secrets.token_hex(8)}.json"
        self._notes.mkdir(mode=0o700, exist_ok=True)
        text = json.dumps([state, [[c.id, c.name] for c in containers]])
        files.durable_replace(note, text.encode(), durable=False)
        return note
