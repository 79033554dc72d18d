"""How a request of the admin API is admitted, read, answered and recorded."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel

from convoy_py.api.access import admit, caller_of
from convoy_py.api.failures import STATUSES, result_of, severity, tell
from convoy_py.api.requests import Handler, Nothing, parse, read_body
from convoy_py.errors import ConvoyError, Invalid, Kind, NotFound, Unsupported
from convoy_py.linux.peers import Peer
from convoy_py.logs import AUDIT, event
from convoy_py.metrics import Metrics
from convoy_py.models.names import check_name
from convoy_py.wire.admin import Failure

log = logging.getLogger("convoy.admin")
audit = logging.getLogger(AUDIT)
Form = TypeVar("Form", bound=BaseModel)

JSON = "application/json"


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
    allow: str = ""  # the methods that the path has, where it lacks the one that was asked


@dataclass(frozen=True)
class Route:
    """One row of the table: what is asked, who answers, what with, and whether it is a change.

    `form` is the body of a POST, the query of any other method. `statuses` are those of an
    `answer`; whatever fails is answered by a Failure. `allow` names the methods of a path in the
    route that stands for all its other methods.
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
    allow: str = ""

    @property
    def operation(self) -> str:
        """The verb, as in the log, the metrics and the engine."""
        return getattr(self.handle, "__name__", "unknown").lstrip("_")

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
            caller = caller_of(request)
            failure: Exception | None = None
            try:
                admit(request, caller, self._group)
                if name:
                    check_name(name)
                message = await _read(request, route)
                name = name or getattr(message, "name", "")
                reply = await route.handle(owner, Call(name, message))
                name = name or reply.name
            except Exception as error:  # noqa: BLE001 - the edge: logged with its traceback
                failure = error
                reply = _failed(error, name, route)
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
            api="admin",
            volume=name,
            uid=caller.uid if caller else None,
            pid=caller.pid if caller else None,
            result=result,
            seconds=seconds,
        )


def others(routes: Iterable[Route]) -> list[Route]:
    """Routes for whatever the table has not: other methods of its paths, and other paths."""
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).append(route.method)
    told = "Whatever is not a route"
    return [
        *(
            Route("*", path, told, _wrong_method, Unread, allow=", ".join(allowed))
            for path, allowed in methods.items()
        ),
        Route("*", "/{path:(?s:.*)}", told, _unknown, Unread),
    ]


async def _wrong_method(owner: object, call: Call[Unread]) -> Reply:
    raise Unsupported("this path has no such method; GET /v1/openapi.json lists them")


async def _unknown(owner: object, call: Call[Unread]) -> Reply:
    raise NotFound("no such path; GET /v1/openapi.json lists them")


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


def _failed(error: Exception, name: str, route: Route) -> Reply:
    kind = error.kind if isinstance(error, ConvoyError) else Kind.FAILED
    told = Failure(error=tell(error, name), kind=kind.value)
    if route.allow and kind is Kind.UNSUPPORTED:
        return Reply(told, HTTPStatus.METHOD_NOT_ALLOWED, allow=route.allow)
    return Reply(told, STATUSES[kind])


def _response(reply: Reply, media: str) -> web.Response:
    if reply.body is None:
        return web.Response(status=reply.status)
    if isinstance(reply.body, bytes):
        return web.Response(body=reply.body, headers={"Content-Type": media})
    text = reply.body.model_dump_json(by_alias=True)
    headers = {"Allow": reply.allow} if reply.allow else None
    return web.Response(text=text, status=reply.status, content_type=JSON, headers=headers)
