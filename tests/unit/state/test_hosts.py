"""Each host of a root has a number, which no two have, and is known again by its name."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from convoy_py.errors import RootLocked, Unavailable
from convoy_py.state.hosts import HostStore
from convoy_py.state.records import About, Joined

A, B, C = (About(name=name, machine=f"machine-{name}", boot="boot", version="1") for name in "abc")


def be(store: HostStore, about: About, who: str = "me") -> int:
    """Be the host of this name, which is a new one unless it is known; its number."""
    found = store.find(about.name)
    number = found[0] if found else store.make(about)
    store.lock(number, about.name, who)
    store.tell(number, about)
    return number


class Hosts:
    """Daemons of one root."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        (folder / "root").mkdir()

    def store(self, name: str, boot: str = "boot") -> HostStore:
        run = self.folder / name
        run.mkdir(exist_ok=True)
        store = HostStore(self.folder / "root", run, boot)
        return self._stack.enter_context(closing(store))


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(tmp_path, stack)


def test_the_lowest_number_that_is_free_is_taken(hosts: Hosts) -> None:
    assert [be(hosts.store(about.name), about) for about in (A, B, C)] == [1, 2, 3]
    store = hosts.store("d")
    assert store.load() == {1: A, 2: B, 3: C}
    assert sorted(os.listdir(hosts.folder / "root" / "hosts")) == ["1", "2", "3"]
    assert store.lease(2).read() == "0.left", "nobody has been it yet"


def test_a_host_is_known_again_by_its_name(hosts: Hosts) -> None:
    be(hosts.store("a"), A)
    with closing(hosts.store("b")) as before:
        assert be(before, B) == 2
    newer = B.model_copy(update={"version": "2"})
    after = hosts.store("b")
    assert be(after, newer) == 2
    assert after.load() == {1: A, 2: newer}


def test_two_daemons_are_not_one_host(hosts: Hosts) -> None:
    be(hosts.store("a"), A, "pid 1")
    with pytest.raises(RootLocked, match=r"host a.*pid 1"):
        be(hosts.store("again"), A, "pid 2")


def test_of_hosts_that_come_at_once_each_gets_a_number(hosts: Hosts) -> None:
    stores = [(hosts.store(str(n)), A.model_copy(update={"name": f"host-{n}"})) for n in range(8)]
    together, taken = threading.Barrier(len(stores)), []

    def take(store: HostStore, about: About) -> None:
        together.wait(60)
        taken.append(be(store, about))

    threads = [threading.Thread(target=take, args=each) for each in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 9))
    assert {about.name for about in hosts.store("c").load().values()} == {
        f"host-{n}" for n in range(8)
    }
    assert len(os.listdir(hosts.folder / "root" / "hosts")) == 8


def test_a_number_whose_answer_was_lost_is_taken(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one host had two, and which of them it is next time were chance."""
    rename = Path.rename

    def lost(old: Path, new: Path) -> Path:
        monkeypatch.undo()
        rename(old, new)
        raise OSError("no answer")

    monkeypatch.setattr(Path, "rename", lost)
    assert be(hosts.store("a"), A) == 1
    assert be(hosts.store("b"), B) == 2


def test_what_cannot_be_made_is_told(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(old: Path, new: Path) -> Path:
        raise OSError("full")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="full"):
        be(hosts.store("a"), A)
    assert os.listdir(hosts.folder / "root" / "hosts") == []


def test_an_incarnation_is_of_its_boot(hosts: Hosts) -> None:
    store = hosts.store("a")
    assert store.joined() is None
    store.note_joined(1, 4)
    assert hosts.store("a").joined() == Joined(boot="boot", host=1, incarnation=4)
    assert hosts.store("a", "next boot").joined() is None


def test_what_a_newer_daemon_noted_is_not_guessed_at(hosts: Hosts) -> None:
    store = hosts.store("a")
    (hosts.folder / "a" / "host.json").write_text('{"format": 99}')
    with pytest.raises(Unavailable, match="newer"):
        store.joined()
    (hosts.folder / "a" / "host.json").write_text("{")
    assert store.joined() is None
