"""Plugin calls, beside the least that they can cost, other plugins and Docker's own driver."""

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from bench import floor, rivals
from bench.crowd import crowd
from bench.figures import Table, Timings, milliseconds, times
from bench.rivals import CHANGES, Subject
from bench.subject import PREFIX, daemon, scratch
from bench.together import in_turns, together

# Milliseconds at the median with one client, and no more threads on the host than there are.
_AIMS = {
    "create": "2",
    "mount": "1",
    "unmount": "1",
    "mount loopback": "5",
    "unmount loopback": "5",
    "get": "0.25",
    "list of 1000": "1",
    "list of 10000": "10",
}
# Of Remove to Create, whatever else runs on the host.
_REMOVE_AIM = 1.5
_FLOOR, _OURS = "floor", "ours"
_NOTHING = "-"
_ROUNDS = 4
_LOOPBACK = {"backend": "loopback", "size": str(floor.IMAGE_SIZE)}
# A rival gets its volumes one by one.
_MOST_OF_RIVALS = 1000

Call = Callable[[], object]


@dataclass(frozen=True)
class Situation:
    """How many volumes exist, how many clients call at once, and what else runs on the host."""

    volumes: int
    clients: int = 1
    threads: int = 0

    def __str__(self) -> str:
        beside = f", beside {self.threads} threads of others" if self.threads else ""
        return f"{self.volumes} volumes, {self.clients} at a time{beside}"


@dataclass(frozen=True)
class Effort:
    """How much is measured: situations, by number of volumes, and calls of each kind."""

    situations: Sequence[Situation] = (
        Situation(10),
        Situation(1000),
        Situation(1000, threads=600),
        Situation(1000, clients=16),
        Situation(1000, clients=16, threads=600),
        Situation(10_000),
        Situation(10_000, clients=16, threads=600),
    )
    changes: int = 64
    images: int = 16
    gets: int = 400
    lists: int = 48


QUICK = Effort((Situation(10), Situation(20, 4, 30)), changes=8, images=4, gets=16, lists=8)


def run(effort: Effort, beside: Sequence[Subject]) -> None:
    """Print a table for each situation; `beside` are rivals at sockets that were given."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        bare = stack.enter_context(floor.bare_server(folder / "bare.sock"))
        others = [*_rivals(folder, stack), *beside]
        filled: list[str] = []
        for each in beside:
            stack.callback(each.empty, filled)
        for volumes, situations in groupby(effort.situations, lambda each: each.volumes):
            present = others if volumes <= _MOST_OF_RIVALS else []
            names = [f"{PREFIX}{number}" for number in range(volumes)]
            missing = [name for name in names if name not in filled]
            for other in present:
                other.fill(missing)
            filled += missing if present else []
            with _ours(folder / f"with-{volumes}", volumes) as ours:
                for situation in situations:
                    with crowd(situation.threads):
                        look = _Look(ours, present, bare, folder, effort, situation)
                        print(look.table())


def _rivals(folder: Path, stack: ExitStack) -> Iterator[Subject]:
    """Those that can be had on this machine."""
    if program := shutil.which("rclone"):
        yield stack.enter_context(rivals.rclone(folder / "rclone", program))
    if shutil.which("dockerd"):
        yield stack.enter_context(rivals.docker_local(folder / "docker"))


@contextmanager
def _ours(folder: Path, volumes: int) -> Iterator[Sequence[Subject]]:
    """Our daemon as it is installed, and where that is on uvloop one on asyncio's own loop."""
    plain = [f"{_OURS} on asyncio"] if rivals.runs_on_uvloop() else []
    with ExitStack() as stack:
        subjects = []
        for name in (_OURS, *plain):
            home = folder / name.replace(" ", "-")
            home.mkdir(parents=True)
            started = daemon(home, volumes, on_asyncio=name != _OURS)
            running = stack.enter_context(started)
            running.settle()
            subjects.append(Subject(name, running.plugin))
        yield subjects


