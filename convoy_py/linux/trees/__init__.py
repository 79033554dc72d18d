"""Trees of files: copied, measured, compared, and put back file by file."""

from convoy_py.linux.trees.comparing import Change, compare, verify
from convoy_py.linux.trees.copying import Tree, copy, measure
from convoy_py.linux.trees.restoring import copy_one, has, remove_one

__all__ = [
    "Change",
    "Tree",
    "compare",
    "copy",
    "copy_one",
    "has",
    "measure",
    "remove_one",
    "verify",
]
