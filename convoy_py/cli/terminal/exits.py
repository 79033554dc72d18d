"""The one table from kinds of error to exit codes; docs/cli.md shows it to users."""

from convoy_py.errors import ConvoyError, Kind

# Click's own usage errors exit with 2, so that is the code of everything said wrongly.
EXIT_CODES = {
    Kind.FAILED: 1,
    Kind.INVALID: 2,
    Kind.NOT_FOUND: 3,
    Kind.CONFLICT: 4,
    Kind.IN_USE: 5,
    Kind.UNSUPPORTED: 6,
    Kind.NO_SPACE: 7,
    Kind.UNAVAILABLE: 8,
    Kind.DENIED: 9,
    Kind.CORRUPT: 10,
    Kind.CANCELLED: 11,
}
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def exit_code(error: ConvoyError) -> int:
    return EXIT_CODES[error.kind]
