"""A registry on this machine: as much of it as push, install and upgrade of a plugin need.

The engine checks every digest itself. Source: OCI distribution specification, "Pull" and "Push".
"""

import asyncio
import hashlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run one in a process of its own that keeps all in `folder`; yields its host:port."""
    folder.mkdir()
    argv = [sys.executable, "-m", __name__, str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class _Registry:
    """Blobs lie in files named by digest, manifests in files named by reference and by digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**30)
        content = "/v2/{name:.+}/{kind:blobs|manifests}/{reference}"
        upload = "/v2/{name:.+}/blobs/uploads/{upload}"
        app.add_routes(
            [
                web.get("/v2/", self._here),
                web.post("/v2/{name:.+}/blobs/uploads/", self._begin),
                web.patch(upload, self._append),
                web.put(upload, self._finish),
                web.put("/v2/{name:.+}/manifests/{reference}", self._tag),
                web.get(content, self._content),
            ]
        )
        return app

    async def _here(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _begin(self, request: web.Request) -> web.Response:
        return self._accepted(f"{request.path}{secrets.token_hex(8)}", 0)

    async def _append(self, request: web.Request) -> web.Response:
        file = self._folder / request.match_info["upload"]
        with file.open("ab") as stream:
            stream.write(await request.read())
        return self._accepted(request.path, file.stat().st_size)

    async def _finish(self, request: web.Request) -> web.Response:
        digest = request.query["digest"]
        file = self._folder / request.match_info["upload"]
        with file.open("ab") as stream:
            stream.write(await request.read())
        file.rename(self._folder / digest)
        return self._created(digest)

    async def _tag(self, request: web.Request) -> web.Response:
        body = await request.read()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        for name in (digest, request.match_info["reference"]):
            (self._folder / name).write_bytes(body)
            (self._folder / f"{name}.type").write_text(request.content_type)
        return self._created(digest)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        file = self._folder / request.match_info["reference"]
        if not file.exists():
            raise web.HTTPNotFound
        body = file.read_bytes()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        of_manifest = file.with_name(f"{file.name}.type")
        kind = of_manifest.read_text() if of_manifest.exists() else "application/octet-stream"
        headers = {"Docker-Content-Digest": digest}
        return web.Response(body=body, headers=headers, content_type=kind)

    def _accepted(self, location: str, size: int) -> web.Response:
        headers = {"Location": location, "Range": f"0-{max(0, size - 1)}"}
        return web.Response(status=202, headers=headers)

    def _created(self, digest: str) -> web.Response:
        headers = {"Location": f"/{digest}", "Docker-Content-Digest": digest}
        return web.Response(status=201, headers=headers)


async def _serve(folder: Path) -> None:
    runner = web.AppRunner(_Registry(folder).app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port, *_ = runner.addresses[0]
    sys.stdout.write(f"{host}:{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
