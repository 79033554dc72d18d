"""The calls of the space that volumes have and take."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Long, nothing

RESIZE_VOLUME = Long(
    "POST",
    "/v1/volumes/{name}/resize",
    "Make a volume larger, at once or where that cannot be at its next mount",
    lambda: wire.space.ResizeVolume,
    lambda: wire.space.Resized,
)
TRIM_VOLUME = Long(
    "POST",
    "/v1/volumes/{name}/trim",
    "Give a volume's free blocks back to the host",
    nothing,
    lambda: wire.space.Trimmed,
)
TRIM_ALL = Long(
    "POST",
    "/v1/trim",
    "Give the free blocks of all volumes back to the host",
    nothing,
    lambda: wire.space.Trimmed,
)
REPORT_SPACE = Long(
    "GET",
    "/v1/df",
    "Where the host's bytes are, by volume and snapshot",
    nothing,
    lambda: wire.space.SpaceReport,
)
