"""The table of all routes of the admin API, and its description of itself.

The table drives the routing, the reading of requests and the OpenAPI document.
"""

from pydantic_core import to_json

from convoy_py.api import copies, jobs, sizes, snapshots, system, trash, volumes
from convoy_py.api.admin import Admin
from convoy_py.api.openapi import document
from convoy_py.api.requests import Nothing
from convoy_py.api.rest import Call, Reply, Route


async def openapi(admin: Admin, call: Call[Nothing]) -> Reply:
    return Reply(to_json(document(ROUTES)))


ROUTES = (
    *volumes.ROUTES,
    *snapshots.ROUTES,
    *copies.ROUTES,
    *sizes.ROUTES,
    *jobs.ROUTES,
    *trash.ROUTES,
    *system.ROUTES,
    Route("GET", "/v1/openapi.json", "This description", openapi, early=True),
)
