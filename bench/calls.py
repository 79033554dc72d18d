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
_LOOPBACK = {"backend": "loopback", "size": str(floor.IMAGE_SIZE)}


@dataclass(frozen=True)
class Effort:
    """How much is measured: volumes that exist, clients, and calls of each kind."""

    volumes: Sequence[int] = (10, 1000, 10_000)
    clients: Sequence[int] = (1, 16)
    changes: int = 192
    images: int = 64
    gets: int = 2000
    lists: int = 96


QUICK = Effort((10, 100), (1, 4), changes=8, images=4, gets=40, lists=8)


@dataclass(frozen=True)
class Plugin:
    """The plugin under test: its socket, and what the volumes of each series are created with."""

    socket: Path
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
        yield Plugin(running.plugin, {"": {}, " loopback": _LOOPBACK})


@contextmanager
def _foreign(sock: Path, volumes: int, options: Mapping[str, str]) -> Iterator[Plugin]:
    plugin = Plugin(sock, {"": options})
    names = [f"{PREFIX}{number}" for number in range(volumes)]
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
        title = f"Plugin calls: {self.volumes} volumes, {self.clients} clients (ms)"
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
        for name in self.plugin.series:
            yield from self._changes(name)
        existing = [f"{PREFIX}{i % self.volumes}" for i in range(self.effort.gets)]
        yield self._read("Get", "get", existing)
        yield self._read("List", f"list of {self.volumes}", [""] * self.effort.lists)

    def _read(self, call: str, name: str, names: Sequence[str]) -> tuple[str, Timings, float]:
        least = self.bare.answer(self.plugin.size_of_answer(call, names[0]), self.clients)
        return name, self.plugin.ask(call, names, self.clients), least.p50

    def _changes(self, series: str) -> Iterator[tuple[str, Timings, float]]:
        options = self.plugin.series[series]
        count = self.effort.images if series else self.effort.changes
        names = [f"change-{secrets.token_hex(6)}" for _ in range(count)]
        folder = self.folder / f"bare-{self.volumes}-{self.clients}{series.strip()}"
        work = floor.Bare(folder, images=bool(series)).measure(count, self.clients)
        transport = self.bare.answer(len(b'{"Err":""}'), self.clients).p50
        ident: dict[str, object] = {"ID": secrets.token_hex(32)}
        bodies: dict[str, dict[str, object]] = {
            "Create": {"Opts": options},
            "Mount": ident,
            "Unmount": ident,
            "Remove": {},
        }
        for call, body in bodies.items():
            found = self.plugin.ask(call, names, self.clients, **body)
            yield call.lower() + series, found, work[call.lower()].p50 + transport
