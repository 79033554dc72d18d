"""A container that writes all the time, and says beside the volume what it knows to be safe."""

from pathlib import Path
from typing import Any

from tests.e2e.engine import Engine
from tests.e2e.waiting import until

# Appends a number to the log of each volume in turn, with fsync, and then acknowledges it.
_SCRIPT = """
set -e; i=0
while :; do
    i=$((i+1))
    for data in /data*; do
        echo $i | dd of=$data/log oflag=append conv=notrunc,fsync status=none
    done
    echo $i >> /said/log
done
"""


class Writer:
    """It writes 1, 2, 3 … to `log` in each of its volumes, a volume after the other."""

    def __init__(self, engine: Engine, said: Path, *volumes: str, **options: Any) -> None:
        """`said` is a new folder of the host; `options` are those of the container."""
        said.mkdir()
        self._said = said / "log"
        mounts = [f"{volume}:/data{number}" for number, volume in enumerate(volumes)]
        self.container = engine.background(*mounts, f"{said}:/said", command=_SCRIPT, **options)
        until(self.acknowledged, "a first acknowledgement")

    def acknowledged(self) -> int:
        """The last number that is safe in every volume."""
        try:
            lines = self._said.read_text(encoding="ascii").split("\n")
        except FileNotFoundError:
            return 0
        return int(lines[-2]) if len(lines) > 1 else 0

    def goes_on(self) -> None:
        """Assert that it still writes, without having met an error."""
        before = self.acknowledged()
        until(lambda: self.acknowledged() > before + 1, "further writes")
        self.container.reload()
        assert self.container.status == "running"


def written(log: str) -> int:
    """The last number in a log, in which none is missing."""
    numbers = [int(line) for line in log.split()]
    assert numbers == list(range(1, len(numbers) + 1))
    return len(numbers)
