"""convoy-py: a Docker volume plugin daemon and its command line."""

__version__ = "0.1.0"
