"""Which characters Go prints as they are: those of Unicode 15, whatever Python knows by now."""

import re

# Go has been at Unicode 15 since 1.21. Python 3.11 is at 14, 3.12 at 15, 3.13 at 15.1, 3.14 at 16.
_OF_15 = """
cf3 ece 10efd-10eff 1123f-11241 11b00-11b09 11f00-11f10 11f12-11f3a 11f3e-11f59 1342f 13440-13455
1b132 1b155 1d2c0-1d2d3 1df25-1df2a 1e030-1e06d 1e08f 1e4d0-1e4f9 1f6dc 1f774-1f776 1f77b-1f77f
1f7d9 1fa75-1fa77 1fa87-1fa88 1faad-1faaf 1fabb-1fabd 1fabf 1face-1facf 1fada-1fadb 1fae8
1faf7-1faf8 2b739 31350-323af
"""
_OF_16 = """
897 1b4e-1b4f 1b7f 1c89-1c8a 2427-2429 2ffc-2fff 31e4-31e5 31ef a7cb-a7cd a7da-a7dc 105c0-105f3
10d40-10d65 10d69-10d85 10d8e-10d8f 10ec2-10ec4 10efc 11380-11389 1138b 1138e 11390-113b5
113b7-113c0 113c2 113c5 113c7-113ca 113cc-113d5 113d7-113d8 113e1-113e2 116d0-116e3 11bc0-11be1
11bf0-11bf9 11f5a 13460-143fa 16100-16139 16d40-16d79 18cff 1cc00-1ccf9 1cd00-1ceb3 1e5d0-1e5fa
1e5ff 1f8b2-1f8bb 1f8c0-1f8c1 1fa89 1fa8f 1fabe 1fac6 1fadc 1fadf 1fae9 1fbcb-1fbef 2ebf0-2ee5d
"""


def _class(ranges: str) -> re.Pattern[str]:
    ends = [[chr(int(end, 16)) for end in part.split("-")] for part in ranges.split()]
    return re.compile("[" + "".join(map("-".join, ends)) + "]")


_AS_IS, _ESCAPED = _class(_OF_15), _class(_OF_16)


def prints(text: str) -> bool:
    """Whether Go prints all of it, as `strconv.IsPrint` says."""
    if text.isascii():
        return text.isprintable()
    return _AS_IS.sub("", text).isprintable() and not _ESCAPED.search(text)
