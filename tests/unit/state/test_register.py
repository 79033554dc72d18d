"""A register has one winner per value, whatever an engine answers, shows or does late."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convoy_py.errors import Unavailable
from convoy_py.linux import files
from convoy_py.state import register
from tests import registering

_folders = count()


@dataclass
class Engine:
    """The real calls, with the faults that are ordered for the next ones."""

    renames: list[str] = field(default_factory=list)
    listings: list[list[str]] = field(default_factory=list)
    late: list[tuple[Path, Path]] = field(default_factory=list)
    done: list[tuple[str, str]] = field(default_factory=list)  # what really was renamed
    now: float = 0.0

    def rename(self, old: Path, new: Path) -> None:
        fault = self.renames.pop(0) if self.renames else ""
        if fault == "refused":
            raise OSError(errno.EIO, "refused")
        if fault == "late":
            self.late.append((old, new))
            raise OSError(errno.EIO, "given up")
        self._really(old, new)
        if fault == "lost":
            raise OSError(errno.ETIMEDOUT, "no answer")
        if fault == "repeated":
            self._really(old, new)

    def _really(self, old: Path, new: Path) -> None:
        os.rename(old, new)
        self.done.append((old.name, new.name))

    def come(self) -> None:
        """What was given up is done now, if it can."""
        while self.late:
            try:
                self._really(*self.late.pop())
            except OSError:
                continue

    def listed(self, folder: Path) -> list[str]:
        return self.listings.pop(0) if self.listings else sorted(os.listdir(folder))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def waiting(self) -> register.Waiting:
        return register.Waiting(lambda: self.now, self.sleep)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(register, "_rename", engine.rename)
    monkeypatch.setattr(register, "_listed", engine.listed)
    return engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "lease"
    assert register.make(folder, "1.0")
    return folder


def test_it_is_made_once_and_leaves_nothing_beside(tmp_path: Path) -> None:
    folder = tmp_path / "lease"
    assert register.make(folder, "1.0")
    assert not register.make(folder, "2.0")
    assert register.read(folder) == "1.0"
    assert os.listdir(tmp_path) == ["lease"]


@pytest.mark.parametrize("fault", ["lost", "repeated"])
def test_what_was_made_counts_whatever_was_answered(
    fault: str, tmp_path: Path, engine: Engine
) -> None:
    engine.renames = [fault]
    assert register.make(tmp_path / "lease", "1.0", engine.waiting)
    engine.renames = ["refused"]
    assert not register.make(tmp_path / "lease", "2.0", engine.waiting)
    engine.renames = ["refused"]
    with pytest.raises(OSError, match="refused"):
        register.make(tmp_path / "other", "1.0", engine.waiting)
    assert os.listdir(tmp_path) == ["lease"]


def test_a_swap_is_won_from_the_value_that_is_there_alone(folder: Path) -> None:
    assert register.swap(folder, "1.0", "1.1")
    assert not register.swap(folder, "1.0", "1.2")
    assert register.read(folder) == "1.1"


def test_what_does_not_exist_is_told_apart_from_what_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        register.read(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        register.swap(tmp_path / "none", "1.0", "1.1")
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="Not a directory"):
        register.read(tmp_path / "file")


@pytest.mark.parametrize("value", ["", ".x", "a/b", "a" * 256])
def test_a_value_can_be_a_name(value: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="no value"):
        register.swap(folder, "1.0", value)


def test_an_engines_own_files_are_no_values(folder: Path) -> None:
    (folder / ".nfs0001").touch()
    assert register.read(folder) == "1.0"


@pytest.mark.parametrize("fault", ["lost", "repeated"])
def test_a_swap_that_was_done_is_won_whatever_was_answered(
    fault: str, folder: Path, engine: Engine
) -> None:
    engine.renames = [fault]
    assert register.swap(folder, "1.0", "1.1", engine.waiting)


def test_a_swap_that_may_yet_be_done_is_neither_won_nor_lost(folder: Path, engine: Engine) -> None:
    engine.renames = ["late"]
    with pytest.raises(Unavailable, match=r"has 1\.0: given up"):
        register.swap(folder, "1.0", "1.1", engine.waiting)
    assert engine.now >= register.PATIENCE_SECONDS
    engine.come()
    assert register.read(folder) == "1.1"


@pytest.mark.parametrize("stale", [[], ["1.0", "1.1"], ["1.0"]])
def test_a_listing_of_before_is_looked_at_again(
    stale: list[str], folder: Path, engine: Engine
) -> None:
    engine.renames = ["lost"]
    engine.listings = [stale] * 5
    assert register.swap(folder, "1.0", "1.1", engine.waiting)
    assert 0 < engine.now < register.PATIENCE_SECONDS


@pytest.mark.parametrize("shown", [[], ["1.0", "1.1"]])
def test_what_shows_no_one_value_is_unavailable_in_time(
    shown: list[str], folder: Path, engine: Engine
) -> None:
    engine.listings = [shown] * 10_000
    with pytest.raises(Unavailable, match=f"has {', '.join(shown) or 'no value'}"):
        register.read(folder, engine.waiting)
    assert engine.now < 2 * register.PATIENCE_SECONDS


def test_what_is_not_on_the_disk_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "broken", str(path))

    monkeypatch.setattr(files, "fsync_dir", fail)
    with pytest.raises(files.Unsettled):
        register.swap(folder, "1.0", "1.1")
    assert register.read(folder) == "1.1"


_FAULTS = st.sampled_from(("", "", "lost", "repeated", "refused", "late", "come"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.tuples(st.sampled_from("ab"), _FAULTS, st.booleans()), max_size=24))
def test_who_is_told_to_have_won_has_won(
    turns: list[tuple[str, str, bool]], tmp_path: Path, engine: Engine
) -> None:
    """Two hosts take turns, each from what it read last, which may be old."""
    folder = tmp_path / str(next(_folders))
    engine.renames, engine.late = [], []
    register.make(folder, "0.nobody", engine.waiting)
    engine.done.clear()
    seen = dict.fromkeys("ab", "0.nobody")
    for number, (host, fault, reads) in enumerate(turns):
        if fault == "come":
            engine.come()
            continue
        if reads:
            seen[host] = register.read(folder, engine.waiting)
        engine.renames = [fault]
        old, new = seen[host], f"{number}.{host}"
        try:
            won = register.swap(folder, old, new, engine.waiting)
        except Unavailable:
            assert (old, new) not in engine.done
        else:
            assert won == ((old, new) in engine.done)
    assert len({old for old, _ in engine.done}) == len(engine.done)


def _turns(folder: Path, swap: Callable[[str, str], bool], number: int) -> list[list[int]]:
    """What two threads win that swap in their own way."""
    won: list[list[int]] = [[], []]

    def turn(host: int) -> None:
        won[host] = registering.take_turns(
            f"host{host}", number, lambda: register.read(folder), swap
        )

    threads = [threading.Thread(target=turn, args=(host,)) for host in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "shared"
    register.make(folder, registering.FIRST)
    yield folder
    assert len(os.listdir(folder)) == 1


def test_two_processes_swap_thousands_of_times_without_a_duplicate_or_a_gap(shared: Path) -> None:
    won = registering.raced([shared, shared], 2000)
    assert registering.faults(won, register.read(shared)) == []


def test_an_engine_on_which_both_win_is_found_out(shared: Path) -> None:
    """What the test above rests on: it would tell."""
    both = threading.Barrier(2)

    def lying(old: str, new: str) -> bool:
        both.wait(30)
        register.swap(shared, old, new)
        both.wait(30)
        return True

    won = _turns(shared, lying, 5)
    assert any("was won 2 times" in fault for fault in registering.faults(won, "5.host0"))
    assert registering.faults([[1, 3]], "4.host0.9") == ["nobody won 2", "nobody won 4"]
