"""Keeps what became of schedules: `<root>/volumes/<name>/runs.json`, beside the volume's record.

So it goes with the volume wherever that goes. What is lost of it costs a run too many, or a line in
a list: it keeps nothing from being done.
"""

import logging

from convoy_py.linux import files
from convoy_py.logs import event
from convoy_py.state.formats import Newer, Unreadable
from convoy_py.state.records import RUNS, Record, Runs
from convoy_py.state.store import RUNS_FILE, Store

log = logging.getLogger("convoy.schedules")


class RunStore:
    """The results below one root. Methods do disk I/O and run in worker threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self, record: Record) -> Runs | None:
        """What is known of a volume's runs; None if nothing is, or it cannot be read."""
        path = self._store.home(record.name) / RUNS_FILE
        try:
            runs = RUNS.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, Unreadable) as problem:
            event(log, logging.WARNING, f"{path} is not read", volume=record.name, failure=problem)
            return None
        return runs if runs.volume == record.uuid else None

    def save(self, name: str, runs: Runs) -> None:
        """Raises OSError, Unavailable; what a newer daemon wrote stays, by Newer."""
        self._store.presence.refuse()
        path = self._store.home(name) / RUNS_FILE
        try:
            RUNS.decode(path.read_bytes())
        except Newer as problem:
            raise problem.at(path) from None
        except (FileNotFoundError, Unreadable):
            pass
        files.durable_replace(path, RUNS.encode(runs))

    def forget(self, name: str) -> None:
        """Raises OSError, Unavailable."""
        self._store.presence.refuse()
        (self._store.home(name) / RUNS_FILE).unlink(missing_ok=True)
