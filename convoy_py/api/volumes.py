"""The admin API's routes about volumes as a whole: make, find, mount, name, keep, delete."""

import asyncio
import secrets
from http import HTTPStatus

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.engine.memory.references import OPERATOR
from convoy_py.errors import StillRunning, Unavailable
from convoy_py.models.names import check_name
from convoy_py.models.options import parse_options
from convoy_py.wire import endpoints
from convoy_py.wire.base import Nothing
from convoy_py.wire.volumes import (
    CreateVolume,
    DeleteQuery,
    Mounted,
    MountVolume,
    ProtectVolume,
    RenameVolume,
    VolumeInfo,
    VolumeList,
)

# A person is told how a restore ended that takes no longer, in seconds.
_RESTORE_PATIENCE = 20.0
# So many volumes are told between two chances for Docker's calls to be served.
_BATCH = 200


async def list_(admin: Admin, call: Call[Nothing]) -> Reply[VolumeList]:
    found: dict[str, VolumeInfo] = {}
    for number, view in enumerate(admin.verbs.volumes.views(), 1):
        found[view.name] = admin.volume(view)
        if number % _BATCH == 0:
            await asyncio.sleep(0)
    return Reply(VolumeList(volumes=found))


async def inspect(admin: Admin, call: Call[Nothing]) -> Reply[VolumeInfo]:
    return Reply(admin.volume(admin.verbs.volumes.get(call.name)))


async def create(admin: Admin, call: Call[CreateVolume]) -> Reply[VolumeInfo]:
    asked = call.message
    name = check_name(asked.name or f"volume-{secrets.token_hex(8)}")
    try:
        options = parse_options(asked.options)
        await admin.verbs.volumes.create(
            name, options, adopt=asked.adopt, patience=_RESTORE_PATIENCE
        )
    except StillRunning as error:
        if asked.name:
            raise
        # Without the name a repeat would make another volume.
        raise Unavailable(
            f"{error.told}; the name was made up: repeat the command with {name} to join it, "
            f"as in `convoy create {name}`"
        ) from error
    return Reply(admin.volume(admin.verbs.volumes.get(name)), HTTPStatus.CREATED, name)


async def delete(admin: Admin, call: Call[DeleteQuery]) -> Reply[Nothing]:
    await admin.verbs.volumes.remove(call.name, keep_data=call.message.reference)
    return Reply(None, HTTPStatus.NO_CONTENT)


async def mount(admin: Admin, call: Call[MountVolume]) -> Reply[Mounted]:
    """Mount for an operator, whose hold is not counted.

    So nothing is taken back from a client that has gone: it may have held the volume before.
    """
    path = await admin.verbs.uses.mount(call.name, call.message.reference, OPERATOR)
    return Reply(Mounted(mount_point=admin.outside.path(path)))


async def umount(admin: Admin, call: Call[MountVolume]) -> Reply[Nothing]:
    admin.verbs.volumes.get(call.name)  # a person who mistypes a name is told so
    # Only what an operator took: a container's hold may bear any name.
    await admin.verbs.uses.release(call.name, call.message.reference, OPERATOR)
    return Reply(None, HTTPStatus.NO_CONTENT)


async def rename(admin: Admin, call: Call[RenameVolume]) -> Reply[VolumeInfo]:
    new = check_name(call.message.name)
    return Reply(admin.volume(await admin.verbs.volumes.rename(call.name, new)))


async def protect(admin: Admin, call: Call[ProtectVolume]) -> Reply[VolumeInfo]:
    return Reply(admin.volume(await admin.verbs.volumes.protect(call.name, on=call.message.on)))


ROUTES = (
    Route(endpoints.LIST_VOLUMES, list_),
    Route(endpoints.CREATE_VOLUME, create),
    Route(endpoints.INSPECT_VOLUME, inspect),
    Route(endpoints.DELETE_VOLUME, delete),
    Route(endpoints.MOUNT_VOLUME, mount),
    Route(endpoints.UMOUNT_VOLUME, umount),
    Route(endpoints.RENAME_VOLUME, rename),
    Route(endpoints.PROTECT_VOLUME, protect),
)
