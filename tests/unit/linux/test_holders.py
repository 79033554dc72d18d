"""Naming who holds: containers are recognised by their cgroup."""

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from convoy_py.linux import holders, mounts, namespaces, peers
from convoy_py.linux.holders import Census, Holder, container_in, of_open_files
from convoy_py.linux.namespaces import Shown

ID = "0123456789abcdef" * 4
OTHER = "f" * 64


@pytest.mark.parametrize(
    "cgroups",
    [
        f"9:name=systemd:/docker/{ID}\n8:pids:/docker/{ID}\n",
        f"0::/system.slice/docker-{ID}.scope\n",
        f"0::/../docker-{ID}.scope\n",
        f"0::/machine.slice/libpod-{ID}.scope/container\n",
        f"1:cpu:/libpod_parent/libpod-{ID}\n0::/\n",
        f"0::/docker/{OTHER}/docker/{ID}\n",
        f"0::/kubepods.slice/pod1/cri-containerd-{ID}.scope\n",
    ],
)
def test_container_is_recognised(cgroups: str) -> None:
    """Docker and Podman, either version of cgroups, seen from inside or outside; the innermost."""
    assert container_in(cgroups) == ID


@pytest.mark.parametrize(
    "cgroups",
    [
        "0::/user.slice/user-0.slice/session-1.scope\n",
        f"0::/machine.slice/libpod-conmon-{ID}.scope\n",
        f"0::/build/{ID}0\n",
        "",
    ],
)
def test_other_processes_are_in_no_container(cgroups: str) -> None:
    """Nor is Podman's monitor, nor anything with a longer number."""
    assert container_in(cgroups) is None


def test_holder_reads_as_a_phrase() -> None:
    """A container by its short id, any other process by where it has the volume."""
    assert str(Holder(42, "postgres", ID, "/data")) == "container 0123456789ab (pid 42, postgres)"
    assert str(Holder(42, "bash", None, "/mnt/x")) == "process 42 (bash) at /mnt/x"


def test_a_path_that_is_too_long_to_be_told_hides_no_other(tmp_path: Path) -> None:
    """Any process of the host may have such a folder open."""
    deep, folders = os.open(tmp_path, os.O_RDONLY), 20
    for _ in range(folders):
        os.mkdir("d" * 250, dir_fd=deep)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    with pytest.raises(OSError, match="File name too long"):
        os.readlink(f"/proc/self/fd/{deep}")
    with (tmp_path / "file").open("w"):
        found = of_open_files(tmp_path)
    os.close(deep)
    assert [holder.pid for holder in found] == [os.getpid()]


# Of a volume on the device /dev/null, which is 1:3; two namespaces, ours and another.
OURS, OTHER_NAMESPACE = 2**22 + 1, 2**22 + 2
ROOT = "20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw"
OWN = "30 20 1:3 / /mnt/vol rw shared:7 - ext4 /dev/null rw"
THERE = "130 120 1:3 / /mnt/vol rw - ext4 /dev/null rw"


def root(propagation: str, number: int = 120) -> str:
    return f"{number} 1 8:1 / / rw {propagation} - ext4 /dev/sda1 rw".replace("  ", " ")


def census(own: list[str], other: list[str]) -> Census:
    texts = ["".join(f"{line}\n" for line in lines).encode() for lines in (own, other)]
    return Census(dict(zip((OURS, OTHER_NAMESPACE), texts, strict=True)), texts[0])


