"""The names of the data in a volume's home, of which its record names one.

<root>/volumes/<name>/image            what a record means that names none
<root>/volumes/<name>/image.4          what one means that says `"data": "image.4"`
<root>/volumes/<name>/.new-image.5     being made

Each new one has a number that is higher than all that lie there. What else lies there is nobody's,
but it may be the only copy of something, so it stays: see engine/steps/renewing.py for what goes.
"""

import re
from collections.abc import Collection
from pathlib import Path

from convoy_py.state.store import STAGING

# Within other patterns; the name without a number is that of a backend's.
NAME = r"[a-z]+(?:\.[1-9][0-9]{0,17})?"
_NAME = re.compile(NAME)


def usual(name: str) -> str:
    """What data of this name is called where no record names it."""
    return name.partition(".")[0]


def number_of(name: str) -> int:
    """The number of what bears this name; 0 of what has none."""
    return int(name.partition(".")[2] or 0) if _NAME.fullmatch(name) else 0


def numbered(home: Path, usually: Collection[str]) -> list[str]:
    """The names with numbers in a home, of which a record may have named one.

    `usually` are those without; what is called otherwise is someone's own.
    """
    names = (path.name for path in home.iterdir() if usual(path.name) in usually)
    return sorted(filter(number_of, names), key=number_of)


def after(named: Path) -> Path:
    """Where the next one is to lie: its number is higher than all that are there."""
    names = [path.name.removeprefix(STAGING) for path in named.parent.iterdir()]
    most = max(number_of(name) for name in (*names, named.name) if usual(name) == usual(named.name))
    return named.with_name(f"{usual(named.name)}.{most + 1}")
