"""A repository that is open in a session, and locked by restic's rules."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from convoy_py.models.session import Access
from convoy_py.restic.errors import AppendOnly, NoRepository
from convoy_py.restic.locks import Lock, Locks
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind, Store
from convoy_py.session.speech import Speech

# Seconds for which the locks of others are waited for.
_PATIENCE = 600.0


def opened(store: Store, access: Access, now: datetime, *, create: bool = False) -> Repository:
    """The repository, or a new one where there is none and one is to be made."""
    try:
        return Repository.open(store, access.password)
    except NoRepository:
        if not create:
            raise
        return Repository.create(store, access.password, now, host=access.host)


def check_deletes(repository: Repository) -> None:
    """AppendOnly where this host may delete nothing: told before anything is done."""
    try:
        repository.store.delete(Kind.SNAPSHOT, secrets.token_hex(32))  # that nobody has
    except AppendOnly as error:
        raise AppendOnly(
            f"{error}; backups go on, and a host whose credentials may delete there has to do this"
        ) from None


@contextmanager
def locked(
    repository: Repository, access: Access, speech: Speech, *, exclusive: bool = False
) -> Iterator[Lock]:
    """Hold a lock of it; what sessions of ours that were cut off left goes first.

    The index is read in it, by whoever needs it: a list does not.
    """
    locks = Locks(
        repository.store,
        repository.master_key,
        wait=_PATIENCE,
        remember=speech.note,
        host=f"{access.host}/convoy",
    )
    locks.remove_own(access.leftover_locks)
    with locks.exclusive() if exclusive else locks.shared() as lock:
        yield lock
