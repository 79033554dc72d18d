"""The value that describes one volume in the trash."""

from datetime import datetime

from convoy_py.models.values import Frozen


class RemovedView(Frozen):
    """One removed volume as the engine tells it to the edges; times are aware, UTC."""

    name: str
    key: str  # tells it from others of its name
    backend: str
    removed: datetime | None  # None where it is not known; then it is kept until it is purged
    until: datetime | None
    snapshots: tuple[str, ...] = ()
