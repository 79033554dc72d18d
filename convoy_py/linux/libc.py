"""The C library's functions, called with the errno checked; the only module that loads it."""

import ctypes
import os
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_LIBC.mount.argtypes = [
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
]
_LIBC.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_LIBC.fstatfs.argtypes = [ctypes.c_int, ctypes.c_char_p]
_LIBC.statx.argtypes = [
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_char_p,
]


def call(function: str, *arguments: object, about: str | None = None) -> int:
    """Call `function` and return what it returned; raise OSError, naming `about`, for -1."""
    result: int = getattr(_LIBC, function)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about)
    return result


def syscall(
    number: int,
    *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None,
    about: str | None = None,
) -> int:
    """Make a system call that the C library has no function for; each argument is one register."""
    registers = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return call("syscall", ctypes.c_long(number), *registers, about=about)


def filesystem_magic(fd: int) -> int:
    """The f_type of statfs(2), such as 0x9123683E for btrfs."""
    answer = ctypes.create_string_buffer(256)
    call("fstatfs", fd, answer)
    magic: int = struct.unpack_from("=l" if ctypes.sizeof(ctypes.c_long) == 4 else "=q", answer)[0]
    return magic & 0xFFFF_FFFF
