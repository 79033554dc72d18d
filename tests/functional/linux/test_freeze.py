"""Frozen filesystems: writers wait, and go on whatever becomes of those who froze them.

Only images of the test's own are frozen, and every one of them is thawed at its end.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from convoy_py.linux import freeze, mounts, process, watchdog

pytestmark = pytest.mark.root

MIB = 1 << 20
PATIENCE = 120  # seconds; it bounds a failure

MakeHost = Callable[[str], Path]


def _encoded(names: Sequence[str]) -> bytes:
    return json.dumps(names).encode()


def _read(note: Path) -> Sequence[str] | None:
    """What a note names: nothing if it is half a one, and None if nobody can know."""
    try:
        names = json.loads(note.read_bytes())
    except ValueError:
        return ()
    return names if isinstance(names, list) else None


frozen = partial(freeze.frozen, encode=_encoded)
thaw_noted = partial(freeze.thaw_noted, read=_read)


@pytest.fixture
def make_volume(make_host: MakeHost) -> Iterator[Callable[[str], Path]]:
    """Mounts filesystems, all of which are thawed at the end."""
    made: list[int] = []

    def make(fs: str) -> Path:
        folder = make_host(fs)
        made.append(os.open(folder, os.O_RDONLY))
        return folder

    yield make
    for fd in made:
        with suppress(OSError):
            freeze.thaw(fd)
        os.close(fd)


@pytest.fixture
def volume(make_volume: Callable[[str], Path]) -> Path:
    return make_volume("ext4")


@pytest.fixture
def note(scratch: Path) -> Path:
    return scratch / "notes" / "note"


@pytest.fixture(autouse=True)
def notes(note: Path) -> None:
    note.parent.mkdir()


class Writer:
    """Writes a file and syncs it, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "written"
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        with self._path.open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())

    def waits(self) -> bool:
        """Whether it comes to wait for a thaw, as the kernel tells of it."""
        waits_in = Path(f"/proc/self/task/{self._thread.native_id}/wchan")
        until = time.monotonic() + PATIENCE
        while self._thread.is_alive() and time.monotonic() < until:
            with suppress(FileNotFoundError, ProcessLookupError):
                if waits_in.read_text() in ("percpu_rwsem_wait", "__percpu_down_read"):
                    return True
        return False

    def ends(self, patience: float = PATIENCE) -> bool:
        self._thread.join(patience)
        return not self._thread.is_alive()


class Daemon:
    """Another process, which has frozen the volumes and would keep them so."""

    _BODY = """
import json
import sys
from pathlib import Path
from convoy_py.linux import freeze
volumes, note = [Path(name) for name in sys.argv[2:]], Path(sys.argv[1])
with freeze.frozen(volumes, note=note, encode=lambda names: json.dumps(names).encode(), limit=600):
    print("frozen", flush=True)
    sys.stdin.read()
"""

    def __init__(self, stack: ExitStack, note: Path, *volumes: Path) -> None:
        self._child = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", self._BODY, note, *volumes],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        stack.callback(self._child.kill)
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == b"frozen\n"

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_writers_wait_and_go_on_after(
    fs: str, make_volume: Callable[[str], Path], note: Path
) -> None:
    """A note tells what is frozen for as long as it is; after that nothing keeps the mount busy."""
    volume = make_volume(fs)
    with frozen([volume], note=note, limit=60):
        writer = Writer(volume)
        assert writer.waits()
        assert json.loads(note.read_bytes()) == [str(volume)]
    assert writer.ends()
    assert not note.exists()
    mounts.bind(volume, volume, ())
    mounts.unmount(volume)


def test_time_of_a_freeze_is_told_once_all_are_thawed(
    make_volume: Callable[[str], Path], note: Path
) -> None:
    """It covers the whole block; where nothing could be frozen nobody waited."""
    volumes = [make_volume("ext4"), make_volume("xfs")]
    told: list[float] = []

    def tell(seconds: float) -> None:
        assert not any(map(is_frozen, volumes))
        told.append(seconds)

    with frozen(volumes, note=note, limit=60, tell=tell):
        began = time.monotonic()
        assert told == []
        assert Writer(volumes[0]).waits()
        least = time.monotonic() - began
    assert len(told) == 1
    assert told[0] >= least
    freeze.freeze(volumes[0])
    with (
        pytest.raises(OSError, match="frozen already"),
        frozen(volumes, note=note, limit=60, tell=tell),
    ):
        pytest.fail("the block must not run")
    assert len(told) == 1


