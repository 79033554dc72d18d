"""Loop devices: attach an image, find who has it, detach; by ioctl, without losetup."""

import contextlib
import errno
import fcntl
import os
import random
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convoy_py.linux import backing, libc
from convoy_py.linux.asking import Questions
from convoy_py.linux.descriptors import opened

_LOOP_CLR_FD = 0x4C01
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_SET_CAPACITY = 0x4C07
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_REMOVE = 0x4C81
_LOOP_CTL_GET_FREE = 0x4C82

_READ_ONLY, _AUTOCLEAR, _DIRECT_IO = 1, 4, 16

# loop_info64: device, inode, rdevice, offset, sizelimit, number, encrypt_type, encrypt_key_size,
# flags, file_name, then crypt_name, encrypt_key and init, which are of no use to us.
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIG = struct.Struct(f"=2I{_INFO.size}s64x")
_NO_INFO = bytes(_INFO.size)
_NAME_AT = 56
_TAG_BYTES = 63

# A healthy storage answers in microseconds; one that keeps a device waiting for so long is not that
# of a file at which we have just looked.
_PATIENCE_SECONDS = 2.0
_DEVICE = re.compile(r"/dev/loop(\d+)")
_CONTROL = "/dev/loop-control"

# 128 threads that race for free devices need six tries at most; this is for slower machines.
_ATTEMPTS = 200
# Another was quicker to take, or to delete, the device that we were told is free.
_LOST_RACE = (errno.EBUSY, errno.ENOENT, errno.ENXIO, errno.ENODEV)

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSCONFIG_CMD_CREATE = 6
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1


@dataclass(frozen=True, slots=True)
class LoopDevice:
    path: Path
    number: int


@dataclass(frozen=True, slots=True)
class Attached:
    """A device as the kernel reports it; `file_device` and `inode` are st_dev and st_ino."""

    device: LoopDevice
    tag: str
    file_device: int
    inode: int
    autoclear: bool
    direct_io: bool
    read_only: bool


def attach(
    image_fd: int,
    *,
    tag: str,
    block_size: int = 4096,
    read_only: bool = False,
) -> tuple[LoopDevice, int]:
    """Attach an image to a free device; return it and an open descriptor on it.

    The caller closes the descriptor once the device is mounted: the device goes when its
    last user does, so one that crashes in between leaks nothing. `tag`, at most 63 bytes, is
    stored in the device. `block_size` is the smallest piece, in bytes, that can be read or written,
    and no filesystem with smaller ones can be mounted. Where the host's filesystem refuses direct
    I/O the page cache is used instead. With `read_only` the device refuses every write, a journal's
    replay too, and `image_fd` need not be open for writing.

    The image is flocked through `image_fd`, and the kernel's device keeps that lock until it is
    detached: of two that attach at once one gets BlockingIOError.
    """
    if len(os.fsencode(tag)) > _TAG_BYTES:
        raise OSError(errno.ENAMETOOLONG, f"the tag of a loop device has {_TAG_BYTES} bytes", tag)
    try:
        fcntl.flock(image_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(errno.EBUSY, "the image is attached or in other use", tag) from error
    return _configured(image_fd, block_size, tag, _READ_ONLY if read_only else 0)


def reopen(device: LoopDevice, image_fd: int, *, read_only: bool = False) -> int:
    """An open descriptor on a device that holds this image, so that it stays attached meanwhile.

    Open for reading alone if it was attached `read_only`. Raises FileNotFoundError if the device
    has let go of the image: look again, then attach.
    """
    fd = _opened(device.path, os.O_RDONLY if read_only else os.O_RDWR)
    try:
        _demand(_info(fd), os.fstat(image_fd), device)
    except BaseException:
        os.close(fd)
        raise
    return fd


def find(image: int | Path) -> list[Attached]:
    """Every device, whoever made it, whose backing file is this very file (device and inode).

    Those of others cost nothing, whatever their storage does: one that does not answer for its file
    in time is not ours, for of ours we have just seen the file. Raises OSError for a device that
    cannot be opened, and TimeoutError if the image's lock says that it is attached all the same.
    """
    if isinstance(image, int):
        wanted, path = os.fstat(image), Path(f"/proc/self/fd/{image}").readlink()
    else:
        wanted, path = image.stat(), image
    begins = _identity(wanted)
    found = [(each, info) for each, info in _raw(path) if info.startswith(begins)]
    if not found and _questions.silent and _is_locked(image):
        told = "it is attached, or in other use, but a loop device does not answer"
        raise TimeoutError(errno.ETIMEDOUT, told, str(path))
    # Having been looked at, it may have been us who kept it from detaching itself.
    return [_parsed(each.number, info) for each, info in found if _still_has(each, begins)]


def attached(tag_prefix: str, image: Path) -> list[Attached]:
    """Every device whose tag begins so; of those that may hold `image`, which may be deleted."""
    tag = os.fsencode(tag_prefix)
    return [
        _parsed(each.number, info) for each, info in _raw(image) if info.startswith(tag, _NAME_AT)
    ]


def look(path: str) -> Attached | None:
    """What the device at `path`, such as /dev/loop0, holds; None if it is none or holds nothing.

    Raises TimeoutError if its storage does not answer.
    """
    number = number_of(path)
    if number is None:
        return None
    for _, info in _questions.answers([number]):
        if isinstance(info, Exception):
            raise info
        return _parsed(number, info) if info else None
    raise TimeoutError(errno.ETIMEDOUT, "the storage of its file does not answer", path)


def answering(image: Path) -> set[int]:
    """The numbers of the devices that may have the image and answer whether they have."""
    asked = [each.number for each in backing.candidates(image)]
    return {number for number, info in _questions.answers(asked) if isinstance(info, bytes)}


def number_of(path: str) -> int | None:
    """The number of the device at `path`, such as 0 of /dev/loop0; None if that is none."""
    named = _DEVICE.fullmatch(path)
    return int(named[1]) if named else None


def is_attached(device: LoopDevice) -> bool:
    """Whether the device has a backing file; does not open the device, so disturbs no detach."""
    return Path(f"/sys/block/loop{device.number}/loop").exists()


def set_capacity(device: LoopDevice) -> None:
    """Make the device as large as its file has become."""
    fd = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _LOOP_SET_CAPACITY)
    finally:
        os.close(fd)


