"""Paths, records and commits: everything that touches bytes outside the store.

`files.commit` is the only writer of visible files in dolmix; the rest reads what
others wrote, or looks at the machine.
"""