def test_mount_is_free_at_once(make_host: MakeHost, note: Path) -> None:
    """It can be unmounted right after, as the watchdog has let go of it, too."""
    volume = make_host("ext4")
    with frozen([volume], note=note, limit=60):
        pass
    mounts.unmount(volume)


def test_failing_block_thaws(make_volume: Callable[[str], Path], note: Path) -> None:
    """All of them, and what went wrong comes out."""
    volumes = [make_volume("ext4"), make_volume("ext4")]

    def fail() -> None:
        assert all(map(is_frozen, volumes))
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"), frozen(volumes, note=note, limit=60):
        fail()
    assert not any(map(is_frozen, volumes))
    assert not note.exists()


def test_one_that_cannot_be_frozen_leaves_none_frozen(
    make_volume: Callable[[str], Path], note: Path
) -> None:
    """The first is thawed, the third never frozen; the freeze of another stays as it was."""
    first, second, third = (make_volume("ext4") for _ in range(3))
    freeze.freeze(second)
    with (
        pytest.raises(OSError, match=f"frozen already: '{second}'") as caught,
        frozen([first, second, third], note=note, limit=60),
    ):
        pytest.fail("the block must not run")
    assert caught.value.errno == errno.EBUSY
    assert [is_frozen(volume) for volume in (first, second, third)] == [False, True, False]
    assert not note.exists()


