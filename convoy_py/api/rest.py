"""How a request of the admin API is admitted, read, answered and recorded."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from convoy_py.api.access import admitted
from convoy_py.api.failures import STATUSES, result_of, severity, tell
from convoy_py.api.requests import parse, read_body
from convoy_py.errors import ConvoyError, Invalid, Kind, NotFound
from convoy_py.linux.peers import Peer
from convoy_py.logs import AUDIT, event
from convoy_py.metrics import Metrics
from convoy_py.models.names import check_name
from convoy_py.wire.admin import Failure

log = logging.getLogger("convoy.admin")
audit = logging.getLogger(AUDIT)
Form = TypeVar("Form", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON = "application/json"


class Nothing(BaseModel):
    """The request of a route that takes neither a query nor a body."""

    model_config = ConfigDict(extra="forbid")


class Unread(BaseModel):
    """The request of what is no route: nobody looks at it."""


@dataclass(frozen=True)
class Call(Generic[Form]):
    """One request, read; `name` is the volume's in the path (checked) or else in the message."""

    name: str
    message: Form


@dataclass(frozen=True)
class Reply:
    """An answer. A body in bytes is of the route's media type."""

    body: BaseModel | bytes | None = None
    status: int = 200
    name: str = ""  # the volume's, where the request had none


@dataclass(frozen=True)
class Route:
    """One row of the table: what is asked, who answers, what with, and whether it is a change.

    `form` is the body of a POST, the query of any other method. `statuses` are those of an
    `answer`; whatever fails is answered by a Failure.
    """

    method: str
    path: str
    summary: str
    handle: Callable[[Any, Call[Any]], Awaitable[Reply]]
    form: type[BaseModel] = Nothing
    answer: type[BaseModel] | None = None
    statuses: tuple[int, ...] = (200,)
    media: str = JSON
    changes: bool = False

    @property
    def operation(self) -> str:
        """The verb, as in the log, the metrics and the engine."""
        return getattr(self.handle, "__name__", "unknown")

    @property
    def has_body(self) -> bool:
        return self.method == "POST"


class Edge:
    """Turns routes into handlers. `group` is the gid that is admitted beside root."""

    def __init__(self, metrics: Metrics, group: int | None) -> None:
        self._metrics = metrics
        self._group = group

    def serve(self, route: Route, owner: object) -> Handler:
        """The aiohttp handler of a route whose function takes `owner` as its self."""

        async def handler(request: web.Request) -> web.StreamResponse:
            started = perf_counter()
            name = request.match_info.get("name", "")
            caller: Peer | None = None
            failure: Exception | None = None
            try:
                caller = admitted(request, self._group)
                if name:
                    check_name(name)
                message = await _read(request, route)
                name = name or getattr(message, "name", "")
                reply = await route.handle(owner, Call(name, message))
                name = name or reply.name
            except Exception as error:  # noqa: BLE001 - the edge: logged with its traceback
                failure = error
                reply = _failed(error, name)
            self._record(route, name, caller, perf_counter() - started, failure)
            return _response(reply, route.media)

        return handler

    def _record(
        self,
        route: Route,
        name: str,
        caller: Peer | None,
        seconds: float,
        failure: Exception | None,
    ) -> None:
        """Write the one log line, of a change into the audit log, and count the one metric."""
        result = result_of(failure)
        self._metrics.operation("admin", route.operation, result, seconds)
        level = logging.INFO if route.changes else logging.DEBUG
        event(
            audit if route.changes else log,
            severity(failure) if failure else level,
            route.operation,
            failure=failure,
            volume=name,
            uid=caller.uid if caller else None,
            pid=caller.pid if caller else None,
            result=result,
            seconds=seconds,
        )


async def unknown(owner: object, call: Call[Unread]) -> Reply:
    """What answers every path and method that no route has."""
    raise NotFound("no such path or method; GET /v1/openapi.json lists them")


async def _read(request: web.Request, route: Route) -> BaseModel:
    if route.form is Unread:
        return Unread()
    query = dict(request.query)
    if len(query) != len(request.query):
        raise Invalid("a query parameter is given twice")
    body = await read_body(request)
    if not route.has_body:
        if body:
            raise Invalid(f"{request.method} takes no body")
        return parse(route.form, query)
    if query:
        raise Invalid(f"unknown query parameter: {', '.join(query)}")
    return parse(route.form, body or b"{}")


def _failed(error: Exception, name: str) -> Reply:
    kind = error.kind if isinstance(error, ConvoyError) else Kind.FAILED
    return Reply(Failure(error=tell(error, name), kind=kind.value), STATUSES[kind])


def _response(reply: Reply, media: str) -> web.Response:
    if reply.body is None:
        return web.Response(status=reply.status)
    if isinstance(reply.body, bytes):
        return web.Response(body=reply.body, headers={"Content-Type": media})
    text = reply.body.model_dump_json(by_alias=True)
    return web.Response(text=text, status=reply.status, content_type=JSON)
