"""What writing costs in a container's layer and in each kind of volume, beside a bare directory.

All places lie on the same disk and are written to from the host, through the very mounts that a
container has. What ends in the page cache is not counted as written: every measure syncs.
"""

import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import postgres
from bench.engine import BIG, IMAGE, Engine, engine
from bench.figures import Table, milliseconds, times
from bench.subject import scratch
from convoy_py.linux import files

_BARE = "bare directory"
_FILESYSTEMS = ("ext4", "xfs", "btrfs")
# Not one of ours: docs/options.md says why.
_FAST = "ext4 with fast commits"
_BLOCK, _CHUNK = 4096, 1 << 20


@dataclass(frozen=True)
class Effort:
    """Bytes and counts of each measure, and how often all of them are repeated."""

    stream: int = 256 << 20
    region: int = 64 << 20
    blocks: int = 1000
    files: int = 3000
    big: int = 1 << 30
    rounds: int = 5


QUICK = Effort(8 << 20, 4 << 20, blocks=20, files=50, big=16 << 20, rounds=2)


def run(effort: Effort) -> None:
    """Print a table of rates and one of first writes."""
    with scratch() as folder, engine(folder, effort.big) as running:
        places = _places(running, folder)
        print(_first_writes(places))
        measures: dict[str, Callable[[Path, Effort], float]] = {
            "sequential MiB/s": _sequential,
            "4 KiB random+fsync /s": _random,
            "append+fsync /s": _append,
            "create+fsync /s": _create,
            "SQLite WAL /s": _transactions,
            "small files /s": _small_files,
        }
        if postgres.program("postgres"):
            measures["PostgreSQL /s"] = _commits
        rates: dict[tuple[str, str], list[float]] = {}
        dice = random.Random(1)
        for _ in range(effort.rounds):
            for what, measure in measures.items():
                # In another order each time, and never while the last one's data is written out.
                for place, path in dice.sample(list(places.items()), len(places)):
                    for written in (*places.values(), folder):
                        files.sync_filesystem(written)
                    rates.setdefault((place, what), []).append(measure(path, effort))
    columns = [column for what in measures for column in (what, "to bare")]
    table = Table(f"Data path (median of {effort.rounds})", ("place", *columns))
    for place in places:
        cells = []
        for what in measures:
            rate, bare = median(rates[place, what]), median(rates[_BARE, what])
            cells += [f"{rate:.0f}", times(rate / bare)]
        table.add(place, *cells)
    print(table)


def _places(running: Engine, folder: Path) -> dict[str, Path]:
    """Every place under test, by a folder of the host; in all but the first lies the image's BIG.

    One container holds them all; Docker has copied the image's files into the empty volumes.
    """
    running.volume("local", "local")
    running.volume("directory", running.driver, backend="directory")
    for fs in _FILESYSTEMS:
        running.volume(fs, running.driver, backend="loopback", size="4GiB", fs=fs)
    running.volume("fast", running.driver, backend="loopback", size="4GiB", fs="ext4")
    (image,) = folder.rglob("volumes/fast/image")
    subprocess.run(["tune2fs", "-O", "fast_commit", image], check=True, capture_output=True)
    names = ("local", "directory", *_FILESYSTEMS, "fast")
    target = f"/{Path(BIG).parent}"
    sleep = ("--detach", "--network=none", IMAGE, "/bin/sleep", "100000")
    for name in names:
        running.docker("run", "--volume", f"{name}:{target}", *sleep)
    layer = running.docker("run", *sleep)
    merged = running.docker("inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", layer)
    bare = folder / "bare"
    bare.mkdir()
    volumes = {
        name: Path(running.docker("volume", "inspect", "--format", "{{.Mountpoint}}", name))
        for name in names
    }
    volumes[_FAST] = volumes.pop("fast")
    return {_BARE: bare, "container layer": Path(merged, BIG).parent, **volumes}


