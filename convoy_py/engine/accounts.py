"""The space ledger: where the host's bytes are, per volume, snapshot and trash."""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

from convoy_py.engine.entry import Entry
from convoy_py.engine.operations import Operations
from convoy_py.engine.parts import power
from convoy_py.errors import Cancelled, ConvoyError, NoAnswer
from convoy_py.linux import filesystems
from convoy_py.linux.extents import Shares
from convoy_py.models.names import joined
from convoy_py.wire.space import SnapshotSpace, VolumeSpace


class Accounts:
    """The space of one daemon's volumes, measured when it is asked for."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._turn = asyncio.Lock()  # to measure is slow: it shall not take all the threads

    async def df(self) -> list[VolumeSpace]:
        """Every volume, by name. Without locks: what goes away meanwhile is left out or unknown."""
        async with self._turn:
            entries = sorted(self._entries.volumes.items())
            return [await self._asked(entry) for _, entry in entries]

    async def _asked(self, entry: Entry) -> VolumeSpace:
        """One account; without figures if the volume's storage hangs: the others go on."""
        threads = await self._operations.threads(entry.name)
        try:
            return await threads.ask(entry.name, partial(self._account, entry))
        except NoAnswer:
            return VolumeSpace(
                name=entry.name,
                promised=_promised(entry),
                used=None,
                allocated=None,
                shared=None,
                reclaimable=None,
                snapshots=[
                    SnapshotSpace(name=view.name, frees=None) for view in entry.snapshot_views()
                ],
                note="no answer",
            )

    def _account(self, entry: Entry) -> VolumeSpace:
        own, usage, used = _shares(entry), entry.usage, _used(entry)
        allocated = usage.allocated if usage else None
        if own is not None:
            allocated = own.allocated
        return VolumeSpace(
            name=entry.name,
            promised=_promised(entry),
            used=used,
            allocated=allocated,
            shared=own.shared if own else None,
            reclaimable=_reclaimable(entry, allocated, used),
            inodes=usage.inodes if usage else None,
            inodes_used=usage.inodes_used if usage else None,
            snapshots=[
                SnapshotSpace(
                    name=view.name, frees=_freed(entry.snapshots[joined(entry.name, view.name)])
                )
                for view in entry.snapshot_views()
            ],
        )


def _promised(entry: Entry) -> int | None:
    if entry.place is None:
        return None
    backend, place = entry.usable()
    return backend.promised(place.spec)


def _shares(entry: Entry) -> Shares | None:
    try:
        backend, place = entry.usable()
        return power(backend, entry.name).shares(place)
    except Cancelled:
        raise
    except (OSError, ConvoyError):
        return None  # it went away, or cannot be read


def _used(entry: Entry) -> int | None:
    """Bytes that are used inside: of a mounted image now, else when it was last looked at."""
    if entry.mounted and entry.spec is not None and entry.spec.fs is not None:
        with suppress(OSError):  # unmounted just now
            return filesystems.space(Path(entry.mountpoint())).used
    return entry.usage.used if entry.usage else None


def _freed(snapshot: Entry) -> int | None:
    shares = _shares(snapshot)
    return shares.allocated - shares.shared if shares else None


def _reclaimable(entry: Entry, allocated: int | None, used: int | None) -> int | None:
    """What a trim might give back: what a sparse image has beyond what its filesystem uses."""
    if entry.spec is None or not entry.spec.sparse or allocated is None or used is None:
        return None
    return max(0, allocated - used)
