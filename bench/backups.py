"""Backups beside restic and borg: the same data, on the same disk, in turns."""

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench import postgres
from bench.archivers import Archiver, Ours, Took, present
from bench.figures import Table, mebibytes, times
from bench.host import Host, host
from bench.subject import scratch
from convoy_py.linux import files, mounts
from convoy_py.wire.endpoints import (
    CREATE_VOLUME,
    DELETE_SNAPSHOT,
    MOUNT_VOLUME,
    UMOUNT_VOLUME,
)
from convoy_py.wire.volumes import CreateVolume, MountVolume

_MIB = 1 << 20
_PAGE = 4096
_VOLUME, _SNAPSHOT = "db", "now"
_HOLD = MountVolume(reference="bench")
_LARGE = 4  # files that a volume's data is in, beside many small ones
_PER_FOLDER = 50
_RUNS = 20
_SHARE = 100  # one part of so many changes
_NOTHING = "-"
_FEW = 10  # volumes in one session

_FIRST, _RESTORE = "first backup", "restore"
_SAME, _LIVE = "nothing changed, new snapshot", "nothing changed, restic of live files"
_IN_RUNS, _AT_RANDOM = "1 % changed, in 20 runs", "1 % in random 4 KiB blocks"
# Of what restic takes: wall, and processor time.
_AIMS: Mapping[str, tuple[float | None, float | None]] = {
    _FIRST: (1.0, 0.6),
    _SAME: (0.1, None),
    _LIVE: (None, None),
    _IN_RUNS: (0.1, None),
    _AT_RANDOM: (0.33, None),
    _RESTORE: (1.0, 0.6),
}
_SPACE_AIMS = {"directory": "1.10x", "ext4 image": "1.02x"}
_MEMORY_AIM = "150"
_FEW_AIM, _MANY_SECONDS_AIM = 0.02, "10"
_DATABASE_AIM = 0.05


@dataclass(frozen=True)
class Effort:
    """Bytes in large files, the number of small ones, rounds, small volumes and a database."""

    size: int = 512 * _MIB
    small: int = 5000
    rounds: int = 3
    volumes: int = 500
    asked_of_others: int = 20  # of so many volumes, each of which is a process
    rows: int = 4_000_000
    transactions: int = 80_000

    def times(self, scale: float) -> "Effort":
        """The same with so many times the data."""
        size, small, rows = (int(scale * each) for each in (self.size, self.small, self.rows))
        return replace(self, size=size, small=small, rows=rows)


QUICK = Effort(16 * _MIB, 100, rounds=1, volumes=20, asked_of_others=2, rows=1000, transactions=100)

Rounds = Mapping[str, Mapping[str, Sequence[Took]]]


def run(effort: Effort) -> None:
    """Print a table for each kind of volume, and one of many small volumes."""
    with scratch() as folder, host(folder, "xfs") as running:
        for kind, options in _KINDS.items():
            _kind(running, kind, options, effort)
        _whole(running, effort)
        _several(running, effort)
        if postgres.program("postgres"):
            _database(running, effort)
        else:
            print("A database is not measured: PostgreSQL is not installed")


def _kind(running: Host, kind: str, options: Mapping[str, str], effort: Effort) -> None:
    limit = {"size": f"{effort.size * 2 + 1024 * _MIB}"} if "fs" in options else {}
    data = running.mounted(_VOLUME, **options, **limit)
    _fill(data, effort)
    archivers, missing = present(running, running.root)
    found: dict[str, dict[str, list[Took]]] = defaultdict(lambda: defaultdict(list))
    space: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number in range(effort.rounds):
        # Who is first finds what is read already in the page cache less often than the others.
        turn = [*archivers[number % len(archivers) :], *archivers[: number % len(archivers)]]
        for archiver in turn:
            archiver.begin()
        _round(running, data, turn, found, space, random.Random(number))
        for archiver in turn:
            archiver.end()
    running.drop(_VOLUME)
    title = f"Backups, {kind} on xfs, {effort.size // _MIB} MiB and {effort.small} small files"
    print(_shown(f"{title}; not installed: {', '.join(missing) or _NOTHING}", found))
    print(_weighed(kind, found, space))


