"""What the daemon loads, and makes ready, before anybody calls."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from convoy_py.config import Configuration
from convoy_py.errors import RootReplaced
from convoy_py.linux import signals, sockets
from convoy_py.service import _Service
from convoy_py.settings import Settings
from convoy_py.state.store import Store

# Each takes megabytes: what speaks with Docker, and what only a session needs.
_RARE = {"docker", "requests", "cryptography", "obstore", "convoy_py.session", "convoy_py.cli"}
_CODE = """
import sys
import convoy_py.daemon, convoy_py.service
from convoy_py.engine.steps import sessions
from convoy_py.wire import backups
print(*sys.modules)
print(sessions.EVENTS.pydantic_complete, backups.CreateBackups.__pydantic_complete__)
"""


def test_a_daemon_at_rest_has_only_what_all_calls_need() -> None:
    """Programs and messages of rare verbs come with the first of them."""
    told = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True
    ).stdout
    loaded, are_built = told.splitlines()
    assert _RARE & set(loaded.split()) == set()
    assert are_built == "False False"


@pytest.mark.parametrize(("tells", "can"), [(True, "True"), (False, "False")])
def test_certificates_are_loaded_for_webhooks_alone(tells: bool, can: str) -> None:
    """All else that may speak TLS still can: the Docker SDK, uvloop."""
    code = f"""
from convoy_py import daemon
daemon._load_service(tells={tells})
import asyncio.sslproto, ssl, urllib.request, aiohttp.connector
urllib.request.HTTPSHandler, asyncio.sslproto.ssl.SSLContext, ssl.create_default_context
print(aiohttp.connector.ssl is not None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{can}\n"


class Unheard:
    """Signals that never come."""

    def __init__(self) -> None:
        self._ends = socket.socketpair()

    def fileno(self) -> int:
        return self._ends[0].fileno()

    def serve(self) -> None:
        """Somebody reads."""


async def test_a_daemon_that_fails_tells_no_other_host_that_it_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who it is there may be what it was not sure of; and it ends with one line."""
    settings = Settings(root=tmp_path / "root", run_dir=tmp_path / "run")
    store = Store(tmp_path / "root")
    store.open("a test")
    service = _Service(Configuration(settings, {}), store, None)
    plugin, admin = (sockets.listen(tmp_path / name, None) for name in ("plugin", "admin"))
    left = []

    async def leave() -> None:
        left.append(True)

    async def fail() -> int:
        async with asyncio.TaskGroup():
            raise RootReplaced("it is another one")

    monkeypatch.setattr(service._engine, "leave", leave)
    monkeypatch.setattr(service._engine, "open", fail)
    with pytest.raises(RootReplaced, match="it is another one"):
        await service.run(plugin, admin, cast("signals.Signals", Unheard()))
    assert left == []
    store.close()
