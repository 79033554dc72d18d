"""The admin API's routes about schedules: set, list, inspect, remove."""

from http import HTTPStatus

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.errors import Invalid, InvalidOption
from convoy_py.models.options import parse_options
from convoy_py.wire import endpoints
from convoy_py.wire.base import Nothing
from convoy_py.wire.schedules import ScheduleInfo, ScheduleList, SetSchedule


async def schedules(admin: Admin, call: Call[Nothing]) -> Reply[ScheduleList]:
    views = admin.verbs.schedules.views()
    return Reply(ScheduleList(schedules=[ScheduleInfo.model_validate(view) for view in views]))


async def inspect_schedule(admin: Admin, call: Call[Nothing]) -> Reply[ScheduleInfo]:
    return Reply(ScheduleInfo.model_validate(admin.verbs.schedules.inspect(call.name)))


async def set_schedule(admin: Admin, call: Call[SetSchedule]) -> Reply[ScheduleInfo]:
    asked = {f"schedule.{key}": text for key, text in call.message if text is not None}
    try:
        read = parse_options(asked)
    except InvalidOption as error:
        raise Invalid(str(error)) from None
    changes = {(field := key.replace(".", "_")): getattr(read, field) for key in asked}
    return Reply(ScheduleInfo.model_validate(await admin.verbs.schedules.set(call.name, changes)))


async def remove_schedule(admin: Admin, call: Call[Nothing]) -> Reply[Nothing]:
    await admin.verbs.schedules.remove(call.name)
    return Reply(status=HTTPStatus.NO_CONTENT)


ROUTES = (
    Route(endpoints.LIST_SCHEDULES, schedules),
    Route(endpoints.INSPECT_SCHEDULE, inspect_schedule),
    Route(endpoints.SET_SCHEDULE, set_schedule),
    Route(endpoints.REMOVE_SCHEDULE, remove_schedule),
)
