"""Kills the daemon at random moments while several clients work with volumes and snapshots."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.crash.clients import Client, acknowledged
from tests.crash.conftest import FLAGS
from tests.crash.disks import daemon_on
from tests.crash.invariants import check
from tests.crash.rounds import SEED, TIMEOUT, chance, rounds

pytestmark = [pytest.mark.root, pytest.mark.timeout(TIMEOUT)]

_ROUNDS = 12
CLIENTS = 6
_LONGEST = 0.5  # seconds from the start of a round's load to its end


@pytest.mark.parametrize("host", ["host", "xfs", "btrfs"])
def test_random_kills_lose_nothing_that_was_acknowledged(
    tmp_path: Path, tell: Callable[[str], None], host: str
) -> None:
    """After each kill and restart the invariants hold, and the clients go on where they were."""
    moments, killed, cut_off = chance("kills", host), 0, 0
    tell(f"random kills on {host}: CRASH_SEED={SEED}")
    with daemon_on(tmp_path, host, [*FLAGS, "--trash-keep=24h"]) as daemon:
        clients = [Client(daemon, n, chance(host, n)) for n in range(CLIENTS)]
        daemon.start()
        for _ in rounds(_ROUNDS):
            with ThreadPoolExecutor(CLIENTS) as pool:
                work = [pool.submit(client.work) for client in clients]
                Event().wait(moments.uniform(0, _LONGEST))
                daemon.kill()
            for done in work:
                done.result()
            killed += 1
            cut_off += sum(bool(v.cut_off) for client in clients for v in client.volumes)
            daemon.start()
            check(daemon, acknowledged(clients))
            for client in clients:
                client.look()
    answered = sum(client.answered for client in clients)
    assert answered > _ROUNDS
    tell(f"{killed} kills on {host}: {answered} answered, {cut_off} cut off, nothing lost")
