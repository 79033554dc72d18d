"""The Docker Volume Plugin API: Plugin.Activate and VolumeDriver.*, for Docker and Podman.

What an engine makes of an answer decides what is answered here:

- A failure is status 500 with an `Err`; Podman overlooks an Err beside 200.
- To an engine any failed Get says that the volume does not exist, and it forgets the volume with
  its labels. So Get fails only for a volume that does not exist; if anything else is wrong the
  connection is dropped, which the engine takes for trouble on the line.
- An engine that retries a call which it had already written sends an empty body (moby#39331). It
  does so if a kept connection is closed under it, hence every answer closes its connection.

Source: moby `pkg/plugins/client.go`, `volume/drivers`, `volume/service/store.go`.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import TypeVar

from aiohttp import web
from pydantic_core import to_json

from convoy_py.api.access import caller_of
from convoy_py.api.failures import tell
from convoy_py.api.recording import Recorder, level_of
from convoy_py.api.requests import Handler, is_gone, parse, read_body
from convoy_py.api.status import status
from convoy_py.engine.memory.references import NO_ID, UNSEEN
from convoy_py.engine.verbs import Verbs
from convoy_py.errors import Invalid, InvalidName, Unavailable, Unsupported, VolumeNotFound
from convoy_py.escapes import one_line
from convoy_py.linux import peers
from convoy_py.linux.outside import Outside
from convoy_py.metrics import Metrics
from convoy_py.models.names import NameKind, is_source, kind_of
from convoy_py.models.options import parse_options
from convoy_py.models.volume import Options
from convoy_py.wire.base import Nothing, rfc3339
from convoy_py.wire.plugin import CreateRequest, MountRequest, NameRequest

log = logging.getLogger("convoy.docker")

LOST = (
    "request body lost in an engine retry after the plugin was interrupted; run the command again"
)

_CHANGES = {"create", "remove", "mount", "unmount"}
_READS = {"capabilities", "path", "get", "list"}

_HEADERS = {"Content-Type": "application/vnd.docker.plugins.v1.2+json"}
_DONE = b'{"Err":""}'
_ACTIVATED = b'{"Implements":["VolumeDriver"]}'
_CAPABILITIES = b'{"Capabilities":{"Scope":"%s"}}'
# Whether another host's volume of the same name is another volume, or the same.
_SCOPES = {False: b"local", True: b"global"}


Form = TypeVar("Form", bound=CreateRequest | NameRequest | MountRequest | Nothing)


class Plugin:
    """The endpoints of one plugin socket. `clock` is POSIX time in seconds."""

    def __init__(
        self, verbs: Verbs, metrics: Metrics, clock: Callable[[], float], outside: Outside
    ) -> None:
        self._daemon = verbs.daemon
        self._volumes = verbs.volumes
        self._uses = verbs.uses
        self.recorder = Recorder("docker", log, metrics)
        self._clock = clock
        self._outside = outside
        self._token = secrets.token_hex(8)
        self._activations = 0
        # The last answer to List: comparing what it lists is much cheaper than writing it anew.
        self._listing: list[tuple[str, str]] | None = None
        self._listed = b""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/Plugin.Activate", self._serve("activate", Nothing, self.activate)),
            self._route("Capabilities", Nothing, self.capabilities),
            self._route("Create", CreateRequest, self.create),
            self._route("Remove", NameRequest, self.remove),
            self._route("Mount", MountRequest, self.mount),
            self._route("Unmount", MountRequest, self.unmount),
            self._route("Path", NameRequest, self.path),
            self._route("Get", NameRequest, self.get),
            self._route("List", Nothing, self.list),
            web.route("*", "/{path:(?s:.*)}", _unknown),
        ]

    # The calls: each gives the body of its answer. The raw request is there for Mount's sake.

    async def activate(self, request: web.Request, message: Nothing) -> bytes:
        self._activations += 1
        return _ACTIVATED

    async def capabilities(self, request: web.Request, message: Nothing) -> bytes:
        return _CAPABILITIES % _SCOPES[self._daemon.is_shared]

    async def create(self, request: web.Request, message: CreateRequest) -> bytes:
        # A snapshot is mounted like a volume, and an engine may create it first: it exists already.
        if not is_source(message.name):
            raise InvalidName(message.name)
        options = parse_options(message.opts)
        _refuse_commands(options)
        await self._daemon.ready()
        await self._volumes.create(message.name, options, by_engine=True)
        return _DONE

    async def remove(self, request: web.Request, message: NameRequest) -> bytes:
        await self._daemon.ready()
        with suppress(VolumeNotFound):
            await self._volumes.remove(_public(_named(message.name)))
        return _DONE

    async def mount(self, request: web.Request, message: MountRequest) -> bytes:
        """Answer with the volume's path; the engine that is gone will never send an Unmount."""
        pid, epoch = self._caller(request)
        await self._daemon.ready()
        self._daemon.check_reach(message.name, pid)
        mount_id = message.id or NO_ID
        path = await self._uses.mount(_public(message.name), mount_id, epoch)
        if is_gone(request):
            await self._uses.release(message.name, mount_id, epoch)
            raise Unavailable(f"volume {message.name}: mounted too late, the client has gone")
        # An engine would bind a folder of its own into the container in place of a missing path.
        assert path.startswith("/")
        return to_json({"Mountpoint": path, "Err": ""})

    async def unmount(self, request: web.Request, message: MountRequest) -> bytes:
        await self._daemon.ready()
        await self._uses.unmount(_named(message.name), message.id or NO_ID)
        return _DONE

    async def path(self, request: web.Request, message: NameRequest) -> bytes:
        await self._daemon.ready()
        await self._daemon.seek(message.name)
        view = self._volumes.for_engine(_public(message.name))
        return to_json({"Mountpoint": view.mountpoint, "Err": ""})

    async def get(self, request: web.Request, message: NameRequest) -> bytes:
        await self._daemon.ready()
        await self._daemon.seek(message.name)
        view = self._volumes.for_engine(_public(message.name))
        volume = {
            "Name": message.name,
            "Mountpoint": view.mountpoint,
            "CreatedAt": rfc3339(view.created),
            "Status": status(view, self._clock(), self._outside),
        }
        return to_json({"Volume": volume, "Err": ""})

    async def list(self, request: web.Request, message: Nothing) -> bytes:
        await self._daemon.ready()
        listing = self._volumes.listing()
        if listing != self._listing:
            rows = [{"Name": name, "Mountpoint": path} for name, path in listing]
            self._listing, self._listed = listing, to_json({"Volumes": rows, "Err": ""})
        return self._listed

    def _caller(self, request: web.Request) -> tuple[int, str]:
        """The engine's pid, 0 if it cannot be seen, and its epoch, which names this life of it."""
        if request.transport is not None:
            pid = peers.peer(request.transport.get_extra_info("socket")).pid
            if pid > 0 and (start := peers.start_time(pid)) is not None:
                return pid, f"{pid}:{start}"
        # A plugin that cannot see its engine's process is one that is started anew with it.
        return 0, f"{UNSEEN}{self._token}:{self._activations}"

    # How a call is served

    def _route(
        self,
        call: str,
        form: type[Form],
        handle: Callable[[web.Request, Form], Awaitable[bytes]],
    ) -> web.RouteDef:
        return web.post(f"/VolumeDriver.{call}", self._serve(call.lower(), form, handle))

    def _serve(
        self,
        operation: str,
        form: type[Form],
        handle: Callable[[web.Request, Form], Awaitable[bytes]],
    ) -> Handler:
        """The handler of an endpoint: reads `form`, calls `handle`, answers, logs, counts."""

        async def handler(request: web.Request) -> web.StreamResponse:
            started = perf_counter()
            name = ""
            caller = caller_of(request) if operation in _CHANGES else None
            try:
                message = await _read(request, form)
                name = getattr(message, "name", "")
                body = await handle(request, message)
            except Exception as error:  # noqa: BLE001 - the edge: logged with its traceback
                self._record(operation, name, caller, started, error)
                return _failed(request, operation, name, error)
            self._record(operation, name, caller, started)
            return _answered(200, body)

        return handler

    def _record(
        self,
        operation: str,
        name: str,
        caller: peers.Peer | None,
        started: float,
        error: Exception | None = None,
    ) -> None:
        level = logging.DEBUG if operation in _READS else logging.INFO
        # Docker looks for every new volume in every plugin: that it is not here is no news.
        if operation != "get" or not isinstance(error, VolumeNotFound):
            level = level_of(error, level)
        self.recorder.record(
            operation,
            name,
            caller,
            perf_counter() - started,
            error,
            level=level,
            change=operation in _CHANGES,
        )


