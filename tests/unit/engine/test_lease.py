"""A host is alive until its lease ends, and nobody fences it before."""

import errno
from pathlib import Path

import pytest

from convoy_py.engine.memory.lease import MARGIN_TIMES, Fenced, Foreign, Lease, Term, Watch
from convoy_py.errors import Corrupt, Unavailable
from convoy_py.linux import files
from convoy_py.state import register
from tests.fakes_hosts import FakeRegister, Fault, HostClock, World

SECONDS = 30
PATIENCE = SECONDS * MARGIN_TIMES


@pytest.fixture
def world() -> World:
    world = World(now=5000.0)
    world.make("1", "0.0.30")
    return world


@pytest.fixture
def lease(world: World) -> Lease:
    return Lease(FakeRegister(world, "1"), HostClock(world), SECONDS)


@pytest.fixture
def watch(world: World) -> Watch:
    """Of a host whose clock has another beginning."""
    return Watch(FakeRegister(world, "1"), HostClock(world, began=4000.0))


def test_values_are_read_as_they_were_written() -> None:
    for text in ("0.0.30", "7.81234.5", "7.fenced", "7.left"):
        assert str(Term.parsed(text)) == text


@pytest.mark.parametrize(
    "text", ["", "7", "7.1", "07.1.30", "7.1.30.1", "7.1.-3", "7.gone", "7.", "x.1.30", "7.1.٣"]
)
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(Corrupt, match="no value of a host's lease"):
        Term.parsed(text)


def test_it_is_alive_from_joining_to_the_deadline(world: World, lease: Lease) -> None:
    assert not lease.is_alive()
    assert lease.join(None) == 1
    world.advance(SECONDS - 0.1)
    assert lease.is_alive()
    assert lease.left() == pytest.approx(0.1)
    assert lease.renew()
    world.advance(SECONDS)
    assert not lease.is_alive()
    assert not lease.renew(), "what was in use is being let go of"


def test_it_counts_from_before_it_was_sent(world: World, lease: Lease) -> None:
    lease.join(None)
    world.faults = [Fault(before=10, after=10)]
    assert lease.renew()
    assert lease.left() == pytest.approx(SECONDS - 20)


def test_a_renewal_that_comes_after_the_deadline_is_none(world: World, lease: Lease) -> None:
    """The images were shut down by then, by a thread that waits for nobody."""
    lease.join(None)
    world.advance(20)
    world.faults = [Fault(after=11)]
    assert not lease.renew()
    assert not lease.is_alive()


def test_who_was_found_over_stays_so(world: World, lease: Lease) -> None:
    """However a renewal ends that was under way when it was looked."""
    lease.join(None)
    world.advance(20)

    def look() -> None:
        assert not lease.is_alive()
        world.advance(-5)  # as if it had looked at the last moment

    world.faults = [Fault(before=11, meanwhile=look)]
    assert not lease.renew()
    assert not lease.is_alive()


def test_the_daemon_that_comes_after_goes_on_as_the_same_incarnation(
    world: World, lease: Lease, watch: Watch
) -> None:
    ours = lease.join(None)
    world.advance(500)
    after = Lease(FakeRegister(world, "1"), HostClock(world), SECONDS)
    assert after.join(ours) == ours
    assert after.is_alive()


def test_another_boot_is_another_incarnation(world: World, lease: Lease, watch: Watch) -> None:
    assert lease.join(None) == 1
    assert lease.join(None) == 2
    watch.look()
    assert watch.is_over(1)
    assert not watch.is_over(2)


def test_who_left_is_over_at_once(world: World, lease: Lease, watch: Watch) -> None:
    ours = lease.join(None)
    assert lease.leave()
    assert not lease.is_alive()
    watch.look()
    assert watch.is_over(ours)
    assert lease.join(ours) == ours + 1, "nothing of it is lost"


def test_who_leaves_is_dead_before_others_can_know(world: World, lease: Lease) -> None:
    lease.join(None)
    seen: list[bool] = []
    world.faults = [Fault(meanwhile=lambda: seen.append(lease.is_alive()))]
    lease.leave()
    assert seen == [False, False]


def test_nobody_fences_before_a_tenth_more_than_the_lease(
    world: World, lease: Lease, watch: Watch
) -> None:
    lease.join(None)
    watch.look()
    world.advance(PATIENCE - 0.1)
    watch.look()
    assert not watch.fence()
    world.advance(0.1)
    assert watch.fence()
    assert world.values["1"] == "1.fenced"
    assert watch.is_over(1)
    assert watch.fence(), "it is still over"


def test_what_was_read_counts_from_the_end_of_reading(
    world: World, lease: Lease, watch: Watch
) -> None:
    world.faults = [Fault(before=PATIENCE, meanwhile=lambda: lease.join(None))]
    watch.look()
    assert watch.silent() == 0


def test_by_the_lease_of_the_one_that_is_watched(world: World, watch: Watch) -> None:
    """Which may be set otherwise there."""
    Lease(FakeRegister(world, "1"), HostClock(world), 60).join(None)
    watch.look()
    world.advance(60)
    assert not watch.is_expired()
    world.advance(6.1)
    assert watch.is_expired()


