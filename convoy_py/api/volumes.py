"""The admin API's routes about volumes as a whole: make, find, mount, name, keep, delete."""

import asyncio
import secrets
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field

from convoy_py.api.admin import Admin
from convoy_py.api.requests import Nothing
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.engine.references import OPERATOR
from convoy_py.errors import StillRunning, Unavailable
from convoy_py.models.names import check_name
from convoy_py.models.options import parse_options
from convoy_py.wire.admin import CreateVolume, Mounted, MountVolume, VolumeInfo, VolumeList
from convoy_py.wire.copies import ProtectVolume, RenameVolume

# So many volumes are told between two chances for Docker's calls to be served.
_BATCH = 200


class RemoveQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reference: bool = Field(False, description="forget the volume and keep its data")


async def list_(admin: Admin, call: Call[Nothing]) -> Reply:
    found: dict[str, VolumeInfo] = {}
    for number, view in enumerate(admin.verbs.volumes.views(), 1):
        found[view.name] = admin.told(view)
        if number % _BATCH == 0:
            await asyncio.sleep(0)
    return Reply(VolumeList(volumes=found))


async def inspect(admin: Admin, call: Call[Nothing]) -> Reply:
    return Reply(admin.told(admin.verbs.volumes.get(call.name)))


async def create(admin: Admin, call: Call[CreateVolume]) -> Reply:
    asked = call.message
    name = check_name(asked.name or f"volume-{secrets.token_hex(8)}")
    try:
        await admin.verbs.volumes.create(name, parse_options(asked.options), adopt=asked.adopt)
    except StillRunning as error:
        if asked.name:
            raise
        # Without the name a repeat would make another volume.
        raise Unavailable(
            f"{error.told}; the name was made up: repeat the command with {name} to join it, "
            f"as in `convoy create {name}`"
        ) from error
    return Reply(admin.told(admin.verbs.volumes.get(name)), HTTPStatus.CREATED, name)


async def delete(admin: Admin, call: Call[RemoveQuery]) -> Reply:
    await admin.verbs.volumes.remove(call.name, keep_data=call.message.reference)
    return Reply(None, HTTPStatus.NO_CONTENT)


async def mount(admin: Admin, call: Call[MountVolume]) -> Reply:
    """Mount for an operator, whose hold is not counted.

    So nothing is taken back from a client that has gone: it may have held the volume before.
    """
    path = await admin.verbs.uses.mount(call.name, call.message.reference, OPERATOR)
    return Reply(Mounted(mount_point=admin.outside.path(path)))


async def umount(admin: Admin, call: Call[MountVolume]) -> Reply:
    admin.verbs.volumes.get(call.name)  # a person who mistypes a name is told so
    # Only what an operator took: a container's hold may bear any name.
    await admin.verbs.uses.release(call.name, call.message.reference, OPERATOR)
    return Reply(None, HTTPStatus.NO_CONTENT)


async def rename(admin: Admin, call: Call[RenameVolume]) -> Reply:
    new = check_name(call.message.name)
    return Reply(admin.told(await admin.verbs.volumes.rename(call.name, new)))


async def protect(admin: Admin, call: Call[ProtectVolume]) -> Reply:
    return Reply(admin.told(await admin.verbs.volumes.protect(call.name, on=call.message.on)))


ROUTES = (
    Route("GET", "/v1/volumes", "All volumes", list_, answer=VolumeList),
    Route(
        "POST",
        "/v1/volumes",
        "Make a volume; one that exists with the same options is left as it is",
        create,
        CreateVolume,
        VolumeInfo,
        (HTTPStatus.CREATED,),
        changes=True,
    ),
    Route(
        "GET",
        "/v1/volumes/{name}",
        "One volume, or a snapshot as the volume that it is when mounted",
        inspect,
        answer=VolumeInfo,
        snapshots=True,
    ),
    Route(
        "DELETE",
        "/v1/volumes/{name}",
        "Move a volume with its snapshots to the trash, or forget it and keep its data",
        delete,
        RemoveQuery,
        statuses=(HTTPStatus.NO_CONTENT,),
        changes=True,
    ),
    Route(
        "POST",
        "/v1/volumes/{name}/mount",
        "Mount a volume or a snapshot on the host and hold it under a name",
        mount,
        MountVolume,
        Mounted,
        changes=True,
        snapshots=True,
    ),
    Route(
        "POST",
        "/v1/volumes/{name}/umount",
        "End a hold; what nobody holds is unmounted",
        umount,
        MountVolume,
        statuses=(HTTPStatus.NO_CONTENT,),
        changes=True,
        snapshots=True,
    ),
    Route(
        "POST",
        "/v1/volumes/{name}/rename",
        "Give a volume that nobody uses another name",
        rename,
        RenameVolume,
        VolumeInfo,
        changes=True,
    ),
    Route(
        "POST",
        "/v1/volumes/{name}/protect",
        "Refuse to delete a volume from now on, or no longer",
        protect,
        ProtectVolume,
        VolumeInfo,
        changes=True,
    ),
)
