"""A repository in a bucket of S3, Google Cloud Storage or Azure, or of what speaks like them."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PreconditionError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from convoy_py.restic.errors import AlreadyThere, AppendOnly, NotFound, RepositoryError, StoreFailed
from convoy_py.restic.stores.base import Kind, Piece, is_id, path_of
from convoy_py.restic.stores.bounds import LARGEST, Gathered, Listing, check_length, too_long
from convoy_py.restic.stores.retries import Passing, Patience, Retrying, Unreached, passes

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, RetryConfig

# What obstore raises of its own is BaseError; ranges and paths are ValueError, the rest OSError.
_FAILURES = (BaseError, ValueError, OSError)
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_REFUSED = ("AccessDenied", "AuthorizationPermissionMismatch", "does not have storage.objects.")

_PIECE = 4 << 20  # bytes that come at once, or somewhat more

_STATUS = re.compile(r"status code: (\d{3})([^:<\n]*)")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<\n]*)")
# What concerns a connection, and its causes, are told in the form of the library's own values only.
_UNREACHED = "kind: Connect,"
_CAUSE = re.compile(
    r'(?:message|error): "([^"]*)"|\b(TimedOut|ConnectionReset|IncompleteMessage)\b'
)

Client = S3Store | GCSStore | AzureStore
_T = TypeVar("_T")


class ObjectStore:
    """Below `prefix` of a bucket that is there already.

    `location` is how it is told. A call that is under way cannot be interrupted by a signal.
    """

    def __init__(
        self,
        location: str,
        make: Callable[..., Client],
        patience: Patience,
        *,
        ca: bytes | None = None,
    ) -> None:
        """`make` builds a client of a kind of storage with the options that all kinds have.

        `ca` are certificates in PEM that are trusted beside those of the system.
        """
        self.location = location
        self._retried = Retrying(patience)
        options: ClientConfig = {
            "allow_http": True,  # that is for who gives the address to decide
            "connect_timeout": timedelta(seconds=patience.connect),
            "timeout": timedelta(seconds=patience.request),
        }
        if ca:
            options["root_certificate"] = ca
        # Of its own the library does not retry what it calls unsafe, and half a listing.
        retries: RetryConfig = {"max_retries": 0}
        try:
            # The wait for an answer to what was sent would count as a stall of reading.
            self._writing = make(client_options=options, retry_config=retries)
            options["read_timeout"] = timedelta(seconds=patience.stall)
            self._reading = make(client_options=options, retry_config=retries)
        except _FAILURES as error:
            raise self._told("be used", error) from None

    def __repr__(self) -> str:
        return f"ObjectStore({self.location!r})"

    def prepare(self) -> None:
        """A bucket needs no folders."""

    def read(self, kind: Kind, name: str) -> bytes:
        path = path_of(kind, name)

        def get() -> bytes:
            answer = self._reading.get(path)
            check_length(kind, name, answer.meta["size"])
            return _gathered(answer, Gathered(LARGEST[kind], too_long(kind, name)))

        return self._done(f"give {path}", get)

    def read_range(self, kind: Kind, name: str, offset: int, length: int) -> bytes:
        path = path_of(kind, name)
        if not length:
            return b""
        check_length(kind, name, length)
        what = f"give {length} bytes from {offset} on of {path}"
        more = StoreFailed(f"{self.location} does not {what}: it gives more")

        def get() -> bytes:
            part = (offset, offset + length)
            answer = self._reading.get(path, options={"range": part})
            return _gathered(answer, Gathered(length, more))

        data = self._done(what, get)
        if len(data) != length:
            raise StoreFailed(f"{self.location} does not {what}: it gives {len(data)}")
        return data

    def write(
        self, kind: Kind, name: str, pieces: Sequence[Piece], *, create: bool = False
    ) -> None:
        path = path_of(kind, name)
        if create:
            self._done(f"take {path}", lambda: self._create(path, b"".join(pieces)))
        else:
            self._done(f"take {path}", lambda: self._writing.put(path, pieces, use_multipart=False))

    def list(self, kind: Kind) -> Iterator[tuple[str, int]]:
        if kind is Kind.CONFIG:
            size = self._done("tell the size of config", lambda: self._size(kind.value))
            if size is not None:
                yield "", size
            return
        yield from self._done(f"list {kind.value}", lambda: self._listing(kind))

    def delete(self, kind: Kind, name: str) -> None:
        path = path_of(kind, name)
        with suppress(NotFound):
            self._done(f"delete {path}", lambda: self._writing.delete(path), refused=AppendOnly)

    def close(self) -> None:
        """The clients close their connections when they are forgotten."""

    def _listing(self, kind: Kind) -> Listing:
        listing = Listing(kind, self.location)
        for part in self._reading.list(kind.value):
            for each in part:
                name = each["path"].rpartition("/")[2]
                is_there = is_id(name) and each["path"] == path_of(kind, name)
                listing.add(name if is_there else "", each["size"])
        return listing

    def _create(self, path: str, data: bytes) -> None:
        """Put it if nothing is there; what is there may be ours, of which the answer was lost."""
        try:
            self._writing.put(path, data, mode="create", use_multipart=False)
        except NotSupportedError:
            if self._size(path) is not None:
                self._check_same(path, data)
            self._writing.put(path, data, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            self._check_same(path, data)

    def _check_same(self, path: str, data: bytes) -> None:
        another = AlreadyThere(f"{self.location} has another {path} already")
        if _gathered(self._reading.get(path), Gathered(len(data), another)) != data:
            raise another

    def _size(self, path: str) -> int | None:
        try:
            return self._reading.head(path)["size"]
        except FileNotFoundError:
            return None

    def _done(
        self, what: str, call: Callable[[], _T], *, refused: type[StoreFailed] = StoreFailed
    ) -> _T:
        def once() -> _T:
            try:
                return call()
            except _FAILURES as error:
                raise self._told(what, error, refused) from None

        return self._retried(once)

    def _told(
        self, what: str, error: Exception, refused: type[StoreFailed] = StoreFailed
    ) -> RepositoryError:
        """A failure in one line in which nothing secret is: the library's is of another kind."""
        text = str(error)
        if any(word in text for word in _NO_BUCKET):
            return StoreFailed(f"{self.location}: there is no such bucket: make it")
        if isinstance(error, FileNotFoundError):
            return NotFound(f"{self.location} cannot {what}: it is not there")
        kind = refused if any(word in text for word in _REFUSED) else StoreFailed
        status = _STATUS.search(text)
        if isinstance(error, BaseError) and (status is None or passes(int(status[1]))):
            kind = Unreached if _UNREACHED in text else Passing
        return kind(f"{self.location} does not {what}: {_reason(text)}")


def _gathered(answer: "GetResult", gathered: Gathered) -> bytes:
    for piece in answer.stream(min_chunk_size=_PIECE):
        gathered.add(piece)
    return gathered.whole()


def _reason(text: str) -> str:
    """What the storage, or the network, said."""
    if status := _STATUS.search(text):
        said = [found[1] for pattern in (_CODE, _MESSAGE) if (found := pattern.search(text))]
        return ": ".join([status[1] + status[2].rstrip(), *said])
    causes = [one or other for one, other in _CAUSE.findall(text)]
    first = text.partition("\n")[0].rpartition(" - ")[2]
    return ": ".join([first, *causes[-1:]])
