"""Where the daemon and its command meet."""

from pathlib import Path

DEFAULT_SOCKET = Path("/run/convoy/convoy.sock")