@pytest.mark.parametrize(
    ("other", "held"),
    [
        # What propagates goes with ours: from a peer, a slave, and a slave's slave.
        ([root("shared:1"), THERE], []),
        ([root("master:1"), THERE], []),
        ([root("master:5"), THERE, root("shared:5 master:1", 121)], [THERE]),
        (
            [
                *(root("master:5"), THERE, root("shared:5 master:1", 121)),
                "131 121 1:3 / /mnt/vol rw - ext4 /dev/null rw",
            ],
            [],
        ),
        # What does not, stays.
        ([root(""), THERE], [THERE]),
        ([root("master:9"), THERE], [THERE]),
        ([root("shared:9"), THERE], [THERE]),
        ([THERE], [THERE]),
        # Elsewhere, or of another folder, or on another filesystem: a mount of its own.
        ([root("shared:1"), THERE.replace("/mnt/vol", "/mnt/two")], ["/mnt/two"]),
        ([root("shared:1"), THERE.replace(" / ", " /in ", 1)], [THERE]),
        ([root("shared:1").replace("8:1", "8:2"), THERE], [THERE]),
        # btrfs has a number of its own, and is known by its source.
        ([root(""), THERE.replace("1:3", "0:44")], [THERE]),
        # Another device that had the name before, and a file that is mounted over the node.
        ([root(""), THERE.replace("1:3", "7:9")], []),
        ([root(""), "130 120 0:5 /n /dev/null rw - devtmpfs udev rw"], []),
        # One mount that is seen twice.
        ([ROOT, OWN], []),
        ([root("", 20), OWN.replace("30 20", "31 20"), OWN.replace("30 20", "31 20")], [OWN]),
    ],
)
def test_copies_that_do_not_go_with_ours_hold_a_device(other: list[str], held: list[str]) -> None:
    found = census([ROOT, OWN], other).of_device(Path("/dev/null"), Path("/mnt/vol"))
    assert [(each.pid, each.mountpoint) for each in found] == [
        (OTHER_NAMESPACE, line.split()[4] if " " in line else line) for line in held
    ]


@pytest.mark.parametrize("propagation", ["", "shared:1"])
def test_our_own_mount_is_no_holder(propagation: str) -> None:
    """Whether what it lies on propagates or not; a second one at another place is."""
    own = [root(propagation, 20), OWN, OWN.replace("30 20", "31 20").replace("/vol", "/two")]
    found = census(own, []).of_device(Path("/dev/null"), Path("/mnt/vol"))
    assert [each.mountpoint for each in found] == ["/mnt/two"]


def test_copy_that_is_not_below_what_it_lies_on_is_a_holder() -> None:
    """As where another mount was moved over its parent: it cannot be told what goes with it."""
    moved = ROOT.replace(" / / ", " / /moved ")
    found = census([moved, OWN], [moved.replace("20 1", "120 1"), THERE])
    assert found.of_device(Path("/dev/null"), Path("/mnt/vol")) != []


def test_mount_that_is_seen_by_several_is_one_holder() -> None:
    lines = [root(""), THERE]
    found = census(lines, lines).of_device(Path("/dev/null"), Path("/mnt/none"))
    assert [each.pid for each in found] == [OURS]


def test_only_mounts_of_what_is_asked_for_count() -> None:
    """Of a filesystem of which others may show other folders."""
    taken = census([ROOT], [root(""), THERE.replace(" / ", " /in ", 1)])
    for folder, count in (("/in", 1), ("/out", 0)):
        wanted = PurePosixPath(folder)
        shows = wanted.__eq__
        assert len(taken.of_device(Path("/dev/null"), Path("/mnt/vol"), shows)) == count


def test_folder_is_held_by_mounts_on_its_filesystem_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by one of which the source is named like the number of that, nor of a folder beside."""
    lines = [
        root(""),
        "130 120 8:1 /srv/vol /a rw - ext4 /dev/sda1 rw",
        "131 120 8:1 /srv/vol/in /b rw - ext4 /dev/sda1 rw",
        "132 120 8:1 /srv/vol2 /c rw - ext4 /dev/sda1 rw",
        "133 120 0:9 /srv/vol /d rw - tmpfs 8:1 rw",
    ]
    text = "\n".join(lines).encode()
    monkeypatch.setattr(mounts, "read", lambda _pid="self": text)
    monkeypatch.setattr(mounts, "holding", lambda _: mounts.table()[0])
    found = census([ROOT], lines).of_folder(Path("/srv/vol"), Path("/mnt/vol"))
    assert [each.mountpoint for each in found] == ["/a", "/b"]


def test_open_files_of_our_namespace_hold_a_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another has under the same name lies elsewhere; so does what begins alike."""
    paths = {1: "/mnt/vol", 2: "/mnt/vol/file", 3: "/mnt/vol2", 4: "/mnt/vol", 5: "/mnt"}
    monkeypatch.setattr(holders, "_pids", lambda: list(paths))
    monkeypatch.setattr(holders, "_open_paths", lambda pid: [paths[pid]])
    monkeypatch.setattr(peers, "mount_namespace", lambda pid=0: "theirs" if pid == 4 else "ours")
    assert [each.pid for each in of_open_files(Path("/mnt/vol"))] == [1, 2]


