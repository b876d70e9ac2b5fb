"""Where pictures come from: folders, archives, arrays, databases, records, prepared datasets.

Each kind is a `Source` (source.py); `open.py` finds out which kind a path is.
"""
