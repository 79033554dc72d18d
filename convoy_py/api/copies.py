"""The admin API's routes about volumes' data: clone, compare, restore, convert, adopt, release."""

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import Invalid
from convoy_py.models.names import check_name, check_volume, joined
from convoy_py.models.options import parse_options
from convoy_py.wire import endpoints
from convoy_py.wire.copies import (
    Adopt,
    Adopted,
    CloneVolume,
    ConvertVolume,
    Difference,
    DiffQuery,
    Release,
    Released,
    RestoredFile,
    RestoreFile,
    TakenOver,
    TakeOver,
)
from convoy_py.wire.volumes import VolumeInfo


async def clone(admin: Admin, call: Call[CloneVolume]) -> Reply[VolumeInfo]:
    asked = call.message
    source, options = joined(call.name, asked.snapshot), parse_options(asked.options)
    name = check_name(asked.name)

    async def work(progress: Progress) -> VolumeInfo:
        return admin.volume(await admin.verbs.copies.clone(source, name, options, progress))

    return await admin.job("clone", call, work)


async def diff(admin: Admin, call: Call[DiffQuery]) -> Reply[Difference]:
    asked = call.message

    async def work(progress: Progress) -> Difference:
        found = await admin.verbs.copies.diff(call.name, asked.from_, asked.to, progress)
        return Difference.model_validate(found)

    return await admin.job("diff", call, work)


async def restore_file(admin: Admin, call: Call[RestoreFile]) -> Reply[RestoredFile]:
    asked, copies = call.message, admin.verbs.copies
    if bool(asked.snapshot) == bool(asked.backup):
        raise Invalid("give either Snapshot or Backup: where the file comes from")

    async def work(progress: Progress) -> RestoredFile:
        if asked.snapshot:
            size = await copies.restore_file(call.name, asked.snapshot, asked.path, progress)
        else:
            size = await copies.restore_file_of_backup(
                call.name, asked.backup, asked.repository, asked.path, progress
            )
        return RestoredFile(path=asked.path, bytes=size)

    return await admin.job("restore-file", call, work)


async def convert(admin: Admin, call: Call[ConvertVolume]) -> Reply[VolumeInfo]:
    options = parse_options(call.message.options)

    async def work(progress: Progress) -> VolumeInfo:
        return admin.volume(await admin.verbs.copies.convert(call.name, options, progress))

    return await admin.job("convert", call, work)


async def take_over(admin: Admin, call: Call[TakeOver]) -> Reply[TakenOver]:
    is_off = call.message.host_is_off

    async def work(progress: Progress) -> TakenOver:
        taken = await admin.verbs.takeovers.take_over(call.name, is_off=is_off, progress=progress)
        volume = admin.volume(taken.view)
        return TakenOver(volume=volume, hosts=list(taken.losers), lost=taken.lost)

    return await admin.job("takeover", call, work)


async def adopt(admin: Admin, call: Call[Adopt]) -> Reply[Adopted]:
    asked = call.message
    if bool(asked.docker_volume) == bool(asked.compose_project):
        raise Invalid("give either DockerVolume or ComposeProject: what is to be adopted")
    name, options = check_name(asked.name) if asked.name else "", parse_options(asked.options)

    async def work(progress: Progress) -> Adopted:
        volumes = await admin.verbs.adoptions.adopt(
            asked.docker_volume,
            asked.compose_project,
            name,
            options,
            progress,
            dry_run=asked.dry_run,
            stop_containers=asked.stop_containers,
        )
        return Adopted(volumes=volumes, dry_run=asked.dry_run)

    return await admin.job("adopt", call, work)


async def release(admin: Admin, call: Call[Release]) -> Reply[Released]:
    asked = call.message
    if bool(asked.name) == bool(asked.compose_project):
        raise Invalid("give either Name or ComposeProject: what is to be released")
    name = check_volume(asked.name) if asked.name else ""
    target = check_name(asked.docker_volume) if asked.docker_volume else ""

    async def work(progress: Progress) -> Released:
        volumes = await admin.verbs.releases.release(
            name, asked.compose_project, target, progress, dry_run=asked.dry_run
        )
        return Released(volumes=volumes, dry_run=asked.dry_run)

    return await admin.job("release", call, work)


ROUTES = (
    Route(endpoints.CLONE_VOLUME, clone, subject=lambda name, asked: asked.name),
    Route(endpoints.DIFF, diff),
    Route(endpoints.RESTORE_FILE, restore_file),
    Route(endpoints.CONVERT_VOLUME, convert),
    Route(endpoints.TAKE_OVER, take_over),
    Route(
        endpoints.ADOPT,
        adopt,
        subject=lambda name, asked: asked.docker_volume or asked.compose_project,
    ),
    Route(
        endpoints.RELEASE, release, subject=lambda name, asked: asked.name or asked.compose_project
    ),
)
