"""A proxy before a server of HTTP that spoils what it is told to spoil."""

import http.client
import socket
import socketserver
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from typing import cast
from urllib.parse import urlsplit

_EXPIRED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code>'
    b"<Message>The provided token has expired.</Message></Error>"
)
ANSWERS = {
    "expired": (400, _EXPIRED),
    "unauthorized": (401, b""),
    "moved": (301, b""),  # to where it is
    "too many": (429, b"slow down"),
    "full": (507, b"no space left on device"),
    "500": (500, b"oops"),
    "503": (503, b"<Error><Code>SlowDown</Code><Message>later</Message></Error>"),
}


_TIB = 1 << 40
# How it begins, and how it goes on.
ENDLESS = {
    "huge": (b"", bytes(1 << 16)),
    "endless": (b"", bytes(1 << 16)),
    "endless list": (b'[{"name":"a","size":1}', b',{"name":"a","size":1}' * 100),
}
# What is told anew of each answer.
_OURS = ("content-length", "transfer-encoding", "connection")


@dataclass
class _Answer:
    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)
    length: int = 0  # as it is told, of an answer to HEAD too

    @property
    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, '')}"]
        lines += [f"{name}: {value}" for name, value in self.headers if name.lower() not in _OURS]
        return "\r\n".join([*lines, f"Content-Length: {self.length}", "", ""]).encode()


class FaultProxy:
    """Has `faults`, of which each request takes the first; after the last one all goes well.

    With `always` the last one stays. `asked` counts the requests.

    | fault | is |
    |---|---|
    | a key of `ANSWERS` | an answer that the server did not give |
    | `reset` | the connection ends before the server hears of it |
    | `lost` | it ends after the server did what was asked |
    | `stalled` | nothing comes until the client gives up |
    | `truncated` | it ends in the middle of the answer |
    | `short` | half the answer, as if that were all |
    | `twice` | the answer comes a second time |
    | `huge` | it has a TiB, and says so |
    | `endless` | it has no end |
    | `endless list` | the same, of files without an id, as REST lists them |
    """

    def __init__(self, server: str) -> None:
        self._lock = threading.Lock()
        self.reset()
        url = urlsplit(server)
        self._server = url.hostname or "", url.port or 0

    def reset(self) -> None:
        self.faults: deque[str] = deque()
        self.always = False
        self.asked = 0
        self.sent = 0  # bytes of what has no end

    def next(self) -> str:
        with self._lock:
            self.asked += 1
            if self.always and len(self.faults) == 1:
                return self.faults[0]
            return self.faults.popleft() if self.faults else ""

    def ask(self, method: str, path: str, headers: Message, body: bytes) -> _Answer:
        connection = http.client.HTTPConnection(*self._server, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            told = answer.getheader("Content-Length", "0")
            data = answer.read()
            length = int(told) if method == "HEAD" else len(data)
            return _Answer(answer.status, data, answer.getheaders(), length)
        finally:
            connection.close()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        proxy = cast("_Server", self.server).proxy
        with suppress(OSError):
            while line := self.rfile.readline():
                method, path, _ = line.decode().split(" ", 2)
                headers = http.client.parse_headers(self.rfile)
                body = self.rfile.read(int(headers.get("Content-Length", "0")))
                if not self._served(proxy, proxy.next(), (method, path, headers, body)):
                    return

    def _served(
        self, proxy: FaultProxy, fault: str, request: tuple[str, str, Message, bytes]
    ) -> bool:
        """Answer, or do not; whether the connection goes on."""
        if fault == "stalled":
            self.connection.settimeout(60)
            self.rfile.read(1)
        if fault in ("stalled", "reset"):
            return self._reset()
        if fault in ANSWERS:
            answer = _Answer(*ANSWERS[fault], headers=[("Location", request[1])])
            answer.length = len(answer.body)
        else:
            answer = proxy.ask(*request)
        if fault == "lost":
            return self._reset()
        if fault in ENDLESS:
            return self._endless(proxy, answer, fault)
        if fault == "short" and request[0] != "HEAD":
            answer.length //= 2
        whole = answer.head + (b"" if request[0] == "HEAD" else answer.body[: answer.length])
        if fault == "truncated":
            whole = whole[: len(answer.head) - 4 + answer.length // 2]
        self.wfile.write(whole * 2 if fault == "twice" else whole)
        return fault != "truncated"

    def _endless(self, proxy: FaultProxy, answer: _Answer, fault: str) -> bool:
        """Until the client has had enough."""
        answer.length = _TIB
        head = answer.head
        if fault != "huge":
            head = head.replace(b"Content-Length: %d\r\n" % _TIB, b"Connection: close\r\n")
        begin, piece = ENDLESS[fault]
        self.wfile.write(head + begin)
        while True:
            self.wfile.write(piece)
            proxy.sent += len(piece)

    def _reset(self) -> bool:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        return False


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    proxy: FaultProxy


@contextmanager
def before(server: str) -> Iterator[tuple[FaultProxy, str]]:
    """A proxy, and its address."""
    proxy = FaultProxy(server)
    with _Server(("127.0.0.1", 0), _Handler) as listening:
        listening.proxy = proxy
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy, f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join()
