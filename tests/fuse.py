"""A filesystem in user space that a test holds up or kills, as dead storage does; root only."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy_py.linux import mounts
from tests.harness import eventually


class Fuse:
    """It shows `folder/behind` at `folder/fuse`, keeps nothing in mind, and can stop to answer."""

    def __init__(self, folder: Path) -> None:
        self.behind, self.at = folder / "behind", folder / "fuse"
        for each in (self.behind, self.at):
            each.mkdir(parents=True)
        self.mount()

    def mount(self) -> None:
        options = "attr_timeout=0,entry_timeout=0,allow_other"
        self._process = subprocess.Popen(["bindfs", "-f", "-o", options, self.behind, self.at])
        eventually(lambda: mounts.is_mountpoint(self.at), "the filesystem is mounted")

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Nothing is answered while the block runs; keep it short, for others look here too."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """From now on each question is refused (ENOTCONN)."""
        self._process.kill()
        self._process.wait()

    def again(self) -> None:
        """Mount it anew, as an administrator does whose storage is back."""
        self.kill()
        subprocess.run(["umount", "-l", self.at], check=True)
        self.mount()

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
        self.kill()
        subprocess.run(["umount", "-l", self.at], check=False)


def attached(image: Path, size: int = 1 << 20) -> Path:
    """The loop device on which a new file is live, made as an administrator does it."""
    image.parent.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(size)
    made = subprocess.run(
        ["losetup", "-f", "--show", image], check=True, capture_output=True, text=True
    )
    return Path(made.stdout.strip())


def detach(device: Path) -> None:
    subprocess.run(["losetup", "-d", device], check=True)
