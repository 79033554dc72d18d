"""Calls a plugin as an engine does: one connection per call, over a raw socket."""

import json
import re
import socket
from pathlib import Path

from bench.together import CallFailed

_TIMEOUT = 60.0
_SUCCESS = re.compile(rb"HTTP/1\.[01] 2[0-9]{2} ")


def message(method: str, target: str, body: object = None) -> bytes:
    """The bytes of one call, whose answer ends with the connection; `target` without its slash."""
    data = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} /{target} HTTP/1.1\r\nHost: plugin\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n"
    )
    return head.encode() + data


def request(call: str, **body: object) -> bytes:
    """The bytes of a call of a plugin, such as `VolumeDriver.Get`."""
    return message("POST", call, body)


def call(path: Path, asked: bytes) -> bytes:
    """Make one call; returns the body of its answer. Raises OSError, CallFailed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_TIMEOUT)
        sock.connect(str(path))
        sock.sendall(asked)
        parts = []
        while part := sock.recv(1 << 20):
            parts.append(part)
    answer = b"".join(parts)
    if not _SUCCESS.match(answer):
        raise CallFailed(f"{path}: {answer[:500].decode(errors='replace')}")
    return answer.partition(b"\r\n\r\n")[2]


def get(target: str) -> bytes:
    """The bytes that ask for a page, such as `metrics`."""
    return message("GET", target)
