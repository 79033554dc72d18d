"""Which host of a shared root a daemon is, and that nobody else is it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from convoy_py.engine.memory.lease import MARGIN_TIMES, Term, Watch
from convoy_py.engine.steps.membership import Membership
from convoy_py.errors import RootLocked, Unavailable
from convoy_py.models.claims import Member
from convoy_py.state import register
from convoy_py.state.hosts import HostStore
from convoy_py.state.records import About
from tests.fakes_kernel import Clock

SECONDS = 30


@dataclass
class Machine:
    """One, as it is in one boot; its daemons have one run folder."""

    folder: Path
    slept: "Slept"
    boot: str = "boot-1"
    id: str = "machine-a"
    is_idle: bool = True
    is_there: bool = True
    stores: list[HostStore] = field(default_factory=list)

    def join(self, root: Path, clock: Clock, name: str = "node-a") -> Membership:
        run = self.folder / self.boot
        run.mkdir(parents=True, exist_ok=True)
        self.stores.append(HostStore(root, run, self.boot))
        return Membership(
            self.stores[-1],
            About(name=name, machine=self.id, boot=self.boot, version="1"),
            clock,
            who=f"a daemon of {self.id}",
            is_idle=lambda: self.is_idle,
            is_there=lambda: self.is_there,
            seconds=SECONDS,
            sleep=self.slept,
        )

    def kill(self) -> None:
        for store in self.stores:
            store.close()

    def rebooted(self) -> "Machine":
        self.kill()
        return Machine(self.folder, self.slept, f"{self.boot}-again", self.id)


class Slept:
    """In place of sleeping time goes by, and something is done meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, seconds: float) -> None:
        self.seconds += seconds
        self.clock.now += seconds
        self.meanwhile()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slept(clock: Clock) -> Slept:
    return Slept(clock)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def machine(tmp_path: Path, slept: Slept) -> Iterator[Machine]:
    machine = Machine(tmp_path / "a", slept)
    yield machine
    machine.kill()


@pytest.fixture
def copy(tmp_path: Path, machine: Machine) -> Iterator[Machine]:
    """A machine that was copied from the first, id and all."""
    copy = Machine(tmp_path / "copy", machine.slept, "boot-of-copy", machine.id)
    yield copy
    copy.kill()


def lease(root: Path, number: int = 1) -> Term:
    return Term.parsed(register.read(root / "hosts" / str(number) / "lease"))


def fence(root: Path, clock: Clock) -> None:
    watch = Watch(register.Register(root / "hosts/1/lease"), clock)
    watch.look()
    assert watch.fence(is_off=True)


def test_a_daemon_that_was_killed_goes_on_as_it_was(
    root: Path, machine: Machine, clock: Clock, slept: Slept
) -> None:
    assert machine.join(root, clock).me == Member(1, 1)
    machine.kill()
    machine.is_idle = False
    assert machine.join(root, clock).me == Member(1, 1)
    assert slept.seconds == 0


@pytest.mark.parametrize("machine_id", ["machine-a", ""])
def test_after_a_crash_of_the_machine_the_lease_is_waited_out(
    root: Path, machine: Machine, clock: Clock, slept: Slept, machine_id: str
) -> None:
    """Also without a machine id: a copy of it would have moved it."""
    machine.id = machine_id
    machine.join(root, clock)
    after = machine.rebooted()
    assert after.join(root, clock).me == Member(1, 2)
    after.kill()
    waited = slept.seconds
    assert waited >= SECONDS * MARGIN_TIMES
    assert after.join(root, clock).me == Member(1, 2)
    after.kill()
    assert slept.seconds == waited, "that was this boot"


def test_who_left_and_who_was_fenced_is_not_waited_for(
    root: Path, machine: Machine, clock: Clock, slept: Slept
) -> None:
    machine.join(root, clock)._lease.leave()
    machine = machine.rebooted()
    machine.join(root, clock)
    fence(root, clock)
    machine = machine.rebooted()
    assert machine.join(root, clock).me == Member(1, 3)
    machine.kill()
    assert slept.seconds == 0


