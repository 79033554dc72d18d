"""restic's repository format, version 2, read and written in Python; knows nothing of volumes.

The format is that of https://restic.readthedocs.io/en/stable/100_references.html, as restic 0.14
and newer read and write it. No restic binary is needed. Everything here blocks: the callers are
programs or threads of their own.
"""
