"""Notices that the root's disk is gone, or came late, and begins anew when it is there.

A daemon may start before the disk of its root is mounted, and then it has locked the bare folder
beneath; or the disk is unmounted under it. Meanwhile nothing is changed, and what is known stays
listed, for to an engine a volume that is not there does not exist. On a root that several hosts
share a daemon goes on as the host that it is there; as another one it ends, and is started again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.host import Host
from convoy_py.engine.upkeep.recovery import Recovery
from convoy_py.engine.verbs.trash import TrashBin
from convoy_py.errors import ConvoyError, RootReplaced
from convoy_py.logs import event
from convoy_py.state.records import Record

log = logging.getLogger("convoy.daemon")

# Seconds between two looks, and for how long is waited for what is in flight.
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 8.0


class Reopening:
    """The watch over one root; `sweep` takes away what `Recovery.load` found half done."""

    def __init__(
        self,
        operations: Operations,
        host: Host,
        recovery: Recovery,
        trash: TrashBin,
        sweep: Callable[[], Awaitable[None]],
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._host = host
        self._recovery = recovery
        self._trash = trash
        self._sweep = sweep
        self._told = ""

    async def run(self) -> None:
        """Look until cancelled; raises RootReplaced."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except RootReplaced:
                raise
            except Exception as error:  # noqa: BLE001 - the next look may find it well
                event(log, logging.WARNING, "the root is not opened again", failure=error)

    async def look(self) -> None:
        """Look at the root, and begin anew if it is back, or another is there to go on with.

        Raises RootReplaced.
        """
        run, store = self._operations.blocking.run, self._host.store
        is_there = await run(store.presence.look)
        if self._told != store.presence.away:
            self._told = store.presence.away
            log.error("%s", self._told)
        if is_there:
            await self._refuse_foreign()
        # Long work has entries in its hands; it ends soon, for without its root it is refused.
        if not store.presence.away or any(e.doing for e in self._entries.everything()):
            return
        if self._host.membership is not None:
            await self._look_as_host(is_there=is_there)
        elif is_there:
            await self._begin_anew(another=False)
        elif await run(store.may_take_over, self._uuids()):
            await self._begin_anew(another=True, reopen=store.reopen)

    async def _refuse_foreign(self) -> None:
        """Raise RootReplaced if another is what this host was, on the root that was opened."""
        membership, root = self._host.membership, self._host.store.root
        if membership is None or not membership.is_foreign:
            return
        if not await self._operations.blocking.run(membership.is_here):
            raise RootReplaced(f"another is the host of the root {root} that this one was")

    async def _look_as_host(self, *, is_there: bool) -> None:
        """A shared root is the same one if this host is alive in it; others may change the rest."""
        run, membership = self._operations.blocking.run, self._host.membership
        assert membership is not None, "the root is shared"
        if await run(membership.is_here):
            reopen = None if is_there else self._reopen_as_host
            await self._begin_anew(another=False, reopen=reopen)
        # What is mounted is served until it is let go of: no daemon would start beside it.
        elif not any(entry.mounted for entry in self._entries.everything()) and await run(
            self._host.store.is_hidden, self._uuids()
        ):
            raise RootReplaced(
                f"another root was mounted over {self._host.store.root} since this daemon began, "
                "which is to join that one; what was made beneath it stays there"
            )

    def _reopen_as_host(self) -> None:
        if self._host.membership is not None:
            self._host.membership.reopen()
        self._host.store.reopen()

    def _uuids(self) -> dict[str, str]:
        """The uuids of the volumes, by name."""
        return {
            name: entry.record.uuid
            for name, entry in self._entries.volumes.items()
            if isinstance(entry.record, Record)
        }

    async def _begin_anew(self, *, another: bool, reopen: Callable[[], None] | None = None) -> None:
        """Read the records again, while calls wait as they do at start."""
        operations, run = self._operations, self._operations.blocking.run
        entries = old = operations.entries.volumes
        is_quiet = await operations.pause(PATIENCE_SECONDS)
        try:
            if reopen is not None:
                await run(reopen)
            for entry in list(operations.entries.everything()):
                self._host.ledger.forget(entry.name)
            entries = await run(partial(self._recovery.load, is_quiet=is_quiet))
            self._trash.open(await run(self._host.trash.load))
            _carry_over(old, entries)
            hidden = _keep_hidden(old, entries, self._host.store.root, another=another)
            self._host.store.presence.back()
        finally:
            operations.open(entries)
        self._told = ""
        log.warning("the root %s is open again: %d volumes", self._host.store.root, len(entries))
        if hidden:
            log.error("not in it, and listed as broken: %s", ", ".join(hidden))
        if is_quiet:
            try:
                await self._sweep()
            except ConvoyError as error:
                event(log, logging.WARNING, "swept at the next start", failure=error)


def _carry_over(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> None:
    """Give what is still mounted what was known of it, which is more than what was recorded."""
    before = {each.name: each for entry in old.values() for each in (entry, *entry.within())}
    for entry in (each for volume in new.values() for each in (volume, *volume.within())):
        known = before.get(entry.name)
        if known is None or not entry.mounted or not known.mounted:
            continue
        entry.goes_on_as(known)


def _keep_hidden(
    old: Mapping[str, Entry], new: dict[str, Entry], root: object, *, another: bool
) -> list[str]:
    """Keep listed, as broken, what was there before and is not now; returns the names.

    In the same root it was deleted meanwhile: then only what is mounted is kept.
    """
    hidden = []
    for name, entry in old.items():
        if name in new or not (another or entry.mounted):
            continue
        entry.hidden(
            f"it lies in the folder {root} beneath what was mounted over that since: unmount that "
            "for a moment, with the daemon stopped, and move the volume's folder"
            if another
            else f"its folder is gone from {root}"
        )
        new[name] = entry
        hidden.append(name)
    return hidden
