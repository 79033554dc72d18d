"""Several hosts on one root, each with a kernel and a run folder of its own; and what they see."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from convoy_py.linux import files, freeze, mounts
from convoy_py.linux.holders import Census
from convoy_py.models.claims import Member
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from tests.fakes_engine import Engine, FakeKernel

IMAGE = Options(fs=Filesystem.EXT4, size=1 << 20)
FOLDER = Options()


@contextmanager
def joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> Iterator[list[Engine]]:
    """So many hosts, numbered from 1."""
    kernels = [FakeKernel() for _ in range(count)]
    for kernel in kernels:
        kernel.frozen = kernels[0].frozen  # which folders are is known to all
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power fails here
    monkeypatch.setattr(files, "set_immutable", lambda _, *, on: None)  # for root alone
    monkeypatch.setattr(freeze, "frozen", kernels[0].freeze)
    monkeypatch.setattr(mounts, "table", lambda: [m for k in kernels for m in k.table()])
    monkeypatch.setattr(mounts, "is_mountpoint", lambda at: any(at in k.mounted for k in kernels))
    monkeypatch.setattr(Census, "take", classmethod(lambda cls: cls({}, b"")))
    made = []
    for number, kernel in enumerate(kernels, 1):
        folder = tmp_path / f"host-{number}"
        folder.mkdir()
        member = Member(number, 0)
        host = Engine(folder, kernel, trash_keep=60.0, root=tmp_path / "root", member=member)
        made.append(host.start())
    yield made
    for kernel in kernels:
        for daemon in kernel.daemons:
            daemon.killed()


async def seen(*engines: Engine) -> None:
    """Have each look at what the others did."""
    for engine in engines:
        assert engine.following
        await engine.following.look()


def names(engine: Engine) -> list[str]:
    return sorted(name for name, _ in engine.volumes.listing())
