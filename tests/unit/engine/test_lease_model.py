"""Never do two hosts believe that they have the same claim, in whatever order things happen.

Hosts renew, look, fence, take and give back one claim, die, boot and pause, on registers whose
answers are lost, late or old, by clocks that differ by some hundredths.
"""

from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from convoy_py.engine.memory.lease import Fenced, Lease, Watch
from convoy_py.errors import Unavailable
from tests.fakes_hosts import FakeRegister, Fault, HostClock, World

SECONDS = 30
CLAIM = "claim"
_RATES = (0.96, 1.0, 1.04)


@dataclass
class Host:
    """One, with what its daemon knows and what its boot knows."""

    world: World
    number: int
    clock: HostClock
    others: tuple[int, ...]
    ours: int | None = None  # what this boot has been, by a note that outlives the daemon
    lease: Lease | None = None
    watches: dict[int, Watch] = field(default_factory=dict)
    claimed: int | None = None  # by which incarnation of it, as its daemon knows
    attempts: int = 0

    def believes(self) -> bool:
        """Whether it acts as the owner at this moment, without making itself look."""
        lease = self.lease
        if lease is None or self.claimed is None:
            return False
        return lease.incarnation == self.claimed and self.clock() < lease._deadline

    def start(self) -> None:
        """A daemon joins; one that was fenced lets go of all first."""
        lease = Lease(FakeRegister(self.world, str(self.number)), self.clock, SECONDS)
        self.claimed = None
        try:
            self.ours = lease.join(self.ours)
        except Fenced:
            self.ours = lease.join(None)
        self.lease = lease
        self.watches = self.watches or {
            other: Watch(FakeRegister(self.world, str(other)), self.clock) for other in self.others
        }
        epoch, number, incarnation, value = self._claim()
        # What was read alone may be of before this host gave it back.
        if (number, incarnation) == (self.number, self.ours) and self._swapped(
            value, f"{epoch + 1}", f"{self.number}.{self.ours}"
        ):
            self.claimed = self.ours

    def crash(self) -> None:
        self.lease, self.claimed, self.watches = None, None, {}

    def reboot(self) -> None:
        self.crash()
        self.ours = None
        self.clock.reboot()

    def renew(self) -> None:
        if self.lease is None:
            self.start()
        elif not self.lease.renew():
            self.lease, self.claimed = None, None  # what it had is let go of, and it joins again
            self.start()

    def leave(self) -> None:
        if self.lease is not None and self.claimed is None:
            self.lease.leave()

    def look(self) -> None:
        for watch in self.watches.values():
            watch.look()

    def _claim(self) -> tuple[int, int, int, str]:
        """(epoch, holder, its incarnation, the value as it is)"""
        value = FakeRegister(self.world, CLAIM).read()
        epoch, _, number, incarnation = value.split(".")
        return int(epoch), int(number), int(incarnation), value

    def take(self) -> None:
        if self.lease is None or self.claimed is not None:
            return
        epoch, number, incarnation, value = self._claim()
        if number not in (-1, self.number):
            watch = self.watches[number]
            watch.look()
            if not watch.is_over(incarnation) and not (
                watch.fence() and watch.is_over(incarnation)
            ):
                return
        ours = self.lease.incarnation
        if self.lease.is_alive() and self._swapped(value, f"{epoch + 1}", f"{self.number}.{ours}"):
            self.claimed = ours

    def _swapped(self, old: str, epoch: str, holder: str) -> bool:
        self.attempts += 1
        new = f"{epoch}.{self.number}x{self.attempts}.{holder}"
        return FakeRegister(self.world, CLAIM).swap(old, new)

    def release(self) -> None:
        if self.claimed is None:
            return
        self.claimed = None
        epoch, number, incarnation, value = self._claim()
        if self.lease is not None and (number, incarnation) == (self.number, self.ours):
            self._swapped(value, f"{epoch + 1}", "-1.0")


_HOSTS = st.sampled_from((0, 0, 1, 1, 2))
_ACTS = st.sampled_from(("renew", "look", "take", "take", "release", "leave"))
_PAUSES = st.sampled_from((0.0, 4.0, 10.0, 15.0, 20.0, 25.0, 31.0, 70.0))
# What becomes of a call, seconds before and after, whether a read is old; after how many calls.
_Trouble = tuple[tuple[str, float, float, bool], int]
_ANSWERS = st.sampled_from(("lost", "unclear", "late", "never"))
_FAULTS = st.one_of(
    st.just(("ok", 0.0, 0.0, True)),
    st.tuples(_ANSWERS, st.just(0.0), st.just(0.0), st.just(False)),
    st.tuples(st.just("ok"), _PAUSES, _PAUSES, st.booleans()),
)
_TROUBLES = st.lists(st.tuples(_FAULTS, st.integers(0, 3)), max_size=2)


