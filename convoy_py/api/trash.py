"""The admin API's routes about the trash: what is there, give it back, delete it for good."""

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.errors import Invalid
from convoy_py.models.names import check_name
from convoy_py.wire import endpoints
from convoy_py.wire.base import Nothing, rfc3339
from convoy_py.wire.trash import Purged, PurgeTrash, Removed, RestoreTrash, TrashList
from convoy_py.wire.volumes import VolumeInfo


async def trash_list(admin: Admin, call: Call[Nothing]) -> Reply[TrashList]:
    return Reply(
        TrashList(
            volumes=[
                Removed(
                    name=view.name,
                    key=view.key,
                    driver=view.backend,
                    removed=rfc3339(view.removed) or "",
                    until=rfc3339(view.until) or "",
                    snapshots=list(view.snapshots),
                )
                for view in admin.verbs.trash.views()
            ]
        )
    )


async def trash_restore(admin: Admin, call: Call[RestoreTrash]) -> Reply[VolumeInfo]:
    asked = call.message
    other = check_name(asked.as_name) if asked.as_name else ""
    view = await admin.verbs.trash.restore(asked.name, other)
    return Reply(admin.volume(view), subject=view.name)


async def trash_purge(admin: Admin, call: Call[PurgeTrash]) -> Reply[Purged]:
    asked = call.message
    if bool(asked.name) is asked.all:  # an empty name is an unset variable of a script
        raise Invalid("name a volume of the trash, or say All")
    return Reply(Purged(keys=await admin.verbs.trash.purge(asked.name)))


ROUTES = (
    Route(endpoints.LIST_TRASH, trash_list),
    Route(endpoints.RESTORE_TRASH, trash_restore),
    Route(endpoints.PURGE_TRASH, trash_purge),
)
