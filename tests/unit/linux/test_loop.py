"""Loop devices where a race is lost, a device goes away, or its storage fails."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convoy_py.linux import backing, loop
from convoy_py.linux.backing import Candidate
from convoy_py.linux.loop import LoopDevice

DEVICE = LoopDevice(Path("/dev/loop7"), 7)


def fails(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


class Kernel:
    """Its answers to ioctl: `calls` that were made, and errors by call."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.errors: dict[int, list[int]] = {}
        self.refuses_discard: list[bool] = []
        open_, close = os.open, os.close

        def closed(fd: int) -> None:
            self.calls.append("close")
            close(fd)

        patch.setattr(os, "open", lambda *_, **__: open_("/dev/null", os.O_RDONLY))
        patch.setattr(os, "close", closed)
        patch.setattr(fcntl, "ioctl", self._asked)
        patch.setattr(loop, "_refuses_discard", self._refuses)

    def _asked(self, _fd: int, request: int, *_: object) -> int:
        self.calls.append(NAMES[request])
        if errors := self.errors.get(request):
            number = errors.pop(0)
            raise OSError(number, os.strerror(number))
        return 7

    def _refuses(self, _device: LoopDevice) -> bool:
        return bool(self.refuses_discard) and self.refuses_discard.pop(0)


NAMES = {
    loop._LOOP_CTL_GET_FREE: "get free",
    loop._LOOP_CONFIGURE: "configure",
    loop._LOOP_CLR_FD: "clear",
    loop._LOOP_CTL_REMOVE: "remove",
}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ENOENT, errno.ENXIO, errno.ENODEV])
def test_lost_race_for_a_device_is_run_again(kernel: Kernel, number: int) -> None:
    """Another took it, or took it away."""
    kernel.errors[loop._LOOP_CONFIGURE] = [number] * 3
    device, fd = loop._configured_so(0, 0, 4096, "tag")
    os.close(fd)
    assert device == DEVICE
    assert kernel.calls.count("configure") == 4


def test_device_that_cannot_be_configured_is_an_error(kernel: Kernel) -> None:
    """At once, unless direct I/O may be what is refused: then it is tried without."""
    kernel.errors[loop._LOOP_CONFIGURE] = [errno.EIO]
    with pytest.raises(OSError, match="Input/output error"):
        loop._configured(0, 4096, "tag", 0)
    assert kernel.calls.count("configure") == 1
    kernel.errors[loop._LOOP_CONFIGURE] = [errno.EINVAL]
    _, fd = loop._configured(0, 4096, "tag", 0)
    os.close(fd)
    assert kernel.calls.count("configure") == 3


def test_device_that_refuses_discards_is_given_up_for_another(kernel: Kernel) -> None:
    """It is let go of before it is deleted: the kernel deletes none that is in use."""
    kernel.refuses_discard = [True, True, False]
    _, fd = loop._configured_so(0, 0, 4096, "tag")
    os.close(fd)
    given_up = ["clear", "close", "remove", "close"]
    assert kernel.calls[: 2 + len(given_up)] == ["get free", "configure", *given_up]
    assert kernel.calls.count("configure") == 2


@pytest.mark.parametrize("number", [0, errno.EBUSY, errno.ENODEV])
def test_device_that_is_in_use_or_gone_is_not_retired(kernel: Kernel, number: int) -> None:
    kernel.refuses_discard = [True, False]
    kernel.errors[loop._LOOP_CTL_REMOVE] = [number] if number else []
    loop.retire(DEVICE)
    assert kernel.calls == ["remove", "close"]
    loop.retire(DEVICE)
    assert kernel.calls == ["remove", "close"]


def test_failure_to_retire_or_detach_is_an_error(kernel: Kernel) -> None:
    """But for a device that holds no file any more."""
    kernel.refuses_discard = [True]
    kernel.errors = {loop._LOOP_CTL_REMOVE: [errno.EIO], loop._LOOP_CLR_FD: [errno.EIO]}
    with pytest.raises(OSError, match="Input/output error"):
        loop.retire(DEVICE)
    with pytest.raises(OSError, match="Input/output error"):
        loop.detach(DEVICE)
    kernel.errors[loop._LOOP_CLR_FD] = [errno.ENXIO]
    loop.detach(DEVICE)