class Hosts(RuleBasedStateMachine):
    @initialize(rates=st.tuples(*[st.sampled_from(_RATES)] * 3))
    def begin(self, rates: tuple[float, ...]) -> None:
        self.world = World(check=self.one_owner, now=10_000.0)
        self.world.make(CLAIM, "0.0.-1.0")
        self.hosts = [
            Host(
                self.world,
                number,
                HostClock(self.world, rate, began=3000.0 * number),
                tuple(n for n in range(3) if n != number),
            )
            for number, rate in enumerate(rates)
        ]
        for host in self.hosts:
            self.world.make(str(host.number), "0.0.30")
        for host in self.hosts:
            host.start()

    @rule(number=_HOSTS, act=_ACTS, troubles=_TROUBLES, other=_HOSTS, meanwhile=_ACTS)
    def act(
        self, number: int, act: str, troubles: list[_Trouble], other: int, meanwhile: str
    ) -> None:
        """One host does something, and another something while the first waits for its storage."""
        made: list[Fault] = []
        for fault, after in troubles:
            made += [Fault()] * after
            made.append(Fault(*fault[:3], stale=fault[3]))
        if made and other != number:
            made[-1].meanwhile = lambda: self._act(other, meanwhile)
        self.world.faults = made[::-1]
        self._act(number, act)
        self.world.faults = []

    @rule(number=_HOSTS, acts=st.sampled_from((("take",), ("take", "release"))))
    def work(self, number: int, acts: tuple[str, ...]) -> None:
        """All is well with it."""
        for act in ("renew", *acts):
            self._act(number, act)

    def _act(self, number: int, act: str) -> None:
        with suppress(Unavailable):
            getattr(self.hosts[number], act)()

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(
        fault=_FAULTS,
        meanwhile=st.sampled_from(("look", "take")),
        pause=_PAUSES,
        retried=st.sampled_from((1, 5, 20, 28, 80)),
        comes=st.booleans(),
        renews=st.booleans(),
    )
    def duel(
        self,
        fault: tuple[str, float, float, bool],
        meanwhile: str,
        pause: float,
        retried: int,
        comes: bool,
        renews: bool,
    ) -> None:
        """One has it and hardly gets through; the other wants it, and looks at every second."""
        self.work(1, ("release",))
        self.work(0, ("take",))
        self.act(0, "renew", [(fault, 0)], 1, meanwhile)
        if comes:
            self.world.come()
        self.act(1, "look", [(("ok", pause, 0.0, False), 0)], 0, "renew" if renews else "look")
        for second in range(75):
            if second == retried:
                self._act(0, "renew")
            self.world.advance(1)
            if second % 5 == 0:
                self._act(1, "renew")
            self._act(1, "take")

    @rule()
    def all_are_well_for_long(self) -> None:
        """Else hardly anybody would ever be silent alone."""
        for _ in range(8):
            for host in self.hosts:
                with suppress(Unavailable):
                    host.renew()
                    host.look()
            self.world.advance(5)

    @rule(number=_HOSTS, troubles=_TROUBLES)
    def restart(self, number: int, troubles: list[_Trouble]) -> None:
        self.hosts[number].crash()
        self.act(number, "renew", troubles, number, "")
        self.all_want_it()

    @rule()
    def all_want_it(self) -> None:
        for host in self.hosts:
            self._act(host.number, "take")

    @rule(number=_HOSTS)
    def crash(self, number: int) -> None:
        self.hosts[number].crash()

    @rule(number=_HOSTS)
    def reboot(self, number: int) -> None:
        self.hosts[number].reboot()

    @rule()
    def come(self) -> None:
        self.world.come()

    @invariant()
    def one_owner(self) -> None:
        owners = [host.number for host in getattr(self, "hosts", []) if host.believes()]
        assert len(owners) <= 1, f"{owners} both believe that it is theirs"

    @invariant()
    def who_is_over_stays_over(self) -> None:
        for host in getattr(self, "hosts", []):
            over: set[int] = set()
            last = 0
            for value in self.world.history[str(host.number)]:
                incarnation, _, rest = value.partition(".")
                assert int(incarnation) >= last
                assert int(incarnation) not in over, f"{value} after its end"
                last = int(incarnation)
                if rest in ("fenced", "left"):
                    over.add(last)


Hosts.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
test_hosts = Hosts.TestCase


@settings(max_examples=400)
@given(
    rates=st.tuples(*[st.sampled_from(_RATES)] * 3),
    fault=st.tuples(
        st.sampled_from(("ok", "lost", "unclear", "late", "never")),
        st.integers(0, 30),
        st.integers(0, 30),
        st.just(False),
    ),
    looked=st.integers(0, 30),
    retried=st.integers(0, 40),
    comes=st.booleans(),
    renews=st.booleans(),
)
def test_duel(
    rates: tuple[float, ...],
    fault: tuple[str, float, float, bool],
    looked: float,
    retried: int,
    comes: bool,
    renews: bool,
) -> None:
    """The same from the beginning, for all that can befall one renewal."""
    hosts = Hosts()
    hosts.begin(rates)
    hosts.duel(fault, "look", looked, retried, comes, renews)
    hosts.who_is_over_stays_over()
