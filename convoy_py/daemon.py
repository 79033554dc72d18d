"""Starts the daemon: takes its locks and opens the sockets before anything slow is loaded.

A caller that connects from here on waits in the kernel's backlog instead of being refused; so what
this module imports stays small, and the server itself is loaded when the sockets are open.
"""

import importlib
import os
import resource
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from convoy_py import logs
from convoy_py.config import Configuration
from convoy_py.errors import InvalidSetting, RootLocked, Unavailable
from convoy_py.linux import files, mounts, outside, signals, sockets
from convoy_py.settings import Settings
from convoy_py.state.ballast import Ballast
from convoy_py.state.store import Store

if TYPE_CHECKING:
    from convoy_py.engine.steps.membership import Membership


def serve(configuration: Configuration) -> int:
    """Run the daemon until a signal that ends it; returns the exit code.

    Raises RootLocked if another daemon has one of the folders, Unavailable if one has a socket,
    InvalidSetting for a setting that this host refuses.
    """
    settings = configuration.settings
    heard = signals.Signals()
    # An engine that starts asks for all its volumes at once: a shell's 1024 are not enough.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    who = f"pid {os.getpid()}, admin socket {settings.socket}"
    with ExitStack() as stack:
        with _blaming(configuration, "log"):
            logs.configure(settings.log_level, settings.log_format, settings.log)
        store = Store(settings.root)
        with _blaming(configuration, "root"):
            store.open(who, shared=settings.shared)
            stack.callback(store.close)
            _refuse_mortal(configuration)
        with _blaming(configuration, "run_dir"):
            # Who may use the admin socket must be able to get to it; the rest is closed.
            stack.enter_context(_locked(settings.run_dir, 0o711, who, store.ballast))
        with _blaming(configuration, "mounts_dir"):
            stack.enter_context(_locked(settings.mounts, 0o700, who, store.ballast))
        membership = _joined(settings, store, who) if settings.shared else None
        inherited = sockets.inherited()
        _refuse_unknown(configuration, inherited)
        plugin = stack.enter_context(_listening(configuration, "plugin_socket", inherited, store))
        admin = stack.enter_context(_listening(configuration, "socket", inherited, store))
        service = _load_service(tells=bool(settings.webhook or settings.ping))
        return int(service.run(configuration, store, plugin, admin, heard, membership))


def _joined(settings: Settings, store: Store, who: str) -> "Membership":
    """Be one of the hosts of a shared root."""
    from convoy_py.engine.steps import membership  # noqa: PLC0415 - most roots are not shared

    return membership.join(settings, store, who)


def _load_service(*, tells: bool) -> ModuleType:
    """Load the server: by name, for imports are resolved while the sockets are still closed.

    aiohttp's client comes with it, which reads all certificates that the host trusts (2 MiB, 40 ms)
    while it is loaded, unless Python has no TLS. It has some only if there is somebody it `tells`.
    """
    for name in ("asyncio", "urllib.request", "ssl"):  # what docker and uvloop use has TLS
        importlib.import_module(name)
    loaded: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    tls = loaded["ssl"]
    if not tells:
        loaded["ssl"] = None  # as Python says that it has none
    try:
        importlib.import_module("aiohttp")
    finally:
        loaded["ssl"] = tls
    return importlib.import_module("convoy_py.service")


@contextmanager
def _blaming(configuration: Configuration, setting: str) -> Iterator[None]:
    """Tell what the system refuses as the fault of a setting, with the source it came from."""
    try:
        yield
    except OSError as error:
        raise InvalidSetting(setting, configuration.sources[setting], str(error)) from error


@contextmanager
def _locked(folder: Path, mode: int, who: str, ballast: Ballast) -> Iterator[None]:
    """Have a folder alone; if it is missing make it with this mode, whatever the umask."""

    def lock_file() -> int:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(mode)
        return files.lock_file(folder / ".lock", who)

    try:
        lock = ballast.relieve(lock_file)
    except BlockingIOError as error:
        raise RootLocked(str(folder), error.strerror or "unknown") from None
    try:
        yield
    finally:
        os.close(lock)


def _refuse_mortal(configuration: Configuration) -> None:
    """Refuse a root inside of a managed plugin, which `docker plugin rm` deletes."""
    root = configuration.settings.root
    if outside.is_of_plugin(mounts.holding(root)):
        raise InvalidSetting(
            "root",
            configuration.sources["root"],
            f"{root} lies inside the plugin and would die with it; use a folder below /var/lib, "
            "which is the host's (the plugin's mount `state`)",
        )


def _refuse_unknown(configuration: Configuration, inherited: Mapping[Path, socket.socket]) -> None:
    """Refuse inherited sockets that nobody would serve: to connect to one would hang for ever."""
    settings = configuration.settings
    for path in inherited:
        if path not in (settings.plugin_socket, settings.socket):
            raise InvalidSetting(
                "plugin_socket",
                configuration.sources["plugin_socket"],
                f"systemd opened {path} for this daemon, but it is to serve "
                f"{settings.plugin_socket} and {settings.socket}; make the two agree",
            )


@contextmanager
def _listening(
    configuration: Configuration,
    setting: str,
    inherited: Mapping[Path, socket.socket],
    store: Store,
) -> Iterator[socket.socket]:
    """A listening socket: systemd's, which outlives the daemon, or one that ends with it."""
    path: Path = getattr(configuration.settings, setting)
    group = configuration.socket_gid() if setting == "socket" else None
    if path in inherited:
        sockets.restrict(path, group)
        yield inherited[path]
        return
    try:
        sock = store.ballast.relieve(lambda: sockets.listen(path, group))
    except OSError as error:
        raise Unavailable(f"cannot listen on {path} (setting {setting}): {error}") from error
    try:
        yield sock
    finally:
        # A socket file that nobody serves costs each of Docker's look-ups 15 s.
        path.unlink(missing_ok=True)
