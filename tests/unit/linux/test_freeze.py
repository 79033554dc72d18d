"""What is frozen and thawed in which order, by a kernel that only pretends."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from convoy_py.linux import freeze, libc, mounts, process, watchdog

frozen = partial(freeze.frozen, encode=lambda names: "\n".join(names).encode())


class Kernel:
    """Which folders are frozen, and what fails: `freezing` and `thawing` one of them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.frozen: list[str] = []
        self.done: list[str] = []
        self.fails: dict[tuple[str, str], int] = {}
        patch.setattr(freeze, "_freeze", self._freeze)
        patch.setattr(watchdog, "thaw", self._thaw)
        self._call = libc.call
        patch.setattr(libc, "call", self._called)

    def _called(self, function: str, *arguments: object, about: str) -> int:
        if function != "syncfs":
            return self._call(function, *arguments, about=about)
        self.done.append(f"sync {Path(about).name}")
        return 0

    def _ask(self, verb: str, name: str) -> None:
        self.done.append(f"{verb} {name}")
        if number := self.fails.get((verb, name)):
            raise OSError(number, os.strerror(number), name)

    def _freeze(self, _folder: int, about: str) -> None:
        self._ask("freeze", Path(about).name)
        self.frozen.append(Path(about).name)

    def _thaw(self, folder: int) -> bool:
        name = Path(os.readlink(f"/proc/self/fd/{folder}")).name
        self._ask("thaw", name)
        with suppress(ValueError):
            self.frozen.remove(name)
            return True
        return False


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


@pytest.fixture
def answers() -> list[bytes]:
    """What the watchdog says; nothing at all if that is empty."""
    return [watchdog.READY]


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[bytes]) -> list[Path]:
    """Folders on which filesystems seem to be mounted."""
    around = mounts.holding(tmp_path)  # on whatever loop device that may be
    monkeypatch.setattr(
        mounts, "find", lambda _: replace(around, device=f"other than {around.device}")
    )

    @contextmanager
    def companion(_: object) -> Iterator[tuple[int, int]]:
        orders, told = os.pipe(), os.pipe()
        os.write(told[1], answers[0])
        try:
            yield orders[1], told[0]
        finally:
            for fd in (*orders, *told):
                os.close(fd)

    monkeypatch.setattr(freeze, "_START_SECONDS", 0.05)
    monkeypatch.setattr(process, "companion", companion)
    found = [tmp_path / "a", tmp_path / "b"]
    for folder in found:
        folder.mkdir()
    return found


def test_all_is_frozen_in_order_and_thawed_in_reverse(
    kernel: Kernel, volumes: list[Path], tmp_path: Path
) -> None:
    """What can be written out before is: so nobody waits for it. While it lasts a note tells."""
    note, told = tmp_path / "note", list[float]()
    with frozen(volumes, note=note, limit=10, tell=told.append):
        assert note.read_text() == "\n".join(map(str, volumes))
        assert kernel.frozen == ["a", "b"]
    assert kernel.done == ["sync a", "sync b", "freeze a", "freeze b", "thaw b", "thaw a"]
    assert len(told) == 1
    assert not note.exists()


@pytest.mark.parametrize(("name", "thawed"), [("a", []), ("b", ["thaw a"])])
def test_what_somebody_else_has_frozen_is_not_thawed(
    kernel: Kernel, volumes: list[Path], tmp_path: Path, name: str, thawed: list[str]
) -> None:
    """But what was frozen before that was found out; nobody waited if nothing was."""
    kernel.fails["freeze", name] = errno.EBUSY
    told: list[float] = []
    with (
        pytest.raises(OSError, match="busy"),
        frozen(volumes, note=tmp_path / "note", limit=10, tell=told.append),
    ):
        pass
    assert [each for each in kernel.done if each.startswith("thaw")] == thawed
    assert len(told) == len(thawed)
    assert not (tmp_path / "note").exists()


def test_what_was_thawed_before_the_end_is_told(
    kernel: Kernel, volumes: list[Path], tmp_path: Path
) -> None:
    with (
        pytest.raises(TimeoutError, match="before the work was done") as caught,
        frozen(volumes, note=tmp_path / "note", limit=10),
    ):
        kernel.frozen.clear()
    assert caught.value.filename == str(volumes[1])


def test_thaw_that_fails_keeps_none_of_the_others_frozen(
    kernel: Kernel, volumes: list[Path], tmp_path: Path
) -> None:
    """The note stays for who tries again."""
    kernel.fails["thaw", "b"] = errno.EIO
    with (
        pytest.raises(OSError, match="it stays frozen: Input/output error"),
        frozen(volumes, note=tmp_path / "note", limit=10),
    ):
        pass
    assert kernel.frozen == ["b"]
    assert (tmp_path / "note").exists()


@pytest.mark.parametrize("answer", [b"", b"another\n"])
def test_nothing_is_frozen_without_a_watchdog(
    kernel: Kernel, volumes: list[Path], tmp_path: Path, answers: list[bytes], answer: bytes
) -> None:
    """That says it is ready, and in time."""
    answers[0] = answer
    with (
        pytest.raises(OSError, match="did not start"),
        frozen(volumes, note=tmp_path / "note", limit=10),
    ):
        pass
    assert "freeze a" not in kernel.done


@pytest.mark.parametrize("is_mounted", [True, False])
def test_filesystem_of_the_host_is_not_frozen(
    kernel: Kernel,
    volumes: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_mounted: bool,
) -> None:
    """Neither through a folder nor through a bind mount of one."""
    host = mounts.holding(tmp_path)
    monkeypatch.setattr(mounts, "find", lambda _: host if is_mounted else None)
    with (
        pytest.raises(OSError, match="only a filesystem that is mounted") as caught,
        frozen(volumes, note=tmp_path / "note", limit=10),
    ):
        pass
    assert caught.value.errno == errno.EINVAL
    assert kernel.done == []
