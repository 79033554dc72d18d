"""What users wrote into sparse images and is in memory yet: it takes the host's space before long.

A filesystem in an image writes out what it was given only half a minute later, or when memory runs
short, and then all at once. Until then the host knows nothing of it.
"""

from collections.abc import Callable, Iterable

from convoy_py.engine.memory.entry import Entry
from convoy_py.errors import ConvoyError

# While the machine has no more to write, the images need not be looked at: it is a small part of
# any reserve, and most hosts are idle.
LITTLE = 8 << 20


class Unwritten:
    """The last looks at the images that are mounted."""

    def __init__(self, in_memory: Callable[[], int], little: int = LITTLE) -> None:
        """`in_memory` tells how many bytes wait to be written on the whole machine.

        Up to `little` of them count as none.
        """
        self._in_memory = in_memory
        self._little = little
        self._seen: dict[str, tuple[int, int]] = {}  # by name: what was ahead then, and waited

    def look(self, entries: Iterable[Entry]) -> int:
        """Bytes that images will take once what is in memory is written out; cheap.

        What they hold is compared with what they have of the host. They may differ for good, by
        what was deleted in one or is its filesystem's own, so their changes count. Whether what is
        written goes over blocks that a snapshot has too cannot be seen, so all of them count. But
        never more than is in memory at all.
        """
        mounted = list(entries)
        in_memory = self._in_memory() if mounted else 0
        if in_memory <= self._little:
            return 0
        before, self._seen = self._seen, {}
        shared = 0
        for entry in mounted:
            try:
                backend, place = entry.usable()
                ahead = backend.ahead(place)
            except (OSError, ConvoyError):
                continue  # it is not there any more
            if ahead is None:
                continue
            then, waited = before.get(entry.name, (0, 0))
            self._seen[entry.name] = ahead, max(0, waited + ahead - then)
            shared += _shared(entry)
        waiting = shared + sum(waits for _, waits in self._seen.values())
        return min(waiting, in_memory)


def _shared(entry: Entry) -> int:
    """Bytes of an image that others may have too, at most: who overwrites them takes new ones."""
    backend, place = entry.usable()
    snapshots = any(not snapshot.lies_inside for snapshot in entry.snapshots.values())
    return backend.promised(place.spec) if snapshots or place.spec.source is not None else 0
