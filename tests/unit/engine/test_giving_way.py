"""The trash gives way when the host lacks space: no more of it than that, and nothing in vain."""

import asyncio
import errno
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.engine.memory import gain
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs.room import RETRY_SECONDS
from convoy_py.errors import HostFull, NoSpace, OperationFailed
from convoy_py.linux import space
from convoy_py.linux.extents import Footprint, Range
from convoy_py.models.snapshot import Plan, Way
from convoy_py.models.volume import Options, Spec
from convoy_py.state.trash import RemovedVolume
from tests.fakes_engine import DAY, Engine, Gate

SIZE = 1000
SPEC = Spec(backend="fake")


class Disk:
    """A host of 1000 bytes; what a volume holds of it stands in its file, such as `0-300 500-600`.

    What is shared is so from end to end. Where it is lazy it tells what was free when it was last
    asked to give back.
    """

    def __init__(self, engine: Engine, *, lazy: bool = False) -> None:
        self.root = engine.store.root
        self.others = 0  # what lies elsewhere on it
        self.lives = math.inf  # how often it still gives back
        self._lazy = lazy
        self._seen = 0

    def free(self, _: Path) -> int:
        return SIZE - (self._seen if self._lazy else self._used()) - self.others

    def given_back(self, _: Path, limit: float) -> bool:
        self.lives -= 1
        if self.lives < 0:
            return False
        self._seen = self._used()
        return True

    def footprint(self, home: Path, is_late: Callable[[], bool]) -> Footprint:
        """As that of linux.extents."""
        held = [each for file, each in self._held() if file.is_relative_to(home)]
        having = [each for _, each in self._held()]
        found = Footprint()
        for begin, end in held:
            if sum(begin < e and b < end for b, e in having) > 1:
                found.shared.append((begin, end))
            else:
                found.own += end - begin
        return found

    def shared_ranges(self, folder: Path, is_late: Callable[[], bool]) -> Iterator[Range]:
        return iter([each for file, each in self._held() if file.is_relative_to(folder)])

    def _used(self) -> int:
        ranges = [each for _, each in self._held()]
        places = sorted({place for each in ranges for place in each})
        return sum(e - b for b, e in pairwise(places) if any(x <= b < y for x, y in ranges))

    def _held(self) -> Iterator[tuple[Path, Range]]:
        for folder, _, names in os.walk(self.root):
            file = Path(folder, "file")
            with suppress(FileNotFoundError):  # deleted just now
                for word in file.read_text().split() if "file" in names else ():
                    begin, _, end = word.partition("-")
                    yield file, (int(begin), int(end))


MakeDisk = Callable[..., Disk]


@pytest.fixture
def make_disk(keeping: Engine, monkeypatch: pytest.MonkeyPatch) -> MakeDisk:
    def make(*, lazy: bool = False) -> Disk:
        disk = Disk(keeping, lazy=lazy)
        monkeypatch.setattr(space, "free", disk.free)
        monkeypatch.setattr(space, "given_back", disk.given_back)
        monkeypatch.setattr(gain, "footprint", disk.footprint)
        monkeypatch.setattr(gain, "shared_ranges", disk.shared_ranges)
        return disk

    return make


@pytest.fixture
def disk(make_disk: MakeDisk) -> Disk:
    return make_disk()


async def _removed(engine: Engine, name: str, ranges: str) -> None:
    """Make a volume that holds this of the disk, and remove it a minute later."""
    await _living(engine, name, ranges)
    engine.pass_time(60)
    await engine.volumes.remove(name)


async def _living(engine: Engine, name: str, ranges: str) -> None:
    await engine.volumes.create(name, Options())
    engine.write(name, ranges)


async def _reserve(engine: Engine, size: int) -> None:
    await engine.volumes.create("new", Options(size=size, sparse=False))


def _left(engine: Engine) -> list[str]:
    return [view.name for view in engine.trash.views()]


@pytest.mark.parametrize(
    ("size", "left"), [(100, "abc"), (101, "bc"), (400, "bc"), (401, "c"), (1000, "")]
)
@pytest.mark.parametrize("lazy", [False, True])
async def test_no_more_goes_than_is_missing(
    keeping: Engine, make_disk: MakeDisk, lazy: bool, size: int, left: str
) -> None:
    """The oldest first; also where a purge shows only once the filesystem has given back."""
    disk = make_disk(lazy=lazy)
    for name, ranges in (("a", "0-300"), ("b", "300-600"), ("c", "600-900")):
        await _removed(keeping, name, ranges)
    disk.given_back(disk.root, 0)
    await _reserve(keeping, size)
    assert _left(keeping) == list(left)


