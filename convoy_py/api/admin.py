"""Our own REST API under /v1: what each route does, and the table of them all.

The table drives the routing, the reading of requests and the OpenAPI document.
"""

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import Callable
from time import monotonic

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from convoy_py import __version__
from convoy_py.api.openapi import document
from convoy_py.api.requests import Nothing
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.api.status import volume_info
from convoy_py.config import Configuration
from convoy_py.engine.references import OPERATOR
from convoy_py.engine.volumes import Volumes
from convoy_py.metrics import CONTENT_TYPE, Metrics
from convoy_py.models.names import check_name
from convoy_py.models.options import parse_options
from convoy_py.models.volume import State
from convoy_py.wire.admin import (
    CreateVolume,
    General,
    Health,
    Info,
    Mounted,
    MountVolume,
    Setting,
    Space,
    VolumeInfo,
    VolumeList,
    option_table,
)

# So many volumes are told between two chances for Docker's calls to be served.
_BATCH = 200


class RemoveQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reference: bool = Field(False, description="forget the volume and keep its data")


class Admin:
    """The routes' handlers. `clock` is POSIX time in seconds."""

    def __init__(
        self,
        volumes: Volumes,
        metrics: Metrics,
        configuration: Configuration,
        clock: Callable[[], float],
    ) -> None:
        self._volumes = volumes
        self._metrics = metrics
        self._configuration = configuration
        self._clock = clock
        self._started = monotonic()

    async def info(self, call: Call[Nothing]) -> Reply:
        await self._volumes.ready()
        settings, sources = self._configuration.settings, self._configuration.sources
        space = await self._volumes.space()
        shown = settings.model_dump(mode="json")
        return Reply(
            Info(
                general=await self._general(),
                settings={k: Setting(value=v, source=sources[k]) for k, v in shown.items()},
                space=Space(
                    size=space.size,
                    free=space.free,
                    promised=space.outstanding,
                    may_promise=space.may_promise,
                ),
                options=option_table(),
                drivers=await self._volumes.drivers(),
            )
        )

    async def _general(self) -> General:
        settings = self._configuration.settings
        states = Counter(view.state for view in self._volumes.views())
        return General(
            root=str(settings.root),
            driver_list=list(settings.drivers),
            default_driver=settings.drivers[0],
            version=__version__,
            pid=os.getpid(),
            volumes=states.total(),
            broken=states[State.BROKEN],
            mounted=states[State.MOUNTED],
            kept=await self._volumes.kept(),
            health="; ".join(self._volumes.health()) or "ok",
            uptime=round(monotonic() - self._started, 3),
        )

    async def list(self, call: Call[Nothing]) -> Reply:
        await self._volumes.ready()
        found: dict[str, VolumeInfo] = {}
        for number, view in enumerate(self._volumes.views(), 1):
            found[view.name] = volume_info(view, self._clock())
            if number % _BATCH == 0:
                await asyncio.sleep(0)
        return Reply(VolumeList(volumes=found))

    async def inspect(self, call: Call[Nothing]) -> Reply:
        await self._volumes.ready()
        return Reply(volume_info(self._volumes.get(call.name), self._clock()))

    async def create(self, call: Call[CreateVolume]) -> Reply:
        asked = call.message
        name = check_name(call.name or f"volume-{secrets.token_hex(8)}")
        options = parse_options(asked.options)
        await self._volumes.ready()
        await self._volumes.create(name, options, adopt=asked.adopt)
        return Reply(volume_info(self._volumes.get(name), self._clock()), 201, name)

    async def delete(self, call: Call[RemoveQuery]) -> Reply:
        await self._volumes.ready()
        await self._volumes.remove(call.name, keep_data=call.message.reference)
        return Reply(None, 204)

    async def mount(self, call: Call[MountVolume]) -> Reply:
        """Mount for an operator, whose hold is not counted.

        So nothing is taken back from a client that has gone: it may have held the volume before.
        """
        await self._volumes.ready()
        path = await self._volumes.mount(call.name, call.message.reference, OPERATOR)
        return Reply(Mounted(mount_point=path))

    async def umount(self, call: Call[MountVolume]) -> Reply:
        await self._volumes.ready()
        self._volumes.get(call.name)  # a person who mistypes a name is told so
        # Only what an operator took: a container's hold may bear any name.
        await self._volumes.release(call.name, call.message.reference, OPERATOR)
        return Reply(None, 204)

    async def openapi(self, call: Call[Nothing]) -> Reply:
        return Reply(to_json(document(ROUTES)))

    async def metrics(self, call: Call[Nothing]) -> Reply:
        views = self._volumes.views()
        by_state = Counter((view.backend, view.state.value) for view in views)
        references = sum(view.references for view in views)
        self._metrics.volumes(
            by_state,
            references=references,
            lingering=self._volumes.lingering(),
            problems=len(self._volumes.health()),
        )
        return Reply(self._metrics.render())

    async def health(self, call: Call[Nothing]) -> Reply:
        problems = self._volumes.health()
        told = Health(healthy=not problems, problems=problems)
        return Reply(told, 503 if problems else 200)


ROUTES = (
    Route("GET", "/v1/info", "The daemon, its settings and its host", Admin.info, answer=Info),
    Route("GET", "/v1/volumes", "All volumes", Admin.list, answer=VolumeList),
    Route(
        "POST",
        "/v1/volumes",
        "Make a volume; one that exists with the same options is left as it is",
        Admin.create,
        CreateVolume,
        VolumeInfo,
        (201,),
        changes=True,
    ),
    Route("GET", "/v1/volumes/{name}", "One volume", Admin.inspect, answer=VolumeInfo),
    Route(
        "DELETE",
        "/v1/volumes/{name}",
        "Delete a volume and its data, or forget it and keep its data",
        Admin.delete,
        RemoveQuery,
        statuses=(204,),
        changes=True,
    ),
    Route(
        "POST",
        "/v1/volumes/{name}/mount",
        "Mount a volume on the host and hold it under a name",
        Admin.mount,
        MountVolume,
        Mounted,
        changes=True,
    ),
    Route(
        "POST",
        "/v1/volumes/{name}/umount",
        "End a hold; a volume that nobody holds is unmounted",
        Admin.umount,
        MountVolume,
        statuses=(204,),
        changes=True,
    ),
    Route("GET", "/v1/openapi.json", "This description", Admin.openapi),
    Route("GET", "/metrics", "Metrics for Prometheus", Admin.metrics, media=CONTENT_TYPE),
    Route(
        "GET",
        "/healthz",
        "Whether the daemon serves, and why not",
        Admin.health,
        answer=Health,
        statuses=(200, 503),
    ),
)
