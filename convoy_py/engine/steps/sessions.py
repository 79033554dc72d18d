"""Sessions: a process of its own works on a repository, and is spoken with from a worker thread.

It gets the secrets by a pipe. A lock that it is about to write into the repository is noted here
first, so that a crash of either leaves none that nobody knows.
"""

import logging
import sys
from collections import defaultdict
from threading import Lock
from typing import Annotated, Protocol

from pydantic import ConfigDict, Discriminator, TypeAdapter, ValidationError

from convoy_py.errors import (
    Cancelled,
    Conflict,
    ConvoyError,
    Corrupt,
    Denied,
    Invalid,
    NoSpace,
    NotFound,
    OperationFailed,
    Unavailable,
    Unsupported,
)
from convoy_py.linux import process
from convoy_py.models.session import (
    Access,
    Describe,
    Done,
    Event,
    Failed,
    ListBackups,
    Locks,
    Request,
    Stepped,
    Task,
)
from convoy_py.state.records import Repository
from convoy_py.state.repositories import RepositoryStore

log = logging.getLogger("convoy.engine")

EVENTS: TypeAdapter[Event] = TypeAdapter(
    Annotated[Event, Discriminator("event")], config=ConfigDict(defer_build=True)
)
PROGRAM = (sys.executable, "-m", "convoy_py.session")
_ERRORS: dict[str, type[ConvoyError]] = {
    kind.kind: kind
    for kind in (
        *(NotFound, Invalid, Conflict, Unsupported, NoSpace, Unavailable, Denied, Corrupt),
        *(Cancelled, OperationFailed),
    )
}


class Follow(Protocol):
    """What follows a session: `engine.running.jobs.Progress`; raises Cancelled when called."""

    done: int
    total: int
    note: str

    def __call__(self, count: int, /) -> None: ...


class Sessions:
    """The sessions of one daemon. Methods block, for as long as the repository takes."""

    def __init__(self, store: RepositoryStore, host: str, patience: float) -> None:
        """`host` is this machine's name, by which its backups are known in a repository.

        `patience` are the seconds after which a storage that does not answer is given up.
        """
        self.host = host
        self._patience = patience
        self._store = store
        self._mutex = Lock()
        self._held: dict[str, dict[object, tuple[str, ...]]] = defaultdict(dict)
        self._told: dict[str, dict[str, str]] = {}  # by repository and id
        self._lost: list[tuple[str, object, process.Conversation]] = []

    def run(self, record: Repository, task: Task, follow: Follow) -> Done:
        """Have a task done with a repository that is known; raises ConvoyError."""
        try:
            password, credentials = self._store.password(record), self._store.credentials(record)
        except OSError as error:
            raise Unavailable(
                f"repository {record.name}: its secrets cannot be read: {error}"
            ) from error
        done = self.run_with(record.name, record.location, password, credentials, task, follow)
        if isinstance(task, Describe):
            self._told[record.name] = {task.backup: done.description}
        elif isinstance(task, ListBackups) and task.newest_of:
            told = {found.id: found.description for found in done.backups if found.description}
            self._told[record.name] = told
        return done

    def description(self, record: Repository, backup: str, follow: Follow) -> str:
        """What a backup says of its volume, which never changes: just told, it is not asked again.

        Raises as `run` does.
        """
        told = self._told.get(record.name, {}).get(backup)
        return told or self.run(record, Describe(backup=backup), follow).description

    def run_with(
        self,
        name: str,
        location: str,
        password: str,
        credentials: dict[str, str],
        task: Task,
        follow: Follow,
    ) -> Done:
        """The same with what is not recorded yet."""
        key = object()
        access = Access(
            location=location,
            password=password,
            credentials=credentials,
            host=self.host,
            patience=self._patience,
            leftover_locks=self._take_over(name, key),
        )
        talk: process.Conversation | None = None
        try:
            with process.conversation(PROGRAM) as talk:
                talk.say(Request(access=access, task=task).said())
                for line in talk.lines(lambda: follow(0)):
                    event = EVENTS.validate_json(line)
                    match event:
                        case Locks():
                            self._note(name, key, event.locks)
                            talk.say("")
                        case Stepped():
                            follow.done, follow.total = event.done, event.total
                            follow.note = event.note
                        case Done():
                            return event
                        case Failed():
                            raise _ERRORS.get(event.kind, OperationFailed)(
                                f"repository {name}: {event.message}"
                            )
        except (OSError, ValidationError) as error:
            raise OperationFailed(f"repository {name}: its session failed: {error}") from error
        finally:
            with self._mutex:
                if talk is None or talk.is_over:
                    del self._held[name][key]  # what it did not take away is noted, the next one's
                else:
                    self._lost.append((name, key, talk))
        raise OperationFailed(f"repository {name}: its session ended without a word")

    def _take_over(self, name: str, key: object) -> tuple[str, ...]:
        """The locks that sessions which are over left in the repository are this one's now."""
        with self._mutex:
            self._forget_lost()
            held = {lock for locks in self._held[name].values() for lock in locks}
            left = tuple(lock for lock in self._store.locks(name) if lock not in held)
            self._held[name][key] = left
            return left

    def _forget_lost(self) -> None:
        """Of those that could not be ended: who has ended by now does nothing there any more."""
        for lost in [lost for lost in self._lost if lost[2].is_over]:
            self._lost.remove(lost)
            del self._held[lost[0]][lost[1]]

    def _note(self, name: str, key: object, locks: tuple[str, ...]) -> None:
        with self._mutex:
            fewer = set(locks) < set(self._held[name][key])
            self._held[name][key] = locks
            held = {lock for locks in self._held[name].values() for lock in locks}
            try:
                self._store.note_locks(name, tuple(sorted(held)))
            except ConvoyError as error:
                if not fewer:
                    raise
                # One too many does no harm, and the work is done.
                log.warning("locks of repository %s: not noted anew: %s", name, error)
