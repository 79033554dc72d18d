"""A repository in a folder."""

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy_py.restic.errors import AlreadyThere, NoRepository, NotFound, StoreFailed
from convoy_py.restic.stores.base import Kind, Piece, is_id, path_of
from convoy_py.restic.stores.bounds import check_length, counted

_FOLDERS = [kind.value for kind in Kind if kind is not Kind.CONFIG]
_FILE, _FOLDER = 0o400, 0o700
# What os.writev takes at once (IOV_MAX).
_PIECES = 1024
# Filesystems that have no sync of this, or no hard links.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class LocalStore:
    """Fails with NoRepository once the folder is away, as it is when its disk was unmounted.

    Only `prepare` makes the folder: nothing is written into a bare mountpoint. A call takes as
    long as the kernel waits for the filesystem.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay as they were given

    def __repr__(self) -> str:
        return f"LocalStore({self.location!r})"

    @property
    def location(self) -> str:
        return str(self._folder)

    def prepare(self) -> None:
        with self._told("cannot be made"):
            for name in _FOLDERS:
                _make_folders(self._folder / name)

    def read(self, kind: Kind, name: str) -> bytes:
        with self._opened(kind, name) as fd:
            size = os.fstat(fd).st_size
            check_length(kind, name, size)
            return _read(fd, 0, size + 1)

    def read_range(self, kind: Kind, name: str, offset: int, length: int) -> bytes:
        check_length(kind, name, length)
        with self._opened(kind, name) as fd:
            data = _read(fd, offset, length)
        if len(data) < length:
            raise StoreFailed(
                f"{self._path(kind, name)} ends after {offset + len(data)} bytes, "
                f"and {length} from {offset} on were to be read"
            )
        return data

    def write(
        self, kind: Kind, name: str, pieces: Sequence[Piece], *, create: bool = False
    ) -> None:
        target = self._path(kind, name)
        with self._told("cannot be written to"):
            try:
                _write(target, pieces, create=create)
            except FileNotFoundError:
                self._check_presence()
                _make_folders(target.parent)  # of `data` they are made as they are needed
                _write(target, pieces, create=create)
            except FileExistsError:
                raise AlreadyThere(f"{target} is there already") from None

    def list(self, kind: Kind) -> Iterator[tuple[str, int]]:
        return counted(kind, self.location, self._files(kind))

    def delete(self, kind: Kind, name: str) -> None:
        path = self._path(kind, name)
        with self._told("cannot be deleted from"):
            try:
                path.unlink()
                _sync_folder(path.parent)
            except FileNotFoundError:
                self._check_presence()

    def close(self) -> None:
        """Nothing is held open."""

    def _files(self, kind: Kind) -> Iterator[tuple[str, int]]:
        with self._told("cannot be listed"):
            if kind is Kind.CONFIG:
                with suppress(FileNotFoundError):
                    yield "", self._path(kind, "").stat().st_size
                return
            try:
                names = os.scandir(self._folder / kind.value)
            except FileNotFoundError:
                self._check_presence()
                return
            with names:
                for entry in names:
                    if kind is not Kind.PACK:
                        yield from _listed(entry)
                    elif len(entry.name) == 2 and entry.is_dir():
                        yield from _packs(entry)

    def _path(self, kind: Kind, name: str) -> Path:
        return self._folder / path_of(kind, name)

    @contextmanager
    def _opened(self, kind: Kind, name: str) -> Iterator[int]:
        path = self._path(kind, name)
        with self._told("cannot be read"):
            try:
                # Of what is no file nothing is waited for.
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            except FileNotFoundError:
                if kind is not Kind.CONFIG:
                    self._check_presence()
                raise NotFound(f"there is no {path}") from None
            try:
                yield fd
            finally:
                os.close(fd)

    def _check_presence(self) -> None:
        """Tell a file that is missing from a repository that is."""
        if not any((self._folder / name).exists() for name in (*_FOLDERS, Kind.CONFIG.value)):
            raise NoRepository(f"there is no repository in {self._folder}: is its disk mounted?")

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreFailed(f"the repository {self._folder} {what}: {error.strerror}") from error


def _read(fd: int, offset: int, length: int) -> bytes:
    """So many bytes, or fewer at the end of the file."""
    pieces = []
    while length > 0 and (piece := os.pread(fd, length, offset)):
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write(target: Path, pieces: Sequence[Piece], *, create: bool) -> None:
    """Build it beside its place; where there are hard links, `create` leaves no gap."""
    temporary = target.with_name(f"{target.name}-tmp-{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE)
    try:
        try:
            _write_pieces(fd, pieces)
            _sync(fd)
        finally:
            os.close(fd)
        if not (create and _linked(temporary, target)):
            temporary.rename(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def _linked(temporary: Path, target: Path) -> bool:
    """Whether the file has its name by a link; FileExistsError if another has it."""
    try:
        target.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        return False
    temporary.unlink()
    return True


def _write_pieces(fd: int, pieces: Sequence[Piece]) -> None:
    views = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
    at = 0
    while at < len(views):
        written = os.writev(fd, views[at : at + _PIECES])
        while at < len(views) and written >= len(views[at]):
            written -= len(views[at])
            at += 1
        if written:
            views[at] = views[at][written:]


def _make_folders(folder: Path) -> None:
    """Make it and those above it, each durable."""
    try:
        folder.mkdir(_FOLDER)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    except FileNotFoundError:
        _make_folders(folder.parent)
        folder.mkdir(_FOLDER, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(fd)
    finally:
        os.close(fd)


def _sync(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _packs(folder: os.DirEntry[str]) -> Iterator[tuple[str, int]]:
    """Those of one `data/xx`, which may be taken away meanwhile."""
    with suppress(FileNotFoundError), os.scandir(folder.path) as entries:
        for entry in entries:
            if entry.name.startswith(folder.name):
                yield from _listed(entry)


def _listed(entry: os.DirEntry[str]) -> Iterator[tuple[str, int]]:
    if is_id(entry.name):
        with suppress(FileNotFoundError):  # deleted meanwhile
            found = entry.stat()
            yield entry.name, found.st_size