def test_one_that_cannot_be_thawed_keeps_no_other_frozen(
    make_volume: Callable[[str], Path], note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are thawed in reverse; the error names the one, the note stays for the next start."""
    volumes = [make_volume("ext4") for _ in range(3)]
    seen: list[str] = []
    thaw = watchdog.thaw

    def failing(folder: int) -> bool:
        seen.append(os.readlink(f"/proc/self/fd/{folder}"))
        if seen[-1] == str(volumes[1]):
            raise OSError(errno.EIO, "broken")
        return thaw(folder)

    with monkeypatch.context() as patch:
        patch.setattr(watchdog, "thaw", failing)
        with (
            pytest.raises(OSError, match=f"stays frozen: broken: '{volumes[1]}'"),
            frozen(volumes, note=note, limit=60),
        ):
            pass
    assert seen == [str(volume) for volume in reversed(volumes)]
    assert thaw_noted(note.parent) == [str(volumes[1])]


def test_killed_daemon_leaves_nothing_frozen(
    make_volume: Callable[[str], Path], note: Path, processes: ExitStack
) -> None:
    """Its watchdog, which no signal to the whole group ends, thaws before the limit and goes."""
    volumes = [make_volume("ext4"), make_volume("xfs")]
    daemon = Daemon(processes, note, *volumes)
    writers = [Writer(volume) for volume in volumes]
    assert all(writer.waits() for writer in writers)
    pid = watchdog_of(volumes[0])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    daemon.kill()
    assert all(writer.ends() for writer in writers)
    assert has_ended(pid)
    assert thaw_noted(note.parent) == []
    assert not note.exists()


def test_watchdog_holds_nothing_but_its_mountpoints(volume: Path, note: Path) -> None:
    """No lock, socket or file of the daemon's outlives it there."""
    lock = os.open(note.parent / "lock", os.O_CREAT | os.O_WRONLY)
    os.set_inheritable(lock, True)
    try:
        with frozen([volume], note=note, limit=60):
            held = [os.readlink(fd) for fd in Path(f"/proc/{watchdog_of(volume)}/fd").iterdir()]
    finally:
        os.close(lock)
    assert [name.partition(":")[0] for name in sorted(held)] == sorted(
        ["/dev/null", "pipe", "pipe", str(volume)]
    )


def test_limit_that_passes_thaws_and_is_an_error(volume: Path, note: Path) -> None:
    """Writers go on although the block has not ended, and what it copied is not to be trusted."""
    with (
        pytest.raises(TimeoutError, match=rf"thawed before .* 0\.2 s: '{volume}'") as caught,
        frozen([volume], note=note, limit=0.2),
    ):
        assert Writer(volume).ends()
    assert caught.value.errno == errno.ETIMEDOUT
    assert not note.exists()


def test_freeze_that_is_complete_only_after_the_limit_is_undone(volume: Path) -> None:
    """The watchdog looks again, for as long as nobody tells it that all is done."""
    argv = [sys.executable, "-I", "-S", watchdog.__file__, "0", str(volume)]
    with process.companion(argv) as (_, answers):
        assert os.read(answers, 64) == watchdog.READY
        for _ in range(3):
            freeze.freeze(volume)
            assert Writer(volume).ends()


def test_nothing_is_frozen_without_a_watchdog(
    volume: Path, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not start is an error before anything is frozen."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        pytest.raises(OSError, match="watchdog"),
        frozen([volume], note=note, limit=60),
    ):
        pytest.fail("the block must not run")
    assert not is_frozen(volume)
    assert not note.exists()


def test_next_daemon_thaws_what_both_left(
    make_volume: Callable[[str], Path], note: Path, processes: ExitStack
) -> None:
    """Killed together with its watchdog, a daemon leaves a note, by which the next one thaws."""
    volumes = [make_volume("ext4"), make_volume("btrfs")]
    daemon = Daemon(processes, note, *volumes)
    os.kill(watchdog_of(volumes[0]), signal.SIGKILL)
    daemon.kill()
    writers = [Writer(volume) for volume in volumes]
    assert all(writer.waits() for writer in writers)
    assert thaw_noted(note.parent) == [str(volume) for volume in volumes]
    assert all(writer.ends() for writer in writers)
    assert not note.exists()
    assert thaw_noted(note.parent) == []


def test_notes_of_what_is_gone_are_put_away(volume: Path, note: Path) -> None:
    """What is not frozen, not mounted, not there, or was never written to its end is no error,
    and what lies where nothing is mounted any more is not thawed."""
    folder = volume / "folder"
    folder.mkdir()
    freeze.freeze(volume)
    note.write_text(json.dumps([str(folder), str(volume / "missing")]))
    (note.parent / ".note.half").write_text('["/')
    assert thaw_noted(note.parent) == []
    assert is_frozen(volume)
    assert list(note.parent.iterdir()) == []
    assert thaw_noted(note.parent / "missing") == []


def test_a_note_that_nobody_can_read_stays(volume: Path, note: Path) -> None:
    """For whoever knows what it names."""
    note.write_text(json.dumps({"frozen": [str(volume)]}))
    assert thaw_noted(note.parent) == []
    assert note.exists()


def test_filesystem_of_the_host_is_never_frozen(volume: Path, note: Path) -> None:
    """Neither by a folder of it nor by a bind mount, which is what a directory volume is."""
    plain, bound = volume / "plain", volume / "bound"
    plain.mkdir()
    bound.mkdir()
    mounts.bind(plain, bound, ())
    for folder in (plain, bound):
        with (
            pytest.raises(OSError, match="only a filesystem") as caught,
            frozen([folder], note=note, limit=60),
        ):
            pytest.fail("the block must not run")
        assert caught.value.errno == errno.EINVAL
    assert not is_frozen(volume)


def test_freezing_twice_is_an_error_and_thawing_twice_is_not(volume: Path, scratch: Path) -> None:
    """The errors name the folder, that of a filesystem which cannot be frozen, too."""
    freeze.freeze(volume)
    with pytest.raises(OSError, match=f"frozen already: '{volume}'"):
        freeze.freeze(volume)
    assert (freeze.thaw(volume), freeze.thaw(volume)) == (True, False)
    (scratch / "ram").mkdir()
    mounts.mount("tmpfs", scratch / "ram", "tmpfs", ())
    with pytest.raises(OSError, match=f"not supported: '{scratch}/ram'"):
        freeze.freeze(scratch / "ram")


def is_frozen(volume: Path) -> bool:
    try:
        freeze.freeze(volume)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    freeze.thaw(volume)
    return False


def watchdog_of(volume: Path) -> int:
    """The pid of the one watchdog that looks after a volume."""
    found = []
    for process_folder in Path("/proc").iterdir():
        with suppress(OSError):
            command = (process_folder / "cmdline").read_bytes().split(b"\0")
            if {watchdog.__file__.encode(), bytes(volume)} <= set(command):
                found.append(int(process_folder.name))
    (pid,) = found
    return pid


def has_ended(pid: int) -> bool:
    """Also if nobody has taken note of its end yet: that is for the machine's first process."""
    until = time.monotonic() + PATIENCE
    while _state(pid) not in ("", "Z", "X"):
        if time.monotonic() > until:
            return False
        os.sched_yield()
    return True


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
