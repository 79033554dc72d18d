"""Where things are: the socket of the daemon and its command, repositories, backups in them."""

import re
from pathlib import Path

from convoy_py.errors import Invalid

DEFAULT_SOCKET = Path("/run/convoy/convoy.sock")

# A backup in its repository, at the beginning of a text; `&` may also be spelled as JSON does.
BACKUP_URL = re.compile(
    r"(?P<location>.+?)\?backup=backup-(?P<id>[0-9a-f]{16})(?:&|\\?u0026)volume=(?P<volume>[^&?:]+)"
    r"(?=:|$)"
)
_CONVOY_S3 = re.compile(r"s3://(?P<bucket>[^/@]+)(?:@[^/]*)?(?P<path>/.*)")


def located(place: str, endpoint: str) -> str:
    """A place, or a backup's URL, with the server of an s3:// place that is not Amazon's.

    Convoy's scripts give the endpoint again with what has it. Raises Invalid for one of anything
    else.
    """
    if not endpoint:
        return place
    server = f"s3:{endpoint.rstrip('/')}/"
    if place.startswith(server):
        return place
    found = _CONVOY_S3.fullmatch(place)
    if not found:
        raise Invalid(f"an endpoint is of s3://bucket/path alone, and this is {place}")
    return f"{server}{found['bucket']}{found['path']}"
