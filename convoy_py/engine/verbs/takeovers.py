"""The takeover of a volume from a host that is dead, or cut off.

Neither a lease nor a lock stops a host that wakes up: so the volume gets a fresh inode first, which
it cannot reach. What it had, and may still write to, is kept as the snapshot `lost-<host>-<time>`.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from convoy_py.backends.imageable import Imageable
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.views import volume_view
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.mirror import follow
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.running.sharing import Sharing
from convoy_py.engine.steps.claiming import Claiming
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.renewing import Renewing
from convoy_py.errors import Conflict, Unsupported, VolumeElsewhere
from convoy_py.linux.fresh import Haste
from convoy_py.models.names import joined
from convoy_py.models.takeover import Takeover

# For so long an engine may show a file as it was before another host wrote to it.
SETTLE_SECONDS = 2.0
# Of copies, for a host may write until it learns that it was ended.
ATTEMPTS = 3
_ATTACHED = "{}, whose machine has its image attached (if that is off for sure, --host-is-off)"


class Takeovers:
    """What one host of a shared root takes from others."""

    def __init__(self, operations: Operations, host: Host) -> None:
        self._operations = operations
        self._host = host
        self._renewing = Renewing(host)
        self._shared: tuple[Sharing, Claiming] | None = None

    def share(self, sharing: Sharing, claiming: Claiming) -> None:
        """There are other hosts."""
        self._shared = sharing, claiming

    async def take_over(self, name: str, *, is_off: bool, progress: Progress) -> Takeover:
        """Take a volume from the host that has it, if that is dead; see Takeover.

        `is_off`: somebody who knows says that the host writes nothing any more. Raises
        VolumeElsewhere if it may be alive, Conflict if no other host has the volume.
        """
        if self._shared is None:
            raise Unsupported("the root is not shared, so there is no other host")
        sharing, claiming = self._shared
        run = self._operations.blocking.run
        async with self._operations.locked_here(name):
            # The lock first: whoever has it has the image attached, whatever its lease says.
            await sharing.follow(name, await run(claiming.look, name))
            entry = self._operations.entries.get(name)
            image = _image(entry)
            others = await run(claiming.users, name)
            if image is not None and others and not is_off and await run(_is_locked, image):
                raise VolumeElsewhere(name, map(_ATTACHED.format, others))
            losers = await run(lambda: claiming.take(name, is_off=is_off))
            lost = ""
            if image is not None:
                loser = losers[0] if losers else "unknown"
                lost = await self._renewed(entry, loser, progress)
                await run(claiming.settle, name)
            await sharing.revisit(name)
            await sharing.follow(name, await run(claiming.look, name))
            return Takeover(view=volume_view(entry), losers=tuple(losers), lost=lost)

    async def _renewed(self, entry: Entry, loser: str, progress: Progress) -> str:
        """Give a volume a copy of its image; returns the snapshot that has what it was."""
        haste = Haste(time.monotonic, None, lambda: time.sleep(SETTLE_SECONDS))
        progress.note = f"copying what {loser} had"
        renew, renewed, attempts = self._renewing.renew, None, ATTEMPTS
        while renewed is None:
            attempts -= 1
            with suppress(*((Conflict,) if attempts else ())):
                # A host that has just been ended may still be writing.
                renewed = await self._operations.do_long(
                    entry.name, "takeover", renew, entry, loser, haste, progress
                )
        await follow(self._operations, self._host, entry.name)
        return joined(entry.name, renewed.lost.name)


def _image(entry: Entry) -> Path | None:
    """The file of a volume that is an image."""
    backend, place = entry.usable()
    return backend.image(place) if isinstance(backend, Imageable) else None


def _is_locked(image: Path) -> bool:
    """Whether a machine has an image attached, as far as locks tell."""
    fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
