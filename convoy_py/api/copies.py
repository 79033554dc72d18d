"""The admin API's routes about volumes' data: clone, compare, restore, convert, adopt, release."""

from pydantic import BaseModel, ConfigDict, Field

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, job
from convoy_py.engine.jobs import Progress
from convoy_py.errors import Invalid
from convoy_py.models.names import check_name, joined
from convoy_py.models.options import parse_options
from convoy_py.wire.admin import VolumeInfo
from convoy_py.wire.copies import (
    Adopt,
    Adopted,
    CloneVolume,
    ConvertVolume,
    Difference,
    Release,
    Released,
    RestoredFile,
    RestoreFile,
)


class DiffQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    from_: str = Field(alias="from", min_length=1, description="a snapshot of the volume")
    to: str = Field("", description="another; the volume as it is now, where none is given")


async def clone(admin: Admin, call: Call[CloneVolume]) -> Reply:
    asked = call.message
    source, options = joined(call.name, asked.snapshot), parse_options(asked.options)
    name = check_name(asked.name)

    async def work(progress: Progress) -> VolumeInfo:
        return admin.told(await admin.verbs.copies.clone(source, name, options, progress))

    return await admin.job("clone", call, work)


async def diff(admin: Admin, call: Call[DiffQuery]) -> Reply:
    asked = call.message

    async def work(progress: Progress) -> Difference:
        found = await admin.verbs.copies.diff(call.name, asked.from_, asked.to, progress)
        return Difference.model_validate(found)

    return await admin.job("diff", call, work)


async def restore_file(admin: Admin, call: Call[RestoreFile]) -> Reply:
    asked = call.message

    async def work(progress: Progress) -> RestoredFile:
        size = await admin.verbs.copies.restore_file(
            call.name, asked.snapshot, asked.path, progress
        )
        return RestoredFile(path=asked.path, bytes=size)

    return await admin.job("restore-file", call, work)


async def convert(admin: Admin, call: Call[ConvertVolume]) -> Reply:
    options = parse_options(call.message.options)

    async def work(progress: Progress) -> VolumeInfo:
        return admin.told(await admin.verbs.copies.convert(call.name, options, progress))

    return await admin.job("convert", call, work)


async def adopt(admin: Admin, call: Call[Adopt]) -> Reply:
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


async def release(admin: Admin, call: Call[Release]) -> Reply:
    asked = call.message
    if bool(asked.name) == bool(asked.compose_project):
        raise Invalid("give either Name or ComposeProject: what is to be released")
    name = check_name(asked.name) if asked.name else ""
    target = check_name(asked.docker_volume) if asked.docker_volume else ""

    async def work(progress: Progress) -> Released:
        volumes = await admin.verbs.releases.release(
            name, asked.compose_project, target, progress, dry_run=asked.dry_run
        )
        return Released(volumes=volumes, dry_run=asked.dry_run)

    return await admin.job("release", call, work)


ROUTES = (
    job(
        "/v1/volumes/{name}/clone",
        "Make a volume that begins as a copy of another, or of a snapshot of it",
        clone,
        CloneVolume,
        VolumeInfo,
        subject=lambda name, asked: asked.name,
    ),
    job(
        "/v1/volumes/{name}/diff",
        "What changed in a volume between two snapshots, or since one",
        diff,
        DiffQuery,
        Difference,
        method="GET",
    ),
    job(
        "/v1/volumes/{name}/restore-file",
        "Bring one file, or one folder with all in it, back from a snapshot",
        restore_file,
        RestoreFile,
        RestoredFile,
    ),
    job(
        "/v1/volumes/{name}/convert",
        "Change a volume that nobody uses into one of another backend, filesystem or size",
        convert,
        ConvertVolume,
        VolumeInfo,
    ),
    job(
        "/v1/adopt",
        "Copy volumes of Docker's local driver into volumes of ours",
        adopt,
        Adopt,
        Adopted,
        subject=lambda name, asked: asked.docker_volume or asked.compose_project,
    ),
    job(
        "/v1/release",
        "Give volumes of ours to Docker's local driver",
        release,
        Release,
        Released,
        subject=lambda name, asked: asked.name or asked.compose_project,
    ),
)
