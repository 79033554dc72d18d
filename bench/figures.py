"""Turns measured times into figures, and figures into tables of text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Timings:
    """How long each call took, in seconds, and how long they all took together."""

    seconds: tuple[float, ...]
    elapsed: float

    def __add__(self, other: "Timings") -> "Timings":
        """Both, one after the other."""
        return Timings(self.seconds + other.seconds, self.elapsed + other.elapsed)

    @property
    def p50(self) -> float:
        return median(self.seconds)

    @property
    def p99(self) -> float:
        return percentile(self.seconds, 0.99)

    @property
    def rate(self) -> float:
        """Calls per second."""
        return len(self.seconds) / self.elapsed


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def sample(page: str, name: str) -> float:
    """The value of a sample without labels in a page of Prometheus' metrics. Raises LookupError."""
    for line in page.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise LookupError(name)


def milliseconds(seconds: float) -> str:
    """Three digits that count: 0.123, 1.23, 12.3, 1234."""
    value = seconds * 1000
    return f"{value:.{max(0, 3 - len(str(int(value)))) if value >= 1 else 3}f}"


def mebibytes(size: float) -> str:
    return f"{size / 2**20:.1f}"


def times(ratio: float) -> str:
    """A ratio as text: 1.23x."""
    return f"{ratio:.2f}x"


@dataclass
class Table:
    """Rows of text below a title; the first column is aligned left, the others right."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        assert len(cells) == len(self.columns)
        self.rows.append(cells)

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        shown = [_line(line, widths) for line in lines]
        rule = "  ".join("-" * width for width in widths)
        return "\n".join([self.title, shown[0], rule, *shown[1:], ""])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join([first, *rest]).rstrip()
