"""What is told of the hosts that share a root."""

from enum import StrEnum

from convoy_py.models.values import Frozen


class HostState(StrEnum):
    ALIVE = "alive"
    SILENT = "silent"  # for longer than its lease: nobody need believe that it lives
    FENCED = "fenced"  # another host ended it
    LEFT = "left"  # its daemon was stopped, and nothing is mounted there


class HostView(Frozen):
    """One host; `seen` is how many seconds ago a sign of life was seen, None if never."""

    number: int
    name: str
    state: HostState
    seen: float | None
    incarnation: int
    version: str
    volumes: tuple[str, ...] = ()  # that it uses
    here: bool = False  # whether it is this one