@pytest.mark.parametrize("size", [1001, 2**62])
async def test_a_wish_that_cannot_come_true_costs_nothing(
    keeping: Engine, disk: Disk, size: int
) -> None:
    """What would not fit even without the trash."""
    await _removed(keeping, "a", "0-900")
    with pytest.raises(HostFull, match="setting reserve"):
        await _reserve(keeping, size)
    assert _left(keeping) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_what_is_full_otherwise_costs_nothing(
    keeping: Engine, disk: Disk, number: int
) -> None:
    """An image, a quota, the inodes: no purge is of help, and nothing is tried again."""
    await _removed(keeping, "a", "0-900")
    keeping.kernel.failures["create", "new"] = OSError(number, "full")
    with pytest.raises(NoSpace, match="full"):
        await keeping.volumes.create("new", Options())
    assert _left(keeping) == ["a"]
    assert keeping.kernel.count("create", "new") == 1
    assert keeping.left() == []


@pytest.mark.parametrize(("deleting", "tries"), [(False, 1), (True, 2)])
async def test_what_no_purge_can_help_is_tried_once_more_at_most(
    keeping: Engine, monkeypatch: pytest.MonkeyPatch, deleting: bool, tries: int
) -> None:
    """When what was being deleted is gone, or has had its time."""
    monkeypatch.setattr(keeping.operations, "time_limit", 0.01)
    gate, built = Gate(), []
    monkeypatch.setattr(keeping.backend, "destroy", lambda _: gate.pass_through())
    if deleting:
        keeping.deletions.begin(keeping.host.nameless(keeping.folder / "rm-0123", SPEC))

    async def build() -> None:
        built.append(keeping)
        raise NoSpace("its own quota is reached")

    with pytest.raises(NoSpace, match="quota"):
        await keeping.room.made_for(build)
    assert len(built) == tries
    gate.open()


