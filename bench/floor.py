"""The least that calls can cost here: a bare handler over the same transport, bare system calls.

A call's floor is what its answer costs a server that only says a constant, and what its work costs
a program that makes the same promises (what is durable stays durable) and checks nothing.
"""

import asyncio
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from aiohttp import web

from bench import client
from bench.subject import volatile
from bench.together import FORK
from convoy_py.linux import files, filesystems, loop, mounts

IMAGE_SIZE = 64 * 2**20


class BareServer:
    """An aiohttp server whose answer to `/<n>` has n bytes and closes the connection."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def answer(self, size: int) -> Callable[[], bytes]:
        """A call whose answer has so many bytes."""
        return partial(client.call, self._path, client.request(str(size), Name="bare-volume"))


@contextmanager
def bare_server(path: Path) -> Iterator[BareServer]:
    """The server, in a process of its own."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(128)
    process = FORK.Process(target=_run, args=(sock,), daemon=True)
    process.start()
    sock.close()
    try:
        yield BareServer(path)
    finally:
        process.terminate()
        process.join()


def _run(sock: socket.socket) -> None:
    asyncio.run(_serve(sock))


async def _serve(sock: socket.socket) -> None:
    app = web.Application()
    app.add_routes([web.post("/{size}", _constant)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    await asyncio.Event().wait()


async def _constant(request: web.Request) -> web.Response:
    await request.read()
    response = web.Response(body=b"x" * int(request.match_info["size"]))
    response.force_close()
    return response


class Bare:
    """What each verb costs without a daemon, on volumes below a folder of its own."""

    def __init__(self, folder: Path, *, images: bool) -> None:
        self._volumes, self._trash = folder / "volumes", folder / "trash"
        run = volatile(folder)
        self._mounts, self._held = run / "mounts", run / "references"
        for made in (self._volumes, self._trash, self._mounts, self._held):
            made.mkdir(parents=True, exist_ok=True)
        self._images = images

    def verb(self, name: str) -> Callable[[str], None]:
        """What `Create` and the like cost, by the name of a volume."""
        verbs = (self.create, self.mount, self.unmount, self.remove)
        return {verb.__name__: verb for verb in verbs}[name.lower()]

    def create(self, name: str) -> None:
        staging = self._volumes / f".new-{name}"
        staging.mkdir(mode=0o700)
        if self._images:
            with (staging / "image").open("xb") as image:
                image.truncate(IMAGE_SIZE)
                ident = str(uuid.uuid4())
                filesystems.make("ext4", staging / "image", IMAGE_SIZE, uuid=ident)
                os.fsync(image.fileno())
        else:
            (staging / "data").mkdir()
            files.fsync_dir(staging / "data")
        files.durable_make(staging / "volume.json", bytes(400))
        staging.rename(self._volumes / name)
        files.fsync_dir(self._volumes)

    def mount(self, name: str) -> None:
        home, mountpoint = self._volumes / name, self._mounts / name
        mountpoint.mkdir()
        if self._images:
            with (home / "image").open("r+b") as image:
                device, fd = loop.attach(image.fileno(), tag=name)
            options = ("nosuid", "nodev", *filesystems.mount_data("ext4", discard=True))
            mounts.mount(device.path, mountpoint, "ext4", options)
            os.close(fd)
        else:
            mounts.bind(home / "data", mountpoint, ("nosuid", "nodev"))
        files.durable_replace(self._held / name, bytes(150), durable=False)

    def unmount(self, name: str) -> None:
        (self._held / name).unlink()
        mounts.unmount(self._mounts / name)
        (self._mounts / name).rmdir()

    def remove(self, name: str) -> None:
        (self._volumes / name).rename(self._trash / name)
        files.fsync_dir(self._volumes)
        files.fsync_dir(self._trash)
        shutil.rmtree(self._trash / name)
