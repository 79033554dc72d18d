"""Real servers for repositories to lie on, each started once for all tests: S3, and REST."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from obstore.store import S3Store

from tests.harness import eventually

KEY, SECRET, BUCKET = "AKEYOFTESTS", "canary-secret-of-s3", "bucket"
S3_CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
USER, PASSWORD = "backup", "canary:pass/word"
_PROGRAMS = Path(sys.executable).parent
_PROJECT = Path(__file__).parents[2]


def bucket_at(address: str) -> S3Store:
    """The bucket of the tests as it is, beside what is tested."""
    return S3Store(
        BUCKET,
        config={"endpoint": address, "access_key_id": KEY, "secret_access_key": SECRET},
        client_options={"allow_http": True},
    )


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on, at this moment."""
    with ExitStack() as held:
        free = ("127.0.0.1", 0)
        sockets = [held.enter_context(socket.create_server(free)) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def s3_served(folder: Path, *, to_all: bool = False) -> Iterator[str]:
    """The address of a SeaweedFS whose data lies in the folder.

    One that is open `to_all` is Google's service, too: its XML is that of S3, but for who may.
    """
    everything = ["Admin", "Read", "Write", "List"]
    keys = [{"accessKey": KEY, "secretKey": SECRET}]
    identity = {"name": "tests", "credentials": keys, "actions": everything}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip(names, zip(*[iter(free_ports(2 * len(names)))] * 2, strict=True), strict=True))
    # Its own logs, too, lie there: as a rule they lie in /tmp.
    command = [str(_PROGRAMS / "weed"), f"-logdir={folder}", "server", f"-dir={folder}"]
    command += ["-filer", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
    command += ["-volume.max=20", "-master.volumeSizeLimitMB=64"]
    command += [] if to_all else [f"-s3.config={folder}/s3.json"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    for name, (port, grpc) in ports.items():
        command += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
    address = f"http://127.0.0.1:{ports['s3'][0]}"
    used = [port for pair in ports.values() for port in pair]
    with without_sockets(used), _running(command, address, folder / "log"):
        if to_all:
            made = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
            urllib.request.urlopen(made, timeout=30).close()
        else:
            _make_bucket(address)
        yield address


@contextmanager
def without_sockets(ports: Iterable[int]) -> Iterator[None]:
    """Delete at the end what a SeaweedFS with these ports leaves in /tmp."""
    names = [str(port) for port in ports]
    try:
        yield
    finally:
        for left in Path("/tmp").glob("seaweedfs-*.sock"):
            if any(name in left.name for name in names):
                left.unlink()


@contextmanager
def rest_served(folder: Path, *options: str) -> Iterator[str]:
    """The address, with user and password, of an rclone that serves the folder."""
    (port,) = free_ports(1)
    command = [str(_PROGRAMS / "rclone"), "serve", "restic", str(folder), *options]
    command += [f"--addr=127.0.0.1:{port}", f"--user={USER}", f"--pass={PASSWORD}"]
    with _running(command, f"http://127.0.0.1:{port}", folder.with_name(f"{folder.name}.log")):
        yield f"http://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/"


def _make_bucket(address: str) -> None:
    """In a process of its own: a client has threads, with which none changes its namespaces."""
    here = "from tests.conformance.servers import bucket_at"
    put = f"bucket_at({address!r}).put('made', b'with the first object')"
    subprocess.run([sys.executable, "-c", f"{here}\n{put}"], cwd=_PROJECT, check=True)


@contextmanager
def _running(command: list[str], address: str, log: Path) -> Iterator[None]:
    environment = {**os.environ, "HOME": str(log.parent), "GOMAXPROCS": "2"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
    try:
        eventually(lambda: process.poll() is not None or _answers(address), f"{command[0]} answers")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    with suppress(OSError):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError as refusal:
            refusal.close()
        return True
    return False
