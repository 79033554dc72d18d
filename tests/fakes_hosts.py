"""A made-up world of hosts: registers that lose answers, clocks that differ, and time to go by."""

from collections.abc import Callable
from dataclasses import dataclass, field

from convoy_py.errors import Unavailable


@dataclass
class Fault:
    """What becomes of the next call on a register.

    `answer`: `ok`; `lost`, it is done and the register reads that; `unclear`, it is done and cannot
    be read; `late`, it is done when the world says so; `never`. A read is `stale` or not.
    """

    answer: str = "ok"
    before: float = 0.0  # seconds until it is done
    after: float = 0.0  # and until that is heard
    meanwhile: Callable[[], object] = lambda: (
        None
    )  # what others do, before it is done; a swap: and after
    stale: bool = False


@dataclass
class World:
    """True time, and what the registers really hold."""

    check: Callable[[], object] = lambda: None  # looks whenever time has passed
    now: float = 0.0
    values: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)
    late: list[tuple[str, str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def make(self, name: str, value: str) -> None:
        assert name not in self.values
        self.values[name] = value
        self.history[name] = [value]

    def advance(self, seconds: float) -> None:
        self.check()
        self.now += seconds
        self.check()

    def done(self, name: str, old: str, new: str) -> bool:
        if self.values[name] != old:
            return False
        assert new not in self.history[name], f"{name} has {new} twice"
        self.values[name] = new
        self.history[name].append(new)
        self.check()
        return True

    def come(self) -> None:
        """All that was given up is done now, if it can be."""
        late, self.late = self.late, []
        for each in late:
            self.done(*each)

    def fault(self) -> Fault:
        return self.faults.pop() if self.faults else Fault()


@dataclass
class FakeRegister:
    """As `state/register.py` answers."""

    world: World
    name: str

    def read(self) -> str:
        fault, world = self.world.fault(), self.world
        world.advance(fault.before)
        if fault.answer != "ok":
            raise Unavailable("no answer")
        fault.meanwhile()
        known = world.history[self.name]
        value = known[-2] if fault.stale and len(known) > 1 else known[-1]
        world.advance(fault.after)
        return value

    def swap(self, old: str, new: str) -> bool:
        fault, world = self.world.fault(), self.world
        world.advance(fault.before)
        fault.meanwhile()
        if fault.answer in ("late", "never"):
            if fault.answer == "late":
                world.late.append((self.name, old, new))
            world.advance(fault.after)
            raise Unavailable("no answer")
        done = world.done(self.name, old, new)
        fault.meanwhile()
        world.advance(fault.after)
        if fault.answer == "unclear":
            raise Unavailable("no answer")
        return done or world.values[self.name] == new


@dataclass
class HostClock:
    """One host's clock of its boot, which is right within some hundredths."""

    world: World
    rate: float = 1.0
    began: float = 0.0

    def __call__(self) -> float:
        return (self.world.now - self.began) * self.rate

    def reboot(self) -> None:
        self.began = self.world.now
