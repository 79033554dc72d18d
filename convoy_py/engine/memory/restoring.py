"""What is known of a volume that is to be made of a backup, and is not there yet."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from convoy_py.models.sizes import format_size
from convoy_py.models.volume import Options

_MINUTE = 60


class Steps(Protocol):
    """How far it is, in bytes."""

    done: int
    total: int


@dataclass
class Restoring:
    """A restore in the background. `begin` begins it, unless it is going on."""

    repository: str  # its name
    backup: str  # its id
    url: str
    options: Options  # what was asked for
    begin: Callable[[], None] = lambda: None
    steps: Steps | None = None  # while it is going on
    begun: float = 0.0  # clock, seconds
    known: bool = False  # somebody knows that the volume exists: so it stays

    def told(self, now: float) -> str:
        """How far it is, and how long that will take as it went until now."""
        told = f"being restored from {self.url}: {self.far}"
        steps = self.steps
        if steps is None or not 0 < steps.done <= steps.total:
            return told
        minutes = math.ceil((now - self.begun) * (steps.total / steps.done - 1) / _MINUTE)
        return f"{told}, {f'about {minutes} min' if minutes > 1 else 'about a minute'} left"

    @property
    def far(self) -> str:
        """How far it is, in words."""
        steps = self.steps
        if steps is None or not 0 < steps.done <= steps.total:
            return "it has begun"
        percent = 100 * steps.done // steps.total
        return f"{percent} % ({format_size(steps.done)} of {format_size(steps.total)})"
