"""The options of a mount: which may be asked for, and what is mounted by them."""

from collections.abc import Collection, Iterable

from convoy_py.errors import Unsupported

# These may be added to nosuid and nodev.
MOUNT_OPTIONS = (
    "ro",
    "noexec",
    "noatime",
    "nodiratime",
    "relatime",
    "strictatime",
    "lazytime",
    "sync",
)
ALWAYS_ON = ("nosuid", "nodev")
# What takes those off, where the administrator allows it (setting allowed_mount_options).
GUARDED = ("suid", "dev")
_HARMLESS = ("rw", "bind", "rbind", "defaults", *ALWAYS_ON)


def parsed(text: str) -> tuple[str, ...] | None:
    """Those that count of a list with commas; raises ValueError for what is none."""
    chosen: list[str] = []
    for option in filter(None, (part.strip().lower() for part in text.split(","))):
        if option in _HARMLESS:
            continue
        if option not in (*MOUNT_OPTIONS, *GUARDED):
            allowed = ", ".join(MOUNT_OPTIONS)
            guarded = ", ".join(GUARDED)
            name = option.partition("=")[0]  # the value may be a password
            raise ValueError(f"{name!r} is not one of {allowed}, or, where allowed, {guarded}")
        if option not in chosen:
            chosen.append(option)
    return tuple(sorted(chosen)) or None


def refuse_guarded(chosen: Iterable[str] | None, allowed: Collection[str]) -> None:
    """Raise Unsupported for a mount option that this daemon's administrator did not allow."""
    if refused := [option for option in chosen or () if option in {*GUARDED} - {*allowed}]:
        raise Unsupported(
            f"mount option {', '.join(refused)} is not allowed here "
            f"(setting allowed_mount_options: {', '.join(allowed) or 'none'})"
        )


def effective(chosen: Iterable[str] | None, allowed: Collection[str]) -> list[str]:
    """The options of a mount: nosuid and nodev, unless their opposite is chosen and allowed."""
    wanted = list(chosen or ())
    off = {f"no{option}" for option in wanted if option in allowed}
    always = [option for option in ALWAYS_ON if option not in off]
    return [*always, *(option for option in wanted if option not in GUARDED)]