@dataclass(frozen=True)
class _Look:
    """All calls in one situation."""

    ours: Sequence[Subject]
    others: Sequence[Subject]
    bare: floor.BareServer
    folder: Path
    effort: Effort
    situation: Situation

    def table(self) -> Table:
        first, *more = [each.name for each in (*self.ours, *self.others)]
        columns = ["call", "floor", f"{first} p50", "p99", "to floor", "aim"]
        for name in more:
            columns += [f"{name} p50", "p99", f"{first} to it"]
        table = Table(f"Plugin calls: {self.situation} (ms)", columns)
        rows = dict(self._rows())
        for call, found in rows.items():
            mine, least, aim = found[first], found[_FLOOR], self._aim(call, rows)
            cells = [milliseconds(least.p50), *_shown(mine), times(mine.p50 / least.p50), aim]
            for name in more:
                other = found.get(name)
                ratio = times(mine.p50 / other.p50) if other else _NOTHING
                cells += [*_shown(other), ratio]
            table.add(call, *cells)
        return table

    def _aim(self, call: str, rows: Mapping[str, Mapping[str, Timings]]) -> str:
        if self.situation.clients > 1:
            return ""
        if call.startswith("remove"):
            create = rows[call.replace("remove", "create")][self.ours[0].name]
            return milliseconds(create.p50 * _REMOVE_AIM)
        return "" if self.situation.threads else _AIMS.get(call, "")

    def _rows(self) -> Iterator[tuple[str, Mapping[str, Timings]]]:
        """(call, the times of each by name)."""
        yield from self._changes("", (*self.ours, *self.others), self.effort.changes)
        images = [replace(each, options=_LOOPBACK) for each in self.ours]
        yield from self._changes(" loopback", images, self.effort.images)
        existing = [f"{PREFIX}{i % self.situation.volumes}" for i in range(self.effort.gets)]
        yield "get", self._reads("Get", existing)
        lists = [""] * self.effort.lists
        yield f"list of {self.situation.volumes}", self._reads("List", lists)

    def _reads(self, verb: str, names: Sequence[str]) -> Mapping[str, Timings]:
        size = len(self.ours[0].ask(verb, names[0]))
        series: dict[str, Sequence[Call]] = {_FLOOR: [self.bare.answer(size)] * len(names)}
        for subject in (*self.ours, *self.others):
            series[subject.name] = subject.calls(verb, names)
        return self._measured(series)

    def _changes(
        self, suffix: str, subjects: Sequence[Subject], count: int
    ) -> Iterator[tuple[str, Mapping[str, Timings]]]:
        names = [f"change-{secrets.token_hex(6)}" for _ in range(count)]
        bare = floor.Bare(self.folder / f"bare{suffix.strip()}", images=bool(suffix))
        answer = self.bare.answer(len(b'{"Err":""}'))
        able = {subject.name: subject.able() for subject in subjects}
        for verb in CHANGES:
            work = bare.verb(verb)
            series: dict[str, Sequence[Call]] = {
                _FLOOR: [_both(work, name, answer) for name in names]
            }
            for subject in subjects:
                hangs = self.situation.clients > 1 and verb in subject.one_by_one
                if verb in able[subject.name] and not hangs:
                    series[subject.name] = subject.calls(verb, names)
            yield verb.lower() + suffix, self._measured(series)

    def _measured(self, series: Mapping[str, Sequence[Call]]) -> Mapping[str, Timings]:
        """One client goes from one to the next with each call, several with a share of them."""
        if self.situation.clients == 1:
            turns = zip(*series.values(), strict=True)
            return in_turns([dict(zip(series, turn, strict=True)) for turn in turns])
        found: dict[str, Timings] = {}
        for number in range(_ROUNDS):
            for name, calls in series.items():
                seen = together(calls[number::_ROUNDS], self.situation.clients)
                found[name] = found[name] + seen if name in found else seen
        return found


def _both(work: Callable[[str], None], name: str, answer: Call) -> Call:
    """A call's floor: what its work costs, and its answer."""

    def both() -> None:
        work(name)
        answer()

    return both


def _shown(found: Timings | None) -> tuple[str, str]:
    return (milliseconds(found.p50), milliseconds(found.p99)) if found else (_NOTHING, _NOTHING)
