"""Trees that have everything in them, to be copied, stored and restored."""

import os
import socket
import struct
from pathlib import Path

from tests.facts import SOME_ACL

_KIB = 1 << 10
_MIB = 1 << 20
# chown may be made, and is effective (vfs_cap_data, revision 2).
CAPABILITY = struct.pack("<5I", 0x0200_0001, 1, 0, 0, 0)


def of_users(top: Path) -> None:
    """Make all that users without privileges can make in the folder `top`, which is not there."""
    (top / "folder/below").mkdir(parents=True)
    (top / "empty folder").mkdir(mode=0o1777)
    (top / "file").write_bytes(b"content" * 1000)
    (top / "empty").touch()
    (top / "large").write_bytes(os.urandom(3 * _MIB))
    with (top / "sparse").open("wb") as file:
        file.seek(2 * _MIB)
        file.write(b"data")
        file.truncate(8 * _MIB)
    os.link(top / "file", top / "folder/same")
    os.link(top / "file", top / "folder/below/same")
    (top / "folder/link").symlink_to("../file")
    (top / "broken").symlink_to("nowhere")
    (top / "absolute").symlink_to("/etc")
    os.link(top / "broken", top / "folder/same broken", follow_symlinks=False)
    (top / "folder" / b"\xff\xfe\n .js".decode(errors="surrogateescape")).write_bytes(b"x")
    (top / ("n" * 255)).touch()
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "socket"))
    (top / "folder/below/program").write_bytes(b"#!")
    (top / "folder/below/program").chmod(0o6755)
    (top / "fifo").chmod(0o622)
    os.setxattr(top / "file", "user.note", b"\0kept")
    os.setxattr(top / "folder", "user.note", b"")
    date = 1_000_000_000_123_456_789
    for folder, folders, others in os.walk(top, topdown=False):
        for name in (*folders, *others):
            date += 1_000_000_007
            os.utime(Path(folder, name), ns=(date + 5, date), follow_symlinks=False)
    os.utime(top, ns=(date, date))
    top.chmod(0o2750)


def of_root(top: Path) -> None:
    """Make all that only root can make, and more, in the empty folder `top`."""
    (top / "folder/below").mkdir(parents=True)
    (top / "sticky").mkdir()
    (top / "file").write_bytes(b"content" * 10 * _KIB)
    os.link(top / "file", top / "folder/below/same")
    with (top / "sparse").open("wb") as file:
        file.truncate(8 * _MIB)
        file.seek(4 * _MIB)
        file.write(b"data")
    (top / "empty").touch()
    (top / "program").write_bytes(b"#!")
    (top / "link").symlink_to("/outside")
    os.mkfifo(top / "fifo")
    os.mknod(top / "socket", 0o140666)
    os.mknod(top / "character", 0o020640, os.makedev(1, 3))
    os.mknod(top / "block", 0o060600, os.makedev(7, 200))
    os.mknod(top / "whiteout", 0o020000, 0)
    (top / b"\xff\n".decode(errors="surrogateescape")).write_bytes(b"x")
    paths = sorted(top.rglob("*"))
    for number, path in enumerate([top, *paths]):
        os.chown(path, 1000 + number, 2000 + number, follow_symlinks=False)
        os.setxattr(path, "trusted.overlay.test", b"%d" % number, follow_symlinks=False)
    for name in ("file", "folder", "sticky"):
        os.setxattr(top / name, "user.note", b"\0x")
        os.setxattr(top / name, "system.posix_acl_access", SOME_ACL)
    os.setxattr(top / "folder", "system.posix_acl_default", SOME_ACL)
    os.setxattr(top / "program", "security.capability", CAPABILITY)
    (top / "program").chmod(0o6755)
    (top / "sticky").chmod(0o3771)
    for number, path in enumerate([top, *paths]):
        os.utime(path, ns=(10**18 + number, 10**18 + 7 * number), follow_symlinks=False)
