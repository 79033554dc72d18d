"""Ties the locks of volumes to their claims, on a root that several hosts share.

Who has a volume's lock here has its claim, too: alone if it is an image, with others if it is a
directory. It is kept as long as the volume is used, and let go of with the lock otherwise. What
another host changed meanwhile is known once the claim is ours.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.running.mirror import follow
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.claiming import Claiming
from convoy_py.engine.steps.host import Host
from convoy_py.errors import ConvoyError
from convoy_py.logs import event
from convoy_py.models.claims import Claim, Mode
from convoy_py.state.records import Record

log = logging.getLogger("convoy.hosts")


_LOST = (
    "another host took it over: what is mounted here is what it was before; stop what uses it here"
)


class Sharing:
    """The claims of one daemon."""

    def __init__(self, operations: Operations, host: Host, claiming: Claiming) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._host = host
        self._claiming = claiming
        self._has_begun = False
        self._told: dict[str, frozenset[str]] = {}  # the snapshots that others know of

    @property
    def is_idle(self) -> bool:
        """Whether this host surely uses nothing, and has no claim."""
        used = any(map(_is_used, self._entries.volumes.values()))
        return self._has_begun and not used and not self._claiming.held

    @asynccontextmanager
    async def claimed(self, name: str) -> AsyncIterator[None]:
        """Have a volume's claim while the block runs. Caller has the volume's lock.

        Raises VolumeElsewhere if another host has it.
        """
        await self._claim(name)
        try:
            yield
        finally:
            await self._leave_unused(name)

    async def refuse_others(self, name: str) -> None:
        """Raise VolumeElsewhere if another host uses a volume now."""
        await self._operations.blocking.run(self._claiming.refuse_others, name)

    async def alone(self, name: str) -> None:
        """Have no other host use a volume of which we have the claim, or raise VolumeElsewhere."""
        await self._use(name, Mode.ONE)

    async def revisit(self, name: str) -> None:
        """Let go of a volume, if it is not used here any more. Caller has the volume's lock."""
        if name in self._claiming.held:
            await self._leave_unused(name)

    async def _leave_unused(self, name: str) -> None:
        """What fails is tried again by `tidy`."""
        run, entry = self._operations.blocking.run, self._entries.volumes.get(name)
        try:
            if entry is not None:
                await self._tell_of_snapshots(entry)
            if entry is None or not _is_used(entry):
                claim = await run(self._claiming.leave, name)
            elif self._claiming.has_alone(name) and not _is_still_alone(entry):
                claim = await run(self._claiming.share, name)
            else:
                return
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "claim is let go of later", volume=name, failure=error)
            return
        self._show(entry, claim)

    async def look(self, name: str) -> None:
        """Follow what another host may have made of a name. Caller has the lock."""
        await self.follow(name, await self._operations.blocking.run(self._claiming.look, name))

    async def begin(self, entries: Mapping[str, Entry]) -> None:
        """Claim what of all is used here, and let go of what an earlier life of this host had."""
        run = self._operations.blocking.run
        for each in entries.values():
            each.leads = False  # until the others are known
        for name, claim in (await run(self._claiming.everything)).items():
            entry, me = entries.get(name), self._claiming.me.host
            is_used = entry is not None and _is_used(entry)
            if not is_used and me not in (each.host for each in claim.users):
                continue
            mode = Mode.ONE if entry is None or entry.has_own_filesystem else Mode.MANY
            try:
                self._claiming.held[name] = claim
                await run(self._claiming.use, name, mode)
                if not is_used:
                    await run(self._claiming.leave, name)
            except (OSError, ConvoyError) as error:
                event(log, logging.WARNING, "claim is not confirmed", volume=name, failure=error)
        self._has_begun = True

    async def tidy(self) -> None:
        """Let go of what was to be let go of, and was not."""
        for name in list(self._claiming.held):
            if not self._operations.locks.busy(name):
                async with self._operations.locks.locked(name):
                    await self.revisit(name)
                    await self._confirm(name)

    async def _confirm(self, name: str) -> None:
        """Of a claim that was read; what fails is tried again by `tidy`."""
        try:
            await self._operations.blocking.run(self._claiming.confirm, name)
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "claim is not confirmed", volume=name, failure=error)

    async def follow(self, name: str, claim: Claim | None) -> None:
        """Have memory be what the disk has, if another host changed it. Caller has the lock."""
        entry, known = self._entries.volumes.get(name), self._claiming.known
        is_known = entry is not None and entry.restoring is None
        if claim is None:
            known.pop(name, None)
            self._told.pop(name, None)
            # Not as the disk has it by now: who finds it here may use it, and has no claim.
            if entry is not None and is_known and not _is_used(entry):
                self._host.ledger.forget(name)
                self._entries.forget(name)
            return
        if known.get(name) != claim.version or not is_known:
            await follow(self._operations, self._host, name)
        entry, known[name] = self._entries.volumes.get(name), claim.version
        if entry is not None:
            self._told[name] = frozenset(entry.snapshots)
        if self._claiming.me in claim.users:
            self._claiming.held[name] = claim
        self._show(entry, claim)

    async def _tell_of_snapshots(self, entry: Entry) -> None:
        """They are no part of the record, by whose change others would know."""
        there = frozenset(entry.snapshots)
        if self._told.get(entry.name, frozenset()) != there:
            await self._operations.blocking.run(self._claiming.tell, entry.name)
            self._told[entry.name] = there

    def _show(self, entry: Entry | None, claim: Claim | None) -> None:
        """What Get and List tell of who uses a volume."""
        if entry is not None and claim is not None:
            is_lost = _is_used(entry) and self._claiming.me not in claim.users
            if is_lost:
                entry.reason = _LOST
            elif entry.reason == _LOST:
                entry.reason = ""
            entry.hosts = tuple(self._claiming.names(claim.users))
            self.lead(entry, claim)

    def lead(self, entry: Entry, claim: Claim) -> None:
        """Know whether a volume's schedule is for this host to follow."""
        leads = self._claiming.leads(claim)
        if leads and not entry.leads:
            self._entries.rescheduled.set()
        entry.leads = leads

    async def _claim(self, name: str) -> None:
        if self._claiming.has_alone(name) and name in self._entries.volumes:
            return  # nobody else changes it
        while True:
            mode = await self._mode(name)
            if await self._use(name, mode) is None or mode is await self._mode(name):
                return

    async def _use(self, name: str, mode: Mode) -> Claim | None:
        claim = await self._operations.blocking.run(self._claiming.use, name, mode)
        await self.follow(name, claim)
        return claim

    async def _mode(self, name: str) -> Mode:
        """How a volume is claimed by who uses it."""
        entry = self._entries.volumes.get(name)
        if entry is not None and entry.place is not None:
            return Mode.ONE if entry.has_own_filesystem else Mode.MANY
        record = await self._operations.blocking.run(self._host.store.find, name)
        if not isinstance(record, Record):
            return Mode.ONE
        backend = self._host.backends.get(record.spec.backend)
        is_image = backend is None or backend.has_own_filesystem(record.spec)
        return Mode.ONE if is_image else Mode.MANY


def _is_used(volume: Entry) -> bool:
    """Whether anything of it is mounted, or counted, or read here."""
    return any(
        each.mounted or each.lingering or each.references.holds or each.work
        for each in (volume, *volume.within())
    )


def _is_still_alone(volume: Entry) -> bool:
    """Whether others are to stay away from a volume that is used here."""
    is_still = volume.work is not None and volume.work.still
    return volume.has_own_filesystem or is_still