def test_a_renewal_wins_over_a_fence_or_loses(world: World, lease: Lease, watch: Watch) -> None:
    ours = lease.join(None)
    watch.look()
    world.advance(PATIENCE)
    assert lease.join(ours) == ours
    assert not watch.fence(), "it is alive again"
    world.advance(PATIENCE)
    assert watch.fence()
    with pytest.raises(Fenced, match=r"incarnation 1 was ended: 1\.fenced"):
        lease.join(ours)
    assert not lease.is_alive()
    assert lease.join(None) == ours + 1


def test_who_was_fenced_notices_with_its_next_renewal(world: World, lease: Lease) -> None:
    """By whatever means: an operator who knows that the host is off does not wait."""
    lease.join(None)
    world.done("1", world.values["1"], "1.fenced")
    assert lease.is_alive()
    assert not lease.renew()
    assert not lease.is_alive()


def test_a_renewal_that_is_done_late_is_not_taken_for_its_repetition(
    world: World, lease: Lease, watch: Watch
) -> None:
    """Else it would count from the repetition, which nobody has seen."""
    lease.join(None)
    world.faults = [Fault("late")]
    with pytest.raises(Unavailable):
        lease.renew()
    world.come()
    watch.look()
    world.advance(20)
    before = world.values["1"]
    assert lease.renew()
    assert world.values["1"] != before
    assert not watch.fence()


def test_after_a_reboot_beats_are_those_of_its_clock(world: World, lease: Lease) -> None:
    """What one attempt wrote no later one does, though the clock begins anew."""
    world.values["1"] = "7.99000000.30"
    world.history["1"].append("7.99000000.30")
    clock = HostClock(world)
    clock.reboot()
    lease = Lease(FakeRegister(world, "1"), clock, SECONDS)
    world.advance(5)
    world.faults = [Fault(), Fault("late")][::-1]
    with pytest.raises(Unavailable):
        lease.join(None)
    world.advance(50)
    world.faults = [Fault(), Fault(meanwhile=world.come)][::-1]
    assert lease.join(None) == 9
    assert world.history["1"][-2:] == ["8.5000.30", "9.55000.30"]


def test_what_does_not_answer_leaves_it_alive_until_the_deadline(
    world: World, lease: Lease, watch: Watch
) -> None:
    lease.join(None)
    watch.look()
    for answer in ("late", "never", "unclear"):
        world.faults = [Fault(answer, after=2)]
        with pytest.raises(Unavailable):
            lease.renew()
    assert lease.left() == pytest.approx(SECONDS - 6)
    world.faults = [Fault("never")]
    with pytest.raises(Unavailable):
        watch.look()
    assert watch.silent() == pytest.approx(6)


@pytest.fixture
def real(tmp_path: Path) -> register.Register:
    folder = tmp_path / "lease"
    assert register.make(folder, "0.0.30")
    return register.Register(folder)


def test_it_lives_in_a_folder(real: register.Register) -> None:
    world = World()
    lease = Lease(real, HostClock(world), SECONDS)
    assert lease.join(None) == 1
    world.advance(5)
    assert lease.renew()
    assert real.read() == "1.5000.30"


def test_what_is_seen_counts_though_the_disk_may_not_have_it(
    real: register.Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(real, HostClock(World()), SECONDS)

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(files, "fsync_dir", fail)
    lease.join(None)
    assert lease.is_alive()


def test_a_register_that_is_not_seen_is_no_end(real: register.Register) -> None:
    lease, watch = Lease(real, HostClock(World())), Watch(real, HostClock(World()))
    lease.join(None)
    real.folder.rename(real.folder.with_name("away"))
    with pytest.raises(Unavailable, match="not there"):
        lease.renew()
    with pytest.raises(Unavailable, match="not there"):
        watch.look()
    assert lease.is_alive()


# Another root's, or another daemon's


def test_what_it_never_wrote_is_not_gone_on_from(world: World, lease: Lease) -> None:
    ours = lease.join(None)
    world.advance(1)
    world.done("1", world.values["1"], theirs := f"{ours}.999.30")
    assert not lease.renew()
    assert not lease.is_alive()
    assert not lease.is_here()
    with pytest.raises(Foreign):
        lease.join(ours)
    assert not lease.leave()
    assert world.values["1"] == theirs


def test_what_it_wrote_and_heard_no_answer_of_is_its_own(world: World, lease: Lease) -> None:
    ours = lease.join(None)
    world.advance(1)
    world.faults = [Fault(answer="late")]
    with pytest.raises(Unavailable):
        lease.renew()
    world.come()
    assert lease.is_here()
    assert lease.renew()
    world.advance(2 * SECONDS)
    assert lease.join(ours) == ours


def test_as_which_life_it_goes_on_is_noted_before_others_see_it(world: World, lease: Lease) -> None:
    seen: list[tuple[int, str]] = []

    def noted(incarnation: int) -> None:
        seen.append((incarnation, world.values["1"]))

    lease.join(None, noted)
    assert seen == [(1, "0.0.30")]