def _round(
    running: Host,
    data: Path,
    turn: Sequence[Archiver],
    found: dict[str, dict[str, list[Took]]],
    space: dict[str, list[tuple[int, int]]],
    chance: random.Random,
) -> None:
    def measure(what: str, work: Callable[[Archiver], Took]) -> None:
        for archiver in turn:
            os.sync()
            found[what][archiver.name].append(work(archiver))

    live = {_VOLUME: running.root / "at" / _VOLUME}
    with _seen_at(live[_VOLUME], data):
        measure(_FIRST, lambda archiver: archiver.back_up(live))
        first = {archiver.name: _occupied(archiver) for archiver in turn}
        measure(_LIVE, lambda archiver: archiver.back_up(live))
    with _snapshots(running, live):
        measure(_SAME, lambda archiver: archiver.back_up(live))
    with _seen_at(live[_VOLUME], data):
        _overwrite(data, chance, runs=True)
        measure(_IN_RUNS, lambda archiver: archiver.back_up(live))
        _overwrite(data, chance, runs=False)
        measure(_AT_RANDOM, lambda archiver: archiver.back_up(live))
    measure(_RESTORE, lambda archiver: archiver.restore(_VOLUME))
    for archiver in turn:
        space[archiver.name].append((first[archiver.name], _occupied(archiver)))


def _whole(running: Host, effort: Effort) -> None:
    """An image as one file: by a raw backup, and by restic of the snapshot's folder."""
    title = f"An ext4 image as one file (--raw), {effort.size // _MIB} MiB in it"
    table = Table(title, ("", "ours s", "CPU s", "MiB", "to restic", "CPU", "memory"))
    size = f"{effort.size * 2 + 1024 * _MIB}"
    data = running.mounted(_VOLUME, **_KINDS["ext4 image"], size=size)
    _fill(data, effort)
    archivers: Sequence[Archiver] = present(running, running.root)[0][:2]
    archivers = [replace(each, raw=True) if isinstance(each, Ours) else each for each in archivers]
    for archiver in archivers:
        archiver.begin()
    changes: Mapping[str, Callable[[], None]] = {
        _FIRST: lambda: None,
        _SAME: lambda: None,
        _IN_RUNS: lambda: _overwrite(data, random.Random(1), runs=True),
        _AT_RANDOM: lambda: _overwrite(data, random.Random(2), runs=False),
    }
    for what, change in changes.items():
        change()
        with _image(running) as image:
            took = [archiver.back_up({_VOLUME: image}) for archiver in archivers]
        table.add(what, *_beside(took))
    table.add(_RESTORE, *_beside([archiver.restore(_VOLUME) for archiver in archivers]))
    for archiver in archivers:
        archiver.end()
    running.drop(_VOLUME)
    print(table)


@contextmanager
def _image(running: Host) -> Iterator[Path]:
    """The folder of a new snapshot, with its image, where restic sees it all the time."""
    running.snapshot(_VOLUME, _SNAPSHOT)
    os.sync()
    home = running.root / "root" / "volumes" / _VOLUME / "snapshots" / _SNAPSHOT
    try:
        with _seen_at(place := running.root / "at" / f"{_VOLUME}-image", home):
            yield place
    finally:
        running.client.ask(DELETE_SNAPSHOT, of=f"{_VOLUME}@{_SNAPSHOT}")


def _beside(took: Sequence[Took]) -> Sequence[str]:
    """What ours took, and that by what restic took, where it is here."""
    ours, *others = took
    ratios = [_NOTHING] * 3
    for restic in others:
        pairs = (ours.wall, restic.wall), (ours.cpu, restic.cpu), (ours.peak, restic.peak)
        ratios = [times(one / other) for one, other in pairs]
    return [f"{ours.wall:.2f}", f"{ours.cpu:.2f}", mebibytes(ours.peak), *ratios]


