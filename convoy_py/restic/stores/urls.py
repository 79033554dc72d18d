"""Where a repository is, as users spell it, and the store that is there.

The spellings are those of `restic -r`; `vfs:///path`, `s3://bucket@region/path` and
`s3://bucket/path` are Convoy's for the same places.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, quote, unquote, urlsplit

from convoy_py.restic.errors import BadLocation

_AWS = re.compile(r"s3(?:[.-]([a-z0-9-]+-\d+))?\.amazonaws\.com(?:\.cn)?")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_REGION = re.compile(r"[a-z0-9-]+")
_SERVED = ("sftp", "b2", "rclone", "swift")


@dataclass(frozen=True)
class Location:
    """Equal if the place is; `str` spells it for `restic -r`, without what is secret."""

    scheme: str  # local, s3, rest, gs, azure
    path: str  # an absolute folder; the prefix in a bucket, without slashes around; the server's
    bucket: str = ""
    endpoint: str = ""  # scheme, host and port; none is AWS, or the provider's own
    region: str = ""
    user: str = field(default="", compare=False, repr=False)
    password: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        match self.scheme:
            case "local":
                return self.path
            case "rest":
                return f"rest:{self.endpoint}{self.path}"
            case "s3":
                host = f"s3.{self.region}.amazonaws.com" if self.region else "s3.amazonaws.com"
                place = (self.endpoint or host, self.bucket, self.path)
                return f"s3:{'/'.join(filter(None, place))}"
            case _:
                return f"{self.scheme}:{self.bucket}:/{self.path}"


def parse(text: str, *, endpoint: str = "") -> Location:
    """Read a place; `endpoint` is that of an S3 service, for the spellings that have none.

    Raises BadLocation: what is wrong, and what would be right.
    """
    scheme, colon, rest = text.partition(":")
    if text.startswith("/"):
        location = _local(text)
    elif colon and scheme in _SERVED:
        raise BadLocation(
            f"{scheme}: is not spoken here: run `rclone serve restic REMOTE:PATH` "
            f"and give rest:http://127.0.0.1:8080/"
        )
    elif colon and scheme in _SCHEMES:
        location = _SCHEMES[scheme](rest)
    else:
        raise BadLocation(
            f"{_shown(text)} is no place of a repository: give /path, s3:https://HOST/BUCKET/PATH, "
            f"s3://BUCKET@REGION/PATH, rest:https://HOST/PATH/, gs:BUCKET:/PATH "
            f"or azure:CONTAINER:/PATH"
        )
    return _at(location, endpoint) if endpoint else location


def _local(path: str) -> Location:
    if not path.startswith("/") or "\0" in path:
        raise BadLocation(f"{path or 'nothing'} is no absolute path: give local:/path")
    return Location("local", posixpath.normpath("/" + path.lstrip("/")))


def _vfs(rest: str) -> Location:
    if not rest.startswith("///"):
        raise BadLocation("VFS path must follow: vfs:///path/ format")
    return _local(unquote(rest[2:]))


def _s3(rest: str) -> Location:
    if rest.startswith("//"):
        return _s3_of_convoy(rest[2:])
    scheme = "" if "://" in rest else "https://"
    url = _url(f"{scheme}{rest}", f"s3:{rest}", "s3:https://HOST:PORT/BUCKET/PATH")
    if url.username is not None:
        raise BadLocation("keys do not belong into the place: they are given by the credentials")
    bucket, _, path = url.path.lstrip("/").partition("/")
    location = Location("s3", _prefix(path), _bucket(bucket, "s3:HOST/BUCKET/PATH"))
    if found := _AWS.fullmatch(url.hostname or ""):
        return replace(location, region=found[1] or "")
    return replace(location, endpoint=f"{url.scheme}://{url.netloc}")


def _s3_of_convoy(rest: str) -> Location:
    place, slash, path = rest.partition("/")
    bucket, at, region = place.partition("@")
    if not slash or (at and not _REGION.fullmatch(region)) or not _BUCKET.fullmatch(bucket):
        # A host with a port is refused here too: restic reads s3://HOST/BUCKET.
        raise BadLocation(
            "Invalid URL. Must be either s3://bucket@region/path/, or s3://bucket/path; "
            "with a host it is s3:https://HOST:PORT/BUCKET/PATH"
        )
    if _AWS.fullmatch(bucket):
        return _s3(rest)
    return Location("s3", _prefix(path), bucket, region=region)


def _rest(rest: str) -> Location:
    right = "rest:https://USER:PASSWORD@HOST:PORT/PATH/"
    url = _url(rest, f"rest:{rest}", right)
    host = url.netloc.rpartition("@")[2]
    path = url.path if url.path.endswith("/") else f"{url.path}/"
    user, password = (unquote(part or "") for part in (url.username, url.password))
    return Location("rest", path, endpoint=f"{url.scheme}://{host}", user=user, password=password)


def _google(rest: str) -> Location:
    return _bucket_and_path("gs", rest, "gs:BUCKET:/PATH")


def _azure(rest: str) -> Location:
    return _bucket_and_path("azure", rest, "azure:CONTAINER:/PATH")


def _bucket_and_path(scheme: str, rest: str, right: str) -> Location:
    bucket, colon, path = rest.partition(":")
    if not colon:
        raise BadLocation(f"{scheme}:{rest} has no path: give {right}")
    return Location(scheme, _prefix(path), _bucket(bucket, right))


def _bucket(name: str, right: str) -> str:
    if not _BUCKET.fullmatch(name):
        raise BadLocation(f"{name!r} is no name of a bucket: give {right}")
    return name


def _prefix(path: str) -> str:
    """As restic keeps it: cleaned, and nothing above the bucket."""
    return posixpath.normpath(f"/{path}").strip("/")


def _url(text: str, given: str, right: str) -> SplitResult:
    wrong = BadLocation(f"{_shown(given)} is no address of http or https: give {right}")
    try:
        url = urlsplit(text)
        known = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # a port that is none, or brackets
        raise wrong from None
    if not known or url.query or url.fragment:
        raise wrong
    return url


def _at(location: Location, endpoint: str) -> Location:
    if location.scheme != "s3" or location.endpoint:
        raise BadLocation(f"{location} takes no endpoint: only s3://BUCKET/PATH does")
    url = _url(
        endpoint if "://" in endpoint else f"https://{endpoint}", endpoint, "https://HOST:PORT"
    )
    if url.path.strip("/") or url.username is not None:
        raise BadLocation(f"the endpoint is {url.scheme}://HOST:PORT alone")
    return replace(location, endpoint=f"{url.scheme}://{url.netloc}")


def _shown(text: str) -> str:
    """What may be told of it: what stands before an @ may be a password."""
    return quote(text.rpartition("@")[2], safe="/:@ ") or "nothing"


_SCHEMES: dict[str, Callable[[str], Location]] = {
    "local": _local,
    "vfs": _vfs,
    "s3": _s3,
    "rest": _rest,
    "gs": _google,
    "azure": _azure,
}
