"""Copies of files where nothing can be shared: contents, holes, cancelling, and every fallback."""

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convoy_py.linux import btrfs, files, fsxattr, mounts, reflink

BLOCK = 4096
MIB = 1 << 20

# Parts of a file: (has data, blocks), and the bytes that follow the last whole block.
Layout = tuple[list[tuple[bool, int]], int]
layouts: st.SearchStrategy[Layout] = st.tuples(
    st.lists(st.tuples(st.booleans(), st.integers(1, 200)), max_size=8), st.integers(0, BLOCK - 1)
)


@pytest.fixture(autouse=True)
def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without reflinks, whatever the tests' folder lies on."""

    def refuse(_source: int, _target: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no reflinks")

    monkeypatch.setattr(reflink, "clone", refuse)


@pytest.mark.parametrize("by_kernel", [True, False])
def test_content_size_and_holes_are_those_of_the_source(tmp_path: Path, *, by_kernel: bool) -> None:
    """Whatever the order of data and holes, and whoever moves the bytes."""

    @settings(max_examples=40, deadline=None)
    @given(layouts)
    def check(layout: Layout) -> None:
        with (
            tempfile.TemporaryFile(dir=tmp_path) as source,
            tempfile.TemporaryFile(dir=tmp_path) as target,
            pytest.MonkeyPatch.context() as patch,
        ):
            if not by_kernel:
                patch.setattr(os, "copy_file_range", refuses(errno.EXDEV))
            told: list[int] = []
            write(source.fileno(), layout)
            reflink.copy(source.fileno(), target.fileno(), told.append)
            assert whole(target.fileno()) == whole(source.fileno())
            assert data_map(target.fileno()) == data_map(source.fileno())
            assert sum(told) == os.fstat(source.fileno()).st_size

    check()


@pytest.mark.parametrize(
    "number", [errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, None]
)
def test_kernel_that_does_not_copy_is_stood_in_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    """Also where it answers, as some filesystems have it do, that there is nothing to copy."""
    answer = (lambda *_: 0) if number is None else refuses(number)
    monkeypatch.setattr(os, "copy_file_range", answer)
    (tmp_path / "source").write_bytes(os.urandom(3 * MIB + 5))
    copied(tmp_path)
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()


@pytest.mark.parametrize(
    ("where", "name"),
    [(os, "copy_file_range"), (os, "lseek"), (reflink, "clone")],
)
def test_failing_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str
) -> None:
    """What is no refusal is not tried in another way, nor taken for the end."""
    monkeypatch.setattr(where, name, refuses(errno.EIO))
    (tmp_path / "source").write_bytes(b"x")
    with pytest.raises(OSError, match="refused") as caught:
        copied(tmp_path)
    assert caught.value.errno == errno.EIO


def test_blocks_are_not_shared_where_they_must_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as a whole nor piece by piece, as the kernel might."""
    for where, name in ((reflink, "clone"), (os, "copy_file_range")):
        monkeypatch.setattr(where, name, refuses(errno.EIO))
    (tmp_path / "source").write_bytes(b"x" * 3 * MIB)
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("wb") as target:
        reflink.copy(source.fileno(), target.fileno(), lambda _: None, share=False)
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()


@pytest.mark.parametrize("has_hole", [True, False])
def test_file_that_grows_meanwhile_is_copied_up_to_the_size_it_had(
    tmp_path: Path, *, has_hole: bool
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * BLOCK)
    if has_hole:
        os.truncate(source, MIB)
    began = source.read_bytes()
    told: list[int] = []

    def grow(done: int) -> None:
        told.append(done)
        with source.open("ab") as file:
            file.write(b"y" * BLOCK)

    copied(tmp_path, grow)
    assert (tmp_path / "target").read_bytes() == began
    assert sum(told) == len(began)


def test_step_stops_the_work(tmp_path: Path) -> None:
    """What a step raises comes out, and nothing is copied after it."""
    (tmp_path / "source").write_bytes(bytes(70 * MIB))
    told: list[int] = []

    def step(done: int) -> None:
        told.append(done)
        if sum(told) >= 20 * MIB:
            raise InterruptedError("cancelled")

    with pytest.raises(InterruptedError, match="cancelled"):
        copied(tmp_path, step)
    assert sum(told) < 70 * MIB
    with (tmp_path / "target").open("rb") as target:
        assert data_map(target.fileno()) == [(0, sum(told))]


def test_step_hears_of_large_files_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least every 64 MiB, so that there is progress to show and a moment to stop.

    And so often the copy is written out, and only then leaves the page cache to others.
    """
    written: list[str] = []
    advise = os.posix_fadvise

    def advised(fd: int, begin: int, length: int, advice: int) -> None:
        if advice == os.POSIX_FADV_DONTNEED:
            written.append("let go of")
        advise(fd, begin, length, advice)

    monkeypatch.setattr(os, "fdatasync", lambda _: written.append("written out"))
    monkeypatch.setattr(os, "posix_fadvise", advised)
    with (tmp_path / "source").open("wb") as file:
        for _ in range(140):
            file.write(os.urandom(MIB))
    told: list[int] = []
    copied(tmp_path, told.append)
    assert max(told) <= 64 * MIB
    assert sum(told) == 140 * MIB
    assert written == ["written out", "let go of"] * 2
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()


