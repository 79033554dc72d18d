"""Loop devices on storage that hangs or is dead: whose they are not, has nothing of it."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convoy_py.linux import backing, loop, mounts
from tests import fuse
from tests.fuse import Fuse

pytestmark = pytest.mark.root

MIB = 1 << 20
Attach = Callable[[Path], Path]


@pytest.fixture
def storage(scratch: Path) -> Iterator[Fuse]:
    fuse = Fuse(scratch)
    yield fuse
    fuse.close()


@pytest.fixture
def attach(scratch: Path) -> Iterator[Attach]:
    """Attaches a new file as an administrator does; detached again at the end."""
    devices: list[Path] = []

    def attach(image: Path) -> Path:
        devices.append(fuse.attached(image))
        return devices[-1]

    yield attach
    for device in devices:
        fuse.detach(device)


@pytest.fixture
def ours(scratch: Path, tag: str) -> Iterator[tuple[Path, loop.LoopDevice]]:
    """An image of a volume, and its device."""
    image = scratch / "volumes" / "db" / "image"
    image.parent.mkdir(parents=True)
    image.write_bytes(bytes(MIB))
    with image.open("r+b") as file:
        device, fd = loop.attach(file.fileno(), tag=tag)
    yield image, device
    os.close(fd)


def _asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the devices that are asked from now on."""
    asked: list[int] = []
    ask = loop._questions._ask

    def note(number: int) -> bytes:
        asked.append(number)
        return ask(number)

    monkeypatch.setattr(loop._questions, "_ask", note)
    return asked


def test_device_on_other_storage_is_not_asked(
    storage: Fuse,
    attach: Attach,
    ours: tuple[Path, loop.LoopDevice],
    tag: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it hangs, and when it is dead: ours are found, by inode and by tag."""
    image, device = ours
    foreign = attach(storage.at / "disk.img")
    asked = _asked(monkeypatch)
    with storage.silent():
        assert [each.device for each in loop.find(image)] == [device]
        assert [each.device for each in loop.attached(tag, image)] == [device]
    storage.kill()
    assert [each.device for each in loop.find(image)] == [device]
    assert int(foreign.name.removeprefix("loop")) not in asked


@pytest.mark.parametrize("name", ["volumes/db/image", "db/image"])
def test_device_on_other_storage_that_looks_like_ours_costs_one_wait(
    storage: Fuse,
    attach: Attach,
    ours: tuple[Path, loop.LoopDevice],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """As another daemon's image may: it is asked once until it answers, and stops nobody."""
    image, device = ours
    number = int(attach(storage.at / name).name.removeprefix("loop"))
    asked = _asked(monkeypatch)
    with storage.silent():
        for _ in range(3):
            assert [each.device for each in loop.find(image)] == [device]
        assert asked.count(number) == 1
    deadline = time.monotonic() + 120
    while number in loop._questions.silent:
        assert time.monotonic() < deadline
        os.sched_yield()
    assert [each.device for each in loop.find(storage.behind / name)] == []
    assert [each.device.number for each in loop.find(storage.at / name)] == [number]
    storage.kill()
    assert [each.device for each in loop.find(image)] == [device]


def test_device_whose_storage_was_taken_away_is_no_obstacle(
    storage: Fuse, attach: Attach, ours: tuple[Path, loop.LoopDevice]
) -> None:
    """After `umount -l` its file seems to lie on the host's own disk."""
    image, device = ours
    attach(storage.at / "disk.img")
    with storage.silent():
        subprocess.run(["umount", "-l", storage.at], check=True)
        for _ in range(2):
            assert [each.device for each in loop.find(image)] == [device]


def test_silent_device_of_ours_is_not_taken_for_none(
    storage: Fuse, tag: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock on the image says that it is attached; nobody may take that for detached."""
    image = scratch / "db" / "image"
    image.parent.mkdir()
    image.write_bytes(bytes(MIB))
    with image.open("r+b") as file:
        device, fd = loop.attach(file.fileno(), tag=tag)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(loop._questions, "silent", {device.number})
                for asked in (image, file.fileno()):
                    with pytest.raises(TimeoutError, match="does not answer"):
                        loop.find(asked)
                with pytest.raises(TimeoutError, match="does not answer"):
                    loop.look(str(device.path))
            assert [each.device for each in loop.find(image)] == [device]
            found = loop.look(str(device.path))
            assert found is not None
            assert found.tag == tag
        finally:
            os.close(fd)


def test_image_is_a_candidate_under_any_name_of_its_filesystem(
    ours: tuple[Path, loop.LoopDevice], scratch: Path
) -> None:
    """A hard link, and what was deleted."""
    image, device = ours
    os.link(image, scratch / "link")
    for name in (image, scratch / "link"):
        assert backing.Candidate(device.number, likely=True) in backing.candidates(name)
    image.unlink()
    assert backing.Candidate(device.number, likely=True) in backing.candidates(image)


def test_image_that_was_attached_in_another_namespace_is_found(
    ours: tuple[Path, loop.LoopDevice], scratch: Path, in_namespace: Callable[..., int]
) -> None:
    """There it has a path that here leads elsewhere: to a filesystem that might hang."""
    image, _ = ours
    elsewhere = scratch / "volumes" / "web" / "image"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(bytes(MIB))
    seen = scratch / "ram"
    seen.mkdir()
    mounts.mount("tmpfs", seen, "tmpfs", ())
    in_namespace("private", f"mount --bind {scratch} {seen} && losetup -f {seen}/volumes/web/image")
    (found,) = loop.find(elsewhere)
    try:
        assert found.tag == f"{seen}/volumes/web/image"[:63]
        assert found.device not in [each.device for each in loop.find(image)]
    finally:
        loop.detach(found.device)


@pytest.mark.parametrize(
    ("path", "alike"),
    [
        ("/other/volumes/db/image", True),
        ("/db/image", True),
        ("/image", True),
        ("/db/image (deleted)", True),
        ("/volumes/web/image", False),
        ("/volumes/db/disk", False),
        ("/my-db/image", False),
    ],
)
def test_paths_are_compared_by_their_end(path: str, alike: bool) -> None:
    """A mount that is no more, or another namespace's, shows as much of a path as it likes."""
    assert backing._ends_alike(path, Path("/root/volumes/db/image")) is alike