def _named(name: str) -> str:
    """The name; raises Invalid where there is none.

    An unknown volume is no error to whoever wants it gone; an unset variable of a script is.
    """
    if not name.strip():
        raise Invalid("the request names no volume")
    return name


def _public(name: str) -> str:
    """The name; VolumeNotFound for a private clone's, which is its volume's own affair."""
    if kind_of(name) is NameKind.CLONE:
        raise VolumeNotFound(name)
    return name


def _refuse_commands(options: Options) -> None:
    """Whoever may name volumes may not for that run something in any container."""
    if options.schedule_before or options.schedule_after:
        raise Unsupported(
            "options schedule.before and schedule.after are not Docker's: give them by `convoy "
            "schedule set`, or have the container ask by its label convoy.backup.before or .after"
        )


async def _read(request: web.Request, form: type[Form]) -> Form:
    if form is Nothing:  # the body, empty or not, is not looked at
        return parse(form, b"{}")
    body = await read_body(request)
    if not body:
        raise Invalid(LOST)
    return parse(form, body)


def _answered(code: int, body: bytes) -> web.Response:
    response = web.Response(body=body, status=code, headers=_HEADERS)
    response.force_close()
    return response


def _failed(request: web.Request, operation: str, name: str, error: Exception) -> web.Response:
    if operation == "get" and not isinstance(error, VolumeNotFound):
        if request.transport is not None:
            request.transport.abort()
        return _answered(500, b"")  # aiohttp wants a response; this one goes nowhere
    return _answered(500, to_json({"Err": tell(error, name)}))


async def _unknown(request: web.Request) -> web.StreamResponse:
    text = one_line(f"no such endpoint: {request.method} {request.path}")
    return _answered(404, to_json({"Err": text}))
