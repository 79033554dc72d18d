"""Naming who holds: containers are recognised by their cgroup."""

import os
from pathlib import Path

import pytest

from convoy_py.linux.holders import Holder, container_in, of_open_files

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
