"""The admin API's routes about backups: make, list, inspect, delete, prune, verify, restore."""

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.api.snapshots import hooks_of
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import Invalid
from convoy_py.models.backup import BackupView, is_url, parse_at, parse_url
from convoy_py.models.names import check_name
from convoy_py.models.options import parse_options
from convoy_py.wire import endpoints
from convoy_py.wire.backups import (
    BackupInfo,
    BackupList,
    BackupQuery,
    BackupsQuery,
    CreateBackups,
    DeleteBackups,
    ForgetBackups,
    Forgotten,
    ProtectBackups,
    ProveBackups,
    Proved,
    Pruned,
    PruneRepository,
    RestoreBackup,
    Verified,
    VerifyRepository,
)
from convoy_py.wire.volumes import VolumeInfo


async def back_up(admin: Admin, call: Call[CreateBackups]) -> Reply[BackupList]:
    asked = call.message
    if bool(asked.sources) + asked.all + bool(asked.compose_project) != 1:
        raise Invalid("give one of Sources, All and ComposeProject: what is to be backed up")
    hooks = hooks_of(asked)

    async def work(progress: Progress) -> BackupList:
        views = await admin.verbs.backups.create(
            asked.sources,
            asked.repository,
            progress,
            everything=asked.all,
            compose_project=asked.compose_project,
            raw=asked.raw,
            hooks=hooks,
        )
        return _list(views)

    return await admin.job("backup", call, work)


async def backups(admin: Admin, call: Call[BackupsQuery]) -> Reply[BackupList]:
    asked = call.message

    async def work(progress: Progress) -> BackupList:
        return _list(
            await admin.verbs.backups.views(
                asked.volume, asked.repository, progress, described=asked.described
            )
        )

    return await admin.job("backup-list", call, work)


async def inspect_backup(admin: Admin, call: Call[BackupQuery]) -> Reply[BackupInfo]:
    asked = call.message

    async def work(progress: Progress) -> BackupInfo:
        return _info(await admin.verbs.backups.find(asked.backup, asked.repository, progress))

    return await admin.job("backup-inspect", call, work)


async def delete_backups(admin: Admin, call: Call[DeleteBackups]) -> Reply[BackupList]:
    asked = call.message

    async def work(progress: Progress) -> BackupList:
        return _list(await admin.verbs.backups.delete(asked.backups, asked.repository, progress))

    return await admin.job("backup-delete", call, work)


async def protect_backups(admin: Admin, call: Call[ProtectBackups]) -> Reply[BackupList]:
    asked = call.message

    async def work(progress: Progress) -> BackupList:
        return _list(
            await admin.verbs.backups.protect(
                asked.backups, asked.repository, progress, on=asked.on
            )
        )

    return await admin.job("backup-protect", call, work)


async def forget_backups(admin: Admin, call: Call[ForgetBackups]) -> Reply[Forgotten]:
    asked = call.message
    volume = check_name(asked.volume) if asked.volume else ""

    async def work(progress: Progress) -> Forgotten:
        views, problems = await admin.verbs.backups.forget(
            volume, asked.repository, asked.keep, progress, dry_run=asked.dry_run
        )
        backups = [_info(view) for view in views]
        return Forgotten(backups=backups, problems=problems, dry_run=asked.dry_run)

    return await admin.job("backup-forget", call, work)


async def prune_repository(admin: Admin, call: Call[PruneRepository]) -> Reply[Pruned]:
    asked = call.message

    async def work(progress: Progress) -> Pruned:
        done = await admin.verbs.backups.prune(asked.repository, progress, dry_run=asked.dry_run)
        return Pruned.model_validate(done).model_copy(update={"dry_run": asked.dry_run})

    return await admin.job("backup-prune", call, work)


async def prove_backups(admin: Admin, call: Call[ProveBackups]) -> Reply[Proved]:
    asked = call.message
    if bool(asked.backups) == asked.all:
        raise Invalid("give either Backups or All: what is to be proven")

    async def work(progress: Progress) -> Proved:
        views, problems = await admin.verbs.proofs.prove(asked.backups, asked.repository, progress)
        return Proved(backups=[_info(view) for view in views], problems=problems)

    return await admin.job("backup-prove", call, work)


async def verify_repository(admin: Admin, call: Call[VerifyRepository]) -> Reply[Verified]:
    asked = call.message

    async def work(progress: Progress) -> Verified:
        verbs = admin.verbs.backups
        return Verified(problems=await verbs.verify(asked.repository, asked.read_data, progress))

    return await admin.job("backup-verify", call, work)


async def restore_backup(admin: Admin, call: Call[RestoreBackup]) -> Reply[VolumeInfo]:
    asked = call.message
    name, options = check_name(asked.name) if asked.name else "", parse_options(asked.options)
    at = parse_at(asked.at) if asked.at else None

    async def work(progress: Progress) -> VolumeInfo:
        view = await admin.verbs.restores.restore(
            asked.backup, asked.repository, name, options, progress, at=at
        )
        return admin.volume(view)

    return await admin.job("restore", call, work)


def _list(views: list[BackupView]) -> BackupList:
    return BackupList(backups=[_info(view) for view in views])


def _info(view: BackupView) -> BackupInfo:
    return BackupInfo.model_validate(view)


def _sources(name: str, asked: CreateBackups) -> str:
    """What is backed up, as far as the request names it."""
    return ",".join(filter(None, [*asked.sources, asked.compose_project]))


def _restored(name: str, asked: RestoreBackup) -> str:
    """The new volume, as far as the request names it."""
    return asked.name or (parse_url(asked.backup).volume if is_url(asked.backup) else asked.backup)


ROUTES = (
    Route(endpoints.CREATE_BACKUPS, back_up, subject=_sources),
    Route(endpoints.LIST_BACKUPS, backups, subject=lambda name, asked: asked.volume),
    Route(endpoints.INSPECT_BACKUP, inspect_backup),
    Route(endpoints.DELETE_BACKUPS, delete_backups),
    Route(endpoints.PROTECT_BACKUPS, protect_backups),
    Route(endpoints.FORGET_BACKUPS, forget_backups, subject=lambda name, asked: asked.volume),
    Route(
        endpoints.PRUNE_REPOSITORY, prune_repository, subject=lambda name, asked: asked.repository
    ),
    Route(
        endpoints.PROVE_BACKUPS, prove_backups, subject=lambda name, asked: ",".join(asked.backups)
    ),
    Route(
        endpoints.VERIFY_REPOSITORY,
        verify_repository,
        subject=lambda name, asked: asked.repository,
    ),
    Route(endpoints.RESTORE_BACKUP, restore_backup, subject=_restored),
)
