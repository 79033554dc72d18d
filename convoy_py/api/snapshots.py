"""The admin API's routes about snapshots: how one would be made, make, find, go back, delete."""

from http import HTTPStatus

from convoy_py.api.admin import Admin
from convoy_py.api.requests import Nothing
from convoy_py.api.rest import Call, Reply, Route, job
from convoy_py.engine.jobs import Progress
from convoy_py.models.names import check_name, joined
from convoy_py.wire.admin import SnapshotInfo
from convoy_py.wire.copies import (
    CreateGroup,
    CreateSnapshot,
    PlanInfo,
    Rollback,
    RolledBack,
    SnapshotList,
)


async def snapshot_list(admin: Admin, call: Call[Nothing]) -> Reply:
    views = admin.verbs.snapshots.views(call.name)
    return Reply(SnapshotList(snapshots=[admin.snapshot(view) for view in views]))


async def snapshot_inspect(admin: Admin, call: Call[Nothing]) -> Reply:
    return Reply(admin.snapshot(admin.verbs.snapshots.inspect(call.name)))


async def snapshot_plan(admin: Admin, call: Call[Nothing]) -> Reply:
    plan = await admin.verbs.snapshots.plan(call.name)
    return Reply(PlanInfo.model_validate(plan))


async def snapshot_create(admin: Admin, call: Call[CreateSnapshot]) -> Reply:
    asked = call.message
    name = _snapshot_name(asked.name)

    async def work(progress: Progress) -> SnapshotInfo:
        snapshots = admin.verbs.snapshots
        (view,) = await snapshots.create([call.name], name, progress, pause=asked.pause)
        return admin.snapshot(view)

    return await admin.job("snapshot create", call, work)


async def snapshot_group(admin: Admin, call: Call[CreateGroup]) -> Reply:
    asked = call.message
    volumes, name = [check_name(volume) for volume in asked.volumes], _snapshot_name(asked.name)

    async def work(progress: Progress) -> SnapshotList:
        views = await admin.verbs.snapshots.create(
            volumes,
            name,
            progress,
            pause=asked.pause,
            compose_project=asked.compose_project,
            container=asked.container,
        )
        return SnapshotList(snapshots=[admin.snapshot(view) for view in views])

    return await admin.job("snapshot create", call, work)


async def snapshot_delete(admin: Admin, call: Call[Nothing]) -> Reply:
    view = admin.verbs.snapshots.inspect(call.name)
    name = joined(view.volume, view.name)
    await admin.verbs.snapshots.delete(name)
    return Reply(None, HTTPStatus.NO_CONTENT, name)


async def rollback(admin: Admin, call: Call[Rollback]) -> Reply:
    asked = call.message

    async def work(progress: Progress) -> RolledBack:
        return await admin.verbs.snapshots.rollback(
            call.name,
            asked.snapshot,
            progress,
            stop_containers=asked.stop_containers,
            keep=asked.keep,
        )

    return await admin.job("rollback", call, work)


def _snapshot_name(name: str) -> str:
    return check_name(name, "snapshot") if name else ""


def _group_members(name: str, asked: CreateGroup) -> str:
    """What a group is made of, as far as the request names it."""
    return ",".join(filter(None, [*asked.volumes, asked.compose_project, asked.container]))


ROUTES = (
    Route("GET", "/v1/snapshots", "All snapshots", snapshot_list, answer=SnapshotList, flat=True),
    job(
        "/v1/snapshots",
        "Take snapshots of several volumes at one moment",
        snapshot_group,
        CreateGroup,
        SnapshotList,
        subject=_group_members,
    ),
    Route(
        "GET",
        "/v1/snapshots/{name}",
        "One snapshot: db@nightly, or nightly where only one volume has it",
        snapshot_inspect,
        answer=SnapshotInfo,
        snapshots=True,
        flat=True,
    ),
    Route(
        "DELETE",
        "/v1/snapshots/{name}",
        "Delete a snapshot: db@nightly, or nightly where only one volume has it",
        snapshot_delete,
        statuses=(HTTPStatus.NO_CONTENT,),
        changes=True,
        snapshots=True,
        flat=True,
    ),
    Route(
        "GET",
        "/v1/volumes/{name}/snapshots",
        "A volume's snapshots, oldest first",
        snapshot_list,
        answer=SnapshotList,
    ),
    job(
        "/v1/volumes/{name}/snapshots",
        "Take a snapshot of a volume",
        snapshot_create,
        CreateSnapshot,
        SnapshotInfo,
    ),
    Route(
        "GET",
        "/v1/volumes/{name}/snapshots/{snapshot}",
        "One snapshot of a volume",
        snapshot_inspect,
        answer=SnapshotInfo,
        snapshots=True,
    ),
    Route(
        "DELETE",
        "/v1/volumes/{name}/snapshots/{snapshot}",
        "Delete a snapshot of a volume",
        snapshot_delete,
        statuses=(HTTPStatus.NO_CONTENT,),
        changes=True,
        snapshots=True,
    ),
    Route(
        "GET",
        "/v1/volumes/{name}/plan",
        "How a snapshot of a volume would be made now",
        snapshot_plan,
        answer=PlanInfo,
    ),
    job(
        "/v1/volumes/{name}/rollback",
        "Replace a volume's data by a snapshot's, after a snapshot of what is there",
        rollback,
        Rollback,
        RolledBack,
    ),
)
