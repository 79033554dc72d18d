"""Kills the daemon at random moments while several clients make, use and remove volumes.

`CRASH_ROUNDS` sets how many rounds, `CRASH_SEED` repeats the choices of a run (not its timing).
"""

import os
import random
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import pytest

from tests.crash.contents import write_canary
from tests.crash.invariants import check
from tests.crash.scene import Model
from tests.crash.volumes import CONTAINER, KINDS, Stage
from tests.harness import Daemon, Unanswered

pytestmark = [pytest.mark.root, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "12"))
CLIENTS = 6
VOLUMES_EACH = 2
_LONGEST = 0.5  # seconds from the start of a round's load to its end


@dataclass
class Volume:
    """One name as its only client knows it; `cut_off` is the operation that got no answer."""

    name: str
    kind: str
    stage: Stage = Stage.ABSENT
    content: bytes = b""
    cut_off: str = ""


class Client:
    """Works on volumes of its own, so that it knows what must be there."""

    def __init__(self, daemon: Daemon, number: int, chance: random.Random) -> None:
        kinds = list(KINDS)
        self.volumes = [
            Volume(f"v{number}-{i}", kinds[(number + i) % len(kinds)]) for i in range(VOLUMES_EACH)
        ]
        self.answered = 0
        self._daemon = daemon
        self._chance = chance

    def work(self) -> None:
        """One operation after the other, until the daemon is gone."""
        while True:
            volume = self._chance.choice(self.volumes)
            verb = self._chance.choice(_CHOICES[volume.stage])
            volume.cut_off = verb.__name__
            try:
                verb(self, volume)
            except Unanswered:
                return
            volume.cut_off = ""
            self.answered += 1

    def look(self) -> None:
        """See what became of the operation that was cut off."""
        listed = self._daemon.listed()
        for volume in self.volumes:
            shown = listed.get(volume.name)
            stage = Stage.ABSENT if shown is None else Stage.MOUNTED if shown else Stage.READY
            volume.stage, volume.cut_off = stage, ""
            if stage is Stage.ABSENT:
                volume.content = b""

    def create(self, volume: Volume) -> None:
        self._daemon.create(volume.name, **KINDS[volume.kind])
        volume.stage = Stage.READY

    def mount(self, volume: Volume) -> None:
        self._daemon.mount(volume.name, CONTAINER)
        volume.stage = Stage.MOUNTED

    def write(self, volume: Volume) -> None:
        content = self._chance.randbytes(64)
        write_canary(self._daemon.run_dir / "mounts" / volume.name / _inside(volume), content)
        volume.content = content

    def unmount(self, volume: Volume) -> None:
        self._daemon.unmount(volume.name, CONTAINER)
        volume.stage = Stage.READY

    def remove(self, volume: Volume) -> None:
        self._daemon.remove(volume.name)
        volume.stage, volume.content = Stage.ABSENT, b""

    def get(self, volume: Volume) -> None:
        assert self._daemon.get(volume.name)["Name"] == volume.name

    def list(self, volume: Volume) -> None:
        assert (volume.name in self._daemon.listed()) == (volume.stage is not Stage.ABSENT)


_CHOICES: dict[Stage, tuple[Callable[[Client, Volume], None], ...]] = {
    Stage.ABSENT: (Client.create, Client.create, Client.remove, Client.list),
    Stage.READY: (Client.mount, Client.mount, Client.remove, Client.create, Client.get),
    Stage.MOUNTED: (Client.write, Client.unmount, Client.unmount, Client.get, Client.list),
}


def test_random_kills_lose_nothing_that_was_acknowledged(
    daemon: Daemon, tell: Callable[[str], None]
) -> None:
    """After each kill and restart the invariants hold, and the clients go on where they were."""
    seed = os.environ.get("CRASH_SEED") or secrets.token_hex(4)
    tell(f"random kills: CRASH_SEED={seed} CRASH_ROUNDS={ROUNDS}")
    chance = random.Random(seed)
    clients = [Client(daemon, n, random.Random(f"{seed}-{n}")) for n in range(CLIENTS)]
    cut_off = 0
    daemon.start()
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(CLIENTS) as pool:
            work = [pool.submit(client.work) for client in clients]
            Event().wait(chance.uniform(0, _LONGEST))
            daemon.kill()
        for done in work:
            done.result()
        cut_off += sum(bool(v.cut_off) for client in clients for v in client.volumes)
        daemon.start()
        check(daemon, _acknowledged(clients))
        for client in clients:
            client.look()
    answered = sum(client.answered for client in clients)
    assert answered > ROUNDS
    tell(f"random kills: {answered} operations answered, {cut_off} cut off, nothing lost")


def _acknowledged(clients: list[Client]) -> Model:
    model = Model()
    for volume in (volume for client in clients for volume in client.volumes):
        if volume.stage is not Stage.ABSENT:
            model.volumes[volume.name] = volume.content
        if volume.stage is Stage.MOUNTED:
            model.held.add(volume.name)
        if volume.cut_off in ("create", "remove"):
            model.unsure.add(volume.name)
        if volume.cut_off in ("mount", "unmount"):
            model.swaying.add(volume.name)
    return model


def _inside(volume: Volume) -> str:
    """Where below the mountpoint a container's folder is."""
    return "" if volume.kind == "directory" else "data"
