"""What a purge gives back: blocks go only when everything that has them goes."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from convoy_py.linux.extents import Footprint, Range, footprint, shared_ranges
from convoy_py.logs import event

log = logging.getLogger("convoy.trash")

# Seconds for which it is measured. What is not seen by then is not counted on.
PATIENCE_SECONDS = 10.0


class Gain:
    """Bytes by the keys of those in the trash that all have to go for them."""

    def __init__(self, groups: Mapping[frozenset[str], int]) -> None:
        self._groups = groups

    def of(self, keys: Collection[str]) -> int:
        """Bytes that are free once all of these are gone."""
        gone = frozenset(keys)
        return sum(size for group, size in self._groups.items() if group <= gone)

    def choose(self, oldest_first: Sequence[str], missing: int) -> list[str]:
        """Which are to go for so many bytes, of these: none that need not, and the newest last.

        None at all if all of them together do not give as much.
        """
        chosen = list(oldest_first)
        if self.of(chosen) < missing:
            return []
        for key in reversed(oldest_first):
            left = [other for other in chosen if other != key]
            if self.of(left) >= missing:
                chosen = left
        return chosen

    def without(self, key: str) -> "Gain":
        """The same once one of them is gone."""
        left: Counter[frozenset[str]] = Counter()
        for group, size in self._groups.items():
            if rest := group - {key}:
                left[rest] += size
        return Gain(left)


def measure(trash: Mapping[str, Path], living: Sequence[Path]) -> Gain:
    """What the folders of the trash, by key, would give back; a look at the disk.

    `living` are all those that may share blocks with them. Blocks of which it is not certain that
    nothing else has them do not count.
    """
    end = time.monotonic() + PATIENCE_SECONDS

    def is_late() -> bool:
        return time.monotonic() >= end

    found: dict[str, Footprint] = {}
    for key, home in trash.items():
        try:
            found[key] = footprint(home, is_late)
        except OSError as error:
            event(log, logging.DEBUG, "not measured", volume=key, failure=error)
    own = {frozenset({key}): each.own for key, each in found.items()}
    shared = [(each, key) for key, footprint in found.items() for each in footprint.shared]
    groups = Counter(own)
    if among_themselves(shared, ()):
        try:
            elsewhere = [each for folder in living for each in _shared_with(folder, is_late)]
        except OSError as error:  # or it gets late
            event(log, logging.DEBUG, "shared blocks of the trash do not count", failure=error)
        else:
            groups.update(among_themselves(shared, elsewhere))
    return Gain(groups)


def among_themselves(
    shared: Iterable[tuple[Range, str]], living: Iterable[Range]
) -> Counter[frozenset[str]]:
    """Bytes of the shared blocks that only what is in the trash has, by all that have them.

    Of blocks that only one has, and once, another has them that is not known here.
    """
    # Where something begins to have the blocks of the disk, and where it ceases to.
    edges = [(place, change, key) for where, key in shared for place, change in _ends(where)]
    edges += [(place, change, "") for where in living for place, change in _ends(where)]
    groups: Counter[frozenset[str]] = Counter()
    having: Counter[str] = Counter()
    last = 0
    for place, change, key in sorted(edges):
        if place > last and having.total() > 1 and not having[""]:
            groups[frozenset(+having)] += place - last
        having[key] += change
        last = place
    return groups


def _ends(where: Range) -> tuple[tuple[int, int], tuple[int, int]]:
    begin, end = where
    return (begin, 1), (end, -1)


def _shared_with(folder: Path, is_late: Callable[[], bool]) -> Iterator[Range]:
    with suppress(FileNotFoundError):
        yield from shared_ranges(folder, is_late)
