"""Copies with a fresh inode: content, holes, how long is too long, who wrote meanwhile, faults."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from convoy_py.linux import files, fresh, reflink

MIB = 1 << 20
CALLS = (
    *("open", "fstat", "lseek", "ftruncate", "posix_fadvise", "posix_fallocate", "fdatasync"),
    *("copy_file_range", "fsync", "pread", "pwrite"),
)


class Clock:
    """Goes on by what is done."""

    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without reflinks, whatever the tests' folder lies on."""

    def refuse(_source: int, _target: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no reflinks")

    monkeypatch.setattr(reflink, "clone", refuse)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """With a hole, and data that no filesystem stores in less."""
    path = tmp_path / "source"
    with path.open("wb") as file:
        file.write(os.urandom(3 * MIB))
        file.seek(9 * MIB)
        file.write(os.urandom(MIB + 5))
    os.utime(path, (1000, 1000))
    return path


def copied(
    source: Path,
    clock: Callable[[], float],
    patience: float | None = 2.0,
    settle: Callable[[], object] = lambda: None,
    step: reflink.Step = lambda _: None,
    **more: bool,
) -> bool:
    def settled() -> None:
        settle()

    target = source.with_name("target")
    return fresh.copied(source, target, fresh.Haste(clock, patience, settled), step, **more)


@pytest.mark.parametrize("patience", [None, 2.0])
@pytest.mark.parametrize("reserved", [True, False])
def test_it_is_another_file_with_the_same_content_and_holes(
    source: Path, clock: Clock, patience: float | None, *, reserved: bool
) -> None:
    """Or with blocks for all of it, if they are to be reserved; and progress is told."""
    told: list[int] = []
    assert copied(source, clock, patience, step=told.append, reserved=reserved)
    target = source.with_name("target")
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_ino != source.stat().st_ino
    assert target.stat().st_mode & 0o777 == 0o600
    assert sum(told) == source.stat().st_size
    has = target.stat().st_blocks * 512
    assert (has >= source.stat().st_size) is reserved
    if not reserved:
        assert has <= source.stat().st_blocks * 512 + 64 * 1024


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> "Storage":
    return Storage(monkeypatch, clock)


class Storage:
    """One that takes so many seconds for each call, and for each MiB of data."""

    def __init__(self, patch: pytest.MonkeyPatch, clock: Clock) -> None:
        self.call = self.mib = 0.0
        self.copied: list[int] = []
        self.parts: list[tuple[int, int]] = []  # where data is, in MiB
        self._clock = clock
        patch.setattr(os, "copy_file_range", self._copy)
        patch.setattr(os, "fdatasync", lambda _: None)
        patch.setattr(reflink, "data", self._data)

    def has(self, path: Path, *parts: tuple[int, int]) -> Path:
        self.parts = list(parts)
        with path.open("wb") as file:
            file.truncate(parts[-1][1] * MIB)
        return path

    def _data(self, _source: int, _size: int) -> Iterator[tuple[int, int]]:
        return ((begin * MIB, end * MIB) for begin, end in self.parts)

    def _copy(self, _source: int, _target: int, count: int, *_: int) -> int:
        self.copied.append(count)
        self._clock.now += self.call + self.mib * count / MIB
        return count


@pytest.mark.parametrize(
    ("call", "mib", "is_quick"),
    [
        (0.0, 0.0, True),
        (0.08, 0.0, True),  # new references to old blocks: 20 GiB with some 22 calls
        (0.001, 0.0002, False),
        (0.0, 0.00001, True),
        (0.0, 0.0002, False),
        (0.0, 1.0, False),
    ],
)
def test_the_first_64_mib_tell_whether_it_is_quick(
    tmp_path: Path, clock: Clock, storage: Storage, call: float, mib: float, *, is_quick: bool
) -> None:
    """Where more bytes take no longer, it is; what is not quick stops there, and leaves nothing."""
    storage.call, storage.mib = call, mib
    source = storage.has(tmp_path / "source", (0, 20 * 1024))
    assert copied(source, clock) is is_quick
    assert source.with_name("target").exists() is is_quick
    if is_quick:
        assert sum(storage.copied) == 20 * 1024 * MIB
        assert len(storage.copied) <= 23
    else:
        assert sum(storage.copied) <= fresh.PROBED


def test_what_is_not_quick_is_copied_with_patience(
    tmp_path: Path, clock: Clock, storage: Storage
) -> None:
    """In pieces of the usual size, for it to be cancelled between them."""
    storage.mib = 1.0
    source = storage.has(tmp_path / "source", (0, 256))
    assert copied(source, clock, None)
    assert max(storage.copied) == 16 * MIB
    assert sum(storage.copied) == 256 * MIB


def test_what_is_done_is_not_given_up(tmp_path: Path, clock: Clock, storage: Storage) -> None:
    """However long it took."""
    storage.call = 3.0
    assert copied(storage.has(tmp_path / "source", (0, 1)), clock)


def test_holes_take_no_time(tmp_path: Path, clock: Clock, storage: Storage) -> None:
    """Neither are they taken for a part of the probe, nor of what is left."""
    storage.mib = 0.01
    source = storage.has(tmp_path / "source", (100, 200), (5000, 5050))
    assert copied(source, clock)
    source.with_name("target").unlink()
    storage.mib = 0.016
    assert not copied(source, clock)


def test_what_turns_out_to_be_slow_is_not_waited_for(
    tmp_path: Path, clock: Clock, storage: Storage
) -> None:
    """The probe may have met a cache."""
    source = storage.has(tmp_path / "source", (0, 20 * 1024))

    def slower(_: int) -> None:
        if sum(storage.copied) >= fresh.PROBED:
            storage.call = 1.5

    assert not copied(source, clock, step=slower)
    assert len(storage.copied) == 4
    assert not source.with_name("target").exists()


@pytest.mark.parametrize("way", ["content", "time", "length", "replaced"])
def test_who_writes_meanwhile_is_found_out(source: Path, clock: Clock, way: str) -> None:
    """What is looked at is the file of that name, after all is made and settled."""

    def write() -> None:
        assert source.with_name("target").stat().st_size == source.stat().st_size
        if way == "replaced":
            beside = source.with_name("beside")
            beside.write_bytes(source.read_bytes())
            os.utime(beside, (1000, 1000))
            beside.rename(source)
            return
        with source.open("r+b") as file:
            if way == "length":
                file.truncate(4 * MIB)
                os.utime(source, (1000, 1000))
            if way == "content":
                file.write(b"late")
        if way == "time":
            os.utime(source, ns=(10**12, 10**12 + 1))

    with pytest.raises(fresh.Written, match="somebody writes to it") as caught:
        copied(source, clock, settle=write)
    assert caught.value.errno == errno.EBUSY
    assert not source.with_name("target").exists()


def test_reading_it_is_not_writing(source: Path, clock: Clock) -> None:
    assert copied(source, clock, settle=source.read_bytes)


def test_it_is_on_the_disk_before_it_is_waited_for(
    source: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And before it gets its name."""
    done: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(os.readlink(f"/proc/self/fd/{fd}")))
    assert copied(source, clock, settle=lambda: done.append("settled"))
    assert done == [str(source.with_name("target")), "settled"]


def test_a_step_stops_it(source: Path, clock: Clock) -> None:
    def step(count: int) -> None:
        if count:
            raise InterruptedError("cancelled")

    with pytest.raises(InterruptedError, match="cancelled"):
        copied(source, clock, step=step)
    assert not source.with_name("target").exists()


def test_what_is_there_is_not_overwritten(source: Path, clock: Clock) -> None:
    source.with_name("target").write_text("another's")
    with pytest.raises(FileExistsError):
        copied(source, clock)
    assert source.with_name("target").read_text() == "another's"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("reserved", [True, False])
@pytest.mark.parametrize("patience", [None, 2.0])
def test_a_fault_of_any_call_leaves_nothing(
    source: Path, clock: Clock, number: int, patience: float | None, *, reserved: bool
) -> None:
    """Whichever it is, the error is told, and what is copied stays as it is."""
    content, failed = source.read_bytes(), set()
    for name in CALLS:
        for at in range(1, 100):
            with pytest.MonkeyPatch.context() as patch:
                fault = Fault(patch, name, at, number)
                met = _number_of(lambda: copied(source, clock, patience, reserved=reserved))
            assert met == (number if fault.met else 0), f"{name} {at}"
            assert source.read_bytes() == content
            if not fault.met:
                assert source.with_name("target").read_bytes() == content
                source.with_name("target").unlink()
                break
            assert not source.with_name("target").exists()
            failed.add(name)
    by_hand = {"pread", "pwrite", "posix_fallocate"}
    expected = {*CALLS} - ({"copy_file_range"} if reserved else by_hand)
    assert failed == expected - ({"fdatasync"} if patience is None else set())


def _number_of(do: Callable[[], bool]) -> int | None:
    """The errno with which it fails; 0 if it does not."""
    try:
        assert do()
    except OSError as error:
        return error.errno
    return 0


class Fault:
    """Lets the `at`-th call of a function fail."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str, at: int, number: int) -> None:
        self.met = False
        function, seen = getattr(os, name), 0

        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == at:
                self.met = True
                raise OSError(number, os.strerror(number))
            return function(*arguments, **named)

        patch.setattr(os, name, call)


def test_blocks_are_shared_where_that_is(
    source: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is quick then, whatever its size."""
    told: list[int] = []

    def clone(old: int, new: int) -> None:
        os.ftruncate(new, os.fstat(old).st_size)
        told.append(os.fstat(old).st_size)
        clock.now += 1.0

    monkeypatch.setattr(reflink, "clone", clone)
    assert copied(source, clock)
    assert told == [source.stat().st_size]


def test_one_of_reserved_blocks_shares_none(
    source: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is overwritten in place."""
    done: list[str] = []
    monkeypatch.setattr(files, "set_nocow", lambda _: done.append("in place"))
    monkeypatch.setattr(reflink, "clone", lambda *_: done.append("shared"))
    assert copied(source, clock, reserved=True)
    assert done == ["in place"]
