"""Speaks to a socket in plain bytes, as the engines do, and shows exactly what came back."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# As Docker Engine 20.10.24 sends it, empty Host header and all.
DOCKER = (
    "Host: \r\nUser-Agent: Go-http-client/1.1\r\n"
    "Accept: application/vnd.docker.plugins.v1.2+json\r\n"
)
PODMAN = "Host: plugin\r\nContent-Type: application/vnd.docker.plugins.v1.1+json\r\n"


@dataclass(frozen=True)
class Answer:
    """What a socket sent until it closed the connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Socket:
    """A Unix socket with an HTTP server behind it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def exchange(self, raw: bytes) -> bytes:
        """Send bytes, leave the connection open, read until the server closes it."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(raw)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def half_closed(self, raw: bytes) -> bytes:
        """Send bytes and shut our own half, as `printf … | nc -U` does; then read to the end."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(raw)
        writer.write_eof()
        try:
            return await reader.read()
        finally:
            writer.close()

    async def request(
        self, target: str, body: object = b"", *, method: str = "POST", headers: str = DOCKER
    ) -> Answer | None:
        """The answer, or None if the connection was closed without one."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode() + b"\n"
        head = f"{method} {target} HTTP/1.1\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
        return answer_in(await self.exchange(head.encode() + content))

    async def call(self, name: str, body: object = b"", *, headers: str = DOCKER) -> Answer:
        """A call of the volume API that must be answered."""
        target = "/Plugin.Activate" if name == "Activate" else f"/VolumeDriver.{name}"
        answer = await self.request(target, body, headers=headers)
        assert answer is not None, f"{name}: no answer"
        return answer


def answer_in(raw: bytes) -> Answer | None:
    if not raw:
        return None
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    if "content-length" in headers:
        assert len(body) == int(headers["content-length"]), "more than one answer, or half of one"
    return Answer(int(first.split()[1]), headers, body)