def _database(running: Host, effort: Effort) -> None:
    """A database after many transactions: what is read of it, by calls."""
    title = f"PostgreSQL after {effort.transactions} skewed transactions, backed up before"
    table = Table(
        title, ("", "ours MiB read", "s", "restic MiB read", "s", "ours to restic", "aim")
    )
    size = f"{max(effort.rows * 600, 512 * _MIB)}"
    for kind, options in _KINDS.items():
        folder = running.mounted(_VOLUME, **options, **({"size": size} if "fs" in options else {}))
        data = postgres.cluster(folder)
        postgres.fill(data, effort.rows)
        places = {_VOLUME: running.root / "at" / _VOLUME}
        archivers = [each for each in present(running, running.root)[0] if each.name != "borg"]
        took = {}
        with _seen_at(places[_VOLUME], folder):
            for archiver in archivers:
                archiver.begin()
                archiver.back_up(places)
            postgres.transact(data, effort.rows, effort.transactions, random.Random(effort.rows))
            for archiver in archivers:
                os.sync()
                took[archiver.name] = archiver.back_up(places)
                archiver.end()
        running.drop(_VOLUME)
        ours, theirs, ratio = took["ours"], (_NOTHING, _NOTHING), _NOTHING
        if restic := took.get("restic"):
            theirs = mebibytes(restic.read), f"{restic.wall:.2f}"
            ratio = times(ours.read / restic.read)
        cells = mebibytes(ours.read), f"{ours.wall:.2f}", *theirs, ratio, times(_DATABASE_AIM)
        table.add(kind, *cells)
    print(table)


def _several(running: Host, effort: Effort) -> None:
    """Many small volumes in which nothing changed."""
    columns = ("volumes, nothing changed", "ours s", "aim", "CPU s", "to restic", "aim", "MiB")
    table = Table("One session, to a process of restic for each volume", columns)
    for count, each, asked in (
        (_FEW, 200, _FEW),
        (effort.volumes, 24, effort.asked_of_others),
    ):
        names = [f"v{count}-{number}" for number in range(count)]
        for name in names:
            running.client.ask(CREATE_VOLUME, CreateVolume(name=name))
            _fill_small(running.root / "root" / "volumes" / name / "data", each)
        paths = {name: running.root / "at" / name for name in names}
        archivers, _ = present(running, running.root)
        took = {}
        for archiver in archivers:
            archiver.begin()
            mine = paths if isinstance(archiver, Ours) else dict([*paths.items()][:asked])
            with _snapshots(running, {} if isinstance(archiver, Ours) else mine):
                archiver.back_up(mine)
            with _snapshots(running, {} if isinstance(archiver, Ours) else mine):
                took[archiver.name] = archiver.back_up(mine)
            archiver.end()
        ours, title = took["ours"], f"{count} of {each} files"
        ratio, aims = _NOTHING, ("", times(_FEW_AIM)) if count == _FEW else (_MANY_SECONDS_AIM, "")
        if restic := took.get("restic"):
            ratio = times(ours.wall / (restic.wall * count / asked))
        seconds = f"{ours.wall:.2f}", aims[0], f"{ours.cpu:.2f}"
        table.add(title, *seconds, ratio, aims[1], mebibytes(ours.peak))
    print(table)


@contextmanager
def _seen_at(place: Path, data: Path) -> Iterator[None]:
    """Show a folder where restic and borg see the volume all the time: they go by the path."""
    place.mkdir(parents=True, exist_ok=True)
    mounts.bind(data, place, ())
    try:
        yield
    finally:
        mounts.unmount(place)


@contextmanager
def _snapshots(running: Host, places: Mapping[str, Path]) -> Iterator[None]:
    """Show new snapshots there, as one has to for a backup of one moment."""
    shown = []
    try:
        for volume, place in places.items():
            name = f"{volume}@{_SNAPSHOT}"
            running.snapshot(volume, _SNAPSHOT)
            data = Path(running.client.ask(MOUNT_VOLUME, _HOLD, of=name).mount_point)
            place.mkdir(parents=True, exist_ok=True)
            mounts.bind(data, place, ())
            shown.append((name, place))
        yield
    finally:
        for name, place in shown:
            mounts.unmount(place)
            running.client.ask(UMOUNT_VOLUME, _HOLD, of=name)
            running.client.ask(DELETE_SNAPSHOT, of=name)


