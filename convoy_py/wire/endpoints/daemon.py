"""The calls of the daemon itself."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Direct, nothing

INFO = Direct(
    "GET", "/v1/info", "The daemon, its settings and its host", nothing, lambda: wire.daemon.Info
)
LIST_HOSTS = Direct(
    "GET",
    "/v1/hosts",
    "The hosts that share the root; none where it is not shared",
    nothing,
    lambda: wire.daemon.HostList,
)
METRICS = Direct("GET", "/metrics", "Metrics for Prometheus", nothing, nothing)
HEALTH = Direct(
    "GET",
    "/healthz",
    "Whether the daemon serves, and why not",
    nothing,
    lambda: wire.daemon.Health,
    statuses=(200, 503),
)
DESCRIBE = Direct("GET", "/v1/openapi.json", "This description", nothing, nothing)
