"""The messages of the two protocols: Docker's volume plugin API and our own REST API.

`wire.volumes` is loaded where it is first used: pydantic takes longer than a short command.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convoy_py.wire import (
        backups,
        base,
        copies,
        daemon,
        jobs,
        repositories,
        schedules,
        snapshots,
        space,
        trash,
        volumes,
    )

    __all__ = [
        "backups",
        "base",
        "copies",
        "daemon",
        "jobs",
        "repositories",
        "schedules",
        "snapshots",
        "space",
        "trash",
        "volumes",
    ]
else:

    def __getattr__(name: str) -> ModuleType:
        if name.startswith("_"):
            raise AttributeError(name)
        return import_module(f"{__name__}.{name}")
