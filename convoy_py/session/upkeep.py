"""The keys and the locks of a repository, as a user sees to them."""

from datetime import UTC, datetime

from convoy_py.models.session import (
    Access,
    AddKey,
    Done,
    KeyFound,
    ListKeys,
    LockFound,
    RemoveKey,
    Unlock,
)
from convoy_py.restic import keyfiles, unpacked
from convoy_py.restic.errors import RepositoryError
from convoy_py.restic.keyfiles import KeyFile
from convoy_py.restic.locks import Clock, Found, Locks
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind

_LAST = datetime.max.replace(tzinfo=UTC)


def keys(
    repository: Repository, task: ListKeys | AddKey | RemoveKey, access: Access, clock: Clock
) -> Done:
    """Under a lock, which to remove one is exclusive; tells all, the one that was made, or gone."""
    store = repository.store
    found = {key.id: key for key in keyfiles.every(store)}
    match task:
        case ListKeys():
            in_use = keyfiles.opened_by(store, access.password)
            return Done(keys=tuple(_key(key, key.id in in_use) for key in found.values()))
        case AddKey():
            master, now = repository.master_key, clock.now()
            name = keyfiles.add(store, master, task.new_password, now, host=access.host)
            return Done(keys=tuple(_key(key) for key in keyfiles.every(store) if key.id == name))
        case RemoveKey():
            name = unpacked.find(store, Kind.KEY, task.key)
            if keyfiles.opened_by(store, access.password) <= {name}:
                raise RepositoryError(
                    f"key {name[:8]} is that of the password in use: first `convoy repository key "
                    "add` another, and have it in the password file, or `convoy repository add` "
                    "with it"
                )
            keyfiles.remove(store, name)
            return Done(keys=tuple(_key(key) for key in found.values() if key.id == name))


def unlock(repository: Repository, task: Unlock, access: Access, clock: Clock) -> Done:
    """Needs no lock. Those that sessions of ours left are of nobody, however young."""
    locks = Locks(repository.store, repository.master_key, host=f"{access.host}/convoy")
    found = locks.found()
    now, left = clock.now(), access.leftover_locks
    if task.everything:
        gone = set(locks.remove_all())
    else:
        gone = {each.id for each in found if each.is_stale(now) or each.id in left}
        locks.remove_own([*gone])
    told = [(each.id in gone, _lock(each, clock)) for each in found]
    return Done(
        unlocked=tuple(lock for is_gone, lock in told if is_gone),
        locked=tuple(lock for is_gone, lock in told if not is_gone),
    )


def maker_of(repository: Repository) -> str:
    """The host that made a repository: its oldest key was made there. Empty if none says so."""
    keys = keyfiles.every(repository.store)
    oldest = min(keys, key=lambda key: _moment(key.created) or _LAST, default=None)
    return oldest.hostname if oldest else ""


def _key(key: KeyFile, in_use: bool = False) -> KeyFound:
    return KeyFound(
        id=key.id,
        created=_in_utc(key.created),
        user=key.username,
        host=key.hostname,
        in_use=in_use,
    )


def _in_utc(told: str) -> str:
    """As all our times are told; or as it stands there, if it makes no sense."""
    moment = _moment(told)
    return moment.isoformat().replace("+00:00", "Z") if moment else told


def _moment(told: str) -> datetime | None:
    try:
        return datetime.fromisoformat(told).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _lock(found: Found, clock: Clock) -> LockFound:
    return LockFound(id=found.id, exclusive=found.exclusive, told=found.told(clock.now()))
