"""The one table from kinds of errors to HTTP statuses, and errors told as one printable line."""

import logging
from collections.abc import Mapping

from convoy_py.errors import ConvoyError, HelpAsked, Kind
from convoy_py.escapes import one_line
from convoy_py.models.names import AT

# For the admin API. Docker's protocol knows 500 only: it takes every other status for the same.
STATUSES: Mapping[Kind, int] = {
    Kind.NOT_FOUND: 404,
    Kind.INVALID: 400,
    Kind.CONFLICT: 409,
    Kind.IN_USE: 409,
    Kind.UNSUPPORTED: 422,
    Kind.NO_SPACE: 507,
    Kind.UNAVAILABLE: 503,
    Kind.DENIED: 403,
    Kind.CORRUPT: 500,
    Kind.CANCELLED: 409,
    Kind.FAILED: 500,
}

# What a user is told of a fault of ours; the log has its traceback.
INTERNAL = "internal error; the daemon's log has the details"

# After these words a name is taken for the one that the error is about.
_LEADS = (
    *("volume ", "volume: ", "volume name '", "snapshot ", "snapshot: ", "project: ", AT),
    *("repository ", "repository: ", "repository name '"),
)


def result_of(error: Exception | None) -> str:
    """How a call ended, for logs and metrics: `ok`, an error's kind, or `internal`."""
    if error is None:
        return "ok"
    return error.kind.value if isinstance(error, ConvoyError) else "internal"


def severity(error: Exception) -> int:
    """The log level of a failure: what we did not foresee is an error of ours."""
    return logging.WARNING if isinstance(error, ConvoyError) else logging.ERROR


def tell(error: Exception, name: str, about: str = "") -> str:
    """An error as one line that names what it is about; of our faults no details.

    `name` is a volume's, a snapshot's, or several with commas between; "" where there is none.
    `about` is what to call it where it names something else: `compose project shop`.
    """
    text = one_line(str(error)) if isinstance(error, ConvoyError) else INTERNAL
    shown = one_line(name)
    if not name or isinstance(error, HelpAsked):
        return text
    if AT in name and shown in text:
        return text  # a snapshot's full name is no word that happens to be there
    if any(f"{lead}{each}" in text for lead in _LEADS for each in shown.split(",")):
        return text
    called = one_line(about) or f"{'snapshot' if AT in name else 'volume'} {shown}"
    return text if called in text else one_line(f"{called}: {text}")
