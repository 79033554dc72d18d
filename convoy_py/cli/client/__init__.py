"""How the daemon is asked: calls of its API, typed, over its socket."""
