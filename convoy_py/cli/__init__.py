"""The `convoy` command: it reads arguments, asks the daemon over its socket, shows the answer."""
