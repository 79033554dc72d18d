"""Signals, restarts, a reboot, a rival: how a daemon ends and how the next one takes over."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest

from convoy_py.linux import files, mounts
from convoy_py.models.volume import Spec
from convoy_py.state.records import Record, encode, timestamp
from tests.crash import verbs
from tests.crash.contents import read_canary
from tests.crash.invariants import check
from tests.crash.scene import Model
from tests.crash.tracing import child, injected, waits_in
from tests.crash.volumes import CONTAINER, CONTENT, KINDS, Stage, bring
from tests.harness import Daemon, Refused, Unanswered, clean, eventually
from tests.launches import environment, launch_plain

pytestmark = pytest.mark.root

_LONG = "delay_enter=30000000"  # microseconds
_A_WHILE = "delay_enter=1000000"
_MACHINE = os.uname().machine
_FTRUNCATE = {"x86_64": 77, "aarch64": 46}[_MACHINE]
_PWRITE64 = {"x86_64": 18, "aarch64": 68}[_MACHINE]
_UUID = "6e3c4b6a-6d6f-4ad7-9a52-2f9f3c0c6a11"


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """One that is started as a service is: by exec."""
    daemon.launch = launch_plain
    return daemon


def test_sigterm_under_load_ends_cleanly_and_leaves_mounts(
    daemon: Daemon, tell: Callable[[str], None]
) -> None:
    """Every answer that was given holds, the exit code is 0, and what was mounted stays."""
    model, slowest = Model(), 0.0
    for turn in range(5):
        daemon.start()
        if turn == 0:
            bring(daemon, "held", KINDS["ext4"], Stage.MOUNTED)
            model = Model({"held": CONTENT}, {"held"})
        check(daemon, model)
        with ThreadPoolExecutor(4) as pool:
            made = [pool.submit(_create_many, daemon, f"t{turn}c{n}") for n in range(4)]
            Event().wait(0.2 * (turn + 1) / 5)
            began = time.monotonic()
            assert daemon.stop() == 0
            slowest = max(slowest, time.monotonic() - began)
        for names, unsure in (job.result() for job in made):
            model.volumes.update(dict.fromkeys(names, b""))
            model.unsure.update(unsure)
        assert mounts.find(daemon.run_dir / "mounts/held") is not None
        assert not daemon.plugin_socket.exists()
    daemon.start()
    check(daemon, model)
    tell(f"SIGTERM under load: the slowest of 5 ends took {slowest:.2f} s")


def _create_many(daemon: Daemon, prefix: str) -> tuple[list[str], set[str]]:
    """Create until the daemon is gone: the names that were acknowledged, and one that may be."""
    names: list[str] = []
    try:
        while True:
            daemon.create(f"{prefix}n{len(names)}", backend="directory")
            names.append(f"{prefix}n{len(names)}")
    except Refused as error:
        assert "the daemon is stopping" in str(error)  # noqa: PT017 - either way it ends here
        return names, set()
    except Unanswered:
        return names, {f"{prefix}n{len(names)}"}


def test_a_call_in_flight_is_answered_after_sigterm(daemon: Daemon) -> None:
    """A Create that is at work when SIGTERM comes is finished and acknowledged."""
    daemon.start()
    with injected(daemon, "ftruncate", _A_WHILE), ThreadPoolExecutor(1) as pool:
        create = pool.submit(daemon.create, "v", **KINDS["ext4"])
        eventually(lambda: waits_in(daemon.pid, _FTRUNCATE), "it is being made")
        daemon.signal(signal.SIGTERM)
        create.result()
    assert daemon.gone() == 0
    daemon.start()
    check(daemon, Model({"v": b""}))


def test_a_mount_whose_client_has_gone_is_taken_back(daemon: Daemon) -> None:
    """After SIGSTOP and SIGCONT who waited is answered, and who gave up holds nothing."""
    daemon.start()
    bring(daemon, "patient", KINDS["ext4"], Stage.READY)
    bring(daemon, "hasty", KINDS["ext4"], Stage.READY)
    daemon.signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(daemon.mount, "patient", CONTAINER)
        message = {"Name": "hasty", "ID": CONTAINER}
        with pytest.raises(Unanswered):
            daemon.call("VolumeDriver.Mount", message, timeout=0.5)
        daemon.signal(signal.SIGCONT)
        assert read_canary(patient.result()) == CONTENT
    check(daemon, Model({"patient": CONTENT, "hasty": CONTENT}, {"patient"}))


def test_a_program_dies_with_the_daemon(daemon: Daemon) -> None:
    """A mkfs that is at work when the daemon is killed does not write on."""
    daemon.start()
    with injected(daemon, "pwrite64", _LONG), ThreadPoolExecutor(1) as pool:
        create = pool.submit(daemon.create, "v", **KINDS["ext4"])
        program = eventually(lambda: child(daemon.pid, "mke2fs"), "mkfs is at work")
        eventually(lambda: waits_in(program, _PWRITE64), "it writes")
        daemon.kill()
        eventually(lambda: _is_killed(program), "mkfs is killed")
        with pytest.raises(Unanswered):
            create.result()
    daemon.start()
    check(daemon, Model())
    daemon.create("v", **KINDS["ext4"])


def _is_killed(pid: int) -> bool:
    """Whether a process has ended, or will as soon as strace lets it go on."""
    try:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
    except (FileNotFoundError, ProcessLookupError):
        return True
    return bool(int(status["ShdPnd"], 16) & 1 << signal.SIGKILL - 1) or status["State"][0] == "Z"


@pytest.mark.parametrize("run_dir", ["wiped", "of another boot"])
def test_after_a_reboot_every_volume_is_there(daemon: Daemon, run_dir: str) -> None:
    """Nothing is mounted, nothing is held, and every volume mounts on demand."""
    daemon.start()
    for kind in KINDS:
        bring(daemon, kind, KINDS[kind], Stage.MOUNTED)
    daemon.kill()
    _reboot(daemon, wipe=run_dir == "wiped")
    daemon.start()
    assert daemon.listed() == dict.fromkeys(KINDS, "")
    check(daemon, Model(dict.fromkeys(KINDS, CONTENT)))


def _reboot(daemon: Daemon, *, wipe: bool) -> None:
    """Leave of the run folder what a reboot does: nothing, or the files but no mount."""
    clean(daemon.folder)
    daemon.let_go()
    if wipe:
        for mountpoint in (daemon.run_dir / "mounts").iterdir():
            files.set_immutable(mountpoint, on=False)
        shutil.rmtree(daemon.run_dir)
        return
    for path in (daemon.run_dir / "references").iterdir():
        path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))


@pytest.mark.parametrize("kind", ["directory", "ext4"])
def test_data_without_a_record_is_told_and_can_be_adopted(daemon: Daemon, kind: str) -> None:
    """A folder that was there before the daemon started is no volume until somebody adopts it."""
    daemon.start()
    bring(daemon, "v", KINDS[kind], Stage.READY)
    daemon.kill()
    (daemon.root / "volumes/v/volume.json").unlink()
    daemon.start()
    assert daemon.get("v")["Status"]["state"] == "broken"
    with pytest.raises(Refused, match="convoy create --adopt v"):
        daemon.mount("v", CONTAINER)
    with pytest.raises(Refused, match="convoy create --adopt v"):
        daemon.create("v", **KINDS[kind])
    daemon.adopt("v")
    check(daemon, Model({"v": CONTENT}))


def test_a_second_daemon_is_told_who_has_the_root(daemon: Daemon) -> None:
    """It ends at once, names the process, and the first goes on undisturbed."""
    daemon.start()
    second = subprocess.run(
        [
            *(sys.executable, "-m", "convoy_py", "daemon", f"--root={daemon.root}"),
            *(f"--run-dir={daemon.folder}/run2", f"--plugin-socket={daemon.folder}/second.sock"),
            f"--socket={daemon.folder}/second-admin.sock",
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode != 0
    assert f"another daemon uses {daemon.root}: pid {daemon.pid}" in second.stderr
    assert not (daemon.folder / "second.sock").exists()
    bring(daemon, "v", KINDS["directory"], Stage.READY)
    check(daemon, Model({"v": CONTENT}))


def test_a_thousand_volumes_are_read_while_callers_wait(
    daemon: Daemon, tell: Callable[[str], None]
) -> None:
    """The sockets open before the records are read, and the first call is answered after that."""
    for number in range(1000):
        _put(daemon, f"v{number}")
    began = time.monotonic()
    daemon.start()
    opened = time.monotonic() - began
    listed = daemon.listed()
    answered = time.monotonic() - began
    assert len(listed) == 1000
    assert all(daemon.get(name)["Name"] == name for name in listed)
    everyone = time.monotonic() - began
    tell(
        f"start with 1000 volumes: sockets open after {opened:.2f} s, List answered after "
        f"{answered:.2f} s, 1000 Gets one after the other after {everyone:.2f} s"
    )


def _put(daemon: Daemon, name: str) -> None:
    """Lay a directory volume below the root, as an earlier daemon left it."""
    home = daemon.root / "volumes" / name
    (home / "data").mkdir(parents=True)
    spec = Spec(backend="directory", uid=0, gid=0, mode=0o755)
    record = Record(name=name, uuid=_UUID, created=timestamp(0), spec=spec)
    (home / "volume.json").write_bytes(encode(record))


def test_a_root_named_by_a_link_is_as_any_other(daemon: Daemon) -> None:
    """As /var/lib/convoy on a larger disk."""
    (daemon.folder / "disk").mkdir()
    daemon.root.symlink_to("disk")
    daemon.start()
    bring(daemon, "db", KINDS["ext4"], Stage.MOUNTED)
    verbs.snapshot(daemon, "db", "s")
    assert daemon.admin("GET", "/v1/info")["General"]["Health"] == "ok"
    assert [each["Name"] for each in verbs.job(daemon, "GET", "/v1/df")["Volumes"]] == ["db"]
    daemon.unmount("db", CONTAINER)
    daemon.remove("db")
    assert "Traceback" not in daemon.log.read_text()


def test_connections_beyond_the_limit_of_descriptors_wait(daemon: Daemon) -> None:
    """One line tells of it; as soon as others end they are served."""
    daemon.start()
    daemon.create("v")
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    assert soft == hard  # whatever the daemon was started with
    held = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (held + 20, held + 20))
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        for _ in range(40):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.connect(str(daemon.plugin_socket))
        eventually(lambda: "have to wait" in daemon.log.read_text(), "it is told")
        listed = pool.submit(daemon.listed)
        stack.close()
        assert listed.result() == {"v": ""}
    assert daemon.stop() == 0
    log = daemon.log.read_text()
    assert log.count("have to wait") == 1
    assert "Traceback" not in log
