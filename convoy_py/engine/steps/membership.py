"""Keeps this host alive on a shared root, and knows of the others whether they are.

The beat runs in a thread of its own: neither a busy daemon nor storage of others that hangs may
keep it from being believed alive.
"""

import logging
import platform
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

from convoy_py import __version__
from convoy_py.engine.memory.lease import Ending, Fenced, Lease, Watch
from convoy_py.errors import ConvoyError, Unavailable
from convoy_py.linux import peers
from convoy_py.logs import event
from convoy_py.models.claims import Member
from convoy_py.models.hosts import HostState, HostView
from convoy_py.settings import Settings
from convoy_py.state.claims import SharedRecords
from convoy_py.state.hosts import HostStore
from convoy_py.state.news import News
from convoy_py.state.records import About
from convoy_py.state.store import Store

log = logging.getLogger("convoy.hosts")

BEAT_SECONDS = 5.0


def join(settings: Settings, store: Store, who: str) -> "Membership":
    """Be one of the hosts of a shared root, which is open.

    `who` is told to whoever would be the same one. Raises RootLocked, Unavailable.
    """
    hosts = HostStore(store.root, settings.run_dir, peers.boot_id())
    name = settings.host or platform.node()
    about = About(name=name, machine=peers.machine_id(), version=__version__)
    membership = Membership(hosts, about, _boottime, who=who)
    me = membership.me
    news = News(store.root, me)
    news.open()
    store.share(f"{me.host}-", hosts.home(me.host), SharedRecords(me, news.tell))
    return membership


def _boottime() -> float:
    """Seconds, also those that the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Membership:
    """One life of this host among the hosts of a root."""

    def __init__(
        self,
        store: HostStore,
        about: About,
        boottime: Callable[[], float],
        *,
        who: str,
    ) -> None:
        """Become the host of this name, and alive; `who` is told to who would be the same one.

        Does disk I/O. Raises RootLocked, Unavailable.
        """
        self._store = store
        self._boottime = boottime
        self._number = store.take(about, who)
        self._lease = Lease(store.lease(self._number), boottime)
        try:
            incarnation = self._lease.join(store.joined(self._number))
        except Fenced as fenced:
            raise Unavailable(
                f"this host was taken for dead by another one ({fenced}): reboot it, or unmount "
                "all that it has of this root and delete host.json in its run folder"
            ) from None
        store.note_joined(self._number, incarnation)
        self.me = Member(self._number, incarnation)
        self._abouts = {self._number: about}
        self._watches: dict[int, Watch] = {}
        self._stopped = threading.Event()
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="convoy-beat", daemon=True)

    def start(self) -> None:
        """Look at the others, and go on living."""
        self._thread.start()

    def stop(self, *, is_idle: bool) -> None:
        """Beat no more; say that this host has left if it uses nothing any more."""
        self._stopped.set()
        self._thread.join(BEAT_SECONDS)
        if is_idle and not self._thread.is_alive():
            try:
                self._lease.leave()
            except (OSError, ConvoyError) as error:
                event(log, logging.WARNING, "others see later that we left", failure=error)

    def beat(self) -> None:
        """Renew the lease, and look at those of the others."""
        try:
            if not self._lease.renew():
                self._lease.join(self.me.incarnation)  # nobody has ended it meanwhile
            self._problem = ""
            self._look()
        except Fenced as fenced:
            self._problem = f"this host was taken for dead by another one ({fenced})"
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "no beat", failure=error)
            self._problem = f"the root does not take this host's beat: {error}"

    def meet(self, members: Iterable[Member]) -> None:
        """Learn what hosts are called that nobody has seen yet."""
        if any(member.host not in self._abouts for member in members):
            self._abouts = self._store.load()

    # Without I/O, from any thread

    def refuse(self) -> None:
        """Raise Unavailable if nobody need believe that this host lives."""
        if not self._lease.is_alive():
            raise Unavailable(f"{self._problem or 'this host is not alive on the root'}; repeat")

    @property
    def problem(self) -> str:
        """What keeps others from believing that this host lives, or soon will."""
        return self._problem

    def is_over(self, member: Member) -> bool:
        """Whether nothing of it can be mounted any more, for it left or lives anew."""
        watch = self._watches.get(member.host)
        if watch is None or watch.term is None:
            return False
        term = watch.term
        left = term.incarnation == member.incarnation and term.ending is Ending.LEFT
        return left or term.incarnation > member.incarnation

    def name(self, number: int) -> str:
        about = self._abouts.get(number)
        return about.name if about else f"host {number}"

    def phrase(self, member: Member) -> str:
        """A host, and when it was last seen."""
        watch = self._watches.get(member.host)
        if watch is None or watch.term is None:
            return f"{self.name(member.host)} (never seen)"
        return f"{self.name(member.host)} (seen {watch.silent():.0f} s ago)"

    def views(self) -> list[HostView]:
        """All hosts, by number."""
        return [self._view(number) for number in sorted(self._abouts)]

    def _view(self, number: int) -> HostView:
        about, watch = self._abouts[number], self._watches.get(number)
        view = partial(HostView, number=number, name=about.name, version=about.version)
        if number == self.me.host:
            state = HostState.ALIVE if self._lease.is_alive() else HostState.SILENT
            return view(state=state, seen=0.0, incarnation=self.me.incarnation, here=True)
        if watch is None or watch.term is None:
            return view(state=HostState.SILENT, seen=None, incarnation=0)
        ending = watch.term.ending
        if ending is None:
            state = HostState.SILENT if watch.is_expired() else HostState.ALIVE
        else:
            state = HostState(ending.value)
        return view(state=state, seen=watch.silent(), incarnation=watch.term.incarnation)

    # The thread

    def _run(self) -> None:
        while True:
            self.beat()
            if self._stopped.wait(BEAT_SECONDS):
                return

    def _look(self) -> None:
        self._abouts = self._store.load()
        for number in self._abouts.keys() - {self.me.host}:
            watch = self._watches.get(number)
            if watch is None:
                watch = Watch(self._store.lease(number), self._boottime)
            try:
                watch.look()
            except ConvoyError as error:
                event(log, logging.DEBUG, "a host's lease is not read", failure=error)
            self._watches = {**self._watches, number: watch}
