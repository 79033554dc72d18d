"""The process that thaws: it opens folders alone, follows no link, and goes on after an error."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from convoy_py.linux import watchdog


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_folder_any_more_is_not_watched(tmp_path: Path, kind: str) -> None:
    """It ends at once, without the word that it may be relied upon."""
    path = tmp_path / "name"
    if kind == "link":
        path.symlink_to(".")
    else:
        path.touch()
    command = [sys.executable, "-I", "-S", watchdog.__file__, "10", str(path)]
    ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    assert ended.returncode != 0
    assert ended.stdout == b""


def test_all_are_thawed_though_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last that was frozen first; what was not frozen says so."""
    asked = []

    def thaw(folder: int, _request: int, _: int) -> None:
        asked.append(folder)
        if folder == 2:
            raise OSError(errno.EIO, "Input/output error")
        if folder == 1:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(fcntl, "ioctl", thaw)
    watchdog._thaw_all([1, 2, 3])
    assert asked == [3, 2, 1]
    assert watchdog.thaw(3)
    assert not watchdog.thaw(1)
    with pytest.raises(OSError, match="Input/output error"):
        watchdog.thaw(2)
