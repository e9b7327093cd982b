"""Text as bytes: word splitters by name and compiled kernels over UTF-8 buffers.

Every kernel takes the buffers of a whole record batch (`TextBatch.utf8`, `TextBatch.offsets`),
releases the GIL, and has a plain-Python twin in `tests/naive.py` that it equals. Nothing is
compiled at import: the first call compiles, later processes load the compiled code from numba's
cache.
"""