def _first_writes(places: Mapping[str, Path]) -> Table:
    """One byte appended to a large file of the image, for the first time."""
    table = Table("First write to a large file of the image (ms)", ("place", "time"))
    os.sync()
    for place, path in places.items():
        if place == _BARE:
            continue
        started = time.perf_counter()
        with (path / Path(BIG).name).open("ab") as file:
            file.write(b"x")
        table.add(place, milliseconds(time.perf_counter() - started))
        (path / Path(BIG).name).unlink()
    return table


def _sequential(folder: Path, effort: Effort) -> float:
    """MiB per second of one large file, written in order and synced at its end."""
    chunk = os.urandom(_CHUNK)
    path = folder / "stream"
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(effort.stream // _CHUNK):
            file.write(chunk)
        os.fsync(file.fileno())
    took = time.perf_counter() - started
    path.unlink()
    return effort.stream / 2**20 / took


def _random(folder: Path, effort: Effort) -> float:
    """Writes per second of 4 KiB into a file that is there, each of them synced."""
    block, dice = os.urandom(_BLOCK), random.Random(1)
    path = folder / "region"
    with path.open("wb", buffering=0) as file:
        for _ in range(effort.region // _CHUNK):
            file.write(os.urandom(_CHUNK))
        os.fsync(file.fileno())
        started = time.perf_counter()
        for _ in range(effort.blocks):
            os.pwrite(file.fileno(), block, dice.randrange(effort.region // _BLOCK) * _BLOCK)
            os.fsync(file.fileno())
        took = time.perf_counter() - started
    path.unlink()
    return effort.blocks / took


def _commits(folder: Path, effort: Effort) -> float:
    """Transactions of one row per second, by PostgreSQL."""
    return postgres.transactions(folder, effort.blocks)


def _append(folder: Path, effort: Effort) -> float:
    """Writes per second of 4 KiB to the end of a file, each of them synced."""
    block, path = os.urandom(_BLOCK), folder / "log"
    with path.open("wb", buffering=0) as file:
        started = time.perf_counter()
        for _ in range(effort.blocks):
            file.write(block)
            os.fsync(file.fileno())
        took = time.perf_counter() - started
    path.unlink()
    return effort.blocks / took


def _create(folder: Path, effort: Effort) -> float:
    """Files of 4 KiB per second, each of them synced as soon as it is written."""
    block, each = os.urandom(_BLOCK), folder / "each"
    each.mkdir()
    started = time.perf_counter()
    for number in range(effort.blocks):
        with (each / f"{number}").open("xb", buffering=0) as file:
            file.write(block)
            os.fsync(file.fileno())
    took = time.perf_counter() - started
    files.remove_tree(each)
    return effort.blocks / took


def _transactions(folder: Path, effort: Effort) -> float:
    """Transactions of one row of 1 KiB per second, by SQLite with a log that each of them syncs."""
    path = folder / "sqlite"
    path.mkdir()
    with closing(sqlite3.connect(path / "db", isolation_level=None)) as database:
        database.execute("pragma journal_mode=wal")
        database.execute("pragma synchronous=full")
        database.execute("create table t (data blob)")
        started = time.perf_counter()
        for _ in range(effort.blocks):
            database.execute("insert into t values (?)", (os.urandom(1024),))
        took = time.perf_counter() - started
    files.remove_tree(path)
    return effort.blocks / took


def _small_files(folder: Path, effort: Effort) -> float:
    """Files of 4 KiB per second, made in one folder that is synced at the end, as are they."""
    block, many = os.urandom(_BLOCK), folder / "many"
    many.mkdir()
    started = time.perf_counter()
    for number in range(effort.files):
        (many / f"{number}").write_bytes(block)
    # One sync for all: a sync of each would measure the random writes again.
    files.sync_filesystem(many)
    took = time.perf_counter() - started
    files.remove_tree(many)
    return effort.files / took
