"""Runs commands in containers of the Docker Engine.

Blocking, as `containers`; a command may be whatever a user wants, also one that uses the volume: so
nobody may keep a filesystem frozen meanwhile.
"""

import os
import select
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from convoy_py.containers import DockerContainers, check_name
from convoy_py.errors import OperationFailed, Unavailable

# Seconds between two looks whether somebody gave up, and for which an end is waited for that shows.
_LOOK_SECONDS, _END_SECONDS = 0.5, 5.0
_HEADER = struct.Struct(">BxxxL")  # of each piece of output: which stream, and how long it is
_TOLD = 2000  # bytes of output that are kept: the last


class DockerCommands(DockerContainers):
    """The Docker Engine at one socket, for what is run in its containers."""

    def execute(
        self,
        container: str,
        words: Sequence[str],
        limit: float,
        follow: Callable[[], object] = lambda: None,
    ) -> None:
        """Run a command in a container, by its name or id, to its end.

        Raises NotFound; Unavailable for a container that does not run; OperationFailed with what
        was printed, for a command that fails or takes more than `limit` seconds, which then goes
        on; what `follow` raises, which is called now and then.
        """
        check_name("container", container)
        with self._client() as client:
            state = client.inspect_container(container)["State"]["Status"]
            if state != "running":
                raise Unavailable(f"the container does not run: it is {state}")
            key = client.exec_create(container, list(words))["Id"]
            until = time.monotonic() + limit
            output = _Output(client.exec_start(key, socket=True))
            if not output.read_until(until, follow):
                raise OperationFailed(f"it goes on after {limit:g} s{output}")
            if code := _code(client, key):
                raise OperationFailed(f"exit code {code}{output}")


class _Output:
    """The last of what a command prints to either stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._raw = self._last = b""

    def __str__(self) -> str:
        said = " ".join(self._last.decode(errors="backslashreplace").split())
        return f": {said}" if said else ""

    def read_until(self, until: float, follow: Callable[[], object]) -> bool:
        """Whether it ended by then."""
        poll = select.poll()
        poll.register(self._stream, select.POLLIN)
        # The SDK leaves the connection to whoever has the stream, and ties the one to the other.
        with self._stream, closing(getattr(self._stream, "_response", self._stream)):
            while (left := until - time.monotonic()) > 0:
                follow()
                if poll.poll(1000 * min(left, _LOOK_SECONDS)):
                    read = os.read(self._stream.fileno(), 65536)
                    if not read:
                        return True
                    self._take(read)
        return False

    def _take(self, read: bytes) -> None:
        self._raw += read
        while len(self._raw) >= _HEADER.size:
            _, length = _HEADER.unpack_from(self._raw)
            end = _HEADER.size + length
            if len(self._raw) < end:
                return
            self._last = (self._last + self._raw[_HEADER.size : end])[-_TOLD:]
            self._raw = self._raw[end:]


def _code(client: Any, key: str) -> int:
    """The exit code of a command whose output has ended."""
    until = time.monotonic() + _END_SECONDS
    while (found := client.exec_inspect(key))["Running"]:
        if time.monotonic() > until:
            raise OperationFailed("it closed its output, and goes on")
        time.sleep(0.05)
    return int(found["ExitCode"])
