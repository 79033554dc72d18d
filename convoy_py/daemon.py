"""Starts the daemon: takes the root's lock and opens the sockets before anything slow is loaded.

A caller that connects from here on waits in the kernel's backlog instead of being refused; so what
this module imports stays small, and the server itself is loaded when the sockets are open.
"""

import importlib
import os
import socket
from pathlib import Path

from convoy_py import logs
from convoy_py.config import Configuration, Settings
from convoy_py.errors import InvalidSetting, Unavailable
from convoy_py.linux import sockets
from convoy_py.state.store import Store


def serve(configuration: Configuration) -> int:
    """Run the daemon until SIGTERM or SIGINT; returns the exit code.

    Raises RootLocked if another daemon has the root, Unavailable if one has a socket.
    """
    settings = configuration.settings
    try:
        logs.configure(settings.log_level, settings.log_format, settings.log)
    except OSError as error:
        source = configuration.sources["log"]
        raise InvalidSetting("log", source, str(error)) from error
    store = Store(settings.root)
    store.open(f"pid {os.getpid()}, admin socket {settings.socket}")
    settings.run_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    inherited = sockets.inherited()
    ours: list[Path] = []
    try:
        plugin = _listen(settings, "plugin_socket", inherited, ours)
        admin = _listen(settings, "socket", inherited, ours)
        # By name, for an import statement would be resolved while the sockets are still closed.
        service = importlib.import_module("convoy_py.service")
        return int(service.run(configuration, store, plugin, admin))
    finally:
        # A socket file that nobody serves costs each of Docker's look-ups 15 s.
        for path in ours:
            path.unlink(missing_ok=True)
        store.close()


def _listen(
    settings: Settings, setting: str, inherited: dict[Path, socket.socket], ours: list[Path]
) -> socket.socket:
    path: Path = getattr(settings, setting)
    if path in inherited:
        return inherited[path]
    try:
        group = settings.socket_group if setting == "socket" else None
        sock = sockets.listen(path, group)
    except LookupError:
        reason = f"there is no group {settings.socket_group!r}"
        raise InvalidSetting("socket_group", "settings", reason) from None
    except OSError as error:
        raise Unavailable(f"cannot listen on {path} (setting {setting}): {error}") from error
    ours.append(path)
    return sock
