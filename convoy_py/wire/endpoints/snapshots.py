"""The calls of snapshots, and of going back to one."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Direct, Long, nothing

LIST_SNAPSHOTS = Direct(
    "GET", "/v1/snapshots", "All snapshots", nothing, lambda: wire.snapshots.SnapshotList
)
CREATE_GROUP = Long(
    "POST",
    "/v1/snapshots",
    "Take snapshots of several volumes at one moment",
    lambda: wire.snapshots.CreateGroup,
    lambda: wire.snapshots.SnapshotList,
)
INSPECT_SNAPSHOT = Direct(
    "GET",
    "/v1/snapshots/{name}",
    "One snapshot: db@nightly, or nightly where only one volume has it",
    nothing,
    lambda: wire.snapshots.SnapshotInfo,
    snapshots=True,
)
DELETE_SNAPSHOT = Direct(
    "DELETE",
    "/v1/snapshots/{name}",
    "Delete a snapshot: db@nightly, or nightly where only one volume has it",
    nothing,
    nothing,
    statuses=(204,),
    snapshots=True,
)
LIST_SNAPSHOTS_OF = Direct(
    "GET",
    "/v1/volumes/{name}/snapshots",
    "A volume's snapshots, oldest first",
    nothing,
    lambda: wire.snapshots.SnapshotList,
)
CREATE_SNAPSHOT = Long(
    "POST",
    "/v1/volumes/{name}/snapshots",
    "Take a snapshot of a volume",
    lambda: wire.snapshots.CreateSnapshot,
    lambda: wire.snapshots.SnapshotInfo,
)
INSPECT_SNAPSHOT_OF = Direct(
    "GET",
    "/v1/volumes/{name}/snapshots/{snapshot}",
    "One snapshot of a volume",
    nothing,
    lambda: wire.snapshots.SnapshotInfo,
    snapshots=True,
)
DELETE_SNAPSHOT_OF = Direct(
    "DELETE",
    "/v1/volumes/{name}/snapshots/{snapshot}",
    "Delete a snapshot of a volume",
    nothing,
    nothing,
    statuses=(204,),
    snapshots=True,
)
PLAN_SNAPSHOT = Direct(
    "GET",
    "/v1/volumes/{name}/plan",
    "How a snapshot of a volume would be made now",
    nothing,
    lambda: wire.snapshots.PlanInfo,
)
ROLLBACK = Long(
    "POST",
    "/v1/volumes/{name}/rollback",
    "Replace a volume's data by a snapshot's, after a snapshot of what is there",
    lambda: wire.snapshots.Rollback,
    lambda: wire.snapshots.RolledBack,
)