async def test_what_is_being_deleted_is_waited_for(
    keeping: Engine, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the room that is missing, and then nothing of the trash has to go."""
    await _removed(keeping, "a", "0-300")
    await _living(keeping, "b", "300-900")
    destroy, settled = keeping.backend.destroy, keeping.deletions.settled
    gate = keeping.kernel.gate("slow", "b")

    def slow(place: Place) -> None:
        gate.pass_through()
        destroy(place)

    async def waited(seconds: float | None = None) -> None:
        gate.open()
        await settled(seconds)

    monkeypatch.setattr(keeping.backend, "destroy", slow)
    monkeypatch.setattr(keeping.deletions, "settled", waited)
    await keeping.volumes.remove("b", to_trash=False)  # which does not wait for long
    await _reserve(keeping, 600)
    assert _left(keeping) == ["a"]


async def test_what_a_living_volume_has_too_frees_nothing(keeping: Engine, disk: Disk) -> None:
    """It stays, whatever is missing; what is nobody else's goes."""
    await _living(keeping, "prod", "0-500")
    await _removed(keeping, "staging", "0-500")
    await _removed(keeping, "twice", "100-200 100-200")
    await _removed(keeping, "own", "500-600")
    with pytest.raises(HostFull):
        await _reserve(keeping, 501)
    assert _left(keeping) == ["staging", "twice", "own"]
    await _reserve(keeping, 500)
    assert _left(keeping) == ["staging", "twice"]
    assert await keeping.room.in_trash() == 0


async def test_blocks_that_the_trash_alone_has_count_once(keeping: Engine, disk: Disk) -> None:
    """And only when all that have them go, so that they stay while others are enough."""
    await _removed(keeping, "own", "300-700")
    await _removed(keeping, "a", "0-300 700-710")
    await _removed(keeping, "b", "0-300 710-720")
    assert await keeping.room.in_trash() == 720
    await _reserve(keeping, 400)
    assert _left(keeping) == ["a", "b"]
    await keeping.volumes.remove("new", to_trash=False)
    await _reserve(keeping, 981)
    assert _left(keeping) == []


async def test_blocks_that_a_snapshot_of_its_own_has_count(keeping: Engine, disk: Disk) -> None:
    """They go with it; once."""
    await _living(keeping, "db", "0-400 400-500")
    await keeping.snapshot("db")
    keeping.write("db", "0-400 500-700")
    await keeping.volumes.remove("db")
    assert await keeping.room.in_trash() == 700
    await _reserve(keeping, 900)
    assert _left(keeping) == []


@pytest.mark.parametrize(("lives", "left"), [(0, "abc"), (1, "bc")])
async def test_a_filesystem_that_does_not_give_back_costs_one_at_most(
    keeping: Engine, make_disk: MakeDisk, lives: int, left: str
) -> None:
    """Its figures are stale: nobody purges by them."""
    disk = make_disk(lazy=True)
    for name, ranges in (("a", "0-300"), ("b", "300-600"), ("c", "600-900")):
        await _removed(keeping, name, ranges)
    disk.given_back(disk.root, 0)
    disk.lives = lives
    with pytest.raises(HostFull):
        await _reserve(keeping, 200)
    assert _left(keeping) == list(left)


async def test_a_deletion_that_fails_costs_one(keeping: Engine, disk: Disk) -> None:
    """What could not be deleted is left to the next start, and the others stay."""
    for name, ranges in (("a", "0-300"), ("b", "300-600")):
        await _removed(keeping, name, ranges)
    (home,) = keeping.store.trash.glob("a.*")

    def broken(place: Place) -> None:
        raise OSError(errno.EIO, "Input/output error")

    keeping.backend.destroy = broken  # type: ignore[method-assign]  # it is a disk that fails
    with pytest.raises(HostFull):
        await _reserve(keeping, 500)
    assert not home.exists()
    assert _left(keeping) == ["b"]


async def test_a_deletion_that_takes_long_costs_one(
    keeping: Engine, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it will give is not known yet; the caller is told that there is no room."""
    for name, ranges in (("a", "0-300"), ("b", "300-600")):
        await _removed(keeping, name, ranges)
    monkeypatch.setattr(keeping.operations, "time_limit", 0.01)
    gate = Gate()
    monkeypatch.setattr(keeping.backend, "destroy", lambda _: gate.pass_through())

    async def build() -> None:
        raise HostFull("full", needs=800)

    with pytest.raises(HostFull):
        await keeping.room.made_for(build)
    assert _left(keeping) == ["b"]
    gate.open()
    await keeping.settled()


@pytest.fixture
def stuck(keeping: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The volume `a` in the trash cannot be moved out of it, as if somebody had made it +i."""
    retire = keeping.host.trash.retire

    def retired(removed: RemovedVolume) -> Path:
        if removed.name == "a":
            raise OperationFailed("Operation not permitted")
        return retire(removed)

    monkeypatch.setattr(keeping.host.trash, "retire", retired)


@pytest.mark.usefixtures("stuck")
async def test_what_cannot_go_keeps_nothing_else(keeping: Engine, disk: Disk) -> None:
    """Neither when there is no room, nor when time is up, nor when people want all gone."""
    for name, ranges in (("a", "0-300"), ("b", "300-600"), ("c", "600-700"), ("d", "700-750")):
        await _removed(keeping, name, ranges)
    with pytest.raises(HostFull):
        await _reserve(keeping, 1000)
    await keeping.volumes.create("small", Options(size=251, sparse=False))
    assert _left(keeping) == ["a", "c", "d"]
    keeping.pass_time(DAY - 60)
    await keeping.trash.expire()
    assert _left(keeping) == ["a", "d"]
    with pytest.raises(OperationFailed, match="not permitted"):
        await keeping.trash.purge()
    assert _left(keeping) == ["a"]


async def test_what_was_deleted_by_hand_is_purged(keeping: Engine, disk: Disk) -> None:
    for name, ranges in (("a", "0-300"), ("b", "300-600")):
        await _removed(keeping, name, ranges)
    (home,) = keeping.store.trash.glob("a.*")
    shutil.rmtree(home)
    assert [key.partition(".")[0] for key in await keeping.trash.purge()] == ["b"]
    assert _left(keeping) == []


async def test_two_who_need_room_purge_for_each_once(keeping: Engine, disk: Disk) -> None:
    """What one has purged may be enough for the other."""
    for name, ranges in (("a", "0-300"), ("b", "300-600"), ("c", "600-900")):
        await _removed(keeping, name, ranges)
    sized = Options(size=200, sparse=False)
    await asyncio.gather(*(keeping.volumes.create(name, sized) for name in ("x", "y")))
    assert _left(keeping) == ["b", "c"]


async def test_one_that_cannot_be_read_hides_nothing(keeping: Engine, disk: Disk) -> None:
    """Of where its data lies nothing is known."""
    await _removed(keeping, "a", "0-300")
    await keeping.volumes.create("broken", Options())
    (keeping.store.home("broken") / "volume.json").write_text("{")
    assert await keeping.restarted().room.in_trash() == 300


async def test_what_has_no_date_is_left_to_people(keeping: Engine, disk: Disk) -> None:
    """Whatever is missing, and with it what shares its blocks."""
    await _removed(keeping, "bad", "0-200 200-300")
    await _removed(keeping, "old", "200-300 300-400")
    (home,) = keeping.store.trash.glob("bad.*")
    (home / "removed.json").write_text("{}")
    after = keeping.restarted()
    with pytest.raises(HostFull):
        await _reserve(after, 801)
    assert _left(after) == ["old", "bad"]
    await _reserve(after, 700)
    assert _left(after) == ["bad"]


async def test_a_reserved_volume_grows_into_what_the_trash_has(keeping: Engine, disk: Disk) -> None:
    """No more goes than the growth lacks, and nothing for one that cannot be."""
    for name, ranges in (("a", "0-300"), ("b", "300-600")):
        await _removed(keeping, name, ranges)
    await _reserve(keeping, 100)
    with pytest.raises(HostFull):
        await keeping.space.resize("new", 1101)
    assert _left(keeping) == ["a", "b"]
    assert await keeping.space.resize("new", 600, by=True) == (700, "")
    assert _left(keeping) == ["b"]


async def test_a_rollback_has_what_the_trash_has(
    keeping: Engine, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when only its second copy lacks it."""
    await _removed(keeping, "a", "0-300")
    await _removed(keeping, "b", "300-600")
    await _living(keeping, "db", "600-700")
    await keeping.snapshots.create(["db"], "s", Progress())
    takes = iter([0])
    plan = Plan(way=Way.COPY, instant=False, bytes=400)

    def planned(place: Place, *, clone: bool = False) -> Plan:
        return plan.model_copy(update={"takes": next(takes, 400)})

    monkeypatch.setattr(keeping.backend, "plan", planned)
    await keeping.snapshots.rollback("db", "s", Progress())
    assert _left(keeping) == ["b"]


# What is written


@pytest.fixture
def reserving(keeping: Engine, disk: Disk) -> Engine:
    """100 bytes are to stay free."""
    keeping.host.ledger.reserve = 100
    return keeping


async def _watched(engine: Engine, seconds: float = 0.5) -> None:
    engine.pass_time(seconds)
    await engine.room.watch()


async def test_the_reserve_is_kept_free(reserving: Engine, disk: Disk) -> None:
    """Before it is taken nothing goes; then the oldest that frees something, and no more."""
    await _living(reserving, "prod", "0-300")
    for name, ranges in (("shared", "0-300"), ("a", "300-400"), ("b", "400-500")):
        await _removed(reserving, name, ranges)
    disk.others = 400
    await _watched(reserving)
    assert _left(reserving) == ["shared", "a", "b"]
    reserving.pass_time(60)
    disk.others = 401
    await _watched(reserving)
    assert _left(reserving) == ["shared", "b"]
    reserving.pass_time(60)
    await _watched(reserving)
    assert _left(reserving) == ["shared", "b"]


async def test_what_it_has_is_given_though_it_is_not_all(reserving: Engine, disk: Disk) -> None:
    """The living write on for as long as that lasts; and nothing goes that frees nothing."""
    await _living(reserving, "prod", "0-300")
    await _removed(reserving, "shared", "0-300")
    await _removed(reserving, "a", "300-350")
    disk.others = 650
    await _watched(reserving)
    assert _left(reserving) == ["shared"]


async def test_it_gives_way_before_the_reserve_is_reached(reserving: Engine, disk: Disk) -> None:
    """At 20 bytes a second what is free is to last for what a purge lasts; then it stops."""
    for number in range(6):
        await _removed(reserving, f"v{number}", f"{number * 100}-{number * 100 + 100}")
    await _living(reserving, "live", "")
    await reserving.uses.mount("live", "container", "100:1")
    least, went = SIZE, []
    for _ in range(80):
        disk.others += 10
        await _watched(reserving)
        least = min(least, disk.free(disk.root))
        went.append(len(_left(reserving)))
    assert least >= 100
    assert went[0] == 6
    assert went[-1] == 0
    assert all(before - after in (0, 1) for before, after in pairwise(went))
    # The last goes when no more than 170 bytes would be left beside it.
    assert went.index(0) == 73


async def test_what_the_daemon_itself_takes_is_no_sign(reserving: Engine, disk: Disk) -> None:
    """It was measured before, and ends with that; nor is what falls all at once."""
    await _living(reserving, "live", "")
    await reserving.uses.mount("live", "container", "100:1")
    await _removed(reserving, "a", "0-100")
    for _ in range(10):
        await _watched(reserving)
        with reserving.host.ledger.room("copy", 50):
            disk.others += 50
            await _watched(reserving)
    disk.others += 200
    await _watched(reserving)
    assert disk.free(disk.root) == 200
    assert _left(reserving) == ["a"]


@pytest.mark.parametrize("lasting", [False, True])
async def test_who_writes_is_not_forgotten_while_the_daemon_takes_space(
    reserving: Engine, disk: Disk, lasting: bool
) -> None:
    """At 20 bytes a second beside a copy that takes long, or beside one after the other."""
    for name, ranges in (("a", "0-100"), ("b", "100-200")):
        await _removed(reserving, name, ranges)
    await _living(reserving, "live", "")
    await reserving.uses.mount("live", "container", "100:1")
    room = reserving.host.ledger.room
    for _ in range(6):
        disk.others += 10
        await _watched(reserving)
    with room("copy", 50) if lasting else nullcontext():
        disk.others += 50
        while disk.free(disk.root) > 170 and len(_left(reserving)) == 2:
            with nullcontext() if lasting else room("small", 5):
                disk.others += 0 if lasting else 5
            disk.others += 10
            await _watched(reserving)
            assert disk.free(disk.root) >= 150
        disk.others += 10
        await _watched(reserving)
    assert _left(reserving) == ["b"]


async def test_what_was_written_into_what_is_removed_is_no_sign(
    reserving: Engine, disk: Disk
) -> None:
    """Nobody writes any more; nor where nothing is mounted."""
    await _removed(reserving, "a", "0-100")
    for name in ("b", "live"):
        await _living(reserving, name, "")
        await reserving.uses.mount(name, "container", "100:1")
    for size in range(50, 350, 50):
        reserving.write("b", f"100-{100 + size}")
        await _watched(reserving)
    await reserving.uses.unmount("b", "container")
    await reserving.volumes.remove("b")
    disk.others += 400
    await _watched(reserving)
    assert disk.free(disk.root) == 200
    await reserving.uses.unmount("live", "container")
    for _ in range(8):
        disk.others += 10
        await _watched(reserving)
    await reserving.uses.mount("live", "container", "100:1")
    await _watched(reserving)
    assert disk.free(disk.root) == 120
    assert _left(reserving) == ["a", "b"]


async def test_who_writes_into_a_private_clone_is_seen(reserving: Engine, disk: Disk) -> None:
    """Though its volume is not mounted itself."""
    await _removed(reserving, "a", "0-100")
    await _living(reserving, "db", "")
    await reserving.volumes.create("ci", Options(source="db", per_mount=True))
    await reserving.uses.mount("ci", "job", "100:1")
    disk.others = 710
    for _ in range(3):
        disk.others += 10
        await _watched(reserving)
    assert disk.free(disk.root) == 260
    assert _left(reserving) == []


async def test_a_trash_with_nothing_to_give_is_not_measured_all_the_time(
    reserving: Engine, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again after a while, or when something is removed."""
    await _living(reserving, "prod", "0-300")
    await _removed(reserving, "a", "0-300")
    disk.others = 650
    looks = []

    def counted(home: Path, is_late: Callable[[], bool]) -> Footprint:
        looks.append(home)
        return disk.footprint(home, is_late)

    monkeypatch.setattr(gain, "footprint", counted)
    for _ in range(10):
        await _watched(reserving)
    assert len(looks) == 1
    await _watched(reserving, RETRY_SECONDS)
    assert len(looks) == 2
    await _removed(reserving, "b", "300-310")
    await _watched(reserving)
    assert len(looks) == 4
    assert _left(reserving) == ["a"]


async def test_age_alone_purges_at_the_janitors_look(reserving: Engine, disk: Disk) -> None:
    """What makes room is the other chore."""
    await _removed(reserving, "a", "0-300")
    disk.others = 700
    await reserving.trash.expire()
    assert _left(reserving) == ["a"]
    reserving.pass_time(DAY)
    await reserving.trash.expire()
    assert _left(reserving) == []
