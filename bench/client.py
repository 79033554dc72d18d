"""Calls a plugin as an engine does: one connection per call, over a raw socket."""

import json
import socket
from pathlib import Path

from bench.together import CallFailed

_TIMEOUT = 60.0


def request(call: str, **body: object) -> bytes:
    """The bytes of one call, such as `VolumeDriver.Get`; its answer ends with the connection."""
    data = json.dumps(body).encode()
    head = (
        f"POST /{call} HTTP/1.1\r\nHost: plugin\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n"
        "Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n"
    )
    return head.encode() + data


def get(target: str) -> bytes:
    """The bytes that ask for a page, such as `metrics`; its answer ends with the connection."""
    return f"GET /{target} HTTP/1.1\r\nHost: plugin\r\nConnection: close\r\n\r\n".encode()


def call(path: Path, message: bytes) -> bytes:
    """Make one call; returns its answer with its head. Raises OSError, CallFailed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_TIMEOUT)
        sock.connect(str(path))
        sock.sendall(message)
        parts = []
        while part := sock.recv(1 << 20):
            parts.append(part)
    answer = b"".join(parts)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise CallFailed(f"{path}: {answer[:500].decode(errors='replace')}")
    return answer
