"""How a request of the admin API is admitted, read, answered and recorded."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any, Generic

from aiohttp import web
from pydantic import BaseModel

from convoy_py.api.access import admit, caller_of
from convoy_py.api.failures import STATUSES, tell
from convoy_py.api.recording import Recorder, level_of
from convoy_py.api.requests import Handler, parse, read_body
from convoy_py.errors import ConvoyError, Invalid, Kind, NotFound, Unsupported
from convoy_py.metrics import Metrics
from convoy_py.models.names import AT, check_name, check_volume, joined
from convoy_py.wire.base import Failure, Nothing
from convoy_py.wire.endpoints import Answer, Direct, Endpoint, Form, nothing
from convoy_py.wire.jobs import JobInfo

log = logging.getLogger("convoy.admin")

JSON = "application/json"


class Unread(BaseModel):
    """The request of what is no route: nobody looks at it."""


@dataclass(frozen=True)
class Call(Generic[Form]):
    """One request, read: what its path names (checked), and what it is about (see Route)."""

    name: str  # a volume, a snapshot by its full name, or what else the endpoint's noun is
    message: Form
    subject: str = ""
    job: str = ""  # the id of one


@dataclass(frozen=True)
class Reply(Generic[Answer]):
    """An answer, or the job that comes to it. A body in bytes is of the route's media type."""

    body: Answer | JobInfo | bytes | None = None
    status: int = HTTPStatus.OK
    subject: str = ""  # where it turned out only now
    allow: str = ""  # the methods that the path has, where it lacks the one that was asked


def named(name: str, message: Any) -> str:
    """What a request is about, as a rule: what its path names, or else its message."""
    return name or getattr(message, "name", "")


@dataclass(frozen=True)
class Route(Generic[Form, Answer]):
    """Who answers a call, and what only the daemon has to know of it.

    `subject` makes of the name in the path and the message the name of the volume that the log and
    the errors speak of. `allow` names the methods of a path in the route that stands for all its
    other methods.
    """

    endpoint: Endpoint[Form, Answer]
    handle: Callable[[Any, Call[Form]], Awaitable[Reply[Answer]]]
    media: str = JSON
    early: bool = False  # answers before the records have been read
    subject: Callable[[str, Form], str] = named
    flat: bool = False  # beside a route below /v1/volumes/{name} with the same handler
    allow: str = ""

    @property
    def operation(self) -> str:
        """What is done, as in the log and the metrics."""
        return getattr(self.handle, "__name__", "unknown").strip("_")


class Edge:
    """Turns routes into handlers. `group` is the gid that is admitted beside root.

    `ready` returns once the records have been read.
    """

    def __init__(
        self, metrics: Metrics, group: int | None, ready: Callable[[], Awaitable[None]]
    ) -> None:
        self.recorder = Recorder("admin", log, metrics)
        self._group = group
        self._ready = ready

    def serve(self, route: Route[Any, Any], owner: object) -> Handler:
        """The aiohttp handler of a route whose function takes `owner` first."""

        async def handler(request: web.Request) -> web.StreamResponse:
            started = perf_counter()
            path = request.match_info
            subject = name = joined(path.get("name", ""), path.get("snapshot", ""))
            caller = caller_of(request)
            failure: Exception | None = None
            about = ""
            try:
                admit(request, caller, self._group)
                _check(name, route.endpoint)
                message = await _read(request, route.endpoint)
                subject = route.subject(name, message)
                about = _beyond_volumes(subject, message, route.endpoint)
                if not route.early:
                    await self._ready()
                reply = await route.handle(owner, Call(name, message, subject, path.get("id", "")))
                subject = reply.subject or subject
                response = _response(reply, route.media)
            except Exception as error:  # noqa: BLE001 - the edge: logged with its traceback
                failure = error
                response = _response(_failed(error, subject, about, route), JSON)
            self.recorder.record(
                route.operation,
                subject,
                caller,
                perf_counter() - started,
                failure,
                level=level_of(failure, logging.INFO if route.endpoint.changes else logging.DEBUG),
                change=route.endpoint.changes,
            )
            return response

        return handler


def others(routes: Iterable[Route[Any, Any]]) -> list[Route[Any, Any]]:
    """Routes for whatever the table has not: other methods of its paths, and other paths."""
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.endpoint.path, []).append(route.endpoint.method)
    return [
        *(
            Route(_unread(path), _wrong_method, early=True, allow=", ".join(allowed))
            for path, allowed in methods.items()
        ),
        Route(_unread("/{path:(?s:.*)}"), _unknown, early=True),
    ]


def _unread(path: str) -> Direct[Unread, Nothing]:
    return Direct("*", path, "Whatever is not a route", lambda: Unread, nothing)


async def _wrong_method(owner: object, call: Call[Unread]) -> Reply[Nothing]:
    raise Unsupported("this path has no such method; GET /v1/openapi.json lists them")


async def _unknown(owner: object, call: Call[Unread]) -> Reply[Nothing]:
    raise NotFound("no such path; GET /v1/openapi.json lists them")


def _check(name: str, endpoint: Endpoint[Any, Any]) -> None:
    """Raise Invalid for a name in the path that can be nothing's."""
    if not name:
        return
    if endpoint.noun != "volume":
        check_name(name, endpoint.noun)
        return
    if not endpoint.snapshots:
        check_volume(name)
        return
    volume, at, snapshot = name.partition(AT)
    check_name(volume)
    if at:
        check_name(snapshot, "snapshot")


async def _read(request: web.Request, endpoint: Endpoint[Form, Any]) -> BaseModel:
    if endpoint.form is Unread:
        return Unread()
    query = dict(request.query)
    if len(query) != len(request.query):
        raise Invalid("a query parameter is given twice")
    body = await read_body(request)
    if not endpoint.has_body:
        if body:
            raise Invalid(f"{request.method} takes no body")
        return parse(endpoint.form, query)
    if query:
        raise Invalid(f"unknown query parameter: {', '.join(query)}")
    return parse(endpoint.form, body or b"{}")


def _beyond_volumes(subject: str, message: BaseModel, endpoint: Endpoint[Any, Any]) -> str:
    """What a request is about, in words, if it names more than volumes."""
    if endpoint.noun != "volume":
        return f"{endpoint.noun} {subject}"
    for key, kind in (("compose_project", "compose project"), ("container", "container")):
        if name := getattr(message, key, ""):
            return f"{kind} {name}"
    return ""


def _failed(error: Exception, subject: str, about: str, route: Route[Any, Any]) -> Reply[Failure]:
    kind = error.kind if isinstance(error, ConvoyError) else Kind.FAILED
    told = Failure(error=tell(error, subject, about), kind=kind.value)
    if route.allow and kind is Kind.UNSUPPORTED:
        return Reply(told, HTTPStatus.METHOD_NOT_ALLOWED, allow=route.allow)
    return Reply(told, STATUSES[kind])


def _response(reply: Reply[Any], media: str) -> web.Response:
    if reply.body is None:
        return web.Response(status=reply.status)
    if isinstance(reply.body, bytes):
        return web.Response(body=reply.body, headers={"Content-Type": media})
    text = reply.body.model_dump_json(by_alias=True)
    headers = {"Allow": reply.allow} if reply.allow else None
    return web.Response(text=text, status=reply.status, content_type=JSON, headers=headers)
