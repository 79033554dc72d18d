"""Somebody replaces files, folders and links while verbs read and write the same tree.

Whatever a verb comes to, it ends, a refusal is one line, nothing from outside of the volume gets
into a copy, and nothing outside is changed.
"""

import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from threading import Event

import pytest

from convoy_py.linux import mounts
from convoy_py.linux.descriptors import opened
from tests.crash import verbs
from tests.crash.conftest import FLAGS
from tests.crash.disks import daemon_on
from tests.crash.rounds import SEED, TIMEOUT, chance, rounds
from tests.fakes_docker import said, serving
from tests.harness import Daemon, Refused, eventually
from tests.holding import attached_below

pytestmark = [pytest.mark.root, pytest.mark.timeout(TIMEOUT)]

_SECRET = b"not for you\n"
_NAMES = ("a", "b", "a/c", "a/d", "b/c", "b/c/d")
_ROUNDS = 2
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW


class Vandal:
    """Replaces what is in a folder, as a container or another process of the host may."""

    def __init__(self, top: Path, outside: Path, choose: Random) -> None:
        self._top = top
        self._outside = outside
        self._choose = choose

    def rage(self, ended: Event) -> None:
        while not ended.is_set():
            with suppress(OSError, shutil.Error):
                *way, name = self._choose.choice(_NAMES).split("/")
                with _reached(self._top, way) as folder:
                    self._replace(folder / name)

    def _replace(self, path: Path) -> None:
        beside = self._top / ".beside"
        self._remove(beside)
        self._choose.choice(
            [self._file, self._folder, self._link, self._pipe, self._device, self._other_name]
        )(beside)
        with suppress(OSError):
            beside.rename(path)
            return
        path.rename(self._top / ".away")
        beside.rename(path)
        self._remove(self._top / ".away")

    def _remove(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def _file(self, path: Path) -> None:
        path.write_bytes(self._choose.randbytes(self._choose.choice([0, 10, 100_000])))

    def _folder(self, path: Path) -> None:
        path.mkdir()
        for name in ("c", "d", "secret"):
            (path / name).write_bytes(b"mine\n")

    def _link(self, path: Path) -> None:
        target = self._choose.choice([self._outside, self._outside / "secret", Path("..")])
        path.symlink_to(target)

    def _pipe(self, path: Path) -> None:
        os.mkfifo(path)

    def _device(self, path: Path) -> None:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # endless zeros

    def _other_name(self, path: Path) -> None:
        os.link(self._top / self._choose.choice(_NAMES), path, follow_symlinks=False)


@contextmanager
def _reached(top: Path, way: Sequence[str]) -> Iterator[Path]:
    """A folder below `top`: the vandal itself does not follow what it has put there."""
    with ExitStack() as stack:
        fd = stack.enter_context(opened(top, _FOLDER))
        for name in way:
            fd = stack.enter_context(opened(name, _FOLDER, folder=fd))
        yield Path(f"/proc/self/fd/{fd}")


def _verbs(daemon: Daemon, choose: Random, number: int) -> dict[str, Callable[[], object]]:
    """The verbs on `v`, and on an engine's volume `old`, that the vandal meets."""
    path = choose.choice(_NAMES)
    return {
        "snapshot": lambda: verbs.snapshot(daemon, "v", f"s{number}"),
        "clone": lambda: verbs.clone(daemon, "v", f"c{number}"),
        "clone-image": lambda: verbs.job(
            daemon,
            "POST",
            "/v1/volumes/v/clone",
            Name=f"i{number}",
            Options={"backend": "loopback", "size": "32M"},
        ),
        "diff": lambda: verbs.job(daemon, "GET", "/v1/volumes/v/diff?from=first"),
        "restore-file": lambda: verbs.restore_file(daemon, "v", "first", path),
        "convert": lambda: verbs.convert(daemon, f"w{number}", backend="loopback", size="32M"),
        "adopt": lambda: verbs.job(
            daemon, "POST", "/v1/adopt", DockerVolume="old", Name=f"a{number}"
        ),
    }


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """What no verb may read from or write to."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(_SECRET)
    (folder / "c").mkdir()
    yield folder
    assert sorted(path.name for path in folder.rglob("*")) == ["c", "secret"]
    assert (folder / "secret").read_bytes() == _SECRET
    assert (folder / "secret").stat().st_nlink == 1


def _has_secret(top: Path) -> list[Path]:
    """The regular files below a folder that hold what lies outside."""
    found = []
    for folder, _, names in os.walk(top):
        for path in (Path(folder, name) for name in names):
            with suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode) and path.read_bytes() == _SECRET:
                    found.append(path)
    return found


def _look_into(daemon: Daemon, names: list[str]) -> None:
    for name in names:
        assert _has_secret(daemon.mount(name, "look")) == []
        daemon.unmount(name, "look")


def _taken_away(daemon: Daemon) -> None:
    """Look into what a round has made, and take it away."""
    snapshots = [each["FullName"] for each in daemon.admin("GET", "/v1/snapshots")["Snapshots"]]
    _look_into(daemon, [*daemon.listed(), *snapshots])
    for name in set(snapshots) - {"v@first"}:
        verbs.delete_snapshot(daemon, name)
    for name in daemon.listed().keys() - {"v"}:
        daemon.remove(name)


def _while_raging(vandals: list[Vandal], work: Callable[[], None]) -> None:
    ended = Event()
    with ThreadPoolExecutor(len(vandals)) as pool:
        raging = [pool.submit(vandal.rage, ended) for vandal in vandals]
        try:
            work()
        finally:
            ended.set()
    for rage in raging:
        rage.result()


@contextmanager
def _engine(folder: Path) -> Iterator[tuple[str, Path]]:
    """A container engine with a volume `old`: its name as a host, and the folder of the volume."""
    old = folder / "docker/volumes/old/_data"
    old.mkdir(parents=True)
    volume = {"Name": "old", "Driver": "local", "Mountpoint": str(old)}

    def answer(target: str) -> bytes:
        if target.endswith("/version"):
            return said("200 OK", {"ApiVersion": "1.41"})
        if "/volumes/old" in target:
            return said("200 OK", {**volume, "Options": None, "Labels": None})
        root = {"DockerRootDir": str(folder / "docker")}
        return said("200 OK", root if target.endswith("/info") else [])

    with serving(folder / "engine.sock", answer) as host:
        yield host, old


@pytest.mark.parametrize("fs", ["host", "xfs", "btrfs"])
def test_who_changes_a_tree_meanwhile_leads_nobody_out(
    tmp_path: Path, outside: Path, tell: Callable[[str], None], fs: str
) -> None:
    """Neither reading nor writing; each verb ends."""
    choose, told = chance("races", fs), list[str]()
    done: Counter[str] = Counter()

    def all_verbs() -> None:
        for verb, act in _verbs(daemon, choose, number).items():
            try:
                act()
                done[verb] += 1
            except Refused as refusal:
                told.append(f"{verb}: {refusal}")

    with (
        _engine(tmp_path) as (host, old),
        daemon_on(tmp_path, fs, [*FLAGS, f"--docker-host={host}"]) as daemon,
    ):
        daemon.start()
        daemon.create("v", backend="directory")
        for name in ("a", "b", "b/c"):
            (daemon.root / "volumes/v/data" / name).mkdir()
        verbs.snapshot(daemon, "v", "first")
        for number in rounds(_ROUNDS):
            daemon.create(f"w{number}", backend="directory")
            tops = [old, *(daemon.root / f"volumes/{name}/data" for name in ("v", f"w{number}"))]
            vandals = [Vandal(top, outside, chance(fs, number, top)) for top in tops]
            _while_raging(vandals, all_verbs)
            _taken_away(daemon)
        eventually(lambda: not mounts.below(daemon.run_dir), "nothing stays mounted")
        eventually(lambda: not attached_below(daemon.root), "no device stays")
    assert not [line for line in told if "\n" in line.strip()]
    counts = ", ".join(f"{verb} {count}" for verb, count in done.items())
    tell(f"races on {fs}: done {counts}; {len(told)} refused; CRASH_SEED={SEED}")
