"""Real processes of other users at the admin socket, as the kernel names them."""

import asyncio
import grp
import secrets
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from convoy_py.api.app import admin_app, serve
from convoy_py.config import Configuration
from convoy_py.linux.outside import Outside
from convoy_py.metrics import Metrics
from convoy_py.settings import Settings
from tests.fakes import NOW, FakeVerbs, FakeVolumes

pytestmark = pytest.mark.root

NOBODY = 65534
GROUP = grp.getgrnam("staff")
# It becomes the user itself: a stranger may not be allowed to run the tests' own Python.
CLIENT = """
import os, socket, sys
address, user, group, *extra = sys.argv[1:]
os.setgroups([int(gid) for gid in extra])
os.setgid(int(group))
os.setuid(int(user))
sock = socket.socket(socket.AF_UNIX)
sock.connect("\\0" + address)
sock.sendall(b"DELETE /v1/volumes/db HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
print(sock.makefile("rb").readline().decode().split()[1])
"""


@pytest.fixture
async def engine() -> FakeVolumes:
    engine = FakeVolumes()
    engine.add("db")
    return engine


@pytest.fixture
async def address(engine: FakeVolumes) -> AsyncIterator[str]:
    """An abstract socket, to which no file mode bars the way."""
    name = f"convoy-test-{secrets.token_hex(8)}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(f"\0{name}")
    sock.listen()
    settings = Configuration(Settings(socket_group=GROUP.gr_name), {"socket_group": "flag"})
    runner = await serve(
        admin_app(FakeVerbs(engine), Metrics("0"), settings, lambda: NOW, Outside()), sock
    )
    yield name
    await runner.cleanup()


@pytest.mark.parametrize(
    ("user", "group", "extra", "status"),
    [
        (0, 0, [], "204"),
        (NOBODY, NOBODY, [], "403"),
        (NOBODY, 0, [0], "403"),
        (NOBODY, GROUP.gr_gid, [], "204"),
        (NOBODY, NOBODY, [4, GROUP.gr_gid], "204"),
        (NOBODY, NOBODY, [GROUP.gr_gid + 1], "403"),
    ],
    ids=["root", "nobody", "group root", "group", "supplementary group", "other group"],
)
async def test_only_root_and_the_group_may_change_anything(
    engine: FakeVolumes, address: str, user: int, group: int, extra: list[int], status: str
) -> None:
    """The kernel says who connected; root's group is not root."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        address,
        *map(str, (user, group, *extra)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    assert out.decode().strip() == status
    assert ("db" in engine.known) == (status == "403")
