"""Schemathesis against a live daemon: no request is answered by a failure of its own.

`python -m tests.campaign.fuzz_api [SECONDS [OPTIONS OF SCHEMATHESIS]]`, as root, with schemathesis
installed (`.venv/bin/pip install schemathesis`: it is no dependency of ours). Answers must agree
with the description at /v1/openapi.json. The daemon lies on a filesystem of its own, in memory; its
engine has no containers and no volumes.
"""

import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.crash.conftest import FLAGS
from tests.crash.disks import daemon_on
from tests.fakes_docker import said, serving

_CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance"),
)


class _Bridge(socketserver.ThreadingTCPServer):
    """Hands on connections to a port of this host to a Unix socket."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, path: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.path = path


class _Connection(socketserver.BaseRequestHandler):
    server: _Bridge

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(self.server.path))
            there = threading.Thread(target=_hand_on, args=(self.request, other), daemon=True)
            there.start()
            _hand_on(other, self.request)
            there.join(10)


def _hand_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _engine(target: str) -> bytes:
    """What the Docker Engine answers."""
    if target.endswith("/version"):
        return said("200 OK", {"ApiVersion": "1.41", "MinAPIVersion": "1.12"})
    if "/containers/json" in target:
        return said("200 OK", [])
    if target.partition("?")[0].endswith("/volumes"):
        return said("200 OK", {"Volumes": []})
    return said("404 Not Found", {"message": "no such thing"})


@contextmanager
def _bridged(path: Path) -> Iterator[int]:
    """The port at which a Unix socket can be reached while the block runs."""
    with _Bridge(path) as bridge:
        threading.Thread(target=bridge.serve_forever, daemon=True).start()
        try:
            yield bridge.server_address[1]
        finally:
            bridge.shutdown()


def main(seconds: str = "60", *options: str) -> int:
    folder = Path(tempfile.mkdtemp(prefix="convoy-fuzz-", dir="/dev/shm"))
    program = Path(sys.executable).with_name("schemathesis")
    try:
        with (
            serving(folder / "engine.sock", _engine) as engine,
            daemon_on(
                folder, "ext4", [*FLAGS, f"--docker-host={engine}", "--trash-keep=1s"]
            ) as daemon,
        ):
            daemon.start()
            with _bridged(daemon.admin_socket) as port:
                done = subprocess.run(
                    [
                        *(program, "run", f"http://127.0.0.1:{port}/v1/openapi.json"),
                        *("--checks", ",".join(_CHECKS), "--max-time", seconds),
                        *("--continue-on-failure", "--request-timeout", "40", *options),
                    ],
                    cwd=folder,
                    check=False,
                )

            assert daemon.stop() == 0
        return done.returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