@pytest.mark.parametrize("machine_id", ["machine-a", ""])
def test_a_copy_of_a_machine_that_lives_does_not_become_it(
    root: Path, machine: Machine, copy: Machine, clock: Clock, slept: Slept, machine_id: str
) -> None:
    """Where locks do not reach from one to the other."""
    machine.id = copy.id = machine_id
    first = machine.join(root, clock)
    (root / "hosts/1/lock").rename(root / "lock-of-before")
    slept.meanwhile = lambda: first.beat() if slept.seconds == 5 else None
    with pytest.raises(Unavailable, match="another machine with this one's id is the host node-a"):
        copy.join(root, clock)
    first.beat()
    assert (first.problem, lease(root).incarnation) == ("", 1)
    assert first.is_here()


@pytest.mark.parametrize("other", ["machine-b", ""])
def test_the_name_of_another_machine_is_its_own_until_it_left(
    root: Path, machine: Machine, copy: Machine, clock: Clock, other: str
) -> None:
    copy.id = other
    member = machine.join(root, clock)
    machine.kill()
    clock.now += 1e6
    with pytest.raises(Unavailable, match=r"node-a of this root is another machine .machine-a"):
        copy.join(root, clock)
    copy.kill()
    member._lease.join(1)
    member._lease.leave()
    assert copy.join(root, clock).me == Member(1, 2)
    assert copy.slept.seconds == 0


def test_one_daemon_of_a_machine_is_a_host(root: Path, machine: Machine, clock: Clock) -> None:
    machine.join(root, clock)
    with pytest.raises(RootLocked, match="a daemon of machine-a"):
        machine.join(root, clock)
    assert machine.join(root, clock, "node-b").me == Member(2, 1)


