"""Random verbs of three hosts on one root, at the same time, against what may never be."""

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from convoy_py.errors import (
    Conflict,
    NotFound,
    Unavailable,
    VolumeElsewhere,
    VolumeInUse,
)
from tests.fakes_engine import Engine
from tests.unit.engine.sharing import FOLDER, IMAGE, joined

ROUNDS = int(os.environ.get("SHARING_ROUNDS", "8"))
STEPS, HOSTS = 60, 3
NAMES = {"db": IMAGE, "log": IMAGE, "etc": FOLDER, "usr": FOLDER}
OTHERS = {"db": "log", "log": "db", "etc": "usr", "usr": "etc"}


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Engine]]:
    with joined(tmp_path, monkeypatch, HOSTS) as made:
        yield made


class World:
    """What the hosts do by chance, and what holds of all of them together."""

    def __init__(self, hosts: list[Engine], chance: random.Random) -> None:
        self.hosts = hosts
        self.chance = chance
        self.held: dict[tuple[int, str], int] = {}  # mounts that were answered, by host and name

    async def act(self, number: int) -> None:
        """One verb of one host; it is done, or refused for what another does."""
        host, name = self.hosts[number], self.chance.choice(list(NAMES))
        verb = self.chance.choice(
            [
                "create",
                "mount",
                "mount",
                "unmount",
                "unmount",
                "remove",
                "protect",
                "snapshot",
                "delete",
                "look",
                "restore",
                "restore_as",
                "purge",
                "rename",
            ]
        )
        with suppress(VolumeElsewhere, VolumeInUse, NotFound, Conflict, Unavailable):
            await getattr(self, f"_{verb}")(number, host, name)

    async def _create(self, number: int, host: Engine, name: str) -> None:
        await host.volumes.create(name, NAMES[name])

    async def _mount(self, number: int, host: Engine, name: str) -> None:
        await host.uses.mount(name, "m", "e")
        self.held[number, name] = self.held.get((number, name), 0) + 1
        self.is_right()

    async def _unmount(self, number: int, host: Engine, name: str) -> None:
        if self.held.get((number, name)):
            self.held[number, name] -= 1
            await host.uses.unmount(name, "m")

    async def _remove(self, number: int, host: Engine, name: str) -> None:
        await host.volumes.remove(name)

    async def _protect(self, number: int, host: Engine, name: str) -> None:
        await host.volumes.protect(name, on=False)

    async def _snapshot(self, number: int, host: Engine, name: str) -> None:
        await host.snapshot(name, f"s{number}")

    async def _delete(self, number: int, host: Engine, name: str) -> None:
        await host.snapshots.delete(f"{name}@s{self.chance.randrange(HOSTS)}")

    async def _look(self, number: int, host: Engine, name: str) -> None:
        assert host.following
        await host.following.look()

    async def _restore(self, number: int, host: Engine, name: str) -> None:
        await host.trash.restore(name)

    async def _restore_as(self, number: int, host: Engine, name: str) -> None:
        await host.trash.restore(name, OTHERS[name])

    async def _purge(self, number: int, host: Engine, name: str) -> None:
        if self.chance.random() < 0.3:  # lest nothing is left to be restored
            await host.trash.purge(name)

    async def _rename(self, number: int, host: Engine, name: str) -> None:
        await host.volumes.rename(name, OTHERS[name])

    def is_right(self) -> None:
        """What is mounted is there, and an image on one host alone."""
        for name, options in NAMES.items():
            using = [number for number, host in enumerate(self.hosts) if host.is_mounted(name)]
            homes = {self.hosts[number].store.home(name) for number in using}
            assert all((home / "data").exists() for home in homes), f"{name} went under a user"
            assert options.fs is None or len(using) <= 1, f"{name} is mounted on {using}"
        for (number, name), count in self.held.items():
            assert not count or self.hosts[number].is_mounted(name), f"{name} lost its mount"


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_whatever_the_hosts_do_at_once(hosts: list[Engine], seed: int) -> None:
    world = World(hosts, random.Random(seed))
    for _ in range(STEPS):
        await asyncio.gather(*(world.act(number) for number in range(HOSTS)))
        world.is_right()
    for (number, name), count in world.held.items():
        for _ in range(count):
            await hosts[number].uses.unmount(name, "m")
    for host in hosts:
        await host.settled()
    for host in hosts:
        assert host.following
        await host.following.look()
    listings = [sorted(host.volumes.listing()) for host in hosts]
    assert listings == [listings[0]] * HOSTS
    assert listings[0] == [(name, "") for name, _ in listings[0]]
    on_disk = sorted(path.name for path in (hosts[0].store.volumes).iterdir())
    assert on_disk == [name for name, _ in listings[0]]
    trashes = [[each.key for each in host.trash.views()] for host in hosts]
    assert trashes == [trashes[0]] * HOSTS
    in_trash = sorted(path.name for path in hosts[0].store.trash.iterdir())
    assert in_trash == sorted(trashes[0])
    snapshots = [
        {name: host.volumes.get(name).snapshots for name, _ in listings[0]} for host in hosts
    ]
    assert snapshots == [snapshots[0]] * HOSTS
