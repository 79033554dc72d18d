"""The one table from what can go wrong with a repository to the kinds of our errors."""

from convoy_py.errors import Kind
from convoy_py.restic.errors import (
    AlreadyThere,
    AppendOnly,
    BadLocation,
    Damaged,
    Locked,
    NoRepository,
    NotFound,
    RepositoryError,
    StoreFailed,
    WrongPassword,
)

_KINDS = (
    (BadLocation, Kind.INVALID),
    (NoRepository, Kind.NOT_FOUND),
    (NotFound, Kind.NOT_FOUND),
    (AlreadyThere, Kind.CONFLICT),
    (WrongPassword, Kind.DENIED),
    (AppendOnly, Kind.DENIED),
    (Locked, Kind.UNAVAILABLE),
    (StoreFailed, Kind.UNAVAILABLE),
    (Damaged, Kind.CORRUPT),
)


def kind_of(error: RepositoryError) -> Kind:
    for cls, kind in _KINDS:
        if isinstance(error, cls):
            return kind
    return Kind.FAILED
