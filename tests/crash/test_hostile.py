"""What others put in the place of images and folders is refused in one line, and leads nowhere."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.crash.contents import write_canary
from tests.crash.rounds import SEED, TIMEOUT, chance, rounds
from tests.crash.volumes import CONTAINER, KINDS
from tests.harness import Daemon, Refused

pytestmark = [pytest.mark.root, pytest.mark.timeout(TIMEOUT)]

_MIB = 1 << 20
_IMAGES = ("ext4", "xfs", "btrfs")
_SECRET = b"not for you\n"
_Prepare = Callable[[Path, Path, Path], object]  # the home, an image that is whole, what is outside


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that nothing may be read from or written to."""
    folder = tmp_path / "outside"
    (folder / "below").mkdir(parents=True)
    (folder / "secret").write_bytes(_SECRET)
    before = _seen(folder)
    yield folder
    assert _seen(folder) == before


def _seen(folder: Path) -> list[tuple[str, int, int]]:
    found = [(path, path.lstat()) for path in sorted(folder.rglob("*"))]
    return [(str(path), each.st_mode, each.st_mtime_ns) for path, each in found]


def _write(home: Path, content: bytes) -> None:
    (home / "image").write_bytes(content)


def _cut(home: Path, whole: Path, outside: Path) -> None:
    shutil.copy(whole, home / "image")
    os.truncate(home / "image", whole.stat().st_size // 2)


def _twice(home: Path, whole: Path, outside: Path) -> None:
    """Both kinds of data."""
    shutil.copy(whole, home / "image")
    (home / "data").symlink_to(outside)


def _many(home: Path, whole: Path, outside: Path) -> None:
    (home / "data").mkdir()
    for number in range(5_000):
        (home / "data" / f"{number:0200}").symlink_to(outside)


def _deep(home: Path, whole: Path, outside: Path) -> None:
    (home / "data").mkdir()
    fd = os.open(home / "data", os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def _device(path: Path) -> None:
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 250))


HOSTILE: dict[str, _Prepare] = {
    "nothing": lambda home, whole, outside: None,
    "empty": lambda home, whole, outside: _write(home, b""),
    "short": lambda home, whole, outside: _write(home, b"x" * 100),
    "zeros": lambda home, whole, outside: _write(home, bytes(16 * _MIB)),
    "garbage": lambda home, whole, outside: _write(home, os.urandom(16 * _MIB)),
    "cut": _cut,
    "image-link": lambda home, whole, outside: (home / "image").symlink_to(whole),
    "image-loop": lambda home, whole, outside: (home / "image").symlink_to("image"),
    "image-pipe": lambda home, whole, outside: os.mkfifo(home / "image"),
    "image-folder": lambda home, whole, outside: (home / "image").mkdir(),
    "image-device": lambda home, whole, outside: _device(home / "image"),
    "data-link": lambda home, whole, outside: (home / "data").symlink_to(outside),
    "data-file": lambda home, whole, outside: (home / "data").write_bytes(b"x"),
    "data-pipe": lambda home, whole, outside: os.mkfifo(home / "data"),
    "data-device": lambda home, whole, outside: _device(home / "data"),
    "both": _twice,
    "many": _many,
    "deep": _deep,
}


def _adopted(daemon: Daemon, name: str) -> bool:
    """Adopt, use and remove; whether it was to be had. A refusal is one line."""
    told = []
    try:
        daemon.adopt(name)
        seen = daemon.mount(name, CONTAINER)
        with suppress(OSError):  # what is damaged may not be readable
            assert _SECRET not in [each.read_bytes() for each in seen.iterdir() if each.is_file()]
    except Refused as refusal:
        told.append(str(refusal))
    daemon.unmount(name, CONTAINER)
    if name in daemon.listed():
        with suppress(Refused):
            daemon.remove(name)
    assert not [line for line in told if "\n" in line.strip() or not line]
    return not told


@pytest.fixture(scope="session")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An image of each filesystem, as small as can be."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    for fs in _IMAGES:
        found[fs] = folder / fs
        size = {"M": _MIB}[KINDS[fs]["size"][-1]] * int(KINDS[fs]["size"][:-1])
        with found[fs].open("wb") as file:
            file.truncate(size)
        subprocess.run([f"mkfs.{fs}", "-q", str(found[fs])], check=True)
    return found


def _is_well(daemon: Daemon) -> None:
    """Other volumes are served, and nothing is left on the host."""
    daemon.create("well", backend="directory")
    write_canary(daemon.mount("well", CONTAINER), b"x")
    daemon.unmount("well", CONTAINER)
    daemon.remove("well")
    assert daemon.left() == []


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_is_hostile_is_told_in_one_line(
    daemon: Daemon, outside: Path, wholes: dict[str, Path], hostile: str
) -> None:
    """Also by a daemon that finds it at its start."""
    daemon.start()
    home = daemon.root / "volumes/v"
    home.mkdir()
    HOSTILE[hostile](home, wholes["btrfs"], outside)
    _adopted(daemon, "v")
    _is_well(daemon)
    daemon.kill()
    if not home.exists():
        home.mkdir()
        HOSTILE[hostile](home, wholes["btrfs"], outside)
    daemon.start()
    daemon.listed()
    _adopted(daemon, "v")
    _is_well(daemon)


def _garble(image: Path, choose: Random) -> None:
    """Change some bytes where filesystems begin, or cut it."""
    size = image.stat().st_size
    with image.open("r+b") as file:
        for _ in range(choose.choice([1, 4, 64])):
            file.seek(choose.randrange(choose.choice([4096, 128 << 10, _MIB, size])))
            file.write(choose.randbytes(choose.choice([1, 4, 512])))
        if choose.random() < 0.2:
            file.truncate(choose.randrange(size))


@pytest.mark.parametrize("fs", _IMAGES)
def test_garbled_images_are_adopted_or_refused(
    daemon: Daemon,
    outside: Path,
    wholes: dict[str, Path],
    fs: str,
    tell: Callable[[str], None],
) -> None:
    """Whichever bytes were changed; the daemon goes on, and nothing is left on the host."""
    choose, count, whole = chance("garble", fs), 0, 0
    tell(f"garbled {fs}: CRASH_SEED={SEED}")
    daemon.start()
    for count in rounds(3):  # noqa: B007 - told below
        home = daemon.root / "volumes/v"
        home.mkdir(exist_ok=True)
        shutil.copy(wholes[fs], home / "image")
        _garble(home / "image", choose)
        whole += _adopted(daemon, "v")
        shutil.rmtree(home, ignore_errors=True)
        assert daemon.left() == []
    _is_well(daemon)
    tell(f"garbled {fs}: {count + 1} images, {whole} of them adopted")
