"""The admin API's routes about snapshots: how one would be made, make, find, go back, delete."""

from http import HTTPStatus

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.engine.running.jobs import Progress
from convoy_py.models.hooks import Hooks
from convoy_py.models.names import check_name, check_volume, joined
from convoy_py.wire import endpoints
from convoy_py.wire.backups import CreateBackups
from convoy_py.wire.base import Nothing
from convoy_py.wire.snapshots import (
    CreateGroup,
    CreateSnapshot,
    PlanInfo,
    Rollback,
    RolledBack,
    SnapshotInfo,
    SnapshotList,
)


async def snapshot_list(admin: Admin, call: Call[Nothing]) -> Reply[SnapshotList]:
    views = admin.verbs.snapshots.views(call.name)
    return Reply(SnapshotList(snapshots=[admin.snapshot(view) for view in views]))


async def snapshot_inspect(admin: Admin, call: Call[Nothing]) -> Reply[SnapshotInfo]:
    return Reply(admin.snapshot(admin.verbs.snapshots.inspect(call.name)))


async def snapshot_plan(admin: Admin, call: Call[Nothing]) -> Reply[PlanInfo]:
    plan = await admin.verbs.snapshots.plan(call.name)
    return Reply(PlanInfo.model_validate(plan))


async def snapshot_create(admin: Admin, call: Call[CreateSnapshot]) -> Reply[SnapshotInfo]:
    asked = call.message
    name, hooks = _snapshot_name(asked.name), hooks_of(asked)

    async def work(progress: Progress) -> SnapshotInfo:
        snapshots = admin.verbs.snapshots
        (view,) = await snapshots.create([call.name], name, progress, hooks=hooks)
        return admin.snapshot(view)

    return await admin.job("snapshot create", call, work)


async def snapshot_group(admin: Admin, call: Call[CreateGroup]) -> Reply[SnapshotList]:
    asked = call.message
    volumes, name = [check_volume(volume) for volume in asked.volumes], _snapshot_name(asked.name)
    hooks = hooks_of(asked)

    async def work(progress: Progress) -> SnapshotList:
        views = await admin.verbs.snapshots.create(
            volumes,
            name,
            progress,
            hooks=hooks,
            compose_project=asked.compose_project,
            container=asked.container,
        )
        return SnapshotList(snapshots=[admin.snapshot(view) for view in views])

    return await admin.job("snapshot create", call, work)


async def snapshot_delete(admin: Admin, call: Call[Nothing]) -> Reply[Nothing]:
    view = admin.verbs.snapshots.inspect(call.name)
    name = joined(view.volume, view.name)
    await admin.verbs.snapshots.delete(name)
    return Reply(None, HTTPStatus.NO_CONTENT, name)


async def rollback(admin: Admin, call: Call[Rollback]) -> Reply[RolledBack]:
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


def hooks_of(asked: CreateSnapshot | CreateGroup | CreateBackups) -> Hooks:
    """What is to be done to containers; raises Invalid."""
    return Hooks.asked(asked.before, asked.after, pause=asked.pause, stop=asked.stop)


def _snapshot_name(name: str) -> str:
    return check_name(name, "snapshot") if name else ""


def _group_members(name: str, asked: CreateGroup) -> str:
    """What a group is made of, as far as the request names it."""
    return ",".join(filter(None, [*asked.volumes, asked.compose_project, asked.container]))


ROUTES = (
    Route(endpoints.LIST_SNAPSHOTS, snapshot_list, flat=True),
    Route(endpoints.CREATE_GROUP, snapshot_group, subject=_group_members),
    Route(endpoints.INSPECT_SNAPSHOT, snapshot_inspect, flat=True),
    Route(endpoints.DELETE_SNAPSHOT, snapshot_delete, flat=True),
    Route(endpoints.LIST_SNAPSHOTS_OF, snapshot_list),
    Route(endpoints.CREATE_SNAPSHOT, snapshot_create),
    Route(endpoints.INSPECT_SNAPSHOT_OF, snapshot_inspect),
    Route(endpoints.DELETE_SNAPSHOT_OF, snapshot_delete),
    Route(endpoints.PLAN_SNAPSHOT, snapshot_plan),
    Route(endpoints.ROLLBACK, rollback),
)