def _fill(data: Path, effort: Effort) -> None:
    for number in range(_LARGE):
        with (data / f"large{number}").open("xb") as file:
            for _ in range(effort.size // _LARGE // _MIB):
                file.write(_pages(_MIB // _PAGE))
    _fill_small(data, effort.small)


def _fill_small(data: Path, count: int) -> None:
    """Files of 1 to 16 KiB."""
    for number in range(count):
        folder = data / f"folder{number // _PER_FOLDER}"
        folder.mkdir(exist_ok=True)
        (folder / f"file{number}").write_bytes(_pages(4)[: 1024 * (1 + number % 16)])
    files.sync_filesystem(data)


def _overwrite(data: Path, chance: random.Random, *, runs: bool) -> None:
    """Change one part of a hundred of the large files."""
    large = sorted(data.glob("large*"))
    pages = sum(path.stat().st_size for path in large) // _PAGE // _SHARE
    length = max(1, pages // _RUNS) if runs else 1
    for _ in range(pages // length):
        with chance.choice(large).open("r+b") as file:
            last = os.fstat(file.fileno()).st_size // _PAGE - length
            file.seek(chance.randrange(last) * _PAGE)
            file.write(_pages(length))
    files.sync_filesystem(data)


def _pages(count: int) -> bytes:
    """Of which a half can be compressed away."""
    half = _PAGE // 2
    noise, text = os.urandom(count * half), (b"convoy" * half)[:half]
    return b"".join(noise[at : at + half] + text for at in range(0, len(noise), half))


def _occupied(archiver: Archiver) -> int:
    return sum(path.stat().st_size for path in archiver.place.rglob("*") if path.is_file())


def _shown(title: str, found: Rounds) -> Table:
    columns = ("", "ours s", "CPU s", "to restic", "aim", "CPU", "aim", "to borg", "CPU")
    table = Table(title, columns)
    for what, aims in _AIMS.items():
        took = found[what]
        ours = took["ours"]
        cells = [f"{median(each.wall for each in ours):.2f}"]
        cells.append(f"{median(each.cpu for each in ours):.2f}")
        for name, of_it in (("restic", aims), ("borg", None)):
            pairs = [*zip(ours, took.get(name, ()), strict=False)]
            for number, which in enumerate(("wall", "cpu")):
                cells.append(_ratio(pairs, which))
                if of_it is not None:
                    aim = of_it[number]
                    cells.append(_NOTHING if aim is None else times(aim))
        table.add(what, *cells)
    return table


def _ratio(pairs: Sequence[tuple[Took, Took]], which: str) -> str:
    if not pairs:
        return _NOTHING
    return times(median(getattr(one, which) / getattr(other, which) for one, other in pairs))


def _weighed(kind: str, found: Rounds, space: Mapping[str, Sequence[tuple[int, int]]]) -> Table:
    columns = ("", "ours MiB", "aim", "to restic", "aim", "to borg")
    table = Table(f"Memory at most, and space, {kind}", columns)
    for title, whats in (("a session that backs up", _AIMS.keys() - {_RESTORE}), *_ONLY_RESTORE):
        peaks = {
            name: max(took.peak for what in whats for took in found[what].get(name, ()))
            for name in space
        }
        table.add(title, *_compared(peaks, _MEMORY_AIM, ""))
    for number, title in enumerate(("space, first backup", "space, five of them")):
        sizes = {name: median(each[number] for each in sizes) for name, sizes in space.items()}
        table.add(title, *_compared(sizes, "", _SPACE_AIMS[kind]))
    return table


def _compared(of: Mapping[str, float], aim: str, ratio_aim: str) -> Sequence[str]:
    ratios = [times(of["ours"] / of[name]) if name in of else _NOTHING for name in _OTHERS]
    return mebibytes(of["ours"]), aim, ratios[0], ratio_aim, ratios[1]


_OTHERS = ("restic", "borg")
_ONLY_RESTORE = (("a session that restores", frozenset({_RESTORE})),)
_KINDS: Mapping[str, Mapping[str, str]] = {
    "directory": {"backend": "directory"},
    "ext4 image": {"backend": "loopback", "fs": "ext4"},
}
