"""Each way in which a filesystem may not do what it is asked for is told from the others."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from convoy_py.linux import files, probe, reflink
from tests.fakes_kernel import Clock


@pytest.fixture(autouse=True)
def without_reflinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflink, "support", lambda _: "none here")


def _refuse(*_: Any) -> None:
    raise OSError(errno.EINVAL, "not here")


def test_nothing_is_left(tmp_path: Path) -> None:
    probe.abilities(tmp_path)
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_made_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe.abilities(tmp_path / "none")


def test_nothing_is_left_of_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", _refuse)
    with pytest.raises(OSError, match="not here"):
        probe.abilities(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fault", ["ENOENT is no loss", "a folder with content is replaced"])
def test_renames_of_which_both_are_won(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(old: Path, new: Path) -> Path:
        if old.exists() and not new.exists():
            os.rename(old, new)
        elif old.exists() == (fault == "ENOENT is no loss"):
            raise OSError(errno.EEXIST, "taken")
        return new

    monkeypatch.setattr(Path, "rename", rename)
    assert not probe.abilities(tmp_path).swaps


def _overwrite(one: Path, other: Path) -> None:
    one.write_bytes(other.read_bytes())


@pytest.mark.parametrize("exchange", [os.rename, _refuse, _overwrite, lambda *_: None])
def test_exchanges_that_are_none(
    exchange: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probe.abilities(tmp_path).exchanges
    monkeypatch.setattr(files, "exchange", exchange)
    assert not probe.abilities(tmp_path).exchanges


@pytest.mark.parametrize("flock", [_refuse, lambda *_: None])
def test_locks_that_are_none(flock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.abilities(tmp_path).locks
    monkeypatch.setattr(fcntl, "flock", flock)
    assert not probe.abilities(tmp_path).locks


@pytest.mark.parametrize(
    ("writes", "copies", "quick", "most"),
    [(0.1, 0.001, True, 3), (0.1, 0.1, False, 6), (9.0, 3.0, False, 160)],
)
def test_a_copy_is_quick_beside_what_writing_takes(
    writes: float,
    copies: float,
    quick: bool,
    most: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()

    def write(fd: int, data: bytes, at: int) -> int:
        clock.now += writes
        return real_write(fd, data, at)

    def copy(source: int, target: int, count: int, *at: int) -> int:
        clock.now += copies * count / (1 << 20)
        return real_copy(source, target, count, *at)

    real_write, real_copy = os.pwrite, os.copy_file_range
    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "copy_file_range", copy)
    assert probe.abilities(tmp_path, clock).quick_copies is quick
    assert clock.now - 1000 < most, "of what is slow, little is tried"


@pytest.mark.parametrize(("fault", "quick"), [(errno.EXDEV, False), (errno.ENOSPC, None)])
def test_what_is_not_copied_by_the_filesystem_is_not_quick(
    fault: int, quick: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(*_: int) -> int:
        raise OSError(fault, "not here")

    monkeypatch.setattr(os, "copy_file_range", copy)
    assert probe.abilities(tmp_path).quick_copies is quick


def test_a_copy_of_something_else_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(source: int, target: int, count: int, *_: int) -> int:
        os.ftruncate(target, 64 << 20)
        return count

    monkeypatch.setattr(os, "copy_file_range", copy)
    assert probe.abilities(tmp_path, lambda: 0.0).quick_copies is False


def test_what_shares_blocks_copies_quickly_however_busy_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflink, "support", lambda _: None)
    monkeypatch.setattr(os, "copy_file_range", _refuse)
    found = probe.abilities(tmp_path)
    assert found.reflinks
    assert found.quick_copies


@pytest.mark.parametrize("blocks", [0, 64 << 11])
def test_blocks_that_are_no_measure(
    blocks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(fd: int) -> os.stat_result:
        return os.stat_result(tuple(real(fd))[:10], {"st_blocks": blocks})

    real = os.fstat
    assert probe.abilities(tmp_path).tells_blocks
    monkeypatch.setattr(os, "fstat", stat)
    assert not probe.abilities(tmp_path).tells_blocks
