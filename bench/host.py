"""A host's filesystem of any kind, with our daemon on it, whatever the disk of the machine has."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.client import call, get
from bench.figures import sample
from bench.subject import Daemon, daemon, unmount_all
from convoy_py.cli.client.calls import Client
from convoy_py.linux import filesystems, loop, mounts
from convoy_py.linux.descriptors import closing, opened
from convoy_py.wire.copies import CloneVolume
from convoy_py.wire.endpoints import (
    CLONE_VOLUME,
    CREATE_SNAPSHOT,
    CREATE_VOLUME,
    DELETE_VOLUME,
    MOUNT_VOLUME,
    UMOUNT_VOLUME,
    Answer,
    Form,
    Long,
)
from convoy_py.wire.snapshots import CreateSnapshot
from convoy_py.wire.volumes import CreateVolume, MountVolume

_SIZE = 24 << 30  # of a sparse image: only what is written takes space
_JOB_SECONDS = 600.0
_HOLD = MountVolume(reference="bench")


@dataclass(frozen=True)
class Host:
    """A daemon, its root on a filesystem of its own, and the verbs of an owner of volumes."""

    daemon: Daemon
    root: Path
    client: Client

    def mounted(self, name: str, **options: str) -> Path:
        """The data of a new volume."""
        self.client.ask(CREATE_VOLUME, CreateVolume(name=name, options=options))
        return Path(self.client.ask(MOUNT_VOLUME, _HOLD, of=name).mount_point)

    def snapshot(self, volume: str, name: str) -> None:
        self._do(CREATE_SNAPSHOT, CreateSnapshot(name=name), volume)

    def clone(self, volume: str, name: str) -> None:
        self._do(CLONE_VOLUME, CloneVolume(name=name), volume)

    def drop(self, volume: str) -> None:
        """Unmount and delete a volume, and wait until its blocks are free again."""
        self.client.ask(UMOUNT_VOLUME, _HOLD, of=volume)
        self.client.ask(DELETE_VOLUME, of=volume)
        self.daemon.settle()
        os.sync()

    def frozen_seconds(self) -> float:
        """For how long all freezes together have kept writers waiting so far."""
        page = call(self.daemon.admin, get("metrics")).decode()
        return sample(page, "convoy_freeze_seconds_sum")

    def _do(self, endpoint: Long[Form, Answer], message: Form, volume: str) -> None:
        job = self.client.start(endpoint, message, of=volume)
        self.client.finish(endpoint, job, lambda _: None)


@contextmanager
def host(folder: Path, fs: str) -> Iterator[Host]:
    """A host on a new filesystem below a scratch folder; its blocks are free afterwards."""
    home, image = folder / fs, folder / f"{fs}.image"
    home.mkdir()
    with image.open("xb") as made:
        made.truncate(_SIZE)
    filesystems.make(fs, image, _SIZE, uuid=str(uuid.uuid4()))
    try:
        with opened(image, os.O_RDWR) as fd:
            device, descriptor = loop.attach(fd, tag="bench")
        with closing(descriptor):
            mounts.mount(device.path, home, fs, ("discard",))
        with daemon(home, 0, None, "--trash-keep", "0") as running:
            yield Host(running, home, Client(running.admin, _JOB_SECONDS))
    finally:
        unmount_all(home)
        home.rmdir()
        image.unlink()
