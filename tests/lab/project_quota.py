"""Project quotas on a kernel that has them: ext4 and XFS, made, enforced, measured, lifted.

A script of its own, for the lab's machine: `python3 project_quota.py FOLDER`, as root, with this
repository's root on PYTHONPATH. It needs free space for two images in FOLDER.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from convoy_py.linux import files, mounts, quota

MIB = 1 << 20
PROJECT = 1 << 30

MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"],
    "xfs": ["mkfs.xfs", "-q"],
}


def main(folder: Path) -> int:
    for fs in MAKE:
        with mounted(fs, folder, "prjquota") as root:
            for test in (enforces, follows_new_folders, lifts, counts, counts_files, is_supported):
                report(fs, test, root / test.__name__)
        with mounted(fs, folder, "noquota") as root:
            report(fs, says_what_is_missing, root / "off")
    return 0


def is_supported(home: Path) -> None:
    """Support is None where prjquota is on."""
    assert quota.support(home) is None, quota.support(home)


def says_what_is_missing(home: Path) -> None:
    """Without prjquota the reason names it."""
    told = quota.support(home)
    assert told is not None
    assert told.endswith("is not mounted with prjquota"), told


def enforces(home: Path) -> None:
    """A process without CAP_SYS_RESOURCE cannot write beyond the limit, and can write up to it."""
    quota.assign(home, PROJECT)
    quota.set_limit(home, PROJECT, 8 * MIB)
    got = written(home / "file", 16 * MIB)
    assert 7 * MIB <= got <= 8 * MIB, got


def follows_new_folders(home: Path) -> None:
    """What is created in a folder of a project is of that project."""
    quota.assign(home, PROJECT + 1)
    quota.set_limit(home, PROJECT + 1, 4 * MIB)
    below = home / "a" / "b"
    below.mkdir(parents=True)
    got = written(below / "file", 16 * MIB)
    assert 3 * MIB <= got <= 4 * MIB, got


def lifts(home: Path) -> None:
    """A limit of None is no limit."""
    quota.assign(home, PROJECT + 2)
    quota.set_limit(home, PROJECT + 2, MIB)
    assert written(home / "small", 2 * MIB) <= MIB
    quota.set_limit(home, PROJECT + 2, None)
    assert written(home / "large", 8 * MIB) == 8 * MIB


def counts(home: Path) -> None:
    """Usage is what the project's files occupy; 0 for a project that nobody heard of."""
    quota.assign(home, PROJECT + 3)
    (home / "file").write_bytes(b"x" * MIB)
    files.sync_filesystem(home)
    size, inodes = quota.usage(home, PROJECT + 3)
    assert size in range(MIB, MIB + 65536), size
    assert inodes == 2, inodes
    assert quota.usage(home, PROJECT + 99) == (0, 0)


def counts_files(home: Path) -> None:
    """Files are bounded apart from bytes, both together, and lifted together."""
    quota.assign(home, PROJECT + 4)
    quota.set_limit(home, PROJECT + 4, MIB, 4)
    for name in "abc":
        assert written(home / name, 65536) == 65536
    assert written(home / "d", 65536) == 0
    assert written(home / "a", 2 * MIB) <= MIB
    quota.set_limit(home, PROJECT + 4, None)
    assert written(home / "d", 2 * MIB) == 2 * MIB


def written(path: Path, wanted: int) -> int:
    """How many bytes an ordinary user gets into a file."""
    path.parent.chmod(0o777)
    subprocess.run(
        [
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            *("dd", "if=/dev/zero", f"of={path}", "bs=64K"),
            *(f"count={wanted // 65536}", "conv=fsync"),
        ],
        check=False,
        capture_output=True,
    )
    return path.stat().st_size if path.exists() else 0


def report(fs: str, test: Callable[[Path], None], home: Path) -> None:
    home.mkdir()
    test(home)
    print(f"ok {fs}: {test.__doc__}")  # noqa: T201 - a script, its output is its report


@contextmanager
def mounted(fs: str, folder: Path, option: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        image, root = Path(scratch, "image"), Path(scratch, "root")
        root.mkdir()
        Path(scratch).chmod(0o755)  # the ordinary user must get through
        with image.open("wb") as file:
            file.truncate(512 * MIB)
        subprocess.run([*MAKE[fs], str(image)], check=True)
        subprocess.run(["mount", "-o", f"loop,{option}", image, root], check=True)
        try:
            yield root
        finally:
            mounts.unmount(root)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else os.curdir)))