def detach(device: LoopDevice) -> None:
    """Let go of the backing file, or have the kernel do so with the last user of the device.

    That it succeeded does not say that the file is free: ask `is_attached`.
    """
    fd = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _LOOP_CLR_FD)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    finally:
        os.close(fd)


def forbid_discard(device: LoopDevice) -> None:
    """Make the device refuse discards from now on, so that its image keeps its blocks.

    There is no way back: the kernel keeps this for the next users of the device too, and refuses
    to raise the bound again. `attach` gives such a device up for a new one; `retire` spares others
    the surprise. In a container /sys is read-only: a sysfs mounted nowhere takes the write then.
    """
    name = f"block/loop{device.number}/queue/discard_max_bytes"
    try:
        Path("/sys", name).write_bytes(b"0")
    except OSError:
        _write_to_own_sysfs(name, b"0")


def retire(device: LoopDevice) -> None:
    """Delete a device whose discards are forbidden, unless it is in use; the kernel makes others.

    For after an unmount. Does nothing to any other device.
    """
    if not _refuses_discard(device):
        return
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, _LOOP_CTL_REMOVE, device.number)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENODEV):
            raise
    finally:
        os.close(control)


def _refuses_discard(device: LoopDevice) -> bool:
    """Whether discards were forbidden, not whether the host's filesystem has none to offer."""
    queue = Path(f"/sys/block/loop{device.number}/queue")
    try:
        return (queue / "discard_max_bytes").read_bytes() == b"0\n" and (
            queue / "discard_max_hw_bytes"
        ).read_bytes() != b"0\n"
    except OSError as error:
        # What is opened in /sys is gone (ENODEV) once the device is, like its name (ENOENT).
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        return False


def _demand(info: bytes | None, image: os.stat_result, device: LoopDevice) -> None:
    if info is None or not info.startswith(_identity(image)):
        raise FileNotFoundError(errno.ENOENT, "it holds that image no longer", str(device.path))


def _write_to_own_sysfs(name: str, data: bytes) -> None:
    context = libc.syscall(_FSOPEN, b"sysfs", _FSOPEN_CLOEXEC)
    try:
        libc.syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        root = libc.syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=root)
    finally:
        os.close(root)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _configured(image_fd: int, block_size: int, tag: str, flags: int) -> tuple[LoopDevice, int]:
    try:
        return _configured_so(image_fd, flags | _AUTOCLEAR | _DIRECT_IO, block_size, tag)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _configured_so(image_fd, flags | _AUTOCLEAR, block_size, tag)