def _shown(device: str, root: str, source: str | None) -> SimpleNamespace:
    """As namespaces.Shown, with a root of which no kernel is asked."""
    return SimpleNamespace(device=device, root=root, source=source)


def test_processes_are_looked_through_only_for_what_somebody_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What nobody shows costs one question to the kernel, for however many volumes."""
    asked, looked = [], []

    def shown() -> list[SimpleNamespace]:
        asked.append(1)
        return [_shown("1:3", "/in", "/dev/null"), _shown("0:44", "/sub", "/dev/full")]

    def tasks() -> Iterator[int]:
        looked.append(1)
        return iter(())

    monkeypatch.setattr(namespaces, "shown_anywhere", shown)
    monkeypatch.setattr(holders, "_tasks", tasks)
    taken, at = Census.take(), Path("/mnt/vol")
    assert asked == []
    for device, shows in (("/dev/zero", "/in"), ("/dev/null", "/out"), ("/dev/full", "/in")):
        taken.of_device(Path(device), at, PurePosixPath(shows).__eq__)
    assert (len(asked), len(looked)) == (1, 0)
    for device, shows in (("/dev/null", "/in"), ("/dev/full", "/sub")):
        Census.take().of_device(Path(device), at, PurePosixPath(shows).__eq__)
    assert len(looked) == 2


@pytest.mark.parametrize("source", ["/dev/null", None])
def test_btrfs_is_looked_for_where_its_source_is_not_told(
    source: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before kernel 6.13; its number says nothing of the device that it lies on."""
    looked = []

    def tasks() -> Iterator[int]:
        looked.append(1)
        return iter(())

    monkeypatch.setattr(namespaces, "shown_anywhere", lambda: [_shown("0:44", "/", source)])
    monkeypatch.setattr(holders, "_tasks", tasks)
    assert Census.take().of_device(Path("/dev/null"), Path("/mnt/vol")) == []
    assert looked == [1]


def test_processes_are_looked_through_for_a_mount_that_goes_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which folder it showed nobody can tell any more."""
    gone = Shown("1:3", "/dev/null", namespace=1, mount=2)  # no namespace has such a mount
    monkeypatch.setattr(namespaces, "shown_anywhere", lambda: [gone])
    monkeypatch.setattr(holders, "_pids", lambda: [os.getpid()])
    assert Census.take().of_device(Path("/dev/null"), Path("/mnt/vol")) == []


def test_processes_are_looked_through_where_the_kernel_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def untold() -> list[SimpleNamespace]:
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(namespaces, "shown_anywhere", untold)
    monkeypatch.setattr(holders, "_pids", lambda: [os.getpid()])
    assert Census.take().of_folder(Path("/"), Path("/mnt/vol")) != []


def test_every_thread_of_a_process_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one with a single thread need not be listed."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as single:
        thread.start()
        monkeypatch.setattr(holders, "_pids", lambda: [os.getpid(), single.pid, 2**22 + 1])
        found = list(holders._tasks())
        ended.set()
        thread.join()
        assert {os.getpid(), thread.native_id, single.pid} <= set(found)
        assert found.count(single.pid) == 1
        single.communicate()
