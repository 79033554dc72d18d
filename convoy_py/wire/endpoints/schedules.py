"""The calls of schedules: what is done by itself."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Direct, nothing

LIST_SCHEDULES = Direct(
    "GET",
    "/v1/schedules",
    "The schedules of all volumes, and how their last runs went",
    nothing,
    lambda: wire.schedules.ScheduleList,
)
INSPECT_SCHEDULE = Direct(
    "GET",
    "/v1/schedules/{name}",
    "The schedule of one volume",
    nothing,
    lambda: wire.schedules.ScheduleInfo,
)
SET_SCHEDULE = Direct(
    "POST",
    "/v1/schedules/{name}",
    "Have snapshots or backups of a volume made by themselves; what is not given stays",
    lambda: wire.schedules.SetSchedule,
    lambda: wire.schedules.ScheduleInfo,
)
REMOVE_SCHEDULE = Direct(
    "DELETE",
    "/v1/schedules/{name}",
    "Do nothing by itself any more with a volume; what was made stays",
    nothing,
    nothing,
    statuses=(204,),
)