def _configured_so(image_fd: int, flags: int, block_size: int, tag: str) -> tuple[LoopDevice, int]:
    info = _INFO.pack(*[0] * 8, flags, os.fsencode(tag), b"", b"", 0, 0)
    config = _CONFIG.pack(image_fd, block_size, info)
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for attempt in range(_ATTEMPTS):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            device = LoopDevice(Path(f"/dev/loop{number}"), number)
            try:
                fd = _taken(device, config, os.O_RDONLY if flags & _READ_ONLY else os.O_RDWR)
            except OSError as error:
                if error.errno not in _LOST_RACE:
                    raise
                time.sleep(random.uniform(0, 0.001) * min(attempt, 10))  # noqa: S311 - no secret
                continue
            if not _refuses_discard(device):
                return device, fd
            fcntl.ioctl(fd, _LOOP_CLR_FD)
            os.close(fd)
            retire(device)
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, f"no free loop device after {_ATTEMPTS} tries", tag)


def _taken(device: LoopDevice, config: bytes, mode: int) -> int:
    fd = os.open(device.path, mode | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _LOOP_CONFIGURE, config)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_locked(image: int | Path) -> bool:
    """Whether somebody has the lock that `attach` takes, such as a device that it has attached."""
    # Opened anew: a lock of our own would not be in our way.
    path = Path(f"/proc/self/fd/{image}") if isinstance(image, int) else image
    with opened(path, os.O_RDONLY) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _raw(file: Path) -> Iterator[tuple[backing.Candidate, bytes]]:
    """Each device that may hold a file, with its loop_info64; parsed only for those wanted."""
    asked = {found.number: found for found in backing.candidates(file)}
    for number, info in _questions.answers(list(asked)):
        if isinstance(info, Exception):
            if asked[number].likely:
                raise info
        elif info:
            yield asked[number], info


def _still_has(found: backing.Candidate, begins: bytes) -> bool:
    """Whether a device has the file whose loop_info64 begins so, and is not another's by now.

    Looked at only if its file has another path: then it was renamed, or the device is another's.
    """
    now = backing.path(found.number)
    return now != "" and (now == found.path or _info_of(found.number).startswith(begins))


def _info_of(number: int) -> bytes:
    """A device's loop_info64; empty if it holds no file, or one that its storage cannot tell of."""
    # A device may be detached, or its node taken away, between the listing and this look.
    with contextlib.suppress(FileNotFoundError):
        fd = _opened(Path(f"/dev/loop{number}"), os.O_RDONLY)
        try:
            return _info(fd) or b""
        finally:
            os.close(fd)
    return b""


_questions = Questions(_info_of, _PATIENCE_SECONDS)


def _opened(path: Path, mode: int) -> int:
    """FileNotFoundError too if the device is letting go of its file at this moment."""
    try:
        return os.open(path, mode | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise FileNotFoundError(errno.ENOENT, "it is being detached", str(path)) from error


def backing_file(source: str) -> str | None:
    """The path of the file behind a mount's source, as it was seen where it was attached.

    As the kernel tells it, without a look at the file; None if there is none.
    """
    number = number_of(source)
    return None if number is None else backing.path(number) or None


def _info(fd: int) -> bytes | None:
    """None if the device holds no file, or one that has failed: then it is no file of ours."""
    try:
        return fcntl.ioctl(fd, _LOOP_GET_STATUS64, _NO_INFO)
    except OSError:
        return None


def _parsed(number: int, info: bytes) -> Attached:
    file_device, inode, _, _, _, _, _, _, flags, name, *_ = _INFO.unpack(info)
    return Attached(
        device=LoopDevice(Path(f"/dev/loop{number}"), number),
        tag=os.fsdecode(name.partition(b"\0")[0]),
        file_device=_decoded(file_device),
        inode=inode,
        autoclear=bool(flags & _AUTOCLEAR),
        direct_io=bool(flags & _DIRECT_IO),
        read_only=bool(flags & _READ_ONLY),
    )


def _identity(image: os.stat_result) -> bytes:
    """How the loop_info64 of a device that holds this file begins."""
    major, minor = os.major(image.st_dev), os.minor(image.st_dev)
    # As the kernel's huge_encode_dev.
    return struct.pack("=2Q", minor & 0xFF | major << 8 | (minor & ~0xFF) << 12, image.st_ino)


def _decoded(device: int) -> int:
    """The kernel's huge_encode_dev, which loop_info64 uses, as the st_dev of stat(2)."""
    return os.makedev((device >> 8) & 0xFFF, (device & 0xFF) | ((device >> 12) & 0xFFF00))
