"""Which backups stay: those that a policy keeps, and those that are protected; deletes others."""

from datetime import datetime

from convoy_py.models.session import BackupFound, Done, Forget, Protect
from convoy_py.restic.locks import Lock
from convoy_py.restic.repository import Repository
from convoy_py.restic.retention import Policy, surplus
from convoy_py.restic.snapshots import Snapshot
from convoy_py.session import marks


def forget(repository: Repository, task: Forget, host: str, lock: Lock, now: datetime) -> Done:
    """Tells what is gone, or would be; of another host nothing goes, nor where a clock is wrong."""
    policy = Policy.parse(task.keep)
    gone: list[BackupFound] = []
    known = _by_volume(repository, host)
    problems = [
        f"{volume}: host {host} has no backup of it"
        for volume in task.volumes
        if volume not in known
    ]
    for volume, snapshots in known.items():
        if task.volumes and volume not in task.volumes:
            continue
        if any(snapshot.time > now for snapshot in snapshots):
            problems.append(
                f"{volume}: it has a backup from the future, so a clock was or is wrong, and "
                "nothing of it is deleted: see to the clock, or delete that backup by name"
            )
            continue
        counted = [each for each in snapshots if marks.is_scheduled(each) or not task.scheduled]
        for snapshot in surplus(counted, policy, now):
            if marks.is_protected(snapshot):
                continue
            if not task.dry_run:
                lock.confirm()
                repository.delete_snapshot(snapshot.id)  # of each the point of no return
            gone.append(marks.found(snapshot, volume))
    return Done(backups=tuple(gone), problems=tuple(problems))


def protect(repository: Repository, task: Protect, lock: Lock) -> Done:
    """A snapshot with other tags is another file: it is there before the one of before goes."""
    done: list[BackupFound] = []
    for backup in task.backups:
        snapshot, *twins = marks.among(repository.snapshots(), repository, backup)
        if marks.is_protected(snapshot) != task.on:
            lock.confirm()
            changed = repository.save_snapshot(marks.protected(snapshot, on=task.on))
            twins.append(snapshot)
            snapshot = changed
        for twin in twins:
            lock.confirm()
            repository.delete_snapshot(twin.id)
        done.append(marks.found(snapshot, marks.volume_of(snapshot) or ""))
    return Done(backups=tuple(done))


def _by_volume(repository: Repository, host: str) -> dict[str, list[Snapshot]]:
    found: dict[str, list[Snapshot]] = {}
    for snapshot in repository.snapshots():
        volume = marks.volume_of(snapshot)
        if volume is not None and snapshot.hostname == host:
            found.setdefault(volume, []).append(snapshot)
    return found
