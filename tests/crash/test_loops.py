"""What a daemon asks of its event loop, on asyncio's own and on uvloop."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.crash.volumes import CONTAINER, KINDS
from tests.harness import Daemon, eventually
from tests.launches import Launch
from tests.loops import LAUNCHES

pytestmark = [pytest.mark.root, pytest.mark.parametrize("launch", LAUNCHES)]


@pytest.fixture
def served(daemon: Daemon, launch: Launch) -> Daemon:
    daemon.start(launch)
    return daemon


def test_the_log_names_the_loop(served: Daemon, request: pytest.FixtureRequest) -> None:
    """Where it runs on uvloop, a fault may be that one's."""
    loop = request.node.callspec.id
    eventually(lambda: f" loop={loop} " in served.log.read_text(), "it is told")


def test_the_log_names_who_called(served: Daemon) -> None:
    """By what the kernel says of the other end."""
    served.create("v", **KINDS["ext4"])  # for which programs run
    assert f"pid={os.getpid()} " in served.log.read_text()
    served.mount("v", CONTAINER)
    served.unmount("v", CONTAINER)
    served.remove("v")


def test_who_only_stops_sending_gets_the_answer(served: Daemon) -> None:
    """As `printf … | nc -U` does."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(served.plugin_socket))
        one.sendall(b"POST /VolumeDriver.List HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        one.shutdown(socket.SHUT_WR)
        with one.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 200 OK")


def test_calls_that_came_before_the_end_are_answered(served: Daemon) -> None:
    """However soon SIGTERM follows; and a signal that means nothing changes nothing."""
    served.signal(signal.SIGHUP)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(served.create, f"v{number}") for number in range(8)]
        calls[0].result()
        assert served.stop() == 0
        answers = [call.exception() for call in calls]
    made = {path.name for path in (served.root / "volumes").iterdir()}
    assert made >= {f"v{number}" for number, error in enumerate(answers) if error is None}
    assert "SIGHUP does nothing" in served.log.read_text()
    assert "Traceback" not in served.log.read_text()
