"""A repository on a server that speaks restic's REST protocol, version 2."""

import asyncio
import os
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiohttp

from convoy_py.restic.errors import AlreadyThere, AppendOnly, BadLocation, NotFound, StoreFailed
from convoy_py.restic.stores.base import Kind, Piece, path_of
from convoy_py.restic.stores.bounds import LARGEST, Gathered, Listing, check_length, too_long
from convoy_py.restic.stores.json_list import JsonList
from convoy_py.restic.stores.retries import Passing, Patience, Retrying, Unreached, passes

_VERSION = "application/vnd.x.restic.rest.v2"
_SENT = 256 << 10  # bytes of a body that go at once
_IGNORED = 64 << 10  # bytes that are read of a body that nobody takes
_DONE = (200, 201, 204)
_GIVEN = (200, 206)
_REFUSED = (403, 405, 409)
# What aiohttp raises is mostly ClientError; a connection may end in other ways.
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError)
_UNREACHED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)

_T = TypeVar("_T")
_Whole_co = TypeVar("_Whole_co", covariant=True)


class _Body(Protocol[_Whole_co]):
    """The body of an answer in the making; what `add` raises ends the request."""

    def add(self, piece: bytes) -> None: ...

    def whole(self) -> _Whole_co: ...


_Take = Callable[[aiohttp.ClientResponse], Callable[[bytes], None]]
"""Is called when an answer with a body begins; what it returns, with each piece of that."""


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    length: int  # of the whole file, as a HEAD is told it


class RestStore:
    """`base` is the address of the repository, with a slash at its end and nothing secret in it.

    A loop on a thread of its own does the talking, until `close`.
    """

    def __init__(
        self,
        base: str,
        user: str,
        password: str,
        *,
        patience: Patience,
        ca_file: Path | None = None,
    ) -> None:
        self._base = base
        self._patience = patience
        self._retried = Retrying(patience)
        self._headers = {"Accept": _VERSION, "Accept-Encoding": "identity"}
        if user or password:
            self._headers["Authorization"] = _authorization(user, password)
        self._trusted = _trusted(ca_file) if base.startswith("https:") else True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._session = self._run(self._connected())

    def __repr__(self) -> str:
        return f"RestStore({self.location!r})"

    @property
    def location(self) -> str:
        return f"rest:{self._base}"

    def prepare(self) -> None:
        self._expect(_DONE, self._ask("POST", "?create=true", body=[]), "create the repository")

    def read(self, kind: Kind, name: str) -> bytes:
        path = _path(kind, name)

        def begin(response: aiohttp.ClientResponse) -> Gathered:
            check_length(kind, name, response.content_length or 0)
            return Gathered(LARGEST[kind], too_long(kind, name))

        return self._given(path, f"give {path}", begin)

    def read_range(self, kind: Kind, name: str, offset: int, length: int) -> bytes:
        path = _path(kind, name)
        if not length:
            return b""
        check_length(kind, name, length)
        part = {"Range": f"bytes={offset}-{offset + length - 1}"}
        what = f"give {length} bytes from {offset} on of {path}"
        more = StoreFailed(f"{self.location} does not {what}: it gives more")
        data = self._given(path, what, lambda _: Gathered(length, more), status=206, headers=part)
        if len(data) != length:
            raise StoreFailed(f"{self.location} does not {what}: it gives {len(data)}")
        return data

    def write(
        self, kind: Kind, name: str, pieces: Sequence[Piece], *, create: bool = False
    ) -> None:
        path = _path(kind, name)
        if create and self._is_there(path):
            self._check_same(path, pieces)
            return
        answer = self._ask("POST", path, body=pieces)
        if answer.status in _REFUSED and self._is_there(path):
            # The server writes nothing over. It may be ours, of which the answer was lost.
            self._check_same(path, pieces)
            return
        self._expect(_DONE, answer, f"take {path}")

    def list(self, kind: Kind) -> Iterator[tuple[str, int]]:
        """A folder that is not there is empty: some servers make it with the first file."""
        if kind is Kind.CONFIG:
            answer = self._ask("HEAD", kind.value)
            if answer.status != 404:
                yield "", self._expect((200,), answer, "tell the size of config").length
            return
        what = f"list {kind.value}"

        def begin(response: aiohttp.ClientResponse) -> _Listed:
            if response.content_type != _VERSION:
                raise StoreFailed(f"{self.location} does not {what} by version 2 of the protocol")
            no_list = StoreFailed(f"{self.location} does not {what}: that is no list")
            return _Listed(Listing(kind, self.location), no_list)

        with suppress(NotFound):
            yield from self._given(f"{kind.value}/", what, begin)

    def delete(self, kind: Kind, name: str) -> None:
        path = _path(kind, name)
        answer = self._ask("DELETE", path)
        if answer.status in _REFUSED:
            raise AppendOnly(f"{self.location} deletes nothing: it is append-only for us")
        self._expect((*_DONE, 404), answer, f"delete {path}")

    def close(self) -> None:
        if not self._loop.is_closed():
            self._run(self._session.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _is_there(self, path: str) -> bool:
        answer = self._ask("HEAD", path)
        return answer.status != 404 and bool(self._expect((200,), answer, f"take {path}"))

    def _check_same(self, path: str, pieces: Sequence[Piece]) -> None:
        ours = b"".join(pieces)
        another = AlreadyThere(f"{self.location} has another {path} already")
        if self._given(path, f"give {path}", lambda _: Gathered(len(ours), another)) != ours:
            raise another

    def _given(
        self,
        path: str,
        what: str,
        begin: Callable[[aiohttp.ClientResponse], _Body[_T]],
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> _T:
        """What the body of the answer to a GET comes to; each try begins a new one."""
        begun: list[_Body[_T]] = []

        def take(response: aiohttp.ClientResponse) -> Callable[[bytes], None]:
            begun[:] = [begin(response)]
            return begun[0].add

        self._expect((status,), self._ask("GET", path, headers=headers, take=take), what)
        return begun[0].whole()

    def _expect(self, good: Sequence[int], answer: _Answer, what: str) -> _Answer:
        if answer.status in good:
            return answer
        if answer.status == 404:
            raise NotFound(f"{self.location} cannot {what}: it is not there")
        why = f"{answer.status} {answer.reason}"
        if answer.status == 401:
            why = f"{why}: user or password is wrong"
        raise StoreFailed(f"{self.location} does not {what}: {why}")

    def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: Sequence[Piece] | None = None,
        take: _Take | None = None,
    ) -> _Answer:
        def once() -> _Answer:
            kind = Passing
            try:
                answer = self._run(self._once(method, path, headers or {}, body, take))
            except aiohttp.ClientConnectorCertificateError as error:
                raise StoreFailed(f"{self.location}: {error.certificate_error}") from None
            except _FAILURES as error:
                why = _reason(error)
                kind = Unreached if isinstance(error, _UNREACHED) else Passing
            else:
                if not passes(answer.status):
                    return answer
                why = f"{answer.status} {answer.reason}"
            shown = path.partition("?")[0] or "the repository"
            raise kind(f"{self.location} does not answer to {method} of {shown}: {why}")

        return self._retried(once)

    async def _once(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: Sequence[Piece] | None,
        take: _Take | None,
    ) -> _Answer:
        """A redirect is not followed: what was a POST would be none any more.

        Of a body that nobody takes the beginning is read: it may be cut off.
        """
        stall = self._patience.stall
        async with asyncio.timeout(self._patience.request), asyncio.timeout(stall) as limit:

            def alive() -> None:
                limit.reschedule(self._loop.time() + stall)

            if body is not None:
                headers = {**headers, "Content-Length": str(sum(map(len, body)))}
            async with self._session.request(
                method,
                f"{self._base}{path}",
                headers=headers,
                data=_sent(body, alive) if body is not None else None,
                allow_redirects=False,
            ) as response:
                is_taken = take is not None and response.status in _GIVEN
                add = take(response) if take and is_taken else _Ignored().add
                with suppress(_Enough):
                    async for piece in response.content.iter_any():
                        alive()
                        add(piece)
                return _Answer(response.status, response.reason or "", response.content_length or 0)

    async def _connected(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # A connection each: on one that is used again an answer that came twice would be taken
            # for that to the next request, and a file for stored that is not.
            connector=aiohttp.TCPConnector(ssl=self._trusted, limit=0, force_close=True),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._patience.connect),
        )

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


