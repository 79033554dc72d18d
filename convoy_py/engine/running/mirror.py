"""Memory follows the disk where a change failed: it may have come to pass all the same.

A rename whose sync failed has happened, and so has what another step failed after. What bears a
name on the disk is what a Mount finds there, so that is what Get and List tell.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps import loading
from convoy_py.engine.steps.host import Host
from convoy_py.errors import ConvoyError
from convoy_py.logs import event
from convoy_py.models.names import joined
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import Record, SnapshotRecord

log = logging.getLogger("convoy.engine")


@asynccontextmanager
async def as_on_disk(operations: Operations, host: Host, *names: str) -> AsyncIterator[None]:
    """Where the block fails, have memory be what the disk has of the volumes of these names.

    For what changes volumes that are known; caller has their locks, or works on them.
    """
    try:
        yield
    except (OSError, ConvoyError):
        for name in names:
            try:
                await follow(operations, host, name)
            except (OSError, ConvoyError) as error:
                event(log, logging.WARNING, "not looked at again", volume=name, failure=error)
        raise


async def follow(operations: Operations, host: Host, name: str) -> None:
    """Have memory be what the disk has of one volume. Caller has its lock, or works on it."""
    run, entry = operations.blocking.run, operations.entries.volumes.get(name)
    record = await run(host.store.find, name)
    await run(host.store.presence.refuse)  # without its disk nothing is found, and nothing gone
    if isinstance(record, Unreadable):
        return
    if record is None:
        host.ledger.forget(name)
        if entry is not None and entry.restoring is None:
            operations.entries.forget(name)
    elif entry is None or not isinstance(entry.record, Record) or entry.record.uuid != record.uuid:
        operations.entries.put(await run(loading.entry, host, name, record))
    else:
        if entry.record != record:
            loading.rerecord(host, entry, record)
        await _follow_snapshots(operations, host, entry)


async def _follow_snapshots(operations: Operations, host: Host, volume: Entry) -> None:
    found = await operations.blocking.run(host.snapshot_store.load, volume.name)
    await operations.blocking.run(host.store.presence.refuse)
    there = {joined(volume.name, name): name for name in found}
    for full, known in list(volume.snapshots.items()):
        if full not in there or _is_another(known, found[there[full]]):
            operations.entries.forget(full)
    for full in there.keys() - volume.snapshots.keys():
        operations.entries.put(
            loading.snapshot_entry(host, volume, there[full], found[there[full]])
        )


def _is_another(known: Entry, found: SnapshotRecord | Unreadable) -> bool:
    """Whether a snapshot of that name is not the one that is known."""
    if known.record is None or isinstance(found, Unreadable):
        return False
    return known.record.uuid != found.uuid


async def rerecord(operations: Operations, host: Host, entry: Entry, record: Record) -> None:
    """Replace a volume's record on disk and in memory. Caller has the volume's lock."""
    async with as_on_disk(operations, host, entry.name):
        await operations.do(entry.name, "update", host.store.update, record, entry.volume_record())
    loading.rerecord(host, entry, record)
