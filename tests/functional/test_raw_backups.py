"""A real daemon backs whole images up; restic judges what lies there, and it all comes back."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import everything
from tests.crash import offsite
from tests.crash.disks import daemon_on
from tests.crash.verbs import job
from tests.crash.volumes import CONTAINER, KINDS
from tests.facts import facts
from tests.harness import Daemon, Refused
from tests.restic import BINARIES, Restic

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

FLAGS = ("--reserve=0", "--overcommit=1000", "--host=here")
FILESYSTEMS = ("ext4", "xfs", "btrfs")
OTHERS = {"btrfs": "xfs", "xfs": "ext4", "ext4": "btrfs"}


@pytest.fixture(params=FILESYSTEMS)
def fs(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """With its root where images share blocks, and a repository."""
    with daemon_on(tmp_path, "xfs", FLAGS) as daemon:
        daemon.start()
        offsite.make(daemon)
        yield daemon


def shown(daemon: Daemon, name: str) -> dict[str, Any]:
    """All of a volume that can be seen, but not what a filesystem makes up."""
    found = facts(Path(daemon.mount(name, CONTAINER)))
    daemon.unmount(name, CONTAINER)
    return found


def backed_up(daemon: Daemon, *, raw: bool = True) -> str:
    (url,) = offsite.back_up(daemon, "v", raw=raw)
    return url


def test_what_is_backed_up_as_an_image_comes_back(daemon: Daemon, fs: str, tmp_path: Path) -> None:
    """Each backup is what the volume was, of either kind in turn; restic finds nothing amiss."""
    daemon.create("v", **KINDS[fs])
    folder = Path(daemon.mount("v", CONTAINER))
    everything.of_root(folder / "tree")
    wanted = {}
    for number, raw in enumerate((True, True, False, True, True)):
        (folder / f"file-{number}").write_bytes(os.urandom(700_000))
        (folder / "changing").write_text(str(number))
        wanted[backed_up(daemon, raw=raw)] = facts(folder)
    daemon.unmount("v", CONTAINER)
    for number, (url, seen) in enumerate(wanted.items()):
        offsite.restore(daemon, url, f"w{number}")
        assert shown(daemon, f"w{number}") == seen
    assert offsite.problems(daemon) == []
    for binary in BINARIES:
        restic = Restic(binary, offsite.folder(daemon), "a password")
        restic.check()
        restic.finds_nothing_to_mend()
        target = tmp_path / binary
        sparse = ["--sparse"] if restic.is_newest else []
        restic.run("restore", "latest", "--path", "/convoy/v", *sparse, "--target", target)
        assert {path.name for path in target.iterdir()} == {"image", "volume.json"}
        check = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n", "-f"]}
        subprocess.run(
            [*check.get(fs, ["btrfs", "check"]), target / "image"], check=True, capture_output=True
        )
        (target / "image").unlink()


def test_a_volume_goes_back_to_an_image_and_back_again(daemon: Daemon, fs: str) -> None:
    """What it had before stays as a snapshot, and so do its other snapshots."""
    daemon.create("v", **KINDS[fs])
    folder = Path(daemon.mount("v", CONTAINER))
    (folder / "file").write_text("one")
    job(daemon, "POST", "/v1/volumes/v/snapshots", Name="kept")
    backed_up(daemon)
    (folder / "file").write_text("two")
    daemon.unmount("v", CONTAINER)
    offsite.restore(daemon, "v", "v")
    assert (Path(daemon.mount("v", CONTAINER)) / "file").read_text() == "one"
    daemon.unmount("v", CONTAINER)
    names = {each["FullName"] for each in daemon.admin("GET", "/v1/snapshots")["Snapshots"]}
    (saved,) = names - {"v@kept"}
    for name, text in ((saved, "two"), ("v@kept", "one")):
        job(daemon, "POST", "/v1/volumes/v/rollback", Snapshot=name.partition("@")[2])
        assert (Path(daemon.mount("v", CONTAINER)) / "file").read_text() == text
        daemon.unmount("v", CONTAINER)


def test_what_an_image_can_become_and_what_not(daemon: Daemon, fs: str) -> None:
    """Larger, by Docker; nothing else, and each refusal says what would do."""
    daemon.create("v", **KINDS[fs])
    (Path(daemon.mount("v", CONTAINER)) / "file").write_text("one")
    url = backed_up(daemon)
    daemon.unmount("v", CONTAINER)
    daemon.create("larger", backup=url, size="600M")
    assert (Path(daemon.mount("larger", CONTAINER)) / "file").read_text() == "one"
    assert daemon.get("larger")["Status"]["size"] == 600 << 20
    daemon.unmount("larger", CONTAINER)
    other = OTHERS[fs]
    for options in ({"backend": "directory"}, {"fs": other, "size": "600M"}, {"size": "16M"}):
        if options.get("size") == KINDS[fs]["size"]:
            continue  # it can be no smaller
        with pytest.raises(Refused):
            offsite.restore(daemon, url, "other", **options)
    with pytest.raises(Refused, match="--as"):
        offsite.restore_file(daemon, "v", "file")
    proved = job(daemon, "POST", "/v1/backups/prove", Backups=[url])
    assert ([each["Raw"] for each in proved["Backups"]], proved["Problems"]) == ([True], [])
    daemon.create("folder", backend="directory")
    with pytest.raises(Refused, match="folder: only what is kept in an image"):
        offsite.back_up(daemon, "folder", raw=True)
    assert daemon.listed().keys() == {"v", "larger", "folder"}
