"""Measures a volume plugin: `python -m bench [calls|memory|start|data|docker]...`."""

import argparse
import sys
from pathlib import Path

from bench import calls


def main() -> int:
    calls.run(calls.QUICK if "--quick" in sys.argv else calls.Effort(), None, {})
    return 0

sys.exit(main())
