"""The admin API's routes about the trash: what is there, give it back, delete it for good."""

from convoy_py.api.admin import Admin
from convoy_py.api.requests import Nothing
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.errors import Invalid
from convoy_py.models.names import check_name
from convoy_py.wire.admin import VolumeInfo, rfc3339
from convoy_py.wire.copies import Purged, PurgeTrash, Removed, RestoreTrash, TrashList


async def trash_list(admin: Admin, call: Call[Nothing]) -> Reply:
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


async def trash_restore(admin: Admin, call: Call[RestoreTrash]) -> Reply:
    asked = call.message
    other = check_name(asked.as_name) if asked.as_name else ""
    view = await admin.verbs.trash.restore(asked.name, other)
    return Reply(admin.told(view), subject=view.name)


async def trash_purge(admin: Admin, call: Call[PurgeTrash]) -> Reply:
    asked = call.message
    if bool(asked.name) is asked.all:  # an empty name is an unset variable of a script
        raise Invalid("name a volume of the trash, or say All")
    return Reply(Purged(keys=await admin.verbs.trash.purge(asked.name)))


ROUTES = (
    Route("GET", "/v1/trash", "The removed volumes, oldest first", trash_list, answer=TrashList),
    Route(
        "POST",
        "/v1/trash/restore",
        "Give a removed volume back, by name or key, under its name or another",
        trash_restore,
        RestoreTrash,
        VolumeInfo,
        changes=True,
    ),
    Route(
        "POST",
        "/v1/trash/purge",
        "Delete a removed volume for good, by name or key, or all",
        trash_purge,
        PurgeTrash,
        Purged,
        changes=True,
    ),
)
