"""Who may use the admin socket: root, and the members of one group if the administrator set it."""

import socket
import struct

from aiohttp import web

from convoy_py.errors import Denied
from convoy_py.linux.peers import Peer, peer

# include/uapi/asm-generic/socket.h; Python's socket module does not have it.
_SO_PEERGROUPS = 59
# The most that Python's getsockopt reads. Who is in more groups is not found in any of them.
_GROUPS_BYTES = 1024


def caller_of(request: web.BaseRequest) -> Peer | None:
    """The process that asks, as the kernel knew it when it connected; None if it has gone."""
    if request.transport is None:
        return None
    return peer(request.transport.get_extra_info("socket"))


def admit(request: web.Request, caller: Peer | None, group: int | None) -> None:
    """Raise Denied unless the caller is root or a member of `group` (a gid).

    A web page that talks a local proxy into forwarding its requests is recognised by its Origin.
    """
    if caller is None or request.transport is None:
        raise Denied("the client has gone")
    if "Origin" in request.headers:
        raise Denied("requests of web pages are refused")
    sock = request.transport.get_extra_info("socket")
    if caller.uid != 0 and (group is None or group not in _groups(sock, caller)):
        allowed = "root" if group is None else f"root and members of group {group}"
        raise Denied(f"uid {caller.uid} may not use this socket, only {allowed}")


def _groups(sock: socket.socket, caller: Peer) -> set[int]:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        return {caller.gid}
    return {caller.gid, *struct.unpack(f"={len(raw) // 4}I", raw)}
