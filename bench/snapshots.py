"""What a snapshot and a clone cost by the amount of data, beside the bare system call and cp."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.figures import Table, milliseconds, times
from bench.host import Host, host
from bench.subject import scratch
from convoy_py.linux import btrfs, files, freeze, reflink
from convoy_py.linux.descriptors import closing, opened
from convoy_py.wire.endpoints import DELETE_SNAPSHOT, DELETE_VOLUME

_MIB, _GIB = 1 << 20, 1 << 30
_CHUNK = 4 * _MIB
_COPIES = 3
_VOLUME, _SNAPSHOT, _CLONE = "db", "now", "copy"
_NOTHING = "-"


@dataclass(frozen=True)
class Effort:
    """Bytes of data in a volume, and how often each thing is measured."""

    sizes: Sequence[int] = (_GIB, 10 * _GIB)
    rounds: int = 15


QUICK = Effort((64 * _MIB, 128 * _MIB), rounds=2)


@dataclass(frozen=True)
class _Kind:
    """A kind of volume on a kind of host; whether clones are made in no time as snapshots are.

    `floor` makes, by the bare system call, a copy of the volume whose data is given.
    """

    name: str
    host: str
    options: Mapping[str, str]
    clones: bool
    floor: Callable[[Path, Path], Path]


@dataclass
class _Seen:
    """Seconds of each thing that was measured with one volume."""

    snapshot: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    clone: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    copied: list[float] = field(default_factory=list)


def run(effort: Effort) -> None:
    """Print a row for each kind of volume and amount of data; the smallest is copied by cp, too."""
    columns = ("volume", "MiB", "snapshot", "writers wait", "bare calls", "ratio", "clone", "cp")
    table = Table("Snapshots and clones (ms, median)", columns)
    by_size = Table("Time by amount of data, largest to smallest", ("volume", "snapshot", "clone"))
    with scratch() as folder:
        for kind in _KINDS:
            with host(folder, kind.host) as running:
                found = [_measured(running, kind, size, effort) for size in effort.sizes]
            for size, seen in zip(effort.sizes, found, strict=True):
                ratio = times(median(seen.snapshot) / median(seen.floor))
                shown = map(_shown, (seen.snapshot, seen.waited, seen.floor))
                cells = (*shown, ratio, _shown(seen.clone), _shown(seen.copied))
                table.add(kind.name, f"{size // _MIB}", *cells)
            small, large = found[0], found[-1]
            snapshot = times(median(large.snapshot) / median(small.snapshot))
            clone = times(median(large.clone) / median(small.clone)) if kind.clones else _NOTHING
            by_size.add(kind.name, snapshot, clone)
    print(table)
    print(by_size)


def _measured(running: Host, kind: _Kind, size: int, effort: Effort) -> _Seen:
    seen = _Seen()
    limit = {"size": str(size + size // 8 + 512 * _MIB)} if "fs" in kind.options else {}
    data = running.mounted(_VOLUME, **kind.options, **limit)
    _fill(data / "data", size)
    home = running.root / "root" / "volumes" / _VOLUME
    for turn in range(effort.rounds + 1):
        found = _once(running, kind, data, home)
        if turn:  # the first warms up
            for name, seconds in found.items():
                getattr(seen, name).append(seconds)
    if size == min(effort.sizes):
        source = home / ("image" if limit else "data")
        seen.copied = [_copied(source, running.root / _CLONE) for _ in range(_COPIES)]
    running.drop(_VOLUME)
    return seen


def _once(running: Host, kind: _Kind, data: Path, home: Path) -> dict[str, float]:
    """The seconds of each thing, taken one after the other, after a write that was synced."""
    with (data / "data").open("r+b", buffering=0) as file:
        file.write(os.urandom(4096))
        os.fsync(file.fileno())
    found = {}
    before = running.frozen_seconds()
    found["snapshot"] = _timed(lambda: running.snapshot(_VOLUME, _SNAPSHOT))
    if waited := running.frozen_seconds() - before:
        found["waited"] = waited
    running.client.ask(DELETE_SNAPSHOT, of=f"{_VOLUME}@{_SNAPSHOT}")
    if kind.clones:
        found["clone"] = _timed(lambda: running.clone(_VOLUME, _CLONE))
        running.client.ask(DELETE_VOLUME, of=_CLONE)
    os.sync()
    began = time.perf_counter()
    made = kind.floor(data, home)
    found["floor"] = time.perf_counter() - began
    files.remove_tree(made)
    os.sync()
    return found


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _fill(path: Path, size: int) -> None:
    chunk = os.urandom(_CHUNK)
    with path.open("xb", buffering=0) as file:
        for _ in range(size // _CHUNK):
            file.write(chunk)
        os.fsync(file.fileno())


def _copied(source: Path, target: Path) -> float:
    """The seconds of a copy of all data that is on the disk at the end, as one makes it by hand."""
    target.mkdir()
    os.sync()
    began = time.perf_counter()
    subprocess.run(["cp", "-a", "--sparse=always", "--reflink=never", source, target], check=True)
    files.sync_filesystem(target.parent)
    took = time.perf_counter() - began
    files.remove_tree(target)
    return took


def _image(data: Path, home: Path) -> Path:
    target = home / _CLONE
    target.mkdir()
    made = os.open(target / "image", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with opened(home / "image") as source, closing(made):
        freeze.freeze(data)
        try:
            reflink.clone(source, made)
        finally:
            freeze.thaw(data)
    return target


def _subvolume(data: Path, home: Path) -> Path:
    target = home / _CLONE
    btrfs.snapshot(home / "data", target, read_only=True)
    return target


def _inside(data: Path, home: Path) -> Path:
    target = data.parent / _CLONE
    btrfs.snapshot(data, target, read_only=True)
    return target


def _shown(seconds: Sequence[float]) -> str:
    return milliseconds(median(seconds)) if seconds else _NOTHING


_LOOPBACK = {"backend": "loopback"}
_KINDS = (
    _Kind("ext4 image on xfs", "xfs", {**_LOOPBACK, "fs": "ext4"}, True, _image),
    _Kind("xfs image on xfs", "xfs", {**_LOOPBACK, "fs": "xfs"}, True, _image),
    _Kind("ext4 image on btrfs", "btrfs", {**_LOOPBACK, "fs": "ext4"}, True, _image),
    _Kind("btrfs image on ext4", "ext4", {**_LOOPBACK, "fs": "btrfs"}, False, _inside),
    _Kind("directory on btrfs", "btrfs", {"backend": "directory"}, True, _subvolume),
)
