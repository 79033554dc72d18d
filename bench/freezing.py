"""What a writer feels of snapshots: the wait while it is frozen, and slower writes after it."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from bench.figures import Table, milliseconds, percentile, times
from bench.host import Host, host
from bench.subject import scratch
from bench.writer import Writes, writing
from convoy_py.wire.endpoints import DELETE_SNAPSHOT

_HOST = "xfs"
_HOSTS = ("xfs", "btrfs")
_FILESYSTEMS = ("ext4", "xfs")
_MIB = 1 << 20
_BLOCK, _CHUNK = 4096, _MIB
_VOLUME, _SIZE = "db", 8 << 30
_AIM = "250"
_DATABASE = 2 << 30
_LOADS = {"appends": False, "and 4 x 64 KiB at random": True}
# Buffered: what it leaves unwritten is what a freeze has to write while all wait.
_FIO = ("--name=heavy", "--rw=randwrite", "--bs=64k", "--numjobs=4", "--size=128m", "--thread")
_FIO_TIME = ("--ioengine=psync", "--time_based", "--runtime=1h", "--fallocate=none")


@dataclass(frozen=True)
class Effort:
    """Snapshots under each load, the undisturbed seconds before them, and synced overwrites.

    And how many pages all over a large file are overwritten, how often, before a snapshot.
    """

    snapshots: int = 100
    undisturbed: int = 20
    region: int = 64 * _MIB
    overwrites: int = 4000
    rounds: int = 3
    pages: int = 27_000
    scattered: int = 20


QUICK = Effort(3, 2, region=4 * _MIB, overwrites=50, rounds=1, pages=1000, scattered=2)


def run(effort: Effort) -> None:
    """Print a table of the waits of a writer, and one of overwriting what a snapshot shares."""
    waits = Table(
        "Longest wait of an fsync while a snapshot is taken (ms)",
        ("volume and load", "p50", "p99", "aim", "without", "frozen p50", "frozen p99"),
    )
    dips = Table(
        "Appends of 4 KiB + fsync per second",
        ("volume and load", "undisturbed", "with a snapshot a second", "ratio"),
    )
    overwrites = Table(
        "Random overwrites of 4 KiB + fsync per second",
        ("volume", "before a snapshot", "after it", "ratio", "once more", "ratio"),
    )
    with scratch() as folder, host(folder, _HOST) as running:
        for fs in _FILESYSTEMS:
            data = running.mounted(_VOLUME, backend="loopback", fs=fs, size=str(_SIZE))
            for load, is_heavy in _LOADS.items():
                found = _under_load(running, data, effort, is_heavy=is_heavy)
                name = f"{fs}, {load}"
                waits.add(name, *found.waits())
                dips.add(name, *found.dip())
            rates = [_overwritten(running, data, effort) for _ in range(effort.rounds)]
            before, after, again = (median(each) for each in zip(*rates, strict=True))
            after_ratio, again_ratio = times(after / before), times(again / before)
            shown = (f"{before:.0f}", f"{after:.0f}", after_ratio, f"{again:.0f}", again_ratio)
            overwrites.add(fs, *shown)
            running.drop(_VOLUME)
    for table in (waits, dips, overwrites, _scattered(effort)):
        print(table)


def _scattered(effort: Effort) -> Table:
    """The same waits where pages were overwritten all over since the last snapshot."""
    table = Table(
        f"Longest wait of an fsync, {effort.pages} pages overwritten since the last snapshot (ms)",
        (
            "volume",
            "host",
            "fragments",
            "p50",
            "p99",
            "aim",
            "frozen p50",
            "frozen p99",
            "taken in",
        ),
    )
    for fs, on in product(_FILESYSTEMS, _HOSTS):
        with scratch() as folder, host(folder, on) as running:
            data = running.mounted(_VOLUME, backend="loopback", fs=fs, size=str(_SIZE))
            fragments, waits, frozen, took = _database(running, data, effort)
            running.drop(_VOLUME)
        told = [percentile(each, share) for each in (waits, frozen) for share in (0.5, 0.99)]
        p50, p99, frozen_p50, frozen_p99 = map(milliseconds, told)
        taken = milliseconds(median(took))
        table.add(fs, on, str(fragments), p50, p99, _AIM, frozen_p50, frozen_p99, taken)
    return table


def _database(
    running: Host, data: Path, effort: Effort
) -> tuple[int, list[float], list[float], list[float]]:
    """(fragments of the image, waits, freezes, snapshots in seconds), each of them after a round of
    overwrites that are on the disk."""
    waits, frozen, took = list[float](), list[float](), list[float]()
    (image,) = running.root.rglob(f"volumes/{_VOLUME}/image")
    block = os.urandom(_BLOCK)
    # The same each time: the fragments do not become more.
    pages = random.Random(1).sample(range(_DATABASE // _BLOCK), effort.pages)
    with (data / "database").open("xb", buffering=0) as file:
        for _ in range(_DATABASE // _CHUNK):
            file.write(block * (_CHUNK // _BLOCK))
        for number in range(effort.scattered):
            for page in pages:
                os.pwrite(file.fileno(), block, page * _BLOCK)
            os.fsync(file.fileno())
            before = running.frozen_seconds()
            with writing(data) as writer:
                time.sleep(1)
                begin = time.perf_counter()
                running.snapshot(_VOLUME, f"s{number}")
                end = time.perf_counter()
            waits.append(writer.writes.longest(begin, end))
            frozen.append(running.frozen_seconds() - before)
            took.append(end - begin)
            if number:
                running.client.ask(DELETE_SNAPSHOT, of=f"{_VOLUME}@s{number - 1}")
    fragments = _fragments(image)
    running.client.ask(DELETE_SNAPSHOT, of=f"{_VOLUME}@s{effort.scattered - 1}")
    return fragments, waits, frozen, took


@dataclass(frozen=True)
class _Found:
    """What a writer did, when each snapshot was taken, and how long the daemon says it froze."""

    writes: Writes
    began: float
    snapshots: list[tuple[float, float]]
    frozen: list[float]

    def waits(self) -> tuple[str, ...]:
        seen = [self.writes.longest(*each) for each in self.snapshots]
        first = self.snapshots[0][0]
        told = (percentile(each, share) for each in (seen, self.frozen) for share in (0.5, 0.99))
        p50, p99, daemon_p50, daemon_p99 = map(milliseconds, told)
        without = milliseconds(self.writes.longest(self.began, first))
        return p50, p99, _AIM, without, daemon_p50, daemon_p99

    def dip(self) -> tuple[str, ...]:
        first, last = self.snapshots[0][0], self.snapshots[-1][1]
        before, meanwhile = self.writes.rate(self.began, first), self.writes.rate(first, last)
        return f"{before:.0f}", f"{meanwhile:.0f}", times(meanwhile / before)


def _under_load(running: Host, data: Path, effort: Effort, *, is_heavy: bool) -> _Found:
    """One snapshot a second, and the one before it deleted, while a process writes and syncs."""
    taken: list[tuple[float, float]] = []
    frozen: list[float] = []
    with _heavy_load(data, on=is_heavy), writing(data) as writer:
        time.sleep(1)
        began = time.perf_counter()
        time.sleep(effort.undisturbed)
        due = time.perf_counter()
        for number in range(effort.snapshots):
            before = running.frozen_seconds()
            begin = time.perf_counter()
            running.snapshot(_VOLUME, f"s{number}")
            taken.append((begin, time.perf_counter()))
            frozen.append(running.frozen_seconds() - before)
            if number:
                running.client.ask(DELETE_SNAPSHOT, of=f"{_VOLUME}@s{number - 1}")
            due += 1
            time.sleep(max(0, due - time.perf_counter()))
    running.client.ask(DELETE_SNAPSHOT, of=f"{_VOLUME}@s{effort.snapshots - 1}")
    return _Found(writer.writes, began, taken, frozen)


@contextmanager
def _heavy_load(data: Path, *, on: bool) -> Iterator[None]:
    if not on:
        yield
        return
    if shutil.which("fio") is None:
        raise RuntimeError("fio is missing: install the package fio")
    folder = data / "heavy"
    folder.mkdir()
    argv = ["fio", *_FIO, *_FIO_TIME, f"--directory={folder}"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        while sum(file.stat().st_size for file in folder.iterdir()) < 4 * 128 * _MIB:
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _overwritten(running: Host, data: Path, effort: Effort) -> tuple[float, float, float]:
    """Synced writes per second before a snapshot, right after it, and once more to these places."""
    path = data / "region"
    with path.open("xb", buffering=0) as file:
        for _ in range(effort.region // _CHUNK):
            file.write(os.urandom(_CHUNK))
        os.fsync(file.fileno())
        _rate(file.fileno(), effort)  # warms up
        before = _rate(file.fileno(), effort)
        running.snapshot(_VOLUME, "shared")
        after, again = _rate(file.fileno(), effort), _rate(file.fileno(), effort)
    path.unlink()
    running.client.ask(DELETE_SNAPSHOT, of=f"{_VOLUME}@shared")
    return before, after, again


def _rate(fd: int, effort: Effort) -> float:
    block, dice = os.urandom(_BLOCK), random.Random(1)  # the same places each time
    places = range(effort.region // _BLOCK)
    began = time.perf_counter()
    for place in dice.sample(places, effort.overwrites):
        os.pwrite(fd, block, place * _BLOCK)
        os.fsync(fd)
    return effort.overwrites / (time.perf_counter() - began)


def _fragments(path: Path) -> int:
    told = subprocess.run(["filefrag", path], check=True, capture_output=True, text=True).stdout
    return int(told.rsplit(": ", 1)[1].split()[0])