@pytest.mark.parametrize("is_done", [True, False])
def test_who_is_cut_off_while_it_joins_again_starts_all_the_same(
    root: Path, machine: Machine, clock: Clock, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    """Whatever is mounted then: no other daemon was told of it."""
    machine.join(root, clock)._lease.leave()
    machine.kill()
    real = register.swap

    def cut_off(*args: object) -> bool:
        if is_done:
            real(*args)  # type: ignore[arg-type]
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(register, "swap", cut_off)
        with pytest.raises(SystemExit):
            machine.join(root, clock)
    assert lease(root).incarnation == (2 if is_done else 1)
    machine.kill()
    machine.is_idle = False
    assert machine.join(root, clock).me == Member(1, 2)


def test_a_host_that_cannot_be_read_is_not_taken_for_a_new_one(
    root: Path, machine: Machine, copy: Machine, clock: Clock
) -> None:
    machine.join(root, clock)
    machine.kill()
    told = root / "hosts/1/about.json"
    told.unlink()
    told.mkdir()
    for _ in range(2):
        with pytest.raises(Unavailable, match="whether the root has a host node-a already"):
            machine.join(root, clock)
        assert [path.name for path in (root / "hosts").iterdir()] == ["1"]
        if told.is_dir():
            told.rmdir()
            told.write_bytes(b"{}")


def test_a_host_that_is_known_starts_beside_one_that_cannot_be_read(
    root: Path, machine: Machine, copy: Machine, clock: Clock
) -> None:
    copy.join(root, clock, "node-b")
    machine.join(root, clock)
    machine.kill()
    (root / "hosts/1/about.json").write_bytes(b"{}")
    assert machine.join(root, clock).me == Member(2, 1)


def test_with_volumes_mounted_a_machine_is_the_host_that_it_was(
    root: Path, machine: Machine, clock: Clock
) -> None:
    machine.join(root, clock)
    machine.kill()
    machine.is_idle = False
    with pytest.raises(Unavailable, match=r"another host than node-b \(number 1\)"):
        machine.join(root, clock, "node-b")
    assert [path.name for path in (root / "hosts").iterdir()] == ["1"]
    machine.is_idle = True
    assert machine.join(root, clock, "node-b").me == Member(2, 1)


def test_what_it_was_on_another_root_is_not_gone_on_with(
    root: Path, machine: Machine, clock: Clock, tmp_path: Path, slept: Slept
) -> None:
    """Such as the bare folder on which the disk was yet to be mounted."""
    machine.join(root, clock)._lease.leave()
    machine = machine.rebooted()
    bare = tmp_path / "bare"
    bare.mkdir()
    for _ in range(5):
        machine.join(bare, clock)._lease.leave()
        machine.kill()
    machine.is_idle = False
    with pytest.raises(Unavailable, match="or from another root"):
        machine.join(root, clock)
    machine.is_idle = True
    assert machine.join(root, clock).me == Member(1, 2)
    machine.kill()


# Once it has joined


@pytest.fixture
def member(root: Path, machine: Machine, clock: Clock) -> Membership:
    return machine.join(root, clock)


def test_it_is_the_same_root_as_long_as_its_life_is_there(
    root: Path, machine: Machine, member: Membership, clock: Clock
) -> None:
    assert member.is_here()
    member.beat()
    assert member.is_here()
    fence(root, clock)
    assert member.is_here(), "it is that root, though this host is over there"
    root.rename(root.with_name("elsewhere"))
    assert not member.is_here()


@pytest.fixture
def elsewhere(root: Path, copy: Machine, clock: Clock) -> Path:
    """Another root, in which the number is that of a host which lives."""
    real = root.with_name("real")
    real.mkdir()
    copy.join(real, clock, "node-b").beat()
    return real


def test_what_came_to_the_path_of_the_root_is_not_touched(
    root: Path, machine: Machine, member: Membership, clock: Clock, elsewhere: Path
) -> None:
    found = lease(elsewhere)
    root.rename(root.with_name("bare"))
    elsewhere.rename(root)
    clock.now += 1
    machine.is_there = False
    member.beat()
    assert not member.is_here()
    assert "the root is away" in member.problem
    assert lease(root) == found


def test_the_life_of_another_hosts_number_is_not_gone_on_with(
    root: Path, member: Membership, clock: Clock, elsewhere: Path
) -> None:
    """Where it was not seen yet that the root is another one."""
    found = lease(elsewhere)
    root.rename(bare := root.with_name("bare"))
    elsewhere.rename(root)
    clock.now += 1
    member.beat()
    assert member.is_foreign
    with pytest.raises(Unavailable, match="another is this host"):
        member.refuse()
    assert lease(root) == found
    root.rename(elsewhere)
    bare.rename(root)
    member.beat()
    member.refuse()
    assert [member.is_foreign] == [False]
    assert lease(root).incarnation == 1


def test_a_root_is_known_by_who_this_host_is_and_by_its_life_alike(
    root: Path, machine: Machine, member: Membership, clock: Clock, tmp_path: Path
) -> None:
    about = root / "hosts/1/about.json"
    told = about.read_bytes()
    about.write_bytes(told.replace(b"node-a", b"node-b"))
    assert not member.is_here()
    about.write_bytes(told)
    assert member.is_here()
    bare = tmp_path / "bare"
    bare.mkdir()
    clock.now += 1
    Machine(tmp_path / "of-before", machine.slept).join(bare, clock)
    root.rename(tmp_path / "elsewhere")
    bare.rename(root)
    assert about.read_bytes() == told
    assert not member.is_here()


def test_who_never_began_to_live_stops_all_the_same(root: Path, member: Membership) -> None:
    member.stop(is_idle=True)
    assert str(lease(root)) == "1.left"


def test_a_root_that_is_another_ones_is_not_left(
    root: Path, machine: Machine, member: Membership
) -> None:
    found = lease(root)
    member.start()
    machine.is_there = False
    member.stop(is_idle=True)
    assert lease(root).ending is None
    assert lease(root).incarnation == found.incarnation


def test_its_lock_is_taken_again_where_the_root_is_a_new_mount(
    root: Path, machine: Machine, member: Membership, clock: Clock
) -> None:
    (root / "hosts/1/lock").rename(root / "lock-of-before")
    member.reopen()
    with pytest.raises(RootLocked, match="a daemon of machine-a"):
        machine.join(root, clock)
