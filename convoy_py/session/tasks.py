"""What a session can be asked for, each by a function from its request to Done."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import assert_never

from convoy_py.models.session import (
    Access,
    AddKey,
    Backup,
    Delete,
    Describe,
    Done,
    Forget,
    ListBackups,
    ListKeys,
    Open,
    Protect,
    Prove,
    Prune,
    RemoveKey,
    Request,
    Restore,
    RestoreFile,
    Task,
    Unlock,
    Verify,
)
from convoy_py.models.sizes import format_size
from convoy_py.restic import checker, prover, restorer
from convoy_py.restic.archive import DATA, IMAGE
from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.locks import Clock, Lock
from convoy_py.restic.nodes import Node
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.stores.opening import open_store
from convoy_py.restic.stores.urls import parse
from convoy_py.restic.target import Restored
from convoy_py.session import forgetting, marks, pruning, upkeep
from convoy_py.session.backing_up import BackingUp
from convoy_py.session.opened import check_deletes, locked, opened
from convoy_py.session.speech import Speech
from convoy_py.session.watch import Watched

_LONGEST_DESCRIPTION = 1 << 20
_TOLD_PROBLEMS = 1000
_Simple = ListBackups | Describe | Restore | RestoreFile | Prove | Verify
_Locked = Backup | Delete | Protect | Forget | ListKeys | AddKey | RemoveKey | _Simple


def perform(request: Request, speech: Speech, clock: Clock) -> Done:
    """Have one task done; raises RepositoryError, OSError."""
    access, task = request.access, request.task
    location = parse(access.location)
    store = open_store(location, access.credentials)
    if location.scheme == "local":  # what speaks to a network has limits of its own
        store = Watched(store, access.patience, speech.give_up)
    try:
        create = isinstance(task, Open) and task.create
        repository = opened(store, access, clock.now(), create=create)
        if _deletes(task):
            check_deletes(repository)
        match task:
            case Open():
                made_by = upkeep.maker_of(repository)
                return Done(repository=repository.id, location=store.location, made_by=made_by)
            case Unlock():
                return upkeep.unlock(repository, task, access, clock)
            case Prune():
                return pruning.prune(repository, task, access, speech)
            case _:
                return _locked(repository, task, access, speech, clock)
    finally:
        store.close()


def _locked(
    repository: Repository, task: _Locked, access: Access, speech: Speech, clock: Clock
) -> Done:
    """What needs one lock, from its begin to its end."""
    with locked(repository, access, speech, exclusive=_deletes(task)) as lock:
        match task:
            case Backup():
                return BackingUp(repository, access.host, lock, speech, clock).run(task)
            case Forget():
                return forgetting.forget(repository, task, access.host, lock, clock.now())
            case Protect():
                return forgetting.protect(repository, task, lock)
            case ListKeys() | AddKey() | RemoveKey():
                return upkeep.keys(repository, task, access, clock)
            case Delete():
                return _delete(repository, task, lock)
            case _:
                return _done(repository, task, speech)


def _deletes(task: Task) -> bool:
    """Whether it takes something away that others may be using: it has to be alone then."""
    match task:
        case Forget() | Prune():
            return not task.dry_run
        case _:
            return isinstance(task, Delete | Protect | RemoveKey)


def _done(
    repository: Repository,
    task: _Simple,
    speech: Speech,
) -> Done:
    match task:
        case ListBackups():
            return _list(repository, task)
        case Describe():
            return Done(description=_description(repository, _snapshot(repository, task.backup)))
        case Restore() | RestoreFile():
            _restore(repository, task, speech)
            return Done()
        case Prove():
            return _prove(repository, task, speech)
        case Verify():
            return _verify(repository, task, speech)
    assert_never(task)


def _list(repository: Repository, task: ListBackups) -> Done:
    known = [*marks.backups(repository.snapshots())]  # the newest last
    newest = {found.host: found for _, found in known if found.volume == task.newest_of}
    listed = []
    for snapshot, found in known:
        text = ""
        if task.described or newest.get(found.host) is found:
            # One that is damaged is listed all the same.
            with suppress(Damaged, NotFound):
                text = _description(repository, snapshot)
        listed.append(replace(found, description=text))
    return Done(backups=tuple(listed))


def _description(repository: Repository, snapshot: Snapshot) -> str:
    node = restorer.find(repository, snapshot.tree, [marks.DESCRIPTION])
    if node.size > _LONGEST_DESCRIPTION or not node.content:
        raise Damaged(f"backup {snapshot.id}: its {marks.DESCRIPTION.decode()} is no description")
    text = b"".join(repository.read_blob(BlobKind.DATA, name) for name in node.content)
    return text.decode(errors="backslashreplace")


def _restore(repository: Repository, task: Restore | RestoreFile | Prove, speech: Speech) -> Node:
    """Returns the folder of the backup that was restored, or of which a part was; or the image."""
    snapshot = _snapshot(repository, task.backup)
    raw = not isinstance(task, RestoreFile) and task.raw
    data = restorer.find(repository, snapshot.tree, [IMAGE if raw else DATA])
    total = marks.size_of(snapshot)
    only: Sequence[bytes] = ()
    if isinstance(task, RestoreFile):
        total, only = 0, _way(repository, data, task.paths)

    def tell(restored: Restored) -> None:
        speech.step(restored.bytes, total, f"{restored.files} files")

    if raw:
        restorer.restore_file(repository, data, task.into, tell)
    else:
        restorer.restore(repository, data, task.into, tell, only=only, devices=True)
    return data


def _way(repository: Repository, data: Node, paths: Sequence[str]) -> Sequence[bytes]:
    """The first of the paths that is there; if none is, the first: of that it is told then."""
    assert data.subtree is not None
    ways = [bytes.fromhex(path).split(b"/") for path in paths]
    for way in ways:
        with suppress(NotFound):
            restorer.find(repository, data.subtree, way)
            return way
    return ways[0]


def _prove(repository: Repository, task: Prove, speech: Speech) -> Done:
    data = _restore(repository, task, speech)

    def tell(done: int) -> None:
        speech.step(done, 0, f"{format_size(done)} compared")

    compare = prover.differs if task.raw else prover.differences
    found = compare(repository, data, task.into, tell)
    return Done(problems=tuple(islice(found, _TOLD_PROBLEMS)))


def _delete(repository: Repository, task: Delete, lock: Lock) -> Done:
    known = repository.snapshots()
    for snapshots in [marks.among(known, repository, backup) for backup in task.backups]:
        for snapshot in reversed(snapshots):
            lock.confirm()
            repository.delete_snapshot(snapshot.id)  # of each the point of no return
    return Done()


def _verify(repository: Repository, task: Verify, speech: Speech) -> Done:
    def tell(done: int, total: int) -> None:
        speech.step(0, 0, f"{done} of {total} looked at")

    repository.reload_index()  # without a whole one nothing can be told of the rest
    found = checker.check(repository, tell, task.read_data)
    return Done(problems=tuple(islice(found, _TOLD_PROBLEMS)))


def _snapshot(repository: Repository, backup: str) -> Snapshot:
    return marks.among(repository.snapshots(), repository, backup)[0]
