"""What does not go away is told with who has it."""

import subprocess
from pathlib import Path

import pytest

from tests.crash.disks import Disk
from tests.harness import Daemon

pytestmark = pytest.mark.root

_HOLD = 'cd "$1"; exec 3<"$1"; echo; read _'


def test_who_holds_what_is_left_is_told(daemon: Daemon) -> None:
    """A process in a mount namespace of its own keeps what everybody else has unmounted."""
    disk = Disk(daemon.folder, "ext4", 16)
    holder = ["unshare", "-m", "--propagation=private", "sh", "-c", _HOLD, "sh", str(disk.at)]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            mounted = _told(daemon)
            disk.unmount()
            unmounted = _told(daemon)
            namespace = Path(f"/proc/{process.pid}/ns/mnt").readlink()
        finally:
            process.kill()
    process_line = f"process {process.pid} (sh -c {_HOLD} sh {disk.at})"
    assert f"mounted: {disk.at} (/dev/loop" in mounted
    assert "mounted:" not in unmounted
    for told in (mounted, unmounted):
        assert "attached: /dev/loop" in told
        assert f"seen in {namespace} of {process_line}: {disk.at}" in told
        assert f"open in {process_line}: {disk.at}" in told
    daemon.clean()
    daemon.let_go()


def _told(daemon: Daemon) -> str:
    with pytest.raises(AssertionError) as error:
        daemon.let_go(patience=0)
    return str(error.value)
