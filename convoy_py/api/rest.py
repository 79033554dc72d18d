"""How a request of the admin API is admitted, read, answered and recorded."""

import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel

from convoy_py.api.access import admit, caller_of
from convoy_py.api.failures import STATUSES, tell
from convoy_py.api.recording import Recorder, level_of
from convoy_py.api.requests import Handler, Nothing, parse, read_body
from convoy_py.errors import ConvoyError, Invalid, Kind, NotFound, Unsupported
from convoy_py.metrics import Metrics
from convoy_py.models.names import AT, check_name, joined
from convoy_py.wire.admin import Failure
from convoy_py.wire.copies import JobInfo

log = logging.getLogger("convoy.admin")
Form = TypeVar("Form", bound=BaseModel)

JSON = "application/json"


class Unread(BaseModel):
    """The request of what is no route: nobody looks at it."""


@dataclass(frozen=True)
class Call(Generic[Form]):
    """One request, read: what its path names (checked), and what it is about (see Route)."""

    name: str  # a volume, or a snapshot by its full name
    message: Form
    subject: str = ""
    job: str = ""  # the id of one


@dataclass(frozen=True)
class Reply:
    """An answer. A body in bytes is of the route's media type."""

    body: BaseModel | bytes | None = None
    status: int = HTTPStatus.OK
    subject: str = ""  # where it turned out only now
    allow: str = ""  # the methods that the path has, where it lacks the one that was asked


def named(name: str, message: Any) -> str:
    """What a request is about, as a rule: what its path names, or else its message."""
    return name or getattr(message, "name", "")


@dataclass(frozen=True)
class Route:
    """One row of the table: what is asked, who answers, what with, and whether it is a change.

    `form` is the body of a POST, the query of any other method. `statuses` are those of an
    `answer`; whatever fails is answered by a Failure. `subject` makes of the name in the path and
    the message the name of the volume that the log and the errors speak of. `allow` names the
    methods of a path in the route that stands for all its other methods.
    """

    method: str
    path: str
    summary: str
    handle: Callable[[Any, Call[Any]], Awaitable[Reply]]
    form: type[BaseModel] = Nothing
    answer: type[BaseModel] | None = None
    statuses: tuple[int, ...] = (HTTPStatus.OK,)
    media: str = JSON
    changes: bool = False
    early: bool = False  # answers before the records have been read
    snapshots: bool = False  # the path may name a snapshot, and does if it has a {snapshot}
    result: type[BaseModel] | None = None  # of the job that it starts
    subject: Callable[[str, Any], str] = named
    flat: bool = False  # beside a route below /v1/volumes/{name} with the same handler
    allow: str = ""

    @property
    def operation(self) -> str:
        """What is done, as in the log and the metrics."""
        return getattr(self.handle, "__name__", "unknown").strip("_")

    @property
    def has_body(self) -> bool:
        return self.method == "POST"

    @property
    def variables(self) -> list[str]:
        """What stands in braces in the path."""
        return re.findall(r"\{(\w+)\}", self.path)


def job(
    path: str,
    summary: str,
    handle: Callable[[Any, Call[Any]], Awaitable[Reply]],
    form: type[BaseModel],
    result: type[BaseModel],
    *,
    method: str = "POST",
    subject: Callable[[str, Any], str] = named,
) -> Route:
    """The route of work that may take long: what is answered is the job; a GET changes nothing."""
    return Route(
        method,
        path,
        summary,
        handle,
        form,
        JobInfo,
        (HTTPStatus.OK, HTTPStatus.ACCEPTED),
        changes=method != "GET",
        result=result,
        subject=subject,
    )


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

    def serve(self, route: Route, owner: object) -> Handler:
        """The aiohttp handler of a route whose function takes `owner` first."""

        async def handler(request: web.Request) -> web.StreamResponse:
            started = perf_counter()
            path = request.match_info
            subject = name = joined(path.get("name", ""), path.get("snapshot", ""))
            caller = caller_of(request)
            failure: Exception | None = None
            try:
                admit(request, caller, self._group)
                _check(name, route)
                message = await _read(request, route)
                subject = route.subject(name, message)
                if not route.early:
                    await self._ready()
                reply = await route.handle(owner, Call(name, message, subject, path.get("id", "")))
                subject = reply.subject or subject
                response = _response(reply, route.media)
            except Exception as error:  # noqa: BLE001 - the edge: logged with its traceback
                failure = error
                response = _response(_failed(error, subject, route), JSON)
            self.recorder.record(
                route.operation,
                subject,
                caller,
                perf_counter() - started,
                failure,
                level=level_of(failure, logging.INFO if route.changes else logging.DEBUG),
                change=route.changes,
            )
            return response

        return handler


def others(routes: Iterable[Route]) -> list[Route]:
    """Routes for whatever the table has not: other methods of its paths, and other paths."""
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).append(route.method)
    told = "Whatever is not a route"
    return [
        *(
            Route("*", path, told, _wrong_method, Unread, early=True, allow=", ".join(allowed))
            for path, allowed in methods.items()
        ),
        Route("*", "/{path:(?s:.*)}", told, _unknown, Unread, early=True),
    ]


async def _wrong_method(owner: object, call: Call[Unread]) -> Reply:
    raise Unsupported("this path has no such method; GET /v1/openapi.json lists them")


async def _unknown(owner: object, call: Call[Unread]) -> Reply:
    raise NotFound("no such path; GET /v1/openapi.json lists them")


def _check(name: str, route: Route) -> None:
    """Raise Invalid for a name in the path that can be nothing's."""
    if not name:
        return
    volume, at, snapshot = name.partition(AT) if route.snapshots else (name, "", "")
    check_name(volume)
    if at:
        check_name(snapshot, "snapshot")


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


def _failed(error: Exception, subject: str, route: Route) -> Reply:
    kind = error.kind if isinstance(error, ConvoyError) else Kind.FAILED
    told = Failure(error=tell(error, subject), kind=kind.value)
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
