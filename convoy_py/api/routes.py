"""The table of all routes of the admin API: who answers which of the calls in wire/endpoints/."""

from typing import Any

from pydantic_core import to_json

from convoy_py.api import (
    backups,
    copies,
    daemon,
    jobs,
    repositories,
    schedules,
    snapshots,
    space,
    trash,
    volumes,
)
from convoy_py.api.admin import Admin
from convoy_py.api.openapi import document
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.wire import endpoints
from convoy_py.wire.base import Nothing


async def openapi(admin: Admin, call: Call[Nothing]) -> Reply[Nothing]:
    return Reply(to_json(document(ROUTES)))


ROUTES: tuple[Route[Any, Any], ...] = (
    *volumes.ROUTES,
    *snapshots.ROUTES,
    *copies.ROUTES,
    *space.ROUTES,
    *repositories.ROUTES,
    *backups.ROUTES,
    *schedules.ROUTES,
    *jobs.ROUTES,
    *trash.ROUTES,
    *daemon.ROUTES,
    Route(endpoints.DESCRIBE, openapi, early=True),
)
