"""Errors and full disks at random moments, on real filesystems, while several clients work.

What was refused may be done or not; what was acknowledged is there, and all is well after a start.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event

import pytest

from tests.crash.clients import Client, acknowledged
from tests.crash.conftest import FLAGS
from tests.crash.disks import daemon_on
from tests.crash.invariants import check
from tests.crash.rounds import SEED, TIMEOUT, chance, rounds
from tests.crash.scene import Model
from tests.crash.tracing import injected
from tests.crash.volumes import KINDS
from tests.harness import Daemon

pytestmark = [pytest.mark.root, pytest.mark.timeout(TIMEOUT)]

_MIB = 1 << 20
_ROUNDS = 1
_CLIENTS = 4
_CALM, _LONGEST = 0.3, 1.5  # seconds of a round without faults, and with
_FILESYSTEMS = ("ext4", "xfs", "btrfs")
# An image that is not reserved fails inside when its host is full, as all sparse images do.
_RESERVED = ("directory", "ext4-reserved")
_FAILING = (
    *("fsync", "fdatasync", "syncfs", "rename", "renameat", "renameat2", "mkdir", "mkdirat"),
    *("pwrite64", "fallocate", "ftruncate", "copy_file_range", "mount", "umount2"),
    *("unlink", "unlinkat", "rmdir", "link", "linkat", "fchmod", "fchown"),
)


@contextmanager
def _failing(daemon: Daemon, choose: Random, errors: Sequence[str]) -> Iterator[None]:
    """Some of the calls of the daemon and its programs fail, now and then."""
    calls = choose.sample(_FAILING, choose.randint(1, 4))
    when = f"{choose.randint(1, 3)}+{choose.randint(1, 4)}"
    with injected(daemon, ",".join(calls), f"error={choose.choice(errors)}:when={when}"):
        yield


def _bad_disk(daemon: Daemon, choose: Random) -> AbstractContextManager[None]:
    return _failing(daemon, choose, ["EIO"])


def _no_room(daemon: Daemon, choose: Random) -> AbstractContextManager[None]:
    """As with quotas: there is free space, but not for us."""
    return _failing(daemon, choose, ["ENOSPC", "EDQUOT"])


@contextmanager
def _full_disk(daemon: Daemon, choose: Random) -> Iterator[None]:
    """The space below the root goes, down to some MiB or to none."""
    filler = daemon.root.parent / "filler"
    left = choose.choice([0, 0, choose.randint(0, 40 * _MIB)])
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        _fill(fd, left)
        yield
    finally:
        os.close(fd)
        filler.unlink()


def _fill(fd: int, left: int) -> None:
    """Take all space of the filesystem but so many bytes."""
    piece, size = 64 * _MIB, 0
    while piece >= 4096:
        host = os.fstatvfs(fd)
        fits = host.f_bavail * host.f_frsize - left >= piece
        try:
            os.posix_fallocate(fd, size, piece if fits else 0)
            size += piece
        except OSError:  # EINVAL, too: nothing is no length
            piece //= 4


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and what clients do meanwhile."""

    strike: Callable[[Daemon, Random], AbstractContextManager[None]]
    kinds: Sequence[str]
    purges: bool = False  # the trash gives way
    fills_disk: bool = False
    forgets: bool = False  # who holds a volume could not be recorded, below /run

    def model(self, clients: Sequence[Client]) -> Model:
        """What must be there."""
        model = acknowledged(clients)
        if self.purges:
            model.unsure |= model.trash | model.moving
            model.moving.clear()
        if self.forgets:
            model.swaying |= model.held
        return model


def _unmounted_later(daemon: Daemon, since: int) -> set[str]:
    """What is still held for the next daemon, for that it is not could not be recorded; as told."""
    log = daemon.log.read_bytes()[since:]
    return {name.decode() for name in re.findall(rb" unmount later volume=(\S+) ", log)}


def _at_work(clients: Sequence[Client], seconds: float, *, writes: bool = True) -> None:
    ended = Event()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        work = [pool.submit(one.work_among_faults, ended, writes=writes) for one in clients]
        ended.wait(seconds)
        ended.set()
    for done in work:
        done.result()


@pytest.mark.parametrize("fs", _FILESYSTEMS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault(_bad_disk, tuple(KINDS)),
        Fault(_no_room, tuple(KINDS), forgets=True),
        Fault(_full_disk, _RESERVED, purges=True, fills_disk=True),
    ],
    ids=lambda fault: fault.strike.__name__.strip("_"),
)
def test_random_faults_lose_nothing_that_was_acknowledged(
    tmp_path: Path, tell: Callable[[str], None], fs: str, fault: Fault
) -> None:
    """Each refusal is one line; once the fault is over and the daemon anew, the invariants hold."""
    name = fault.strike.__name__.strip("_")
    choose = chance(name, fs)
    tell(f"{name} on {fs}: CRASH_SEED={SEED}")
    with daemon_on(tmp_path, fs, [*FLAGS, "--trash-keep=24h"]) as daemon:
        clients = [Client(daemon, n, chance(fs, n), fault.kinds) for n in range(_CLIENTS)]
        for _ in rounds(_ROUNDS):
            daemon.start()
            _at_work(clients, _CALM)
            log = daemon.log.stat().st_size
            with fault.strike(daemon, choose):
                _at_work(clients, choose.uniform(0, _LONGEST), writes=not fault.fills_disk)
            daemon.kill()
            daemon.start()
            model = fault.model(clients)
            model.swaying |= _unmounted_later(daemon, log)
            check(daemon, model)
            for client in clients:
                client.look()
            assert daemon.stop() == 0
    refusals = [refusal for client in clients for refusal in client.refusals]
    assert not [refusal for refusal in refusals if "\n" in refusal.strip()]
    answered = sum(client.answered for client in clients)
    tell(f"{name} on {fs}: {answered} answered, {len(refusals)} refused, nothing lost")
