"""What of a home its record names as the data, and what else of that kind lies there.

<root>/volumes/<name>/image            what a record means that names none
<root>/volumes/<name>/image.4          what one means that says `"data": "image.4"`
<root>/volumes/<name>/.new-image.5     being made

Each new one has a number that is higher than all before, and counts once the record names it. So
what has a higher number than the named one was never mounted: it is a copy that was cut off. What
has a lower one was replaced, and may hold what nobody else has.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from convoy_py.state.store import STAGING

_NUMBERED = re.compile(r"([a-z]+)(?:\.([1-9][0-9]{0,17}))?")


@dataclass(frozen=True)
class Found:
    """What lies in a home beside the `named` data, which may be missing."""

    named: Path
    unfinished: tuple[Path, ...]  # those that no record ever named
    replaced: tuple[Path, ...]  # those that were named before, oldest first


def number_of(name: str) -> int:
    """The number of what bears this name: 0 of what has the usual one."""
    found = _NUMBERED.fullmatch(name)
    return int(found[2] or 0) if found else 0


def numbered(home: Path) -> list[str]:
    """The names with numbers in a home: what is there of volumes whose record names its data."""
    names = (path.name for path in home.iterdir())
    return sorted(filter(number_of, names), key=number_of)


def look(named: Path) -> Found:
    """What lies beside the data that a record names, of the same kind."""
    usual, _, _ = named.name.partition(".")
    known = number_of(named.name)
    unfinished: list[Path] = []
    replaced: list[Path] = []
    for path in named.parent.iterdir():
        found = _NUMBERED.fullmatch(path.name.removeprefix(STAGING))
        if found is None or found[1] != usual or path == named:
            continue
        is_newer = path.name.startswith(STAGING) or number_of(path.name) > known
        (unfinished if is_newer else replaced).append(path)
    return Found(
        named,
        tuple(sorted(unfinished)),
        tuple(sorted(replaced, key=lambda path: number_of(path.name))),
    )


def after(named: Path) -> str:
    """The name of the next one, which nothing has or had."""
    there = [*look(named).unfinished, *look(named).replaced, named]
    usual, _, _ = named.name.partition(".")
    return f"{usual}.{max(number_of(path.name.removeprefix(STAGING)) for path in there) + 1}"