@pytest.mark.parametrize(
    ("most", "most_of_hardware", "refuses"),
    [(b"0\n", b"4096\n", True), (b"0\n", b"0\n", False), (b"4096\n", b"4096\n", False)],
)
def test_forbidden_discards_are_told_from_none(
    monkeypatch: pytest.MonkeyPatch, most: bytes, most_of_hardware: bytes, *, refuses: bool
) -> None:
    told = {"discard_max_bytes": most, "discard_max_hw_bytes": most_of_hardware}
    monkeypatch.setattr(Path, "read_bytes", lambda path: told[path.name])
    assert loop._refuses_discard(DEVICE) is refuses


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV, errno.EIO])
def test_device_that_is_gone_refuses_nothing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(Path, "read_bytes", fails(number))
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            loop._refuses_discard(DEVICE)
    else:
        assert not loop._refuses_discard(DEVICE)


def test_device_that_lets_go_of_its_file_is_not_reopened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that has got another one; what else fails is told."""
    (tmp_path / "image").touch()
    with (tmp_path / "image").open("rb") as image:
        for info in (None, b"another's"):
            monkeypatch.setattr(loop, "_info", lambda _, info=info: info)
            with monkeypatch.context() as patch:
                Kernel(patch)
                with pytest.raises(FileNotFoundError, match="that image no longer"):
                    loop.reopen(DEVICE, image.fileno())
        for number, told in ((errno.ENXIO, FileNotFoundError), (errno.EIO, OSError)):
            with monkeypatch.context() as patch:
                patch.setattr(os, "open", fails(number))
                with pytest.raises(OSError, match=r"loop7|Input/output") as caught:
                    loop.reopen(DEVICE, image.fileno())
            assert type(caught.value) is told


@pytest.mark.parametrize("is_likely", [True, False])
def test_device_that_cannot_be_opened_matters_if_it_may_have_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_likely: bool
) -> None:
    """Others' may fail as they like."""
    monkeypatch.setattr(backing, "candidates", lambda _: [Candidate(7, likely=is_likely)])
    monkeypatch.setattr(loop._questions, "answers", lambda _: [(7, PermissionError("refused"))])
    with pytest.raises(PermissionError, match="refused"):
        loop.look("/dev/loop7")
    if is_likely:
        with pytest.raises(PermissionError, match="refused"):
            loop.find(tmp_path)
    else:
        assert loop.find(tmp_path) == []


def test_device_without_a_file_answers_that_it_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not silent, but nothing is found on it."""
    monkeypatch.setattr(backing, "candidates", lambda _: [Candidate(7, likely=True)])
    monkeypatch.setattr(loop, "_opened", lambda *_: os.open(tmp_path, os.O_RDONLY))
    monkeypatch.setattr(loop, "_info", lambda _: None)
    assert loop.answering(tmp_path) == {7}
    assert loop.look("/dev/loop7") is None
    assert loop.attached("", tmp_path) == []


@pytest.mark.parametrize("is_locked", [True, False])
@pytest.mark.parametrize("is_silent", [True, False])
def test_image_that_is_on_no_device_is_free_unless_one_is_silent_and_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_silent: bool, is_locked: bool
) -> None:
    image = tmp_path / "image"
    image.touch()
    monkeypatch.setattr(backing, "candidates", lambda _: [])
    monkeypatch.setattr(loop._questions, "silent", {7} if is_silent else set())
    with image.open() as held:
        if is_locked:
            fcntl.flock(held, fcntl.LOCK_EX)
        if is_silent and is_locked:
            with pytest.raises(TimeoutError):
                loop.find(image)
        else:
            assert loop.find(image) == []


@pytest.mark.parametrize("told", ["/image", "", None])
def test_backing_file_is_told_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, told: str | None
) -> None:
    monkeypatch.setattr(backing, "path", lambda _: told)
    assert loop.backing_file("/dev/loop7") == (told or None)
    assert loop.backing_file("/dev/sda") is None


def test_tag_that_would_be_cut_is_refused() -> None:
    with pytest.raises(OSError, match="63 bytes") as caught:
        loop.attach(0, tag="x" * 64)
    assert caught.value.errno == errno.ENAMETOOLONG
