"""Decides, from what is recorded and what is observed, how each volume is taken over at start.

Pure: a table over all combinations. References are true only together with a mount: a reboot, and
an engine that took a managed plugin's mounts down, leave references behind that nobody will drop.
"""

from dataclasses import dataclass
from enum import StrEnum


class Repair(StrEnum):
    """What to do with one name."""

    NOTHING = "nothing"
    ADOPT = "adopt"  # it is mounted and held: go on as before
    UNMOUNT = "unmount"  # mounted, but held by no reference: a Mount or an Unmount was cut off
    DROP = "drop"  # held, but not mounted: forget the references
    STRANGER = "stranger"  # something of ours is mounted for which there is no volume


@dataclass(frozen=True)
class Observed:
    """What is known of one name at start."""

    recorded: bool
    mounted: bool
    held: bool


PLAN = {
    Observed(recorded=True, mounted=True, held=True): Repair.ADOPT,
    Observed(recorded=True, mounted=True, held=False): Repair.UNMOUNT,
    Observed(recorded=True, mounted=False, held=True): Repair.DROP,
    Observed(recorded=True, mounted=False, held=False): Repair.NOTHING,
    Observed(recorded=False, mounted=True, held=True): Repair.STRANGER,
    Observed(recorded=False, mounted=True, held=False): Repair.STRANGER,
    Observed(recorded=False, mounted=False, held=True): Repair.DROP,
    Observed(recorded=False, mounted=False, held=False): Repair.NOTHING,
}


def plan(recorded: set[str], mounted: set[str], held: set[str]) -> dict[str, Repair]:
    """The repair of every name that is known anywhere, those that need none left out."""
    repairs = {
        name: PLAN[Observed(recorded=name in recorded, mounted=name in mounted, held=name in held)]
        for name in recorded | mounted | held
    }
    return {name: repair for name, repair in repairs.items() if repair is not Repair.NOTHING}
