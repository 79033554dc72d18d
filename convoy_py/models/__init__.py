"""What a volume is: its name, its size, its options, its status; pure values, no I/O.

What is named as `models.volume` is loaded where it is first used, as the modules of `wire` are.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convoy_py.models import backup, cron, hooks, job, options, snapshot, volume, zones

    __all__ = ["backup", "cron", "hooks", "job", "options", "snapshot", "volume", "zones"]
else:

    def __getattr__(name: str) -> ModuleType:
        if name.startswith("_"):
            raise AttributeError(name)
        return import_module(f"{__name__}.{name}")
