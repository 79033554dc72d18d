"""Has memory follow what other hosts of a shared root make, change, use and remove.

Get and List answer from memory, so it must be right within seconds: the news are heard often, and
when they are new all claims are read, and of what changed the records.
"""

import asyncio
import logging
from collections.abc import Callable

from convoy_py.engine.running.operations import Operations
from convoy_py.engine.running.sharing import Sharing
from convoy_py.engine.steps.claiming import Claiming
from convoy_py.engine.steps.host import Host
from convoy_py.engine.verbs.trash import TrashBin
from convoy_py.errors import ConvoyError, Unavailable
from convoy_py.logs import event
from convoy_py.models.claims import Claim
from convoy_py.state.news import News

log = logging.getLogger("convoy.hosts")

LOOK_SECONDS = 1.0
# All is looked at now and then though there are no news: those of a host that died may be missing.
LONGEST_SECONDS = 60.0


class Following:
    """The eyes of one daemon; every look is one method, so that tests can call it."""

    def __init__(
        self,
        operations: Operations,
        host: Host,
        sharing: Sharing,
        claiming: Claiming,
        news: News,
        *,
        trash: TrashBin,
        clock: Callable[[], float],
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._host = host
        self._sharing = sharing
        self._claiming = claiming
        self._news = news
        self._trash = trash
        self._clock = clock
        self._heard = ""
        self._looked_at = float("-inf")
        self._seen: dict[str, Claim] = {}  # the claims that memory follows

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except (OSError, ConvoyError) as error:
                event(log, logging.DEBUG, "other hosts are not seen", failure=error)
            except Exception:
                log.exception("looking at other hosts failed and goes on")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Follow what changed since the last look. Raises OSError, Unavailable."""
        if self._host.store.presence.away:
            self._seen.clear()  # what is there then is read anew
            self._heard = ""
            return
        await self._sharing.tidy()
        run, now = self._operations.blocking.run, self._clock()
        # First the news, then what they are of: what comes after that is for the next look.
        heard = await run(self._news.hear)
        if heard == self._heard and now - self._looked_at < LONGEST_SECONDS:
            self._lead()
            return
        there = await run(self._claiming.everything)
        known = there.keys() | self._seen.keys() | self._entries.volumes.keys()
        waiting = [name for name in known if not await self._follow(name, there.get(name))]
        self._trash.open(await run(self._host.trash.load))
        if not waiting:
            self._heard, self._looked_at = heard, now

    def _lead(self) -> None:
        """Follow the schedules of hosts that are dead, and those of who is back no longer."""
        for name, entry in self._entries.volumes.items():
            if entry.spec and entry.spec.is_scheduled and (claim := self._seen.get(name)):
                self._sharing.lead(entry, claim)

    async def _follow(self, name: str, found: Claim | None) -> bool:
        """Follow what became of one volume; False if something is being done with it here."""
        entry = self._entries.volumes.get(name)
        is_listed = entry is not None and entry.restoring is None
        if found == self._seen.get(name) and is_listed == (found is not None):
            return True
        if self._operations.locks.busy(name):
            return False
        async with self._operations.locks.locked(name):
            try:
                claim = await self._operations.blocking.run(self._claiming.look, name)
            except Unavailable:
                await self._operations.blocking.run(self._host.store.presence.refuse)
                return True  # what is known of it stays, and what changed of others is followed
            await self._sharing.follow(name, claim)
        if claim is None:
            self._seen.pop(name, None)
        else:
            self._seen[name] = claim
        return True