class _Enough(Exception):
    """The rest of a body does not matter."""


class _Ignored:
    """A body that nobody takes."""

    def __init__(self) -> None:
        self._left = _IGNORED

    def add(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise _Enough


class _Listed:
    """A listing as this protocol has it; `no_list` is raised where it is none."""

    def __init__(self, listing: Listing, no_list: StoreFailed) -> None:
        self._listing = listing
        self._no_list = no_list
        self._json = JsonList()

    def add(self, piece: bytes) -> None:
        try:
            for each in self._json.add(piece):
                self._listing.add(str(each["name"]), int(each["size"]))
        except (KeyError, OverflowError, TypeError, ValueError):
            raise self._no_list from None

    def whole(self) -> Listing:
        if not self._json.is_whole:
            raise self._no_list
        return self._listing


async def _sent(pieces: Sequence[Piece], alive: Any) -> AsyncIterator[memoryview]:
    for piece in pieces:
        view = memoryview(piece).cast("B")
        for start in range(0, len(view), _SENT):
            yield view[start : start + _SENT]
            alive()


def _path(kind: Kind, name: str) -> str:
    """Below the base: without the folders into which servers put packs."""
    path_of(kind, name)
    return f"{kind.value}/{name}" if name else kind.value


def _authorization(user: str, password: str) -> str:
    try:
        return aiohttp.encode_basic_auth(user, password)
    except ValueError:
        raise BadLocation("the user of a REST server must have no colon in it") from None


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # SSLError is one
            raise BadLocation(f"the certificates {ca_file} cannot be used: {error}") from None
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer is cut off"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection ended"
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return str(error) or type(error).__name__
