"""What a snapshot and a clone cost by the amount of data, beside the bare system call and cp."""

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.figures import Table, milliseconds, times
from bench.host import Host, host
from bench.subject import scratch
from convoy_py.linux import btrfs, reflink
from convoy_py.linux.descriptors import opened

_MIB, _GIB = 1 << 20, 1 << 30
_CHUNK = 4 * _MIB
_VOLUME = "db"
_MADE = "bench-floor"
_NONE = "-"


@dataclass(frozen=True)
class Effort:
    """Bytes of data in the volume, and how often each thing is measured."""

    sizes: Sequence[int] = (_GIB, 10 * _GIB)
    rounds: int = 9


QUICK = Effort((64 * _MIB, 128 * _MIB), rounds=2)


@dataclass(frozen=True)
class _Kind:
    """A kind of volume on a kind of host, and the bare call that copies it in no time."""

    name: str
    host: str
    options: Mapping[str, str]
    floor: Callable[[Path, Path], None]
    clones: bool = True  # in no time, too


def run(effort: Effort) -> None:
    """Print a row for each kind of volume and size; the first size is also copied with cp."""
    columns = ("volume", "MiB", "snapshot", "writers wait", "bare call", "ratio", "clone", "cp")
    table = Table("Snapshots and clones (ms, median)", columns)
    flat = Table(f"The same, by size", ("volume", "snapshot", "clone"))
    with scratch() as folder:
        for kind in _KINDS:
            with host(folder, kind.host) as running:
                found = [_measured(running, kind, size, effort) for size in effort.sizes]
            for size, seen in zip(effort.sizes, found, strict=True):
                table.add(kind.name, f"{size // _MIB}", *seen.cells())
            small, large = found[0], found[-1]
            flat.add(kind.name, *(…))
    print(table)
