"""Containers that stand still for a snapshot: noted first, so that none stays so."""

import json
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convoy_py.containers import Container, Engine
from convoy_py.errors import ConvoyError
from convoy_py.linux import files
from convoy_py.logs import event

log = logging.getLogger("convoy.engine")


class Pausing:
    """Pauses through the Docker Engine; `notes` is a folder below the run folder.

    Methods block and run in worker threads.
    """

    def __init__(self, containers: Engine, notes: Path) -> None:
        self._containers = containers
        self._notes = notes

    @contextmanager
    def paused(self, containers: Sequence[Container]) -> Iterator[None]:
        """Have them stand still while the block runs; those that did before go on doing so."""
        running = [c for c in containers if c.state == "running"]
        note = self._notes / f"{secrets.token_hex(8)}.json"
        self._notes.mkdir(mode=0o700, exist_ok=True)
        text = json.dumps([[c.id, c.name] for c in running])
        files.durable_replace(note, text.encode(), durable=False)
        try:
            with self._containers.paused(containers):
                yield
        finally:
            note.unlink()

    def recover(self) -> None:
        """Have those go on that an earlier daemon paused; what cannot be done is logged."""
        for note in self._notes.glob("*.json"):
            try:
                rows = json.loads(note.read_bytes())
                containers = [Container(id=key, name=name, state="paused") for key, name in rows]
                self._containers.unpause(containers)
            except (ValueError, TypeError):
                log.warning("%s is not a note of ours; it is deleted", note)
            except ConvoyError as error:
                event(log, logging.WARNING, "containers stay paused", failure=error)
                continue
            else:
                names = ", ".join(map(str, containers))
                event(log, logging.WARNING, "unpaused", containers=names)
            note.unlink()