def test_file_that_is_cut_short_meanwhile_is_no_endless_work(tmp_path: Path) -> None:
    """The copy ends where the source now does."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(40 * MIB))
    begin = source.read_bytes()[: 20 * MIB]

    def cut(_done: int) -> None:
        os.truncate(source, 20 * MIB)

    copied(tmp_path, cut)
    assert (tmp_path / "target").read_bytes() == begin


def test_speed_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of writes that reached the disk, leaves nothing, and is remembered."""
    synced: list[int] = []
    sync = os.fdatasync

    def counted(fd: int) -> None:
        synced.append(fd)
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    monkeypatch.setattr(reflink, "_speeds", {})
    found = reflink.speed(tmp_path)
    assert found > 0
    assert synced
    synced.clear()
    assert reflink.speed(tmp_path) == found
    assert synced == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seconds", "pieces"), [(0.01, 8), (0.3, 2)])
def test_speed_is_measured_with_so_much_or_for_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, pieces: int
) -> None:
    """On a fast disk with 32 MiB, on a slow one for half a second."""
    written: list[int] = []
    monkeypatch.setattr(os, "fdatasync", written.append)
    monkeypatch.setattr(time, "perf_counter", lambda: len(written) * seconds)
    monkeypatch.setattr(reflink, "_speeds", {})
    assert reflink.speed(tmp_path) == pytest.approx(4 * MIB / seconds)
    assert len(written) == pieces


def test_support_that_cannot_be_tried_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the reason says so, and does not stick."""
    monkeypatch.setattr(reflink, "_support", {})
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", refuses(errno.ENOSPC))
        assert reflink.support(tmp_path) == "reflinks could not be tried: refused"
        patch.setattr(btrfs, "is_btrfs", lambda _: True)  # where there are always some
        assert reflink.support(tmp_path) is None
    assert reflink.support(tmp_path) != "reflinks could not be tried: refused"


@pytest.mark.parametrize(
    ("fstype", "told"),
    [("xfs", "this xfs was made without reflinks"), ("nfs", "nfs has no reflinks")],
)
def test_support_is_tried_once_and_the_reason_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fstype: str, told: str
) -> None:
    tried: list[int] = []

    def clone(source: int, _target: int) -> None:
        tried.append(source)
        if fstype:
            raise OSError(errno.EOPNOTSUPP, "no reflinks")

    mount = replace(mounts.holding(tmp_path), fstype=fstype)
    monkeypatch.setattr(mounts, "holding", lambda _: mount)
    monkeypatch.setattr(reflink, "clone", clone)
    monkeypatch.setattr(reflink, "_support", {})
    assert reflink.support(tmp_path) == reflink.support(tmp_path) == told
    assert len(tried) == 1
    fstype = ""
    monkeypatch.setattr(reflink, "_support", {})
    assert reflink.support(tmp_path) is None


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EIO])
def test_only_a_filesystem_that_knows_no_pieces_goes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """In whichever way it says so."""
    monkeypatch.undo()  # the clone, too
    asked: list[int] = []
    monkeypatch.setattr(fsxattr, "read", refuses(number))
    monkeypatch.setattr(fcntl, "ioctl", lambda _fd, request, _: asked.append(request))
    monkeypatch.setattr(files, "is_nocow", lambda _: False)
    with tempfile.TemporaryFile(dir=tmp_path) as source, tempfile.TemporaryFile() as target:
        fails = number == errno.EIO
        with pytest.raises(OSError, match="refused") if fails else nullcontext():
            reflink.clone(source.fileno(), target.fileno())
        with pytest.raises(OSError, match="refused") if fails else nullcontext():
            reflink.keep_in_pieces(target.fileno())
    assert asked == ([] if fails else [reflink._FICLONE])


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("pieces", [MIB, 0])
def test_clone_gets_its_blocks_as_the_source_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int, *, in_place: bool
) -> None:
    """Overwritten in place, and so many at once, or neither: before it shares any."""
    monkeypatch.undo()  # the clone, too
    done: list[object] = []
    flags = reflink._IN_PIECES if pieces else 0
    told = fsxattr.Attributes(flags, MIB, 0, 0, 0, b"")  # the size means nothing without the flag
    monkeypatch.setattr(fsxattr, "read", lambda _: told)
    monkeypatch.setattr(fsxattr, "write", lambda _, found: done.append(found.extent_size))
    monkeypatch.setattr(files, "is_nocow", lambda _: in_place)
    monkeypatch.setattr(files, "set_nocow", lambda _: done.append("in place"))
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: done.append("shared"))
    with tempfile.TemporaryFile(dir=tmp_path) as source, tempfile.TemporaryFile() as target:
        reflink.clone(source.fileno(), target.fileno())
    assert done == ["in place"] * in_place + [pieces] * bool(pieces) + ["shared"]


def refuses(number: int) -> Callable[..., int]:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, "refused")

    return refuse


def copied(folder: Path, step: reflink.Step = lambda _done: None) -> None:
    with (folder / "source").open("rb") as source, (folder / "target").open("wb") as target:
        reflink.copy(source.fileno(), target.fileno(), step)


def write(fd: int, layout: Layout) -> None:
    parts, tail = layout
    at = 0
    for has_data, blocks in parts:
        if has_data:
            os.pwrite(fd, os.urandom(BLOCK) * blocks, at)
        at += blocks * BLOCK
    os.ftruncate(fd, at + tail)


def whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size + 1, 0)


def data_map(fd: int) -> list[tuple[int, int]]:
    """Where the file has data; what is no hole lies on the disk."""
    found: list[tuple[int, int]] = []
    end = 0
    while True:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return found
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        found.append((begin, end))
