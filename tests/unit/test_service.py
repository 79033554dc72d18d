"""What the daemon loads, and makes ready, before anybody calls."""

import subprocess
import sys

import pytest

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
