"""Plugin calls by number of volumes and clients, beside the least that they can cost."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import client, floor
from bench.client import request
from bench.figures import Table, Timings, milliseconds, times
from bench.subject import PREFIX, daemon, scratch
from bench.together import together

# Milliseconds at the median with one client.
_AIMS = {
    "create": "2",
    "create loopback": "",
    "mount": "1",
    "unmount": "1",
    "mount loopback": "5",
    "unmount loopback": "5",
    "get": "0.25",
    "list of 1000": "1",
    "list of 10000": "10",
}
_NONE = Timings((), 0.0)
_ROUNDS = 4
_LOOPBACK = {"backend": "loopback", "size": str(floor.IMAGE_SIZE)}


@dataclass(frozen=True)
class Effort:
    """How much is measured: volumes that exist, clients, and calls of each kind."""

    volumes: Sequence[int] = (10, 1000, 10_000)
    clients: Sequence[int] = (1, 16)
    changes: int = 256
    images: int = 64
    gets: int = 2000
    lists: int = 128


QUICK = Effort((10, 100), (1, 4), changes=16, images=16, gets=64, lists=16)


@dataclass(frozen=True)
class Plugin:
    """The plugin under test, the volumes it has, and what those of each series are created with."""

    socket: Path
    existing: Sequence[str]
    series: Mapping[str, Mapping[str, str]]

    def ask(self, call: str, names: Sequence[str], clients: int, **more: object) -> Timings:
        """Make one call per name."""
        messages = [request(f"VolumeDriver.{call}", Name=name, **more) for name in names]
        return together([partial(client.call, self.socket, m) for m in messages], clients)

    def size_of_answer(self, call: str, name: str) -> int:
        answer = client.call(self.socket, request(f"VolumeDriver.{call}", Name=name))
        return len(answer.partition(b"\r\n\r\n")[2])


def run(effort: Effort, sock: Path | None, options: Mapping[str, str]) -> None:
    """Print a table per number of volumes and clients; without `sock` our own daemon serves."""
    with scratch() as folder, floor.bare_server(folder / "bare.sock") as bare:
        for volumes in effort.volumes:
            serving = _foreign(sock, volumes, options) if sock else _ours(folder, volumes)
            with serving as plugin:
                for clients in effort.clients:
                    print(_Round(plugin, bare, folder, effort, volumes, clients).table())


@contextmanager
def _ours(folder: Path, volumes: int) -> Iterator[Plugin]:
    home = folder / f"with-{volumes}"
    home.mkdir()
    with daemon(home, volumes) as running:
        running.settle()
        names = [f"{PREFIX}{number}" for number in range(volumes)]
        yield Plugin(running.plugin, names, {"": {}, " loopback": _LOOPBACK})


@contextmanager
def _foreign(sock: Path, volumes: int, options: Mapping[str, str]) -> Iterator[Plugin]:
    # Names that nobody has: these volumes are removed afterwards.
    names = [f"{PREFIX}{secrets.token_hex(8)}" for _ in range(volumes)]
    plugin = Plugin(sock, names, {"": options})
    try:
        plugin.ask("Create", names, 8, Opts=options)
        yield plugin
    finally:
        plugin.ask("Remove", names, 8)


@dataclass(frozen=True)
class _Round:
    """All calls at one number of volumes and clients."""

    plugin: Plugin
    bare: floor.BareServer
    folder: Path
    effort: Effort
    volumes: int
    clients: int

    def table(self) -> Table:
        title = f"Plugin calls: {self.volumes} volumes, {self.clients} at a time (ms)"
        columns = ("call", "p50", "p99", "calls/s", "floor p50", "ratio", "aim")
        table = Table(title, columns)
        for name, found, least in self._rows():
            table.add(
                name,
                milliseconds(found.p50),
                milliseconds(found.p99),
                f"{found.rate:.0f}",
                milliseconds(least),
                times(found.p50 / least),
                _AIMS.get(name, "") if self.clients == 1 else "",
            )
        return table

    def _rows(self) -> Iterator[tuple[str, Timings, float]]:
        """(call, its times, its floor in seconds)."""
        for series in self.plugin.series:
            yield from self._changes(series)
        names = [self.plugin.existing[i % self.volumes] for i in range(self.effort.gets)]
        yield self._read("Get", "get", names)
        yield self._read("List", f"list of {self.volumes}", [""] * self.effort.lists)

    def _read(self, call: str, name: str, names: Sequence[str]) -> tuple[str, Timings, float]:
        size = self.plugin.size_of_answer(call, names[0])
        least, found = _NONE, _NONE
        for share in _rounds(names):
            least += self.bare.answer(size, self.clients)
            found += self.plugin.ask(call, share, self.clients)
        return name, found, least.p50

    def _changes(self, series: str) -> Iterator[tuple[str, Timings, float]]:
        count = self.effort.images if series else self.effort.changes
        names = [f"change-{secrets.token_hex(6)}" for _ in range(count)]
        bare = floor.Bare(self.folder / f"bare{series.strip()}", images=bool(series))
        ident: dict[str, object] = {"ID": secrets.token_hex(32)}
        bodies: dict[str, dict[str, object]] = {
            "Create": {"Opts": self.plugin.series[series]},
            "Mount": ident,
            "Unmount": ident,
            "Remove": {},
        }
        transport = _NONE
        work, found = dict.fromkeys(bodies, _NONE), dict.fromkeys(bodies, _NONE)
        for share in _rounds(names):
            least = bare.measure(share, self.clients)
            transport += self.bare.answer(len(b'{"Err":""}'), self.clients)
            for call, body in bodies.items():
                work[call] += least[call.lower()]
                found[call] += self.plugin.ask(call, share, self.clients, **body)
        for call, timings in found.items():
            yield call.lower() + series, timings, work[call].p50 + transport.p50


def _rounds(names: Sequence[str]) -> list[Sequence[str]]:
    """Shares of the work: floor and plugin take turns, for the machine's speed changes."""
    return [names[number::_ROUNDS] for number in range(_ROUNDS)]
