"""The store of a place, with the credentials that it asks for."""

from collections.abc import Mapping
from pathlib import Path

from convoy_py.restic.errors import BadLocation
from convoy_py.restic.stores.base import Store
from convoy_py.restic.stores.local import LocalStore
from convoy_py.restic.stores.retries import Patience
from convoy_py.restic.stores.urls import Location


def open_store(
    location: Location,
    credentials: Mapping[str, str],
    *,
    patience: Patience | None = None,
    ca_file: Path | None = None,
    path_style: bool = True,
) -> Store:
    """Nothing is asked of the storage yet.

    `credentials` are named as restic's environment variables are; without any, AWS, Google and
    Azure are asked what the machine is allowed there. The certificates of `ca_file` (PEM) are
    trusted beside the system's. Without `path_style` the bucket of S3 stands in the host's name.
    Raises BadLocation for credentials that are missing, or are there in part.
    """
    patience = patience or Patience()
    # What speaks to a network takes a tenth of a second to load.
    match location.scheme:
        case "local":
            return LocalStore(Path(location.path))
        case "rest":
            from convoy_py.restic.stores.rest import RestStore  # noqa: PLC0415

            user = location.user or credentials.get("RESTIC_REST_USERNAME", "")
            password = location.password or credentials.get("RESTIC_REST_PASSWORD", "")
            base = f"{location.endpoint}{location.path}"
            return RestStore(base, user, password, patience=patience, ca_file=ca_file)
        case _:
            from convoy_py.restic.stores import clients, objects  # noqa: PLC0415

            make = clients.maker(location, credentials, path_style=path_style)
            ca = _read(ca_file) if ca_file else None
            return objects.ObjectStore(str(location), make, patience, ca=ca)


def _read(ca_file: Path) -> bytes:
    try:
        return ca_file.read_bytes()
    except OSError as error:
        raise BadLocation(f"the certificates {ca_file} cannot be read: {error.strerror}") from None
