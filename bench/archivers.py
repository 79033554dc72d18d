"""Who backs up: ours by its admin API, restic and borg as processes; each one is measured."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.host import Host
from convoy_py.linux import files
from convoy_py.wire.backups import CreateBackups, RestoreBackup
from convoy_py.wire.endpoints import (
    ADD_REPOSITORY,
    CREATE_BACKUPS,
    DELETE_VOLUME,
    REMOVE_REPOSITORY,
    RESTORE_BACKUP,
    Answer,
    Form,
    Long,
)
from convoy_py.wire.repositories import AddRepository

_PASSWORD = "bench"
_LOOK_SECONDS = 0.01
_RESTORED = "restored"
# As our sessions are: else what the machine is busy with would decide.
_LAST = ("nice", "-n", "19", "ionice", "-c", "3")


@dataclass(frozen=True)
class Took:
    """What one piece of work took: seconds, and bytes of memory at most, and that it read."""

    wall: float
    cpu: float
    peak: int
    read: int = 0

    def __add__(self, other: "Took") -> "Took":
        """Both, one after the other."""
        peak = max(self.peak, other.peak)
        return Took(self.wall + other.wall, self.cpu + other.cpu, peak, self.read + other.read)


@dataclass
class Ours:
    """Our daemon; the processor time of its sessions is in its own once they have ended."""

    host: Host
    place: Path
    name: str = "ours"
    raw: bool = False  # of images, as one file each

    def begin(self) -> None:
        """Have a new repository."""
        password = self.place.with_suffix(".pw")
        password.write_text(_PASSWORD)
        asked = AddRepository(name=self.name, location=str(self.place), password_file=str(password))
        self._do(ADD_REPOSITORY, asked)

    def end(self) -> None:
        self.host.client.ask(REMOVE_REPOSITORY, of=self.name)
        files.remove_tree(self.place)

    def back_up(self, sources: Mapping[str, Path]) -> Took:
        """Volumes, by the snapshot of all of them that is a part of it, in one session."""
        asked = CreateBackups(sources=list(sources), repository=self.name, raw=self.raw)
        return self._measured(lambda: self._do(CREATE_BACKUPS, asked))

    def restore(self, volume: str) -> Took:
        """Into a volume beside it, which is removed."""
        asked = RestoreBackup(backup=volume, repository=self.name, name=_RESTORED)
        took = self._measured(lambda: self._do(RESTORE_BACKUP, asked))
        self.host.client.ask(DELETE_VOLUME, of=_RESTORED)
        return took

    def _do(self, endpoint: Long[Form, Answer], message: Form) -> None:
        job = self.host.client.start(endpoint, message)
        self.host.client.finish(endpoint, job, lambda _: None)

    def _measured(self, work: Callable[[], None]) -> Took:
        daemon = self.host.daemon
        before, began = daemon.busy(children=True), time.perf_counter()
        with _watched(lambda: _children(daemon.process.pid)) as seen:
            work()
            wall = time.perf_counter() - began
        return Took(wall, daemon.busy(children=True) - before, seen.peak, seen.read)


@dataclass
class Restic:
    """A restic, with the cache that it has by itself; it takes one process for each volume."""

    program: str
    place: Path
    name: str = "restic"
    _environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._environment = {
            "RESTIC_PASSWORD": _PASSWORD,
            "RESTIC_REPOSITORY": str(self.place),
            "RESTIC_CACHE_DIR": str(self._cache),
        }

    @property
    def _cache(self) -> Path:
        return self.place.with_suffix(".cache")

    def begin(self) -> None:
        self._run("init")

    def end(self) -> None:
        for folder in (self.place, self._cache):
            files.remove_tree(folder)

    def back_up(self, sources: Mapping[str, Path]) -> Took:
        runs = [self._run("backup", "--quiet", path) for path in sources.values()]
        return sum(runs[1:], runs[0])

    def restore(self, volume: str) -> Took:
        return _restored(self.place.parent / _RESTORED, self._restore)

    def _restore(self, target: Path) -> Took:
        return self._run("restore", "latest", "--sparse", "--target", target)

    def _run(self, *words: str | Path) -> Took:
        return _process([self.program, *words], self._environment)


@dataclass
class Borg:
    """A borg, which compresses as restic does."""

    program: str
    place: Path
    name: str = "borg"
    _runs: int = 0

    def begin(self) -> None:
        self._run("init", "--encryption", "repokey-blake2")

    def end(self) -> None:
        for folder in (self.place, self.place.with_suffix(".borg")):
            files.remove_tree(folder)

    def back_up(self, sources: Mapping[str, Path]) -> Took:
        runs = []
        for path in sources.values():
            self._runs += 1
            runs.append(self._run("create", "--compression", "zstd,3", f"::{self._runs}", path))
        return sum(runs[1:], runs[0])

    def restore(self, volume: str) -> Took:
        return _restored(self.place.parent / _RESTORED, self._restore)

    def _restore(self, target: Path) -> Took:
        return self._run("extract", "--sparse", f"::{self._runs}", cwd=target)

    def _run(self, *words: str | Path, cwd: Path | None = None) -> Took:
        environment = {
            "BORG_REPO": str(self.place),
            "BORG_PASSPHRASE": _PASSWORD,
            "BORG_BASE_DIR": str(self.place.with_suffix(".borg")),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        return _process([self.program, *words], environment, cwd)


Archiver = Ours | Restic | Borg


def present(host: Host, folder: Path) -> tuple[Sequence[Archiver], Sequence[str]]:
    """Those that are here, ours first, and the names of those that are not."""
    found: list[Archiver] = [Ours(host, folder / "ours")]
    missing = []
    if program := shutil.which("restic-newest") or shutil.which("restic"):
        found.append(Restic(program, folder / "restic"))
    else:
        missing.append("restic")
    if program := shutil.which("borg"):
        found.append(Borg(program, folder / "borg"))
    else:
        missing.append("borg")
    return found, missing


def _restored(target: Path, restore: Callable[[Path], Took]) -> Took:
    """What a restore took until all is on the disk; it is removed."""
    target.mkdir()
    took = restore(target)
    began = time.perf_counter()
    files.sync_filesystem(target)
    synced = Took(time.perf_counter() - began, 0.0, 0)
    files.remove_tree(target)
    return took + synced


def _process(
    argv: Sequence[str | Path], environment: Mapping[str, str], cwd: Path | None = None
) -> Took:
    began = time.perf_counter()
    child = subprocess.Popen(
        [*_LAST, *argv], stdout=subprocess.DEVNULL, env={**os.environ, **environment}, cwd=cwd
    )
    # Not by ru_maxrss, which begins with what we have at the moment of the fork.
    with _watched(lambda: [str(child.pid)]) as seen:
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"{argv[0]} {argv[1]} failed: {child.returncode}")
    return Took(wall, used.ru_utime + used.ru_stime, seen.peak, seen.read)


@dataclass
class _Seen:
    """Bytes: of memory that one process had at most, and that all read by calls."""

    peak: int = 0
    read: int = 0


@contextmanager
def _watched(processes: Callable[[], Iterable[str]]) -> Iterator[_Seen]:
    """Looks at processes all the time; what they do in their last moments is not seen."""
    peaks: dict[str, int] = {}
    reads: dict[str, int] = {}
    found = _Seen()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_LOOK_SECONDS):
            for process in processes():
                with suppress(OSError, IndexError):
                    status = Path(f"/proc/{process}/status").read_text()
                    peaks[process] = int(status.split("VmHWM:")[1].split()[0]) * 1024
                    counts = Path(f"/proc/{process}/io").read_text()
                    reads[process] = int(counts.split("rchar:")[1].split()[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        is_over.set()
        watcher.join()
        found.peak, found.read = max(peaks.values(), default=0), sum(reads.values())


def _children(process: int) -> Iterator[str]:
    for tasks in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            yield from tasks.read_text().split()
